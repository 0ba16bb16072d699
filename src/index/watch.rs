//! File events: which game may have changed.
//!
//! One watch on the game directory and one on the root of each game, none of them recursive: what games write beneath
//! `local/` while they run must wake nobody. Events are boiled down to [`FsEvent`]s in a mailbox that holds each of them
//! once, so it is bounded by the number of watched games, never blocks the thread of the watcher and never loses one;
//! the owner is woken when the mailbox was empty before. Waiting until a burst is over is up to the owner.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{ErrorKind, Event, EventKind, RecursiveMode, Watcher as _};

use crate::sys::{is_no_handle, is_no_space};
use crate::types::{GameId, is_reserved_at_root};

/// Something to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FsEvent {
    /// The root of this game.
    Game(GameId),
    /// The game directory: a folder came, went or got another name.
    Root,
    /// Everything: the system dropped events.
    Overflow,
}

/// Some games are not watched; what changes there is only seen by the next scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Degraded {
    /// What the system said, and how to mend it.
    pub message: String,
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Called on the watcher's thread when there is something to [`drain`](Watcher::drain). Must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Watches a game directory until dropped.
pub struct Watcher {
    inner: notify::RecommendedWatcher,
    game_dir: PathBuf,
    mailbox: Arc<Mutex<Mailbox>>,
    /// Most watches; 0: as many as the system gives.
    max_watches: usize,
    /// Wanted, but not to be had when it was tried last.
    missing: BTreeSet<GameId>,
}

impl Watcher {
    /// Watches the game directory itself, which must be the absolute path of
    /// [`OpenedLibrary::dir`](crate::types::OpenedLibrary::dir). `max_watches` counts this watch too; 0: no limit but the
    /// system's.
    pub fn start(game_dir: &Path, max_watches: usize, wake: Wake) -> Result<Self, Degraded> {
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        let sorter = Sorter { game_dir: game_dir.to_owned(), mailbox: Arc::clone(&mailbox), wake };
        let handler = move |event: notify::Result<Event>| sorter.sort(event);
        let mut inner = notify::recommended_watcher(handler).map_err(|e| explain(&e, game_dir))?;
        inner.watch(game_dir, RecursiveMode::NonRecursive).map_err(|e| explain(&e, game_dir))?;
        Ok(Self { inner, game_dir: game_dir.to_owned(), mailbox, max_watches, missing: BTreeSet::new() })
    }

    /// Watches the root of a game. A game that is not there is no error: its coming is an event of the game directory.
    ///
    /// # Errors
    /// When there are no watches left. The game is remembered for [`retry`](Self::retry).
    pub fn watch(&mut self, game: &GameId) -> Result<(), Degraded> {
        self.missing.remove(game);
        let count = {
            let mut mailbox = self.mailbox();
            // Before the watch stands, so that its first event is not taken for that of a stranger.
            mailbox.watched.insert(game.clone());
            mailbox.watched.len()
        };
        let path = self.game_dir.join(game.as_str());
        // The game directory's own watch counts.
        let result = if self.max_watches != 0 && count >= self.max_watches {
            Err(Degraded {
                message: format!(
                    "the configured limit of {} file watches is reached: changes in some games are seen late, by the \
                     regular scan; raise limits.max_watches (0: no limit)",
                    self.max_watches
                ),
            })
        } else {
            match self.inner.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => Ok(()),
                Err(e) if is_gone(&e) => Ok(()),
                Err(e) => Err(explain(&e, &path)),
            }
        };
        if result.is_err() {
            self.mailbox().watched.remove(game);
            self.missing.insert(game.clone());
        }
        result
    }

    /// Stops watching the root of a game; no event of it comes out any more, also none that happened before. That the
    /// folder itself goes is still an event of the game directory.
    pub fn unwatch(&mut self, game: &GameId) {
        self.missing.remove(game);
        if self.mailbox().forget(game) {
            // An error means that the watch is gone already, with the folder.
            let _ = self.inner.unwatch(&self.game_dir.join(game.as_str()));
        }
    }

    /// Tries again to watch what could not be watched. `None`: all games are watched.
    pub fn retry(&mut self) -> Option<Degraded> {
        while let Some(game) = self.missing.first().cloned() {
            if let Err(degraded) = self.watch(&game) {
                return Some(degraded);
            }
        }
        None
    }

    /// How many games should be watched and are not.
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Everything that happened since the last call, each event once: `Overflow`, `Root`, then games ascending by id.
    pub fn drain(&mut self) -> Vec<FsEvent> {
        let Mailbox { overflow, root, games, replaced, .. } = self.mailbox().take();
        for game in replaced {
            // The watch was on the folder that had this name before. What the new one has seen already is covered by the
            // event of the game directory that comes with it.
            let _ = self.inner.unwatch(&self.game_dir.join(game.as_str()));
            if let Err(degraded) = self.watch(&game) {
                tracing::warn!("{degraded}");
            }
        }
        let overflow = overflow.then_some(FsEvent::Overflow);
        let root = root.then_some(FsEvent::Root);
        overflow.into_iter().chain(root).chain(games.into_iter().map(FsEvent::Game)).collect()
    }

    /// How many events wait to be [drained](Self::drain), and how many may: one of each watched game, and two of the game directory.
    pub fn waiting(&self) -> (usize, usize) {
        let mailbox = self.mailbox();
        let of_all = usize::from(mailbox.root) + usize::from(mailbox.overflow);
        (mailbox.games.len() + of_all, mailbox.watched.len() + 2)
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        lock(&self.mailbox)
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("game_dir", &self.game_dir).field("missing", &self.missing.len()).finish()
    }
}

#[derive(Default)]
struct Mailbox {
    /// Games whose events count.
    watched: BTreeSet<GameId>,
    games: BTreeSet<GameId>,
    root: bool,
    overflow: bool,
    /// Watched games whose folder went or came.
    replaced: BTreeSet<GameId>,
}

impl Mailbox {
    fn is_empty(&self) -> bool {
        self.games.is_empty() && !self.root && !self.overflow
    }

    /// Everything but who is watched.
    fn take(&mut self) -> Mailbox {
        let watched = std::mem::take(&mut self.watched);
        std::mem::replace(self, Mailbox { watched, ..Mailbox::default() })
    }

    /// Whether it was watched.
    fn forget(&mut self, game: &GameId) -> bool {
        self.games.remove(game);
        self.replaced.remove(game);
        self.watched.remove(game)
    }
}

/// Runs on the thread of the watcher.
struct Sorter {
    game_dir: PathBuf,
    mailbox: Arc<Mutex<Mailbox>>,
    wake: Wake,
}

impl Sorter {
    fn sort(&self, event: notify::Result<Event>) {
        let mut mailbox = lock(&self.mailbox);
        let was_empty = mailbox.is_empty();
        match event {
            Ok(event) if event.need_rescan() => mailbox.overflow = true,
            Ok(event) => {
                if let Some(change) = Change::of(event.kind) {
                    event.paths.iter().for_each(|path| self.note(&mut mailbox, change, path));
                }
            }
            Err(e) => {
                tracing::warn!("the file watcher reports: {e}");
                mailbox.overflow = true;
            }
        }
        let wake = was_empty && !mailbox.is_empty();
        drop(mailbox);
        if wake {
            (self.wake)();
        }
    }

    fn note(&self, mailbox: &mut Mailbox, change: Change, path: &Path) {
        let Ok(beneath) = path.strip_prefix(&self.game_dir) else { return };
        let mut components = beneath.components();
        let Some(first) = components.next() else {
            // The game directory itself: nothing that its own entries do not tell, unless it goes.
            mailbox.overflow |= change == Change::Presence;
            return;
        };
        let Some(game) = unicode(first).and_then(|name| name.parse::<GameId>().ok()) else {
            // A folder that cannot be a game, `.lanspread` above all.
            return;
        };
        let is_watched = mailbox.watched.contains(&game);
        match components.next() {
            None if change == Change::Presence => {
                mailbox.root = true;
                if is_watched {
                    mailbox.replaced.insert(game);
                }
            }
            Some(entry) if !matters(change, entry) => {}
            _ if is_watched => {
                mailbox.games.insert(game);
            }
            _ => {}
        }
    }
}

/// What happened to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It came, went or got another name.
    Presence,
    /// Its bytes, times or rights.
    Content,
}

impl Change {
    /// `None` for what changes nothing. The end of writing is reported as an access.
    fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
                Some(Self::Presence)
            }
            EventKind::Modify(_) | EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Any => {
                Some(Self::Content)
            }
            EventKind::Access(_) | EventKind::Other => None,
        }
    }
}

/// Whether a change of this entry of a game's root can change what is known of the game. Of the install tree only its
/// presence is known; lanspread's own scratch files are never listed.
fn matters(change: Change, entry: Component<'_>) -> bool {
    match unicode(entry) {
        Some(name) if name.eq_ignore_ascii_case("local") => change == Change::Presence,
        Some(name) => !is_reserved_at_root(name),
        // With such a name the game cannot be offered; without it, it can again.
        None => true,
    }
}

fn unicode(component: Component<'_>) -> Option<&str> {
    match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    }
}

fn is_gone(error: &notify::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(e) => matches!(e.kind(), NotFound | NotADirectory),
        _ => false,
    }
}

/// In words, with the remedy where there is one.
fn explain(error: &notify::Error, path: &Path) -> Degraded {
    let shown = path.display();
    let code = match &error.kind {
        ErrorKind::Io(e) => e.raw_os_error(),
        _ => None,
    };
    let message = if matches!(error.kind, ErrorKind::MaxFilesWatch) || is_no_space(code) {
        format!(
            "the system has no file watches left (at {shown}): changes in some games are seen late, by the regular scan; \
             raise fs.inotify.max_user_watches, for example: sudo sysctl fs.inotify.max_user_watches=524288"
        )
    } else if is_no_handle(code) {
        format!(
            "the system gives this program no file watcher (at {shown}: {error}): changes are seen late, by the regular \
             scan; raise fs.inotify.max_user_instances, for example: sudo sysctl fs.inotify.max_user_instances=512, or \
             the limit on open files"
        )
    } else {
        format!("cannot watch {shown} ({error}): changes there are seen late, by the regular scan")
    };
    Degraded { message }
}

fn lock(mailbox: &Mutex<Mailbox>) -> MutexGuard<'_, Mailbox> {
    mailbox.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests change the disk behind the daemon's back")]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use notify::event::{CreateKind, DataChange, Flag, RemoveKind};
    use tempfile::TempDir;

    use super::*;

    /// Far more than any event takes; only a failing test waits that long.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Watched {
        disk: TempDir,
        game_dir: PathBuf,
        watcher: Watcher,
        woken: mpsc::Receiver<()>,
        markers: u32,
    }

    impl Watched {
        fn new(max_watches: usize, games: &[&str]) -> Self {
            let disk = tempfile::tempdir().unwrap();
            let game_dir = disk.path().canonicalize().unwrap();
            for game in games {
                fs::create_dir_all(game_dir.join(game)).unwrap();
                fs::write(game_dir.join(game).join("version.ini"), "1.0").unwrap();
            }
            let (wake, woken) = mpsc::channel();
            let watcher = Watcher::start(
                &game_dir,
                max_watches,
                Arc::new(move || {
                    let _ = wake.send(());
                }),
            )
            .unwrap();
            Self { disk, game_dir, watcher, woken, markers: 0 }
        }

        /// The games that have events because of `act`. Events come in the order of what happened, so all of them are there
        /// when a folder shows that is touched afterwards.
        fn events_of(&mut self, act: impl FnOnce(&Path)) -> Vec<FsEvent> {
            act(&self.game_dir);
            let mut events = Vec::new();
            self.markers += 1;
            let marker = id(&format!("marker{}", self.markers));
            fs::create_dir(self.game_dir.join(marker.as_str())).unwrap();
            // Taken for a watched game, so that its touches are told from all else.
            lock(&self.watcher.mailbox).watched.insert(marker.clone());
            let touched = self.game_dir.join(marker.as_str());
            while !events.contains(&FsEvent::Game(marker.clone())) {
                fs::set_permissions(&touched, fs::metadata(&touched).unwrap().permissions()).unwrap();
                self.woken.recv_timeout(PATIENCE).unwrap();
                events.extend(self.watcher.drain());
            }
            self.watcher.unwatch(&marker);
            events.retain(|event| *event != FsEvent::Game(marker.clone()) && *event != FsEvent::Root);
            events.dedup();
            events
        }

        fn wait_for(&mut self, wanted: &FsEvent) {
            let mut events = self.watcher.drain();
            while !events.contains(wanted) {
                self.woken.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{wanted:?} never came, but {events:?}"));
                events.extend(self.watcher.drain());
            }
        }
    }

    fn id(text: &str) -> GameId {
        text.parse().unwrap()
    }

    fn game(text: &str) -> FsEvent {
        FsEvent::Game(id(text))
    }

    #[test]
    fn what_changes_in_the_root_of_a_watched_game_is_reported() {
        let mut watched = Watched::new(0, &["a", "b"]);
        watched.watcher.watch(&id("a")).unwrap();
        watched.watcher.watch(&id("b")).unwrap();
        assert_eq!(watched.events_of(|dir| fs::write(dir.join("a/new.eti"), "x").unwrap()), [game("a")]);
        assert_eq!(watched.events_of(|dir| fs::write(dir.join("a/version.ini"), "1.1").unwrap()), [game("a")]);
        assert_eq!(watched.events_of(|dir| fs::rename(dir.join("a/new.eti"), dir.join("a/x")).unwrap()), [game("a")]);
        assert_eq!(watched.events_of(|dir| fs::remove_file(dir.join("a/x")).unwrap()), [game("a")]);
        assert_eq!(watched.events_of(|dir| fs::create_dir(dir.join("a/local")).unwrap()), [game("a")]);
        assert_eq!(watched.events_of(|dir| fs::remove_file(dir.join("b/version.ini")).unwrap()), [game("b")]);
        assert_eq!(watched.watcher.missing(), 0);
        drop(watched.disk);
    }

    #[test]
    fn events_wait_once_for_each_game_and_within_a_bound() {
        let mut watched = Watched::new(0, &["a", "b"]);
        for game in ["a", "b"] {
            watched.watcher.watch(&id(game)).unwrap();
        }
        assert_eq!(watched.watcher.waiting(), (0, 4));
        for turn in 0..3 {
            fs::write(watched.game_dir.join("a/new.eti"), [turn]).unwrap();
            fs::write(watched.game_dir.join("b/new.eti"), [turn]).unwrap();
        }
        let end = std::time::Instant::now() + PATIENCE;
        while watched.watcher.waiting().0 < 2 {
            assert!(std::time::Instant::now() < end, "{:?}", watched.watcher.waiting());
            std::thread::yield_now();
        }
        // Six writes, and two games: some systems tell of the directory that they lie in as well.
        assert!(
            watched.watcher.waiting().0 <= 3 && watched.watcher.waiting().1 == 4,
            "{:?}",
            watched.watcher.waiting()
        );
        watched.wait_for(&game("b"));
    }

    #[test]
    fn reading_playing_and_our_own_scratch_files_wake_nobody() {
        let mut watched = Watched::new(0, &["a"]);
        fs::create_dir_all(watched.game_dir.join("a/local")).unwrap();
        fs::create_dir_all(watched.game_dir.join(".lanspread")).unwrap();
        watched.watcher.watch(&id("a")).unwrap();
        let events = watched.events_of(|dir| {
            fs::read(dir.join("a/version.ini")).unwrap();
            fs::read_dir(dir.join("a")).unwrap().count();
            fs::write(dir.join("a/local/save"), "x").unwrap();
            fs::remove_file(dir.join("a/local/save")).unwrap();
            fs::set_permissions(dir.join("a/local"), fs::metadata(dir.join("a/local")).unwrap().permissions()).unwrap();
            fs::write(dir.join("a/.version.ini.tmp"), "1").unwrap();
            fs::rename(dir.join("a/.version.ini.tmp"), dir.join("a/.version.ini.discarded")).unwrap();
            fs::create_dir(dir.join("a/.local.installing")).unwrap();
            fs::write(dir.join("a/.lanspread.json"), "{}").unwrap();
            fs::write(dir.join(".lanspread/index.json"), "{}").unwrap();
            fs::write(dir.join("notes.txt"), "not a game").unwrap();
        });
        assert_eq!(events, []);
    }

    #[test]
    fn an_unwatched_game_is_silent_until_it_is_watched_again() {
        let mut watched = Watched::new(0, &["a"]);
        watched.watcher.watch(&id("a")).unwrap();
        // Also what has happened already, but was not looked at.
        fs::write(watched.game_dir.join("a/before"), "x").unwrap();
        watched.woken.recv_timeout(PATIENCE).unwrap();
        watched.watcher.unwatch(&id("a"));
        assert_eq!(watched.events_of(|dir| fs::write(dir.join("a/during"), "x").unwrap()), []);
        watched.watcher.watch(&id("a")).unwrap();
        assert_eq!(watched.events_of(|dir| fs::write(dir.join("a/after"), "x").unwrap()), [game("a")]);
    }

    #[test]
    fn folders_that_come_and_go_are_events_of_the_game_directory_and_a_replaced_one_stays_watched() {
        let mut watched = Watched::new(0, &["a"]);
        watched.watcher.watch(&id("a")).unwrap();
        watched.watcher.watch(&id("not-there-yet")).unwrap();
        fs::create_dir(watched.game_dir.join("b")).unwrap();
        watched.wait_for(&FsEvent::Root);
        fs::rename(watched.game_dir.join("a"), watched.game_dir.join("old")).unwrap();
        watched.wait_for(&FsEvent::Root);
        fs::create_dir(watched.game_dir.join("a")).unwrap();
        watched.wait_for(&FsEvent::Root);
        assert_eq!(watched.events_of(|dir| fs::write(dir.join("a/version.ini"), "2").unwrap()), [game("a")]);
        assert_eq!(watched.events_of(|dir| fs::write(dir.join("old/version.ini"), "2").unwrap()), []);
        fs::create_dir(watched.game_dir.join("not-there-yet")).unwrap();
        watched.wait_for(&FsEvent::Root);
        assert_eq!(
            watched.events_of(|dir| fs::write(dir.join("not-there-yet/x"), "2").unwrap()),
            [game("not-there-yet")]
        );
    }

    #[test]
    fn at_the_limit_it_says_so_and_a_watch_that_is_freed_goes_to_the_next_game() {
        let mut watched = Watched::new(2, &["a", "b"]);
        watched.watcher.watch(&id("a")).unwrap();
        let degraded = watched.watcher.watch(&id("b")).unwrap_err();
        assert!(degraded.message.contains("limit of 2"), "{degraded}");
        assert_eq!(watched.events_of(|dir| fs::write(dir.join("b/x"), "x").unwrap()), []);
        assert_eq!((watched.watcher.retry(), watched.watcher.missing()), (Some(degraded), 1));
        watched.watcher.unwatch(&id("a"));
        assert_eq!((watched.watcher.retry(), watched.watcher.missing()), (None, 0));
    }

    #[test]
    fn an_exhausted_system_is_explained_with_its_remedy() {
        let message = explain(&notify::Error::new(ErrorKind::MaxFilesWatch), Path::new("/games/a")).message;
        assert!(message.contains("fs.inotify.max_user_watches=") && message.contains("/games/a"), "{message}");
        #[cfg(unix)]
        {
            let too_many = notify::Error::io(std::io::Error::from_raw_os_error(libc::EMFILE));
            let message = explain(&too_many, Path::new("/games")).message;
            assert!(message.contains("fs.inotify.max_user_instances="), "{message}");
        }
    }

    #[test]
    fn lost_events_become_one_overflow_and_a_burst_wakes_once() {
        let (wake, woken) = mpsc::channel();
        let mailbox = Arc::new(Mutex::new(Mailbox::default()));
        let game_dir = PathBuf::from("/games");
        let sorter = Sorter {
            game_dir: game_dir.clone(),
            mailbox: mailbox.clone(),
            wake: Arc::new(move || wake.send(()).unwrap()),
        };
        lock(&mailbox).watched.insert(id("a"));
        let write = Event::new(EventKind::Modify(ModifyKind::Data(DataChange::Any))).add_path(game_dir.join("a/x"));
        (0..10_000).for_each(|_| sorter.sort(Ok(write.clone())));
        sorter.sort(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        sorter.sort(Err(notify::Error::generic("lost")));
        sorter.sort(Ok(Event::new(EventKind::Remove(RemoveKind::Folder)).add_path(game_dir.join("b"))));
        sorter.sort(Ok(Event::new(EventKind::Create(CreateKind::File)).add_path(PathBuf::from("/elsewhere/a/x"))));
        assert_eq!(woken.try_iter().count(), 1);
        let taken = lock(&mailbox).take();
        assert!(taken.overflow && taken.root);
        assert_eq!(taken.games, BTreeSet::from([id("a")]));
        sorter.sort(Ok(write));
        assert_eq!(woken.try_iter().count(), 1);
    }
}
