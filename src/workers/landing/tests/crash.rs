//! Every crash that the order of a download allows, also while the next start tidies up, until no new state comes up; and
//! every operation of the file system made to fail.

use super::*;
use crate::fs::model::{self, Event, Fault, Model, Run, insert_file};
use crate::index::GameDir;

/// What a download is to do, and from where.
struct Case {
    name: &'static str,
    /// What was downloaded before.
    old: Option<Files>,
    run: fn(&Landing, &Files) -> Result<(), JobError>,
    /// What is found when nothing interrupts it.
    ends: State,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum State {
    /// The old game, complete.
    Old,
    /// No sentinel.
    Incomplete,
    /// The new game, complete.
    New,
}

fn cases() -> [Case; 4] {
    let cancel: fn(&Landing, &Files) -> Result<(), JobError> = |landing, game| {
        write_all(landing, game)?;
        landing.abandon(false)
    };
    [
        Case { name: "download", old: None, run: complete, ends: State::New },
        Case { name: "replacement", old: Some(old()), run: complete, ends: State::New },
        Case { name: "cancelled", old: None, run: cancel, ends: State::Incomplete },
        Case { name: "cancelled replacement", old: Some(old()), run: cancel, ends: State::Incomplete },
    ]
}

fn complete(landing: &Landing, game: &Files) -> Result<(), JobError> {
    write_all(landing, game)?;
    landing.commit().map(drop)
}

/// Operations after the sentinel is durable: the old one goes, the claim ends.
const AFTER_SENTINEL: usize = 2;

/// A file that stays under its name, one that goes with its directory, an empty directory that goes.
fn old() -> Files {
    files(&[("version.ini", 3), ("game.eti", 5), ("gone/old", 6), ("logs/", 0)])
}

fn new() -> Files {
    files(&[("version.ini", 4), ("game.eti", 9), ("data/map", 7), ("data/empty", 0), ("data/saves/deep/", 0)])
}

/// Every file has other bytes.
fn newer() -> Files {
    files(&[("version.ini", 5), ("game.eti", 19), ("data/map", 17), ("data/empty", 1)])
}

impl Case {
    /// What lies there before, with what is the user's.
    fn before(&self) -> Tree {
        let mut tree = own();
        for (path, bytes) in self.old.iter().flatten() {
            insert_file(&mut tree, &format!("quake/{path}"), bytes);
        }
        insert_brought(&mut tree, self.old.as_ref());
        if self.old.is_some() {
            tree.extend(beside());
        }
        tree
    }

    /// Flushes that no crash needs: of a file without bytes; of a folder from which no sentinel was taken (one that somebody
    /// else deleted just before may not be durably gone).
    fn without_effect(&self) -> Vec<&'static str> {
        let no_sentinel = self.old.is_none().then_some("SyncDir(\"quake\")");
        no_sentinel.into_iter().chain(["SyncFile(\"quake/data/empty\")"]).collect()
    }

    /// What the next download, of a third version, makes of it: nothing of it is taken for the user's.
    fn check_next(&self, found: &Tree) -> Result<(), String> {
        let run = run_on(found, None, |dir| {
            let landing = prepare_at(dir, plan(&newer(), true), None, &SpaceLedger::default(), &quiet())?;
            complete(&landing, &newer())
        });
        run.result.map_err(|error| format!("the next download: {error}"))?;
        match run.after.keys().find(|path| path.contains(".mine")) {
            Some(path) => Err(format!("lanspread's own file was kept as {path} by the download after {found:?}")),
            None => Ok(()),
        }
    }

    /// Whether this may be found; in words what is wrong with it.
    fn check(&self, found: &Tree) -> Result<State, String> {
        let lacks = |should: &Tree| should.iter().any(|(path, node)| found.get(path) != Some(node));
        if lacks(&own()) || (self.old.is_some() && lacks(&beside())) {
            return Err(format!("something of the user's was touched: {found:?}"));
        }
        if let Some(path) = found.keys().find(|path| path.starts_with("quake/.version.ini.")) {
            return Err(format!("{path} is left"));
        }
        let has = |game: &Files| {
            game.iter().all(|(path, bytes)| match path.strip_suffix('/') {
                Some(path) => found.get(&format!("quake/{path}")) == Some(&None),
                None => found.get(&format!("quake/{path}")) == Some(&Some(bytes.clone())),
            })
        };
        if !found.contains_key("quake/version.ini") {
            Ok(State::Incomplete)
        } else if has(&new()) && !found.contains_key("quake/gone/old") && !found.contains_key("quake/logs") {
            Ok(State::New)
        } else if self.old.as_ref().is_some_and(has) && !found.contains_key("quake/data/saves") {
            Ok(State::Old)
        } else {
            Err(format!("a sentinel that lies: {found:?}"))
        }
    }
}

/// Never lanspread's.
fn own() -> Tree {
    let mut tree = Tree::new();
    insert_file(&mut tree, "other/local/save", b"of another game");
    tree
}

fn beside() -> Tree {
    let mut tree = Tree::new();
    insert_file(&mut tree, "quake/data/mine", b"never in a list");
    insert_file(&mut tree, "quake/local/save", b"saved by the user");
    tree
}

fn run_on<T>(before: &Tree, fault: Option<Fault>, run: impl FnOnce(&Dir) -> T) -> Run<T> {
    let run = model::run_on(before, fault, run);
    Run { after: games_in(run.after), ..run }
}

/// Without what is a cache, or a lock.
fn games_in(tree: Tree) -> Tree {
    let is_proof = |path: &str| path.starts_with(".lanspread/brought") || path.starts_with(".lanspread/incoming");
    tree.into_iter().filter(|(path, _)| !path.starts_with(".lanspread/") || is_proof(path)).collect()
}

fn download(case: &Case, dir: &Dir, space: &SpaceLedger) -> Result<(), JobError> {
    let previous = case.old.as_ref().map(previous);
    let landing = prepare_at(dir, plan(&new(), true), previous.as_ref(), space, &quiet())?;
    let result = (case.run)(&landing, &new());
    if result.is_err() {
        // What it says is that of the first failure.
        let _ = landing.abandon(false);
    }
    result
}

/// The next start.
fn start(dir: &Dir) {
    let (_, opened) = GameDir::open_in(dir.clone()).unwrap();
    assert_eq!(opened.notice, None);
}

/// Starts after every crash during `events`, and after every crash of that. `Err`: a state that must not be.
fn explore(case: &Case, events: &[Event], seen: &mut BTreeSet<Tree>) -> Result<BTreeSet<State>, String> {
    let mut model = Model::new(&case.before());
    let mut queue: Vec<Tree> = model.crash_states().into_iter().collect();
    for event in events {
        model.apply(event);
        queue.extend(model.crash_states());
    }
    let mut states = BTreeSet::new();
    while let Some(crashed) = queue.pop() {
        if !seen.insert(crashed.clone()) {
            continue;
        }
        let run = run_on(&crashed, None, start);
        let about = |fault| format!("{}: after {crashed:?}: {fault}", case.name);
        states.insert(case.check(&run.after).map_err(about)?);
        case.check_next(&run.after).map_err(about)?;
        let mut model = Model::new(&crashed);
        for event in &run.events {
            model.apply(event);
            queue.extend(model.crash_states().into_iter().map(games_in).filter(|state| !seen.contains(state)));
        }
    }
    Ok(states)
}

/// The same, and what was reported as done is found in every case.
fn prove(case: &Case, events: &[Event], seen: &mut BTreeSet<Tree>) -> Result<BTreeSet<State>, String> {
    let mut model = Model::new(&case.before());
    events.iter().for_each(|event| model.apply(event));
    for finished in model.crash_states() {
        let state = case.check(&run_on(&finished, None, start).after)?;
        if state != case.ends {
            return Err(format!("{}: over, and found {state:?}: {finished:?}", case.name));
        }
    }
    explore(case, events, seen)
}

fn uninterrupted(case: &Case) -> Vec<Event> {
    let space = SpaceLedger::default();
    let run = run_on(&case.before(), None, |dir| download(case, dir, &space));
    run.result.unwrap();
    run.events
}

#[test]
fn after_a_power_cut_at_any_instant_a_sentinel_speaks_for_complete_bytes_only() {
    for case in cases() {
        let mut seen = BTreeSet::new();
        let states = prove(&case, &uninterrupted(&case), &mut seen).unwrap();
        assert!(states.contains(&case.ends) && states.contains(&State::Incomplete), "{}: {states:?}", case.name);
        assert_eq!(states.contains(&State::Old), case.old.is_some(), "{}: {states:?}", case.name);
        assert!(seen.len() > 20, "{}: only {} states", case.name, seen.len());
        println!("{}: {} crash states", case.name, seen.len());
    }
}

#[test]
fn a_flush_that_is_left_out_is_found() {
    let [download, replacement, ..] = cases();
    for case in [download, replacement] {
        let events = uninterrupted(&case);
        let flushes: Vec<usize> = (0..events.len())
            .filter(|&at| matches!(events[at], Event::SyncFile(_) | Event::SyncDir(_) | Event::SyncAll))
            .collect();
        let mut unseen = Vec::new();
        for &left_out in &flushes {
            let mut events = events.clone();
            let flush = events.remove(left_out);
            if prove(&case, &events, &mut BTreeSet::new()).is_ok() {
                unseen.push(flush);
            }
        }
        let unseen: Vec<String> = unseen.iter().map(|flush| format!("{flush:?}")).collect();
        assert_eq!(unseen, case.without_effect(), "{}", case.name);
        assert!(flushes.len() > 5, "{}: only {} flushes", case.name, flushes.len());
    }
}

#[test]
fn a_download_that_fails_anywhere_says_why_and_leaves_nothing_half_owned() {
    // ENOSPC, EIO, EMFILE have these numbers wherever there are such errors.
    let [download_new, replacement, ..] = cases();
    for (case, errno) in [&download_new, &replacement].into_iter().flat_map(|case| [28, 5, 24].map(|no| (case, no))) {
        let mut seen = BTreeSet::new();
        for (first, persistent) in (0..).flat_map(|first| [(first, false), (first, true)]) {
            let fault = Fault { first, persistent, errno };
            let about = format!("{} {fault:?}", case.name);
            let space = SpaceLedger::default();
            let run = run_on(&case.before(), Some(fault), |dir| download(case, dir, &space));
            assert_eq!(format!("{space:?}"), format!("{:?}", SpaceLedger::default()), "{about}: space stays promised");
            if run.tried <= first {
                run.result.unwrap();
                assert!(first > 15, "{about}: only that many operations were seen");
                break;
            }
            // The last steps come when the game is there already.
            match &run.result {
                Err(error) => {
                    assert!(error.message.len() > 20 && error.message.contains("os error"), "{about}: {error}");
                    assert_eq!(error.kind == JobErrorKind::DiskFull, errno == 28, "{about}: {error}");
                }
                Ok(()) => assert!(first + AFTER_SENTINEL >= run.tried, "{about}: not a word of the failure"),
            }
            // Before a start and after it, what is there is honest.
            let mut now = run.after.clone();
            now.retain(|path, _| !path.starts_with("quake/.version.ini."));
            let told = case.check(&now).unwrap_or_else(|fault| panic!("{about}: {fault}"));
            // Where nothing works any more, the last flush may fail and the sentinel not be taken back: it is true all the same.
            let is_as_told = run.result.is_ok() == (told == State::New) || (persistent && told == State::New);
            assert!(is_as_told, "{about}: {told:?}");
            let started = run_on(&run.after, None, start).after;
            assert_eq!(case.check(&started).unwrap(), told, "{about}");
            let again = run_on(&started, None, |dir| download(case, dir, &space));
            again.result.unwrap_or_else(|error| panic!("{about}: the next attempt: {error}"));
            assert_eq!(case.check(&again.after), Ok(State::New), "{about}");
            if errno == 5 {
                explore(case, &run.events, &mut seen).unwrap_or_else(|fault| panic!("{about}: {fault}"));
            }
        }
    }
}
