//! The table of recovery, all of it.

use super::*;
use std::collections::BTreeSet;

const LOGS: [LogState; 9] = [
    LogState::Known(Intent::None),
    LogState::Known(Intent::Removing),
    LogState::Known(Intent::Installing),
    LogState::Known(Intent::Updating { swapped: false }),
    LogState::Known(Intent::Updating { swapped: true }),
    LogState::Known(Intent::Uninstalling { set_aside: false }),
    LogState::Known(Intent::Uninstalling { set_aside: true }),
    LogState::Known(Intent::Adopting),
    LogState::Unreadable,
];
const LOCALS: [Local; 3] = [Local::Absent, Local::Dir, Local::Foreign];
const SCRATCHES: [Scratch; 4] = [Scratch::Absent, Scratch::Marked, Scratch::Unmarked, Scratch::Foreign];

fn everything() -> impl Iterator<Item = (LogState, Observed)> {
    LOGS.into_iter().flat_map(|log| {
        LOCALS.into_iter().flat_map(move |local| {
            SCRATCHES.into_iter().flat_map(move |staging| {
                SCRATCHES.into_iter().map(move |backup| (log, Observed { local, staging, backup }))
            })
        })
    })
}

fn is_dir(scratch: Scratch) -> bool {
    matches!(scratch, Scratch::Marked | Scratch::Unmarked)
}

/// What a step makes of what is there. Panics when the step cannot be taken.
fn take(log: &mut LogState, seen: &mut Observed, step: Step) {
    match step {
        Step::SyncRoot | Step::Leave(_) => {}
        Step::UnmarkLocal | Step::Disown => assert_eq!(seen.local, Local::Dir),
        Step::RestoreBackup => {
            assert!(is_dir(seen.backup) && seen.local == Local::Absent);
            (seen.local, seen.backup) = (Local::Dir, Scratch::Absent);
        }
        Step::NoteSwapped => *log = LogState::Known(Intent::Updating { swapped: true }),
        Step::RemoveStaging => {
            assert!(is_dir(seen.staging));
            seen.staging = Scratch::Absent;
        }
        Step::RemoveBackup => {
            assert!(is_dir(seen.backup));
            seen.backup = Scratch::Absent;
        }
        Step::Close(_) => *log = LogState::Known(Intent::None),
    }
}

#[test]
fn every_row_ends_settled_also_when_it_is_interrupted_after_any_step() {
    let mut rows = 0;
    for (log, seen) in everything() {
        let steps = recover(log, &seen);
        let end = |mut log, mut seen, steps: &[Step]| {
            steps.iter().for_each(|step| take(&mut log, &mut seen, *step));
            (log, seen)
        };
        let last = end(log, seen, &steps);
        for cut in 0..=steps.len() {
            let (log_then, seen_then) = end(log, seen, &steps[..cut]);
            let rest = recover(log_then, &seen_then);
            assert_eq!(end(log_then, seen_then, &rest), last, "{log:?} {seen:?} cut after {:?}", &steps[..cut]);
        }
        assert!(recover(last.0, &last.1).iter().all(|step| matches!(step, Step::Leave(_))), "{log:?} {seen:?}");
        rows += 1;
    }
    assert_eq!(rows, LOGS.len() * 3 * 4 * 4);
}

#[test]
fn nothing_is_removed_that_neither_an_intent_nor_a_marker_claims_and_a_user_never_loses_both_installs() {
    for (log, seen) in everything() {
        let steps = recover(log, &seen);
        let has = |step| steps.contains(&step);
        let unclaimed =
            matches!(log, LogState::Known(Intent::None | Intent::Adopting | Intent::Removing) | LogState::Unreadable);
        if has(Step::RemoveStaging) {
            assert!(seen.staging == Scratch::Marked || !unclaimed, "{log:?} {seen:?}");
        }
        if has(Step::RemoveBackup) {
            assert!(seen.backup == Scratch::Marked || !unclaimed, "{log:?} {seen:?}");
            // Only an uninstall, or an update whose new install somebody deleted, ends without one.
            let may_end_without = matches!(
                log,
                LogState::Known(Intent::Uninstalling { set_aside: true } | Intent::Updating { swapped: true })
            );
            assert!(may_end_without || seen.local == Local::Dir, "{log:?} {seen:?}");
        }
        if log == LogState::Unreadable {
            assert_eq!(steps, [Step::Leave(Left::Log)]);
        }
        // Everything deleted or concluded rests on names that are durable.
        for (at, _) in steps.iter().enumerate().filter(|(_, s)| matches!(s, Step::Close(_) | Step::NoteSwapped)) {
            assert_eq!(steps[at - 1], Step::SyncRoot, "{log:?} {seen:?}: {steps:?}");
        }
        // What stays in the way is spoken of.
        let mut left = seen;
        steps.iter().for_each(|step| take(&mut log.clone(), &mut left, *step));
        if left.staging != Scratch::Absent || left.backup != Scratch::Absent {
            assert!(steps.iter().any(|step| matches!(step, Step::Leave(_))), "{log:?} {seen:?}: {steps:?}");
        }
    }
}

#[test]
fn unmarked_directories_without_an_intent_are_left_alone_and_a_dropped_check_would_be_seen() {
    let rows: Vec<Observed> = everything().map(|(_, seen)| seen).collect::<Vec<_>>();
    let breaches = || {
        let none = LogState::Known(Intent::None);
        let is_breach =
            |seen: &&Observed| seen.staging == Scratch::Unmarked && recover(none, seen).contains(&Step::RemoveStaging);
        rows.iter().filter(is_breach).count()
    };
    assert_eq!(breaches(), 0);
    assert!(faults::with(Bug::NoMarkerCheck, breaches) > 0);
}

#[test]
fn the_rows_of_the_table_are_these() {
    use Step::*;
    let of = |intent, local, staging, backup| recover(LogState::Known(intent), &Observed { local, staging, backup });
    let (dir, marked, unmarked, none, absent) =
        (Local::Dir, Scratch::Marked, Scratch::Unmarked, Local::Absent, Scratch::Absent);
    let updating = Intent::Updating { swapped: false };
    assert_eq!(of(Intent::None, dir, absent, absent), []);
    assert_eq!(of(Intent::None, none, absent, unmarked), [Leave(Left::Backup)]);
    assert_eq!(of(Intent::None, none, absent, marked), [Leave(Left::Backup)]);
    assert_eq!(of(Intent::None, dir, unmarked, absent), [Leave(Left::Staging)]);
    let undone = [RemoveStaging, SyncRoot, Close(Version::Unknown)];
    assert_eq!(of(Intent::Installing, none, unmarked, absent), undone);
    assert_eq!(of(Intent::Installing, dir, absent, absent), [UnmarkLocal, SyncRoot, Close(Version::New)]);
    assert_eq!(of(updating, dir, marked, absent), [RemoveStaging, UnmarkLocal, SyncRoot, Close(Version::Old)]);
    let restored = [RestoreBackup, SyncRoot, RemoveStaging, SyncRoot, Close(Version::Old)];
    assert_eq!(of(updating, none, marked, unmarked), restored);
    let forward = [UnmarkLocal, SyncRoot, NoteSwapped, RemoveBackup, SyncRoot, Close(Version::New)];
    assert_eq!(of(updating, dir, absent, marked), forward);
    assert_eq!(of(updating, dir, marked, marked), [Leave(Left::TwoInstalls)]);
    let gone = [SyncRoot, RemoveBackup, SyncRoot, Close(Version::Unknown)];
    let set_aside = Intent::Uninstalling { set_aside: true };
    assert_eq!(of(set_aside, none, absent, unmarked), gone);
    assert_eq!(of(set_aside, dir, absent, marked), gone);
    let begun = Intent::Uninstalling { set_aside: false };
    assert_eq!(of(begun, none, absent, marked), [RestoreBackup, SyncRoot, Close(Version::Old)]);
    assert_eq!(of(begun, dir, absent, marked), [Leave(Left::TwoInstalls)]);
    assert_eq!(of(Intent::Adopting, dir, absent, absent), [Disown, SyncRoot, Close(Version::Old)]);
    assert_eq!(of(Intent::Adopting, none, absent, absent), [SyncRoot, Close(Version::Unknown)]);
    let kinds: BTreeSet<usize> = everything().map(|(log, seen)| recover(log, &seen).len()).collect();
    assert!(kinds.len() > 4);
}
