//! Every crash that the order of steps allows, also while recovering from a crash, until no new state comes up.

use super::*;
use crate::fs::model::{Event, Fault, Model, Tree};
use std::collections::BTreeSet;

type Operation = fn(&Dir) -> Result<Done, JobError>;

/// An operation, where it begins, and what may be found after it was interrupted and recovered.
struct Case {
    name: &'static str,
    before: Tree,
    run: Operation,
    /// Whether this state is one that may be found; in words what is wrong with it.
    check: fn(before: &Tree, recovered: &Tree) -> Result<State, String>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum State {
    Old,
    New,
}

fn cases() -> [Case; 7] {
    [
        Case { name: "install", before: downloaded(), run: install_in, check: check_local },
        Case { name: "update", before: installed(), run: install_in, check: check_local },
        Case { name: "uninstall", before: installed(), run: uninstall_in, check: check_uninstalled },
        Case { name: "adopt", before: made_by_hand(None), run: adopt_in, check: check_adopted },
        Case {
            name: "adopt what an older version made",
            before: made_by_hand(Some("1")),
            run: adopt_in,
            check: check_adopted,
        },
        Case { name: "remove", before: with_own_files(), run: remove_in, check: check_removed },
        Case { name: "remove leftovers", before: leftovers(), run: remove_in, check: check_leftovers_removed },
    ]
}

/// What a download left that did not come to its end.
fn leftovers() -> Tree {
    let mut tree = with_own_files();
    tree.remove("quake/version.ini");
    tree
}

fn with_own_files() -> Tree {
    let mut tree = downloaded();
    tree.extend(super::tree(&[("quake/bin/mine", "never in a list")]));
    tree
}

fn new_local() -> Tree {
    super::tree(&[
        ("game.exe", "new program"),
        ("bin/data", "new data"),
        ("empty", ""),
        ("bin/saves/", ""),
        (".lanspread_installed", &format!("{SEVEN}{}", list_of(&[("bin/data", 8), ("empty", 0), ("game.exe", 11)]))),
    ])
}

/// What in [`installed`] is the user's.
fn own_files() -> Tree {
    super::tree(&[("save/slot", "saved by the user")])
}

/// A new version with that.
fn updated_local() -> Tree {
    let mut local = new_local();
    local.extend(super::tree(&[("save/slot", "saved by the user")]));
    local
}

/// What the operations of the tests leave in `local/`.
const SEVEN: &str = "0000000000000007\n";

/// `local/` is wholly old or wholly new, the log agrees, no scratch is left, nothing else was touched.
fn check_local(before: &Tree, recovered: &Tree) -> Result<State, String> {
    check(before, recovered, false)
}

/// The same, and the new state is that there is none.
fn check_uninstalled(before: &Tree, recovered: &Tree) -> Result<State, String> {
    check(before, recovered, true)
}

fn check(before: &Tree, recovered: &Tree, ends_without: bool) -> Result<State, String> {
    let mut rest = recovered.clone();
    // An unfinished write of the log is never read, and swept when the directory is opened.
    rest.remove("quake/.lanspread.json.tmp");
    let log = rest.remove("quake/.lanspread.json").flatten();
    let (version, installed_by) = remembered(log)?;
    let kept = beneath(&rest, "quake/.local.mine");
    rest.retain(|path, _| path != "quake/.local.mine" && !path.starts_with("quake/.local.mine/"));
    let has_local = rest.contains_key("quake/local");
    let local = beneath(&rest, "quake/local");
    let had_local = before.contains_key("quake/local");
    let (state, should) = if has_local == had_local && local == beneath(before, "quake/local") {
        (State::Old, had_local.then_some(("1", EARLIER)))
    } else if has_local && local == if had_local { updated_local() } else { new_local() } {
        (State::New, Some(("2", OpId(7))))
    } else if !has_local && ends_without {
        (State::New, None)
    } else {
        return Err(format!("local/ is neither old nor new: {has_local} {local:?}"));
    };
    if (version.as_deref(), installed_by) != should.unzip() {
        return Err(format!("{state:?}, but the log says {version:?}, {installed_by:?}"));
    }
    let should = if state == State::New && ends_without { own_files() } else { Tree::new() };
    if kept != should {
        return Err(format!("{state:?}, and .local.mine holds {kept:?}"));
    }
    untouched_beside_local(before, &rest)?;
    Ok(state)
}

/// Version and number of a log under which nothing is under way.
fn remembered(log: Option<Vec<u8>>) -> Result<(Option<String>, Option<OpId>), String> {
    match log.map(|bytes| IntentLog::decode(&bytes)) {
        None => Ok((None, None)),
        Some(Ok(log)) if log.intent == Intent::None => Ok((log.installed_version, log.installed_by)),
        Some(other) => Err(format!("an operation is not ended: {other:?}")),
    }
}

fn untouched_beside_local(before: &Tree, rest: &Tree) -> Result<(), String> {
    let others = |tree: &Tree| -> Tree {
        let is_other = |path: &&String| {
            !(path.starts_with("quake/local/") || *path == "quake/local" || *path == "quake/.lanspread.json")
        };
        tree.keys().filter(is_other).map(|path| (path.clone(), tree[path].clone())).collect()
    };
    let (rest, before) = (others(rest), others(before));
    if rest != before {
        return Err(format!("something else was touched: {rest:?}"));
    }
    Ok(())
}

/// Every byte of `local/` is there; it has a number that the log has, too, or neither has one.
fn check_adopted(before: &Tree, recovered: &Tree) -> Result<State, String> {
    let mut rest = recovered.clone();
    rest.remove("quake/.lanspread.json.tmp");
    let (version, installed_by) = remembered(rest.remove("quake/.lanspread.json").flatten())?;
    let known = before.get("quake/.lanspread.json").cloned().flatten();
    if version != remembered(known)?.0 {
        return Err(format!("the log says {version:?}"));
    }
    let number = rest.remove("quake/local/.lanspread_installed").flatten();
    let state = match (installed_by, number.as_deref()) {
        (None, None) => State::Old,
        (Some(OpId(7)), Some(number)) if number == SEVEN.as_bytes() => State::New,
        other => return Err(format!("half adopted: {other:?}")),
    };
    if beneath(&rest, "quake/local") != beneath(before, "quake/local") {
        return Err(format!("local/ was touched: {rest:?}"));
    }
    untouched_beside_local(before, &rest)?;
    Ok(state)
}

/// The sentinel speaks for complete files only; nothing that was not listed was touched.
fn check_removed(before: &Tree, recovered: &Tree) -> Result<State, String> {
    let listed = ["version.ini", "game.exe", "bin/data", "empty", "bin/saves"].map(|name| format!("quake/{name}"));
    if recovered.contains_key("quake/.lanspread.json") {
        return Err(format!("an operation is not ended: {recovered:?}"));
    }
    let own = |tree: &Tree| -> Tree {
        // Unfinished writes are never read, and swept when the directory is opened.
        let is_swept = |path: &str| path.starts_with("quake/.version.ini.") || path == "quake/.lanspread.json.tmp";
        let is_own = |path: &&String| !listed.contains(path) && !is_swept(path);
        tree.keys().filter(is_own).map(|path| (path.clone(), tree[path].clone())).collect()
    };
    if own(recovered) != own(before) {
        return Err(format!("something else was touched: {recovered:?}"));
    }
    let intact = listed.iter().filter(|path| recovered.get(*path) == before.get(*path)).count();
    match (recovered.contains_key("quake/version.ini"), intact) {
        (true, 5) => Ok(State::Old),
        (true, _) => Err(format!("a sentinel without its files: {recovered:?}")),
        (false, 0) => Ok(State::New),
        (false, _) => Err(format!("some of it is left: {recovered:?}")),
    }
}

/// Nothing is gone, or all of it but what was not listed.
fn check_leftovers_removed(before: &Tree, recovered: &Tree) -> Result<State, String> {
    let mut rest = recovered.clone();
    // An unfinished write of the log is never read, and swept when the directory is opened.
    rest.remove("quake/.lanspread.json.tmp");
    if rest == *before {
        return Ok(State::Old);
    }
    let mut with_sentinel = before.clone();
    with_sentinel.insert("quake/version.ini".to_owned(), None);
    match check_removed(&with_sentinel, recovered)? {
        State::New => Ok(State::New),
        State::Old => Err(format!("a sentinel came from nowhere: {recovered:?}")),
    }
}

/// What a start does with the game, if it is still there.
fn recover_in(dir: &Dir) -> Result<Recovery, JobError> {
    if !dir.exists("quake")? {
        return Ok(Recovery::default());
    }
    let mut recovery = recover_game(&dir.subdir("quake")?)?;
    recovery.done.extend(finish_removal(dir, &game(), || Ok(manifest()))?.map(str::to_owned));
    Ok(recovery)
}

/// What restarts may find, and what was found of each.
#[derive(Clone, Default)]
struct Explorer {
    seen: BTreeSet<Tree>,
    states: BTreeSet<State>,
}

impl Explorer {
    /// Recovers from every crash during `events`, and from every crash of that, and so on. `Err`: a state that must not
    /// be, and how it came about.
    fn explore(&mut self, case: &Case, before: &Tree, events: &[Event]) -> Result<(), String> {
        let mut model = Model::new(before);
        let mut found = model.crash_states();
        for event in events {
            model.apply(event);
            found.extend(model.crash_states());
        }
        let mut queue: Vec<Tree> = found.into_iter().collect();
        while let Some(crashed) = queue.pop() {
            if !self.seen.insert(crashed.clone()) {
                continue;
            }
            let recovered = run_on(&crashed, None, recover_in);
            let outcome = recovered.result.map_err(|e| format!("{}: {crashed:?}: {e}", case.name))?;
            if !outcome.left.is_empty() {
                return Err(format!("{}: {crashed:?}: left alone: {:?}", case.name, outcome.left));
            }
            let state = (case.check)(&case.before, &recovered.after)
                .map_err(|fault| format!("{}: after {crashed:?}: {fault}", case.name))?;
            self.states.insert(state);
            let again = run_on(&recovered.after, None, recover_in);
            assert_eq!(
                (again.result.unwrap(), again.events.len()),
                (Recovery::default(), 0),
                "not settled: {crashed:?}"
            );
            let mut model = Model::new(&crashed);
            for event in &recovered.events {
                model.apply(event);
                queue.extend(model.crash_states().into_iter().filter(|state| !self.seen.contains(state)));
            }
        }
        Ok(())
    }
}

/// The whole proof for one operation.
fn prove(case: &Case) -> Result<Explorer, String> {
    let run = run_on(&case.before, None, case.run);
    let done = run.result.map_err(|e| e.to_string())?;
    assert_eq!(done.leftover, None);
    let mut model = Model::new(&case.before);
    run.events.iter().for_each(|event| model.apply(event));
    let now = model.crash_states();
    assert!(now.contains(&run.after), "the model is not the disk: {:?} {:?}", now, run.after);
    prove_events(case, &run.events, Explorer::default())
}

fn prove_events(case: &Case, events: &[Event], mut explorer: Explorer) -> Result<Explorer, String> {
    let mut model = Model::new(&case.before);
    events.iter().for_each(|event| model.apply(event));
    for finished in model.crash_states() {
        // What was reported as done is done after a power cut, too.
        let recovered = run_on(&finished, None, recover_in).after;
        match (case.check)(&case.before, &recovered)? {
            State::New => {}
            state => return Err(format!("{}: reported as done, and found {state:?}", case.name)),
        }
    }
    explorer.explore(case, &case.before, events)?;
    Ok(explorer)
}

/// What may be found after a crash of each operation on `local/`, with its name.
pub(super) fn interrupted() -> Vec<(&'static str, Tree)> {
    let on_local = cases().into_iter().filter(|case| !case.name.starts_with("remove"));
    on_local.flat_map(|case| prove(&case).unwrap().seen.into_iter().map(move |tree| (case.name, tree))).collect()
}

#[test]
fn after_a_power_cut_at_any_instant_everything_is_wholly_old_or_wholly_new() {
    for case in cases() {
        let explorer = prove(&case).unwrap();
        // The enumeration reached both ends, so it can tell them apart.
        assert!(explorer.states.contains(&State::Old) && explorer.states.contains(&State::New), "{}", case.name);
        assert!(explorer.seen.len() > 10, "{}: only {} states", case.name, explorer.seen.len());
        println!("{}: {} crash states", case.name, explorer.seen.len());
    }
}

#[test]
fn planted_bugs_are_found() {
    let [install, update, uninstall, adopt, adopt_older, remove, leftovers] = cases();
    let finds = |bug: Bug, case: &Case| {
        let found = faults::with(bug, || prove(case));
        assert!(found.is_err(), "{bug:?} was not seen in {}", case.name);
    };
    finds(Bug::NoStagingSync, &install);
    finds(Bug::NoStagingSync, &update);
    finds(Bug::SwapBeforeSync, &install);
    finds(Bug::SwapBeforeSync, &update);
    finds(Bug::NoBackupSync, &update);
    finds(Bug::NoBackupSync, &uninstall);
    finds(Bug::NoSwapSync, &install);
    finds(Bug::NoSwapSync, &update);
    finds(Bug::NoIntent, &install);
    finds(Bug::NoIntent, &update);
    finds(Bug::NoIntent, &uninstall);
    finds(Bug::NothingKept, &update);
    finds(Bug::NothingKept, &uninstall);
    finds(Bug::NoCarrySync, &update);
    finds(Bug::NoNumber, &install);
    finds(Bug::NoNumber, &update);
    for adopt in [&adopt, &adopt_older] {
        finds(Bug::NoIntent, adopt);
        finds(Bug::NumberAfterLog, adopt);
        finds(Bug::NoNumberSync, adopt);
    }
    finds(Bug::NoIntent, &remove);
    finds(Bug::NoIntent, &leftovers);
    finds(Bug::NoSentinelSync, &remove);

    // Somebody's own directory of that name: no crash makes one.
    let mut before = installed();
    before.extend(super::tree(&[("quake/.local.installing/mine", "mine")]));
    let starts = || run_on(&before, None, recover_in).after;
    assert_eq!(starts(), before);
    assert_ne!(faults::with(Bug::NoMarkerCheck, starts), before, "a dropped check of the marker was not seen");
}

#[test]
fn a_recovery_that_fails_anywhere_is_taken_up_by_the_next_one() {
    for case in cases() {
        let mut failed = 0;
        for crashed in prove(&case).unwrap().seen {
            for first in 0.. {
                let run = run_on(&crashed, Some(Fault { first, persistent: false, errno: 5 }), recover_in);
                if run.tried <= first {
                    break;
                }
                failed += usize::from(run.result.is_err());
                let recovered = run_on(&run.after, None, recover_in);
                let about = format!("{}: operation {first} failed in {crashed:?}", case.name);
                assert_eq!(recovered.result.unwrap().left, Vec::<String>::new(), "{about}");
                (case.check)(&case.before, &recovered.after).unwrap_or_else(|fault| panic!("{about}: {fault}"));
            }
        }
        assert!(failed > 20, "{}: only {failed} recoveries failed", case.name);
    }
}

/// Not only those that somebody thought of: each flush of an operation in turn.
#[test]
fn a_flush_that_is_left_out_is_found() {
    for case in cases() {
        let events = run_on(&case.before, None, case.run).events;
        // What is found to be in order need not be looked at again.
        let whole = prove_events(&case, &events, Explorer::default()).unwrap();
        let flushes: Vec<usize> = (0..events.len())
            .filter(|&at| matches!(events[at], Event::SyncFile(_) | Event::SyncDir(_) | Event::SyncAll))
            .collect();
        let mut unseen = Vec::new();
        for &left_out in &flushes {
            let mut events = events.clone();
            let flush = events.remove(left_out);
            if prove_events(&case, &events, whole.clone()).is_ok() {
                unseen.push(format!("{flush:?}").replace("quake/", ""));
            }
        }
        assert_eq!(unseen, without_effect(case.name), "{}", case.name);
        assert!(flushes.len() >= unseen.len() + 4, "{}: only {} flushes", case.name, flushes.len());
    }
}

/// Flushes that no crash needs: in a staging directory that its intent claims anyway, the intent is flushed before and
/// everything afterwards; files without bytes, directories without names; the end of an operation, after which
/// both states say the same.
fn without_effect(operation: &str) -> Vec<&'static str> {
    let staging = [
        "SyncFile(\".local.installing/.lanspread_owned.tmp\")",
        "SyncDir(\".local.installing\")",
        "SyncDir(\"quake\")",
        "SyncFile(\".local.installing/empty\")",
        "SyncDir(\".local.installing/bin/saves\")",
        "SyncFile(\".local.installing/.lanspread_owned\")",
        "SyncDir(\".local.installing\")",
    ];
    let (backup, end) = ("SyncDir(\".local.backup\")", "SyncDir(\"quake\")");
    match operation {
        "install" => [&staging[..], &[end]].concat(),
        "update" => [&staging[..], &["SyncDir(\".local.installing\")", backup, end]].concat(),
        // There nothing is removed.
        "uninstall" => vec!["SyncDir(\".local.backup/save\")", end],
        "remove" | "remove leftovers" => vec![end],
        _ => Vec::new(),
    }
}

#[test]
fn whichever_operation_fails_the_state_is_whole_and_the_next_attempt_succeeds() {
    // ENOSPC, EIO, EMFILE have these numbers wherever there are such errors.
    for (case, errno) in cases().iter().flat_map(|case| [28, 5, 24].map(|errno| (case, errno))) {
        let mut explorer = Explorer::default();
        for (first, persistent) in (0..).flat_map(|first| [(first, false), (first, true)]) {
            let fault = Fault { first, persistent, errno };
            let run = run_on(&case.before, Some(fault), case.run);
            let about = format!("{} {fault:?}", case.name);
            if run.tried <= first {
                assert_eq!(run.result.unwrap().leftover, None, "{about}");
                assert!(first > 8, "{about}: only that many operations were seen");
                break;
            }
            if let Err(error) = &run.result {
                assert!(error.message.len() > 20 && error.message.contains("os error"), "{about}: {error}");
                assert_eq!(error.kind == JobErrorKind::DiskFull, errno == 28, "{about}: {error}");
            }
            // Later: the error was one of the moment.
            let recovered = run_on(&run.after, None, recover_in);
            assert_eq!(recovered.result.unwrap().left, Vec::<String>::new(), "{about}");
            let state = (case.check)(&case.before, &recovered.after).unwrap_or_else(|fault| panic!("{about}: {fault}"));
            if let Ok(done) = &run.result {
                assert_eq!(state, State::New, "{about}: reported as done");
                assert!(done.leftover.is_some(), "{about}: not a word of the failure");
            }
            if state != State::New {
                let again = run_on(&recovered.after, None, case.run);
                assert_eq!(again.result.unwrap().leftover, None, "{about}");
                assert_eq!((case.check)(&case.before, &again.after), Ok(State::New), "{about}");
            }
            if errno == 5 {
                explorer.explore(case, &case.before, &run.events).unwrap_or_else(|fault| panic!("{about}: {fault}"));
            }
        }
    }
}
