//! When the game directory is looked at: file events, the fallback scan, background hashing.
//!
//! ```text
//!          event, coalesced           event             result
//!   Idle ─────────────────▶ Running ────────▶ Dirty ───────────▶ Running (once more)
//!    ▲                        │ result
//!    └────────────────────────┘
//! ```
//!
//! A game under an operation is neither watched nor scanned nor hashed: what is seen of it in the meantime is half an
//! operation. Results of looks that began before or during one are thrown away; one look follows its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arriving::Arrivals;
use super::core::Cx;
use super::effect::Effect;
use super::io::Output;
use super::timers::TimerSet;
use crate::api::{ErrorCode, PeerEvent};
use crate::types::{ContentHash, GameId, Job, JobError, JobErrorKind, ManifestHash, OpenedLibrary, ScannedGame};

/// While every game is watched, the scan of everything is only for what a file system does not report, and comes so many times more
/// rarely: it reads a directory for each game, and wakes an idle PC up as often.
const WATCHED_FACTOR: u32 = 12;
/// Scans of single games under way at once; the rest wait, so that a burst of events does not fill the workers' queue.
const MAX_SCANS: usize = 4;
/// First pause before a game is hashed again whose files would not keep still; doubles up to `MAX_HASH_PAUSE`.
const MIN_HASH_PAUSE: Duration = Duration::from_secs(10);
/// Between two doubts of others that are looked into: whoever is told of bad chunks by a stranger reads all of a game again.
const DOUBT_PAUSE: Duration = Duration::from_secs(30);
/// Between two of the same game.
const SAME_DOUBT_PAUSE: Duration = Duration::from_secs(600);
/// Longest such pause.
const MAX_HASH_PAUSE: Duration = Duration::from_secs(3_600);

/// Decides which games are watched, scanned and hashed, and when.
#[derive(Debug)]
pub(super) struct Scans {
    /// Whether new work may begin.
    open: bool,
    /// Games with a running scan; all others are idle.
    scans: BTreeMap<GameId, Scan>,
    /// Games that wait for one of the [`MAX_SCANS`], in order, and whether all their files are to be listed again.
    waiting: VecDeque<(GameId, bool)>,
    /// The scan of the whole directory.
    sweep: Sweep,
    operating: BTreeSet<GameId>,
    watched: BTreeSet<GameId>,
    hashing: Option<Hashing>,
    /// Something changed that may make a game eligible for hashing. Spares a walk over all games at every input.
    hash_check: bool,
    /// Games whose hashing failed: not again before this time, and the pause that led to it.
    put_off: BTreeMap<GameId, (Instant, Duration)>,
    /// Games to be hashed though their hashes are known: others got bytes that do not match them.
    doubted: BTreeSet<GameId>,
    /// When games were doubted last.
    doubts: BTreeMap<GameId, Instant>,
    /// Games of which some file cannot be read, though it can be listed: they are withdrawn, and tried again as `put_off` says.
    unreadable: BTreeMap<GameId, Unreadable>,
    timers: TimerSet<Due>,
    arrivals: Arrivals,
    /// Some games are not watched: what changes in them only the scans see.
    polling: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Scan {
    /// All files are listed, whatever the fingerprint says.
    forced: bool,
    then: Then,
}

/// How something came to be known of a game.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// All its files were listed, whatever the fingerprint said.
    forced: bool,
    /// An operation of this daemon left it so.
    own: bool,
}

impl Look {
    const OWN: Self = Self { forced: true, own: true };
}

/// What follows a running scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// Its result counts.
    Take,
    /// Its result counts, and there is one more scan.
    Again { forced: bool },
    /// An operation began since: its result is thrown away.
    Drop,
    /// As `Drop`, and the look at what that operation left follows.
    DropAndLook,
    /// It is that look: its result is handed out.
    HandOut,
}

#[derive(Debug)]
enum Sweep {
    Idle,
    /// `seen`: games about which something newer came in since it began.
    Running {
        seen: BTreeSet<GameId>,
        again: bool,
    },
}

/// What could not be read.
#[derive(Debug)]
struct Unreadable {
    /// Of this list of files.
    manifest_hash: ManifestHash,
    /// In words.
    reason: String,
}

#[derive(Debug)]
struct Hashing {
    game: GameId,
    /// It was told to stop; its result does not count.
    cancelled: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// Events of a game have been collected.
    Game(GameId),
    /// All files of a game that was written a moment ago are listed again.
    Arrival(GameId),
    /// Events about the directory have been collected.
    Sweep,
    /// The fallback scan.
    Fallback,
    /// A game that was put off may be hashed again.
    Hash,
}

impl Scans {
    pub(super) fn new() -> Self {
        Self {
            open: false,
            scans: BTreeMap::new(),
            waiting: VecDeque::new(),
            sweep: Sweep::Idle,
            operating: BTreeSet::new(),
            watched: BTreeSet::new(),
            hashing: None,
            hash_check: false,
            put_off: BTreeMap::new(),
            doubted: BTreeSet::new(),
            doubts: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            timers: TimerSet::new(),
            arrivals: Arrivals::default(),
            polling: false,
        }
    }

    /// Some games are not watched, or all of them are again.
    pub(super) fn set_polling(&mut self, cx: &mut Cx, polling: bool) {
        self.polling = polling;
        if self.open {
            self.arm_fallback(cx);
        }
    }

    /// The next scan of everything though nothing was seen to change.
    fn arm_fallback(&mut self, cx: &Cx) {
        let every = cx.config.timers.rescan_every;
        self.timers.set(Due::Fallback, cx.now + if self.polling { every } else { every * WATCHED_FACTOR });
    }

    /// A directory was opened that is to take the place of the one before: which of its games are still being copied.
    pub(super) fn opened(&mut self, cx: &mut Cx, opened: &mut OpenedLibrary) {
        for (game, at) in self.arrivals.open(cx, opened) {
            self.timers.set(Due::Arrival(game), at);
        }
    }

    /// A directory is open: watch its games. One sweep follows, for what changed between its scan and its watches.
    pub(super) fn open(&mut self, cx: &mut Cx) {
        self.open = true;
        self.hash_check = true;
        for game in cx.disk.games().keys().cloned().collect::<Vec<_>>() {
            self.watch(cx, &game);
        }
        self.timers.set(Due::Sweep, cx.now + cx.config.timers.fs_coalesce);
        self.arm_fallback(cx);
    }

    /// Begins nothing new, so that the directory can be exchanged when [`Scans::is_quiet`].
    pub(super) fn close(&mut self, cx: &mut Cx) {
        self.open = false;
        self.waiting.clear();
        self.stop_hashing(cx);
    }

    /// Goes on with the same directory after [`Scans::close`].
    pub(super) fn reopen(&mut self, cx: &mut Cx) {
        self.open = true;
        self.hash_check = true;
        self.timers.set(Due::Sweep, cx.now);
    }

    /// Forgets a directory that is no longer in use. Only when [`Scans::is_quiet`].
    pub(super) fn forget(&mut self, cx: &mut Cx) {
        for game in std::mem::take(&mut self.watched) {
            cx.emit(Output::Unwatch { game });
        }
        *self = Self::new();
    }

    /// No job of this part is running.
    pub(super) fn is_quiet(&self) -> bool {
        self.scans.is_empty() && matches!(self.sweep, Sweep::Idle) && self.hashing.is_none()
    }

    /// Something changed in a game's folder.
    pub(super) fn game_changed(&mut self, cx: &mut Cx, game: GameId) {
        if !self.operating.contains(&game) {
            self.timers.set_if_idle(Due::Game(game), cx.now + cx.config.timers.fs_coalesce);
        }
    }

    /// Games may have come, gone or changed.
    pub(super) fn directory_changed(&mut self, cx: &mut Cx) {
        self.timers.set_if_idle(Due::Sweep, cx.now + cx.config.timers.fs_coalesce);
    }

    /// Looks at one game as soon as possible; `forced`: at all its files, whatever the fingerprint says.
    pub(super) fn scan(&mut self, cx: &mut Cx, game: GameId, forced: bool) {
        self.timers.cancel(&Due::Game(game.clone()));
        if !self.open || self.operating.contains(&game) {
            return;
        }
        if let Some(scan) = self.scans.get_mut(&game) {
            scan.then = match scan.then {
                Then::Again { forced: before } => Then::Again { forced: before || forced },
                Then::Take => Then::Again { forced },
                // Its result is thrown away, so one more scan is needed; it must not be taken for that one.
                Then::Drop => Then::Drop,
                // Of an operation that still runs; see above.
                then @ (Then::DropAndLook | Then::HandOut) => then,
            };
            if scan.then == Then::Drop {
                self.queue(game, forced);
            }
            return;
        }
        if self.scans.len() >= MAX_SCANS {
            self.queue(game, forced);
            return;
        }
        let known = if forced { None } else { cx.disk.get(&game).cloned() };
        cx.job(Job::ScanGame { game: game.clone(), known });
        self.scans.insert(game, Scan { forced, then: Then::Take });
    }

    fn queue(&mut self, game: GameId, forced: bool) {
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == game) {
            Some((_, before)) => *before |= forced,
            None => self.waiting.push_back((game, forced)),
        }
    }

    /// Takes in the result of [`Job::ScanGame`]; [`Effect::LookedAfter`] follows when it is for [`Scans::look_after_operation`].
    pub(super) fn game_scanned(
        &mut self,
        cx: &mut Cx,
        game: &GameId,
        result: Result<Option<Arc<ScannedGame>>, JobError>,
    ) {
        let Some(scan) = self.scans.remove(game) else { return };
        let is_new = !cx.disk.games().contains_key(game);
        match result {
            result if scan.then == Then::HandOut => {
                self.pump(cx);
                return cx.tell(Effect::LookedAfter { game: game.clone(), result });
            }
            _ if scan.then == Then::DropAndLook => self.look(cx, game),
            _ if scan.then == Then::Drop || self.operating.contains(game) => {}
            // What is known stays: a game that cannot be read for a moment is not gone.
            Err(error) => {
                if let Some(at) = self.arrivals.next_look(cx, game) {
                    self.timers.set(Due::Arrival(game.clone()), at);
                }
                if is_news(&error) {
                    cx.event(PeerEvent::RuntimeError { code: ErrorCode::Io, message: error.message });
                }
            }
            Ok(scanned) => {
                self.take(cx, game, scanned, Look { forced: scan.forced, own: false });
                if is_new && cx.disk.games().contains_key(game) {
                    // It may have changed between this scan and its watch.
                    self.game_changed(cx, game.clone());
                }
            }
        }
        if let Then::Again { forced } = scan.then {
            self.queue(game.clone(), forced);
        }
        self.pump(cx);
    }

    /// Takes in the result of [`Job::ScanAll`].
    pub(super) fn all_scanned(&mut self, cx: &mut Cx, result: Result<Vec<Arc<ScannedGame>>, JobError>) {
        let Sweep::Running { seen, again } = std::mem::replace(&mut self.sweep, Sweep::Idle) else { return };
        match result {
            Err(error) if !is_news(&error) => {}
            Err(error) => cx.event(PeerEvent::RuntimeError { code: ErrorCode::Io, message: error.message }),
            Ok(games) => {
                let mut found: BTreeMap<GameId, Arc<ScannedGame>> =
                    games.into_iter().map(|game| (game.id.clone(), game)).collect();
                let ids: BTreeSet<GameId> = cx.disk.games().keys().chain(found.keys()).cloned().collect();
                for id in ids {
                    if seen.contains(&id) || self.operating.contains(&id) {
                        continue;
                    }
                    let is_new = !cx.disk.games().contains_key(&id);
                    let scanned = found.remove(&id);
                    self.take(cx, &id, scanned, Look { forced: false, own: false });
                    if is_new {
                        self.game_changed(cx, id);
                    }
                }
            }
        }
        self.arm_fallback(cx);
        if again && self.open {
            self.sweep(cx);
        }
    }

    /// An operation begins. Whatever is known or seen of the game before it ends does not count.
    pub(super) fn operation_started(&mut self, cx: &mut Cx, game: &GameId) {
        if !self.operating.insert(game.clone()) {
            return;
        }
        self.timers.cancel(&Due::Game(game.clone()));
        self.timers.cancel(&Due::Arrival(game.clone()));
        self.arrivals.forget(game);
        self.waiting.retain(|(waiting, _)| waiting != game);
        self.outdate(game);
        if self.watched.remove(game) {
            cx.emit(Output::Unwatch { game: game.clone() });
        }
        if self.hashing.as_ref().is_some_and(|hashing| hashing.game == *game) {
            self.stop_hashing(cx);
        }
    }

    /// One operation on a game gives way to another; `scanned` is what the first one left (`None`: nothing).
    pub(super) fn operation_handed_over(&mut self, cx: &mut Cx, game: &GameId, scanned: Option<Arc<ScannedGame>>) {
        self.put_off.remove(game);
        self.take(cx, game, scanned, Look::OWN);
    }

    /// Looks at all files of a game whose operation has done its work. The operation ends with the answer,
    /// [`Effect::LookedAfter`].
    pub(super) fn look_after_operation(&mut self, cx: &mut Cx, game: &GameId) {
        match self.scans.get_mut(game) {
            // One that began before the operation did still runs.
            Some(scan) => scan.then = Then::DropAndLook,
            None => self.look(cx, game),
        }
    }

    fn look(&mut self, cx: &mut Cx, game: &GameId) {
        cx.job(Job::ScanGame { game: game.clone(), known: None });
        self.scans.insert(game.clone(), Scan { forced: true, then: Then::HandOut });
    }

    /// An operation ended; `scanned` is what it left, when it knows.
    pub(super) fn operation_ended(&mut self, cx: &mut Cx, game: &GameId, scanned: Option<Option<Arc<ScannedGame>>>) {
        if !self.operating.remove(game) {
            return;
        }
        self.hash_check = true;
        self.outdate(game);
        self.put_off.remove(game);
        match scanned {
            Some(scanned) => {
                self.take(cx, game, scanned, Look::OWN);
                // Between the operation's last step and the watch something may have changed.
                self.game_changed(cx, game.clone());
            }
            None => self.scan(cx, game.clone(), false),
        }
    }

    /// Results of running looks at this game are older than what is known of it.
    fn outdate(&mut self, game: &GameId) {
        if let Some(scan) = self.scans.get_mut(game) {
            scan.then = Then::Drop;
        }
        if let Sweep::Running { seen, .. } = &mut self.sweep {
            seen.insert(game.clone());
        }
    }

    /// A peer got chunks that do not match the hashes of the game, which say that its content is this one. Files can be changed without
    /// a new time: disk images, patchers that set the old one.
    pub(super) fn doubt(&mut self, cx: &mut Cx, game: GameId, content: ContentHash) {
        let is_offered = cx.disk.get(&game).is_some_and(|here| here.downloaded && here.content_hash == Some(content));
        if is_offered && self.read_again(cx, &game) {
            tracing::info!(%game, "a peer got chunks that do not match their hashes; the game is hashed anew");
        }
    }

    /// Has a game read again because of what came of serving it, but not too often, and not while something else is done to it.
    fn read_again(&mut self, cx: &Cx, game: &GameId) -> bool {
        self.doubts.retain(|_, at| cx.now.saturating_duration_since(*at) < SAME_DOUBT_PAUSE);
        let lately = |at: &Instant| cx.now.saturating_duration_since(*at) < DOUBT_PAUSE;
        if self.operating.contains(game) || self.doubts.contains_key(game) || self.doubts.values().any(lately) {
            return false;
        }
        self.doubts.insert(game.clone(), cx.now);
        self.doubted.insert(game.clone());
        self.hash_check = true;
        true
    }

    /// A file of the game could not be read for a peer: all of it is read again, which shows whether that lasts.
    pub(super) fn read_failed(&mut self, cx: &Cx, game: &GameId) {
        self.read_again(cx, game);
    }

    /// A download replaces what cannot be read.
    pub(super) fn download_started(&mut self, game: &GameId) {
        self.unreadable.remove(game);
    }

    /// Takes in the result of [`Job::HashGame`].
    pub(super) fn game_hashed(
        &mut self,
        cx: &mut Cx,
        game: GameId,
        manifest_hash: ManifestHash,
        result: Result<ContentHash, JobError>,
    ) {
        let Some(hashing) = self.hashing.take() else { return };
        self.hash_check = true;
        if hashing.game != game || hashing.cancelled || self.operating.contains(&game) {
            return;
        }
        let current = cx.disk.get(&game).filter(|known| known.manifest_hash == manifest_hash).cloned();
        match (result, current) {
            (Ok(content), Some(known)) => {
                self.put_off.remove(&game);
                self.doubted.remove(&game);
                let was_unreadable = self.unreadable.remove(&game).is_some();
                if known.content_hash.is_some_and(|before| before != content) {
                    if let Some(scan) = self.scans.get_mut(&game)
                        && matches!(scan.then, Then::Take | Then::Again { .. })
                    {
                        // It was told the old hash and would bring it back.
                        scan.then = Then::Drop;
                        self.queue(game.clone(), true);
                    }
                    // Whatever is open, or on its way, has the old hashes.
                    cx.emit(Output::StopSending { game: game.clone() });
                    let message = format!(
                        "the files of {game} were changed without a new time, and others got bytes that do not match; from now on what lies \
                         there is offered (`lanspread verify {game}` says whether it is as the catalog wants it)"
                    );
                    cx.event(PeerEvent::RuntimeError { code: ErrorCode::VerificationFailed, message });
                }
                let unportable = known.unportable.clone().filter(|_| !was_unreadable);
                let hashed = ScannedGame { content_hash: Some(content), unportable, ..(*known).clone() };
                let more = self.unhashed(cx).any(|other| other.id != game && !other.arriving);
                cx.disk.put_content(&game, Arc::new(hashed), more);
                if let Sweep::Running { seen, .. } = &mut self.sweep {
                    // The sweep was told the state without the hash and would bring it back.
                    seen.insert(game);
                }
            }
            // Its files are others by now; the scan that found them out has it hashed anew.
            (Ok(_), None) => {}
            (Err(error), _) if error.kind == JobErrorKind::Cancelled => {}
            (Err(error), _) => {
                let pause = self.put_off.get(&game).map_or(Duration::ZERO, |(_, pause)| *pause);
                let pause = (pause * 2).clamp(MIN_HASH_PAUSE, MAX_HASH_PAUSE);
                tracing::debug!(%game, ?error, ?pause, "hashing failed");
                self.put_off.insert(game.clone(), (cx.now + pause, pause));
                if self.doubted.remove(&game) {
                    // Whoever comes next may say it again.
                    self.doubts.remove(&game);
                }
                match error.kind {
                    JobErrorKind::Changed => self.scan(cx, game, true),
                    JobErrorKind::DirectoryGone => {}
                    JobErrorKind::Io => self.withdraw_unreadable(cx, game, manifest_hash, error.message),
                    // Hashes that cannot be kept, say, are no fault of the game.
                    _ => cx.event(PeerEvent::RuntimeError { code: ErrorCode::Io, message: error.message }),
                }
            }
        }
    }

    /// The files of a game that can be listed cannot be read: nobody could get it.
    fn withdraw_unreadable(&mut self, cx: &mut Cx, game: GameId, manifest_hash: ManifestHash, why: String) {
        let reason = format!("it cannot be read: {why}");
        let is_news = !self.unreadable.contains_key(&game);
        self.unreadable.insert(game.clone(), Unreadable { manifest_hash, reason });
        if is_news {
            let message = format!("{game} is not shared: {why}; it is tried again from time to time");
            cx.event(PeerEvent::RuntimeError { code: ErrorCode::Io, message });
            cx.emit(Output::StopSending { game: game.clone() });
        }
        if let Some(known) = cx.disk.get(&game).cloned() {
            let withdrawn = self.without_unreadable(known);
            cx.disk.put(&game, Some(withdrawn), cx.config.limits.games_per_library);
        }
    }

    /// What was seen of a game, withdrawn if some of these files could not be read.
    fn without_unreadable(&mut self, seen: Arc<ScannedGame>) -> Arc<ScannedGame> {
        match self.unreadable.get(&seen.id) {
            Some(unreadable) if unreadable.manifest_hash == seen.manifest_hash => {
                let unportable = Some(unreadable.reason.clone());
                Arc::new(ScannedGame { content_hash: None, unportable, ..(*seen).clone() })
            }
            Some(_) => {
                self.unreadable.remove(&seen.id);
                self.put_off.remove(&seen.id);
                seen
            }
            None => seen,
        }
    }

    /// The catalog is another one: it may admit games that nobody needed hashes of before.
    pub(super) fn catalog_changed(&mut self) {
        self.hash_check = true;
    }

    /// Games that wait to be hashed, in the order of their ids.
    pub(super) fn unhashed<'a>(&'a self, cx: &'a Cx) -> impl Iterator<Item = &'a Arc<ScannedGame>> {
        // Games that are offered to nobody need no hash. One that is still being copied will.
        let wanted = |game: &ScannedGame| {
            game.content_hash.is_none() && game.downloaded && game.unportable.is_none() && cx.catalog.admits(&game.id)
        };
        cx.disk.games().values().filter(move |game| wanted(game) && !self.operating.contains(&game.id))
    }

    /// Begins to hash the next game unless one is being hashed, or an operation runs (it needs disk and cores more).
    pub(super) fn hash_next(&mut self, cx: &mut Cx, operations_run: bool) {
        if !self.open || !self.hash_check || self.hashing.is_some() || operations_run {
            return;
        }
        self.hash_check = false;
        if let Some(doubted) = self.next_doubted(cx) {
            let (game, manifest_hash) = (doubted.id.clone(), doubted.manifest_hash);
            self.hashing = Some(Hashing { game: game.clone(), cancelled: false });
            tracing::debug!(%game, "doubted game is hashed again");
            return cx.job(Job::HashGame { game, manifest_hash, anew: true });
        }
        let not_before = |game: &GameId| self.put_off.get(game).map(|(at, _)| *at);
        let is_due = |game: &&Arc<ScannedGame>| not_before(&game.id).is_none_or(|at| at <= cx.now);
        let unreadable = || self.unreadable.keys().filter_map(|game| cx.disk.get(game));
        let next = self.unhashed(cx).filter(|game| !game.arriving).chain(unreadable()).find(is_due).cloned();
        let later = self.unhashed(cx).chain(unreadable()).filter_map(|game| not_before(&game.id)).min();
        match (next, later) {
            (Some(game), _) => {
                // What is known of its bytes is not that they can be read.
                let anew = self.unreadable.contains_key(&game.id);
                cx.job(Job::HashGame { game: game.id.clone(), manifest_hash: game.manifest_hash, anew });
                self.hashing = Some(Hashing { game: game.id.clone(), cancelled: false });
            }
            (None, Some(at)) => self.timers.set(Due::Hash, at),
            (None, None) => {}
        }
    }

    /// The next game that was doubted and still lies there with hashes. It stays doubted until it has been hashed.
    fn next_doubted(&mut self, cx: &Cx) -> Option<Arc<ScannedGame>> {
        let offered = |game: &GameId| cx.disk.get(game).filter(|here| here.downloaded && here.content_hash.is_some());
        self.doubted.retain(|game| offered(game).is_some());
        self.doubted.iter().filter(|game| !self.operating.contains(*game)).find_map(offered).cloned()
    }

    fn stop_hashing(&mut self, cx: &mut Cx) {
        if let Some(hashing) = self.hashing.as_mut().filter(|hashing| !hashing.cancelled) {
            hashing.cancelled = true;
            cx.emit(Output::CancelHash { game: hashing.game.clone() });
        }
    }

    /// The earliest deadline.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.open { self.timers.next() } else { None }
    }

    /// Fires what is due.
    pub(super) fn timeout(&mut self, cx: &mut Cx) {
        while self.open
            && let Some(due) = self.timers.pop_due(cx.now)
        {
            match due {
                Due::Game(game) => self.scan(cx, game, false),
                Due::Arrival(game) if self.arrivals.expects(&game) => self.scan(cx, game, true),
                // There are too many of them.
                Due::Arrival(_) => {}
                Due::Sweep | Due::Fallback => self.sweep(cx),
                // The caller asks for the next hash after every input.
                Due::Hash => self.hash_check = true,
            }
        }
    }

    fn sweep(&mut self, cx: &mut Cx) {
        match &mut self.sweep {
            Sweep::Running { again, .. } => *again = true,
            Sweep::Idle => {
                self.arm_fallback(cx);
                self.sweep = Sweep::Running { seen: BTreeSet::new(), again: false };
                cx.job(Job::ScanAll { known: cx.disk.games().values().cloned().collect() });
            }
        }
    }

    fn pump(&mut self, cx: &mut Cx) {
        for _ in 0..self.waiting.len() {
            if self.scans.len() >= MAX_SCANS {
                return;
            }
            if let Some((game, forced)) = self.waiting.pop_front() {
                // A game whose outdated scan still runs goes to the end of the queue.
                self.scan(cx, game, forced);
            }
        }
    }

    /// Takes in what lies on disk.
    fn take(&mut self, cx: &mut Cx, game: &GameId, scanned: Option<Arc<ScannedGame>>, look: Look) {
        let scanned = match (cx.disk.get(game), scanned) {
            // The scan was given the state before the hash came in, and found nothing new.
            (Some(known), Some(new))
                if !look.forced
                    && new.content_hash.is_none()
                    && new.fingerprint == known.fingerprint
                    && new.manifest_hash == known.manifest_hash =>
            {
                Some(Arc::new(ScannedGame { content_hash: known.content_hash, ..(*new).clone() }))
            }
            (_, new) => new,
        };
        let scanned = self.judge(cx, game, scanned, look).map(|seen| self.without_unreadable(seen));
        if let Sweep::Running { seen, .. } = &mut self.sweep {
            seen.insert(game.clone());
        }
        let exists = scanned.is_some();
        if cx.disk.get(game) != scanned.as_ref() {
            tracing::debug!(%game, exists, arriving = scanned.as_ref().is_some_and(|seen| seen.arriving), own = look.own, "game changed");
        }
        self.hash_check = true;
        cx.disk.put(game, scanned, cx.config.limits.games_per_library);
        if exists {
            self.watch(cx, game);
        } else if self.watched.remove(game) {
            cx.emit(Output::Unwatch { game: game.clone() });
            self.put_off.remove(game);
            self.unreadable.remove(game);
        }
    }

    /// Whether it is still being copied, and when that is looked at again.
    fn judge(
        &mut self,
        cx: &Cx,
        game: &GameId,
        scanned: Option<Arc<ScannedGame>>,
        look: Look,
    ) -> Option<Arc<ScannedGame>> {
        let Some(scanned) = scanned else {
            self.arrivals.forget(game);
            self.timers.cancel(&Due::Arrival(game.clone()));
            return None;
        };
        let before = cx.disk.get(game).map(Arc::as_ref);
        let (judged, at) = match look.own {
            true => self.arrivals.made(cx, before, &scanned),
            false => self.arrivals.found(cx, before, &scanned),
        };
        match at {
            Some(at) => self.timers.set(Due::Arrival(game.clone()), at),
            None => self.timers.cancel(&Due::Arrival(game.clone())),
        }
        Some(Arc::new(judged))
    }

    fn watch(&mut self, cx: &mut Cx, game: &GameId) {
        if !self.operating.contains(game) && self.watched.insert(game.clone()) {
            cx.emit(Output::Watch { game: game.clone() });
        }
    }
}

/// Whether a look that failed is told: not one that was ended, and that the directory is gone is told once, for itself.
fn is_news(error: &JobError) -> bool {
    !matches!(error.kind, JobErrorKind::Cancelled | JobErrorKind::DirectoryGone)
}
