//! Bugs that tests plant, to see that the storms (`sim/storm.rs`) would find them. Outside of tests there are none.

/// What to get wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bug {
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
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread runs with that bug.
#[cfg(test)]
pub(super) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(not(test))]
pub(super) const fn is(_: Bug) -> bool {
    false
}

/// Plants a bug in this thread until the end of `run`.
#[cfg(test)]
pub(super) fn with<T>(bug: Bug, run: impl FnOnce() -> T) -> T {
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
