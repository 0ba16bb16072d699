//! Runs each task on the thread that picked it up.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::diagnose;
use super::landing::{Landing, Watch};
use super::local::{self, Archives};
use super::programs;
use super::serve::ServedGame;
use super::task::{OpenServed, Opened, ReadBatch, ReadChunks, ReadDone, WriteBatch, Written};
use crate::fs::SpaceLedger;
use crate::index::{GameDir, look_for, wall_ns};
use crate::types::{
    ContentHash, DownloadId, DownloadPlan, Epoch, Finding, GameId, Job, JobDone, JobError, JobErrorKind, KeptFiles,
    ManifestHash, OpenedLibrary, PreparedDownload, ScannedGame, directory_is_gone,
};

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// What the worker threads share.
#[derive(Default)]
pub(super) struct Context {
    /// The game directory that is in use.
    home: Mutex<Home>,
    downloads: Mutex<HashMap<DownloadId, Arc<Download>>>,
    /// What running downloads and installs will still write.
    space: SpaceLedger,
    /// Set to end the hashing of a game, under way or queued.
    hashing: Mutex<HashMap<GameId, Arc<AtomicBool>>>,
    /// Set to end the local operation on a game, or the preparation of its download, under way or queued.
    operations: Mutex<HashMap<GameId, Arc<AtomicBool>>>,
    /// Looks at the adapters of this PC.
    adapters: Option<fn() -> Vec<Finding>>,
}

/// The game directory that is in use, as long as it is there.
#[derive(Default)]
struct Home {
    dir: Option<Arc<GameDir>>,
    /// It is not there any more; nothing is begun in it then.
    gone: Option<Gone>,
    /// Why, in words, until the user of the workers has asked.
    untold: Option<String>,
}

/// A game directory that is not there any more.
#[derive(Clone)]
struct Gone {
    path: PathBuf,
    reason: String,
}

impl Home {
    /// What whatever was begun in a directory that is gone ends with.
    fn gone_error(&self) -> Option<JobError> {
        let Gone { path, reason } = self.gone.as_ref()?;
        Some(JobError::new(JobErrorKind::DirectoryGone, directory_is_gone(path, reason)))
    }
}

/// Is told which bytes of a job on a game are done, of how many.
pub(super) type Report<'a> = &'a dyn Fn(&GameId, u64, u64);

/// A download ends in the directory where it began, also when another one was opened meanwhile.
struct Download {
    landing: Landing,
    home: Arc<GameDir>,
}

impl Context {
    pub(super) fn new(adapters: fn() -> Vec<Finding>) -> Self {
        Self { adapters: Some(adapters), ..Self::default() }
    }

    /// What an error means is judged here: where the directory is gone, that is what went wrong.
    pub(super) fn job(&self, job: Job, report: Report<'_>) -> JobDone {
        let mut done = self.run(job, report);
        if let Some(error) = done.error_mut() {
            self.judge(error);
        }
        done
    }

    fn run(&self, job: Job, report: Report<'_>) -> JobDone {
        match job {
            Job::Resolve { token, host } => JobDone::Resolved { token, result: resolve(&host) },
            Job::OpenLibrary { dir } => JobDone::LibraryOpened(self.open_library(&dir)),
            Job::CloseLibrary => {
                self.exchange(Home::default());
                JobDone::LibraryClosed
            }
            Job::LookForLibrary { dir, epoch } => JobDone::LibraryLookedFor(self.look_for_library(&dir, epoch)),
            Job::ScanGame { game, known } => {
                let result = self.present().and_then(|home| home.scan_game(&game, known.as_deref()));
                JobDone::GameScanned { game, result }
            }
            Job::ScanAll { known } => JobDone::AllScanned(self.present().and_then(|home| home.scan_all(&known))),
            Job::SaveIndex { index } => {
                let result = self.home().and_then(|home| home.save_index(&index));
                JobDone::IndexSaved { stamp: index.stamp(), result }
            }
            Job::HashGame { game, manifest_hash, anew } => {
                let result = self.hash_game(&game, manifest_hash, anew);
                JobDone::GameHashed { game, manifest_hash, result }
            }
            Job::PrepareDownload { download, plan } => {
                let game = plan.game.clone();
                let result = self.operation(&game, |home, cancel| {
                    let progress = |done, total| report(&game, done, total);
                    self.prepare(home, download, plan, &Watch::new(&game, &progress, cancel))
                });
                JobDone::DownloadPrepared { download, result }
            }
            Job::Install { game, personal } => {
                let result = self.operation(&game, |home, cancel| {
                    let progress = |done, total| report(&game, done, total);
                    let what = local::Wanted { game: &game, personal: &personal };
                    local::install(home, &what, Archives::IN_CHILD, &self.space, &progress, cancel)
                });
                files_changed(game, result)
            }
            Job::Uninstall { game } => {
                let result = self.operation(&game, |home, _| local::uninstall(home, &game));
                files_changed(game, result)
            }
            Job::Adopt { game } => {
                let result = self.operation(&game, |home, _| local::adopt(home, &game));
                files_changed(game, result)
            }
            Job::RemoveFiles { game } => {
                let result = self.operation(&game, |home, _| local::remove(home, &game));
                files_changed(game, result)
            }
            Job::VerifyFiles { game, manifest_hash } => {
                let result = self.operation(&game, |home, cancel| {
                    home.verify_game(&game, manifest_hash, &|done, total| report(&game, done, total), cancel)
                });
                JobDone::FilesVerified { game, result }
            }
            Job::Programs { token, game, state_dir, launch, ask } => {
                let root = self.present().and_then(|home| home.root(&game));
                let result = root.and_then(|root| programs::answer(&root, &game, &state_dir, launch, ask));
                JobDone::Programs { token, result }
            }
            Job::Diagnose { token, mut findings } => {
                let home = self.present().ok();
                let now_seconds = u64::try_from(wall_ns() / 1_000_000_000).unwrap_or(0);
                findings.extend(self.adapters.map(|look| look()).unwrap_or_default());
                findings.extend(diagnose::diagnose(home.as_ref().map(|home| home.dir()), now_seconds));
                JobDone::Diagnosed { token, findings }
            }
            Job::LearnContent { download, content } => {
                let result = self.download(download).and_then(|to| to.landing.learn(content));
                JobDone::ContentLearned { download, result }
            }
            Job::CommitDownload { download } => JobDone::DownloadCommitted { download, result: self.commit(download) },
            Job::AbandonDownload { download, keep } => {
                JobDone::DownloadAbandoned { download, result: self.abandon(download, keep) }
            }
        }
    }

    pub(super) fn write(&self, task: WriteBatch) -> Written {
        let WriteBatch { token, download, batch, buf, hashes } = task;
        let written = self.download(download).and_then(|to| to.landing.write(batch, &buf, hashes.as_deref()));
        let (bad, error) = match self.judged(written) {
            Ok(bad) => (bad, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Written { token, download, batch, bad, error }
    }

    pub(super) fn open_served(&self, task: OpenServed) -> Opened {
        let OpenServed { token, game, manifest_hash, download } = task;
        let result = match download {
            Some(download) => self.download(download).and_then(|to| {
                let root = to.home.root(&game)?;
                Ok(Arc::new(ServedGame::in_progress(root, to.landing.plan(), to.landing.content_hash())))
            }),
            None => self.home().and_then(|home| {
                let listed = home.read_manifest(&game, manifest_hash)?;
                Ok(Arc::new(ServedGame::new(game.clone(), home.root(&game)?, listed)))
            }),
        };
        Opened { token, game, result: self.judged(result) }
    }

    pub(super) fn read(&self, task: ReadBatch) -> ReadDone {
        let ReadBatch { token, game, batch, mut buf, hash } = task;
        let read = self.judged(game.read_batch(batch, &mut buf, hash));
        if let (Err(JobError { kind: JobErrorKind::Changed, .. }), Ok(home)) = (&read, self.home()) {
            // A change deep in the tree does not show in the fingerprint.
            home.distrust(game.game());
        }
        let result = read.map(|hashes| ReadChunks { bytes: buf.into_bytes(batch.bytes as usize), hashes });
        ReadDone { token, batch, result }
    }

    /// A hash of `game` was queued: from now on it can be cancelled.
    pub(super) fn hash_queued(&self, game: &GameId) {
        lock(&self.hashing).insert(game.clone(), Arc::default());
    }

    pub(super) fn cancel_hash(&self, game: &GameId) {
        if let Some(cancel) = lock(&self.hashing).get(game) {
            cancel.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn cancel_all_hashes(&self) {
        lock(&self.hashing).values().for_each(|cancel| cancel.store(true, Ordering::Relaxed));
    }

    /// A local operation on `game` was queued: from now on it can be cancelled.
    pub(super) fn operation_queued(&self, game: &GameId) {
        lock(&self.operations).insert(game.clone(), Arc::default());
    }

    pub(super) fn cancel_operation(&self, game: &GameId) {
        if let Some(cancel) = lock(&self.operations).get(game) {
            cancel.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn cancel_all_operations(&self) {
        lock(&self.operations).values().for_each(|cancel| cancel.store(true, Ordering::Relaxed));
    }

    /// Runs a local operation unless it was cancelled while it waited.
    fn operation<T>(
        &self,
        game: &GameId,
        run: impl FnOnce(&Arc<GameDir>, &AtomicBool) -> Result<T, JobError>,
    ) -> Result<T, JobError> {
        let cancel = lock(&self.operations).get(game).cloned().unwrap_or_default();
        let result = if cancel.load(Ordering::Relaxed) {
            Err(JobError::new(JobErrorKind::Cancelled, format!("the operation on {game} was cancelled")))
        } else {
            self.present().and_then(|home| run(&home, &cancel))
        };
        let mut operations = lock(&self.operations);
        // Not the flag of a later operation on the same game.
        if operations.get(game).is_some_and(|flag| Arc::ptr_eq(flag, &cancel)) {
            operations.remove(game);
        }
        result
    }

    fn open_library(&self, path: &Path) -> Result<OpenedLibrary, JobError> {
        let current = lock(&self.home).dir.clone();
        let mut left = None;
        if let Some(open) = current.filter(|open| same_dir(open.dir().path(), path)) {
            match open.check_present() {
                Ok(()) => {
                    lock(&self.home).gone = None;
                    // It would be found locked, by ourselves; and what lies there is under way, not interrupted.
                    let games = open.scan_all(&[])?;
                    let (dir, wall_ns) = (open.dir().path().to_owned(), wall_ns());
                    return Ok(OpenedLibrary { dir, index: None, notice: None, was_open: true, games, wall_ns });
                }
                Err(reason) => left = Some(Gone { path: open.dir().path().to_owned(), reason }),
            }
            drop(open);
            // Its lock may be on the same disk.
            self.exchange(Home { gone: left.clone(), ..Home::default() });
        }
        match GameDir::open(path) {
            Ok((game_dir, opened)) => {
                self.exchange(Home { dir: Some(Arc::new(game_dir)), ..Home::default() });
                Ok(opened)
            }
            Err(error) => {
                // Whoever goes on with the one before must hear that it is not there.
                if let Some(Gone { reason, .. }) = left {
                    lock(&self.home).untold = Some(reason);
                }
                Err(error)
            }
        }
    }

    /// Whatever was open is closed, which takes its time on a drive that is gone: not under the lock.
    fn exchange(&self, home: Home) {
        let before = std::mem::replace(&mut *lock(&self.home), home);
        drop(before);
    }

    fn look_for_library(&self, path: &Path, epoch: Epoch) -> Result<(), JobError> {
        if let Some(gone) = self.tell_again() {
            return Err(gone);
        }
        let open = lock(&self.home).dir.clone();
        match open {
            Some(_) => self.present().map(drop),
            None => look_for(path, epoch).map_err(|reason| JobError::new(JobErrorKind::DirectoryGone, reason)),
        }
    }

    /// A directory that is gone and not yet closed: it was told, perhaps, while something else was being done.
    fn tell_again(&self) -> Option<JobError> {
        let mut home = lock(&self.home);
        let gone = home.gone_error()?;
        home.untold = home.gone.as_ref().map(|gone| gone.reason.clone());
        Some(gone)
    }

    /// An error of the disk, or of an operation that was ended, may mean that the game directory is gone: then it says so.
    fn judge(&self, error: &mut JobError) {
        if !matches!(error.kind, JobErrorKind::Io | JobErrorKind::Cancelled) {
            return;
        }
        let open = lock(&self.home).dir.clone();
        if let Some(open) = open.filter(|_| error.kind == JobErrorKind::Io)
            && let Err(reason) = open.check_alive()
        {
            self.lost(&open, reason);
        }
        let gone = lock(&self.home).gone_error();
        if let Some(gone) = gone {
            *error = gone;
        }
    }

    fn judged<T>(&self, result: Result<T, JobError>) -> Result<T, JobError> {
        result.map_err(|mut error| {
            self.judge(&mut error);
            error
        })
    }

    /// This game directory is not there any more. Another one may be in use by now.
    fn lost(&self, dir: &Arc<GameDir>, reason: String) {
        let mut home = lock(&self.home);
        if home.dir.as_ref().is_some_and(|open| Arc::ptr_eq(open, dir)) {
            home.untold = Some(reason.clone());
            home.gone.get_or_insert_with(|| Gone { path: dir.dir().path().to_owned(), reason });
        }
    }

    /// Why the game directory is gone, when that was found out since the last call.
    pub(super) fn take_lost(&self) -> Option<String> {
        lock(&self.home).untold.take()
    }

    fn hash_game(&self, game: &GameId, manifest_hash: ManifestHash, anew: bool) -> Result<ContentHash, JobError> {
        let cancel = lock(&self.hashing).get(game).cloned().unwrap_or_default();
        let result = if cancel.load(Ordering::Relaxed) {
            Err(JobError::new(JobErrorKind::Cancelled, format!("hashing of {game} was cancelled")))
        } else {
            self.home().and_then(|home| match anew {
                true => home.hash_game_anew(game, manifest_hash, &cancel),
                false => home.hash_game(game, manifest_hash, &cancel),
            })
        };
        let mut hashing = lock(&self.hashing);
        // Not the flag of a later job for the same game.
        if hashing.get(game).is_some_and(|flag| Arc::ptr_eq(flag, &cancel)) {
            hashing.remove(game);
        }
        result
    }

    fn prepare(
        &self,
        home: &Arc<GameDir>,
        id: DownloadId,
        plan: Arc<DownloadPlan>,
        watch: &Watch<'_>,
    ) -> Result<PreparedDownload, JobError> {
        // Nothing is touched before it is known that no other game's folder is.
        home.check_alone(&plan.game)?;
        if lock(&self.downloads).iter().any(|(other, to)| *other == id || *to.landing.game() == plan.game) {
            return Err(JobError::new(JobErrorKind::InUse, format!("{} is being downloaded already", plan.game)));
        }
        // A record that cannot be read costs what could have been reused.
        let previous = home.previous(&plan.game).unwrap_or_default();
        let landing = Landing::prepare(home.dir(), home.records(), plan, previous.as_ref(), &self.space, watch)?;
        let prepared = PreparedDownload { kept: landing.kept(), kept_aside: landing.kept_aside() };
        lock(&self.downloads).insert(id, Arc::new(Download { landing, home: Arc::clone(home) }));
        Ok(prepared)
    }

    fn commit(&self, id: DownloadId) -> Result<Arc<ScannedGame>, JobError> {
        let to = self.download(id)?;
        // After an error it stays, to be abandoned.
        let landed = to.landing.commit()?;
        lock(&self.downloads).remove(&id);
        let game = to.landing.game();
        if let Err(error) = to.home.save_content(game, &landed) {
            // The game is whole without it; it will be hashed again.
            tracing::warn!(%game, %error, "the hashes of a downloaded game could not be kept");
        }
        to.home.scan_game(game, None)?.ok_or_else(|| {
            JobError::new(JobErrorKind::Changed, format!("{game} vanished right after its download was complete"))
        })
    }

    fn abandon(&self, id: DownloadId, keep: bool) -> Result<Option<Arc<ScannedGame>>, JobError> {
        let to = self.download(id)?;
        lock(&self.downloads).remove(&id);
        to.landing.abandon(keep)?;
        to.home.scan_game(to.landing.game(), None)
    }

    fn download(&self, id: DownloadId) -> Result<Arc<Download>, JobError> {
        let found = lock(&self.downloads).get(&id).cloned();
        found.ok_or_else(|| JobError::new(JobErrorKind::Cancelled, format!("there is no download {}", id.0)))
    }

    /// The game directory, if it is still the one at its path: what begins now must not go below a drive that was mounted over it.
    fn present(&self) -> Result<Arc<GameDir>, JobError> {
        let home = self.home()?;
        if let Err(reason) = home.check_present() {
            self.lost(&home, reason);
        }
        self.home()
    }

    fn home(&self) -> Result<Arc<GameDir>, JobError> {
        let home = lock(&self.home);
        match (home.gone_error(), &home.dir) {
            (Some(error), _) => Err(error),
            (None, Some(dir)) => Ok(Arc::clone(dir)),
            (None, None) => Err(JobError::new(JobErrorKind::Io, "no game directory is open")),
        }
    }
}

/// Blocks for as long as the system's resolver takes.
fn resolve(host: &str) -> Result<Vec<SocketAddr>, JobError> {
    let addrs =
        host.to_socket_addrs().map_err(|e| JobError::new(JobErrorKind::Io, format!("cannot resolve {host:?}: {e}")))?;
    let mut unique = Vec::new();
    for addr in addrs {
        if unique.len() < MAX_ADDRESSES && !unique.contains(&addr) {
            unique.push(addr);
        }
    }
    Ok(unique)
}

fn same_dir(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A thread that panicked left nothing half done in these maps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn files_changed(game: GameId, result: Result<(Option<Arc<ScannedGame>>, KeptFiles), JobError>) -> JobDone {
    let (result, kept) = match result {
        Ok((scanned, kept)) => (Ok(scanned), kept),
        Err(error) => (Err(error), KeptFiles::default()),
    };
    JobDone::FilesChanged { game, result, kept }
}
