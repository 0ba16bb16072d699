//! Bugs that tests plant, to see that the tests would find them. Outside of tests there are none.

/// What to get wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    // Of the engine, for its storms (engine/sim/storm.rs).
    /// A chunk that does not match its hash counts as verified.
    BadChunkCounts,
    /// What a lost run was asked for is not wanted again.
    LostNotWanted,
    /// What another run has landed is wanted again when a run for the same chunk is lost.
    LandedWantedAgain,
    /// A download that asks nobody for anything counts as one without a source.
    QuietIsStarved,
    /// The landing buffers of a lost run stay reserved.
    BuffersStay,
    /// News of a source's library lifts its ban.
    BanForgotten,
    /// A download hands out chunks that it does not have.
    UnverifiedServed,
    /// The outcome of a delta is not compared with its digest.
    MisfitApplied,
    /// A cancel is answered twice.
    AnsweredTwice,
    /// A look-up that no source answers is not answered either.
    NeverAnswered,
    /// The end of a cancelled download is not told.
    CancelUntold,
    /// Of two runs for the same chunk the second goes on when the first has landed it.
    LoserGoesOn,
    /// A game is served while its files are removed.
    ServedWhileRemoved,
    /// A game stays in the library when its files have been removed.
    ServedAfterRemoval,
    /// A game is offered while it is still being copied.
    HalfOffered,

    // Of operations on `local/`, for the proof of the order of their steps (install/tests/).
    /// The new files are not made durable.
    NoStagingSync,
    /// The new files are made durable only when they have their place.
    SwapBeforeSync,
    /// The old install is set aside under its new name, and nobody waits until that is durable.
    NoBackupSync,
    /// The old install is deleted before the swap is durable.
    NoSwapSync,
    /// Whatever lies in the place of a scratch directory counts as lanspread's.
    NoMarkerCheck,
    /// Whatever lies in the place of `local/` counts as lanspread's.
    NoOwnerCheck,
    /// The owner of `local/` is asked for before an operation and not again before `local/` goes.
    OwnerCheckedOnce,
    /// The new `local/` gets no number.
    NoNumber,
    /// An adopted `local/` gets its number when the log has it already.
    NumberAfterLog,
    /// The number in an adopted `local/` is not made durable.
    NoNumberSync,
    /// What the user has in an old `local/` goes with it.
    NothingKept,
    /// What of it was copied is not made durable.
    NoCarrySync,
    /// An old `local/` that is set aside counts as looked at before it was.
    NotedTooEarly,
    /// The intent is not noted.
    NoIntent,
    /// Downloaded files go before their sentinel has gone durably.
    NoSentinelSync,
}

#[cfg(test)]
thread_local! {
    pub(crate) static TIMES_OFF: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether times count in this thread: a disk that is made anew from a model has others.
#[cfg(test)]
pub(crate) fn times_are_off() -> bool {
    TIMES_OFF.get()
}

/// Whether this thread runs with that bug.
#[cfg(test)]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(test))]
pub(crate) const fn times_are_off() -> bool {
    false
}

#[cfg(not(test))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// Plants a bug in this thread until the end of `run`.
#[cfg(test)]
pub(crate) fn with<T>(bug: Bug, run: impl FnOnce() -> T) -> T {
    struct Dig;
    impl Drop for Dig {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    PLANTED.set(Some(bug));
    let _dig = Dig;
    run()
}
