//! The threads of each mirror, and what goes to and fro between them and their one user.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ureq::Agent;

use super::document::{MAX_INDEX_BYTES, MAX_MANIFEST_BYTES, MirrorGame, read_index, read_manifest};
use super::fetch::{FetchFault, fetch_run};
use crate::types::{
    Batch, ChunkRange, DownloadId, DownloadPlan, GameId, ManifestHash, MirrorAsk, MirrorFault, MirrorNews, MirrorUrl,
};
use crate::web::{self, Fetched, GetError};
use crate::workers::{BufferPool, PooledBuf};

/// Runs that are fetched from one mirror at once. Each thread holds at most one landing buffer that nobody waits for any more.
pub const THREADS: usize = 2;
/// Runs, and documents, that may wait for one mirror.
const MAX_WAITING: usize = 256;
/// Descriptions that are remembered of one mirror, for what follows on the first look at a game.
const REMEMBERED: usize = 2;
/// Most chunks of one that is remembered (a game of 64 GiB): 2 MiB.
const REMEMBERED_CHUNKS: usize = 1 << 16;
/// A download that asks for a description so soon after the look at the game is given what that brought.
const FRESH: Duration = Duration::from_secs(5);

/// What came of something that was asked.
#[derive(Debug)]
pub enum Done {
    /// To [`Mirrors::ask`].
    Asked {
        /// Which mirror.
        mirror: usize,
        /// What.
        ask: MirrorAsk,
        /// What it says.
        result: Result<MirrorNews, MirrorFault>,
    },
    /// To [`Mirrors::manifest`], unless it was cancelled.
    Manifest {
        /// The asker's.
        token: u64,
        /// The game as it is there now, of the state that was asked for.
        result: Result<Arc<MirrorGame>, ManifestFault>,
    },
    /// A batch of a run has landed.
    Landed {
        /// The asker's.
        token: u64,
        /// For this download.
        download: DownloadId,
        /// Which chunks.
        batch: Batch,
        /// Their bytes one after the other, at the front.
        buf: PooledBuf,
    },
    /// A run is over; comes after its last batch.
    RunDone {
        /// The asker's.
        token: u64,
        /// Whether all of it landed.
        result: Result<(), FetchFault>,
    },
}

/// Why there is no description of a game.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ManifestFault {
    /// The mirror says nothing.
    Mirror(MirrorFault),
    /// It does not have the game.
    Missing,
    /// It has the game in another state.
    Changed,
}

/// A run of chunks to fetch.
#[derive(Clone, Debug)]
pub struct Run {
    /// The asker's; comes back.
    pub token: u64,
    /// For this download, which was prepared.
    pub download: DownloadId,
    /// What it writes.
    pub plan: Arc<DownloadPlan>,
    /// Which chunks.
    pub range: ChunkRange,
}

enum Document {
    Ask(MirrorAsk),
    Manifest { token: u64, game: GameId, manifest_hash: ManifestHash },
}

/// A run that is waiting or being fetched, as both sides see it.
#[derive(Default)]
struct Control {
    cancelled: AtomicBool,
    /// Who fetches it: shut down, it comes back at once from wherever it waits.
    agent: Mutex<Option<Agent>>,
}

/// What the queues of one mirror lead to.
struct Lane {
    documents: Sender<Document>,
    runs: Sender<(Run, Arc<Control>)>,
}

/// Called when a result waits; from any thread, so that it must be quick and must not call back.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Every mirror. The threads are not waited for: a dead server must not hold up the end.
pub struct Mirrors {
    lanes: Vec<Lane>,
    results: Receiver<Done>,
    results_in: Sender<Done>,
    wake: Wake,
    /// Runs and descriptions that somebody waits for; a description has no control.
    waited_for: HashMap<u64, Option<Arc<Control>>>,
    /// Results that were taken out of the channel already.
    ready: VecDeque<Done>,
}

impl Mirrors {
    /// Runs that somebody waits for.
    pub fn runs(&self) -> usize {
        self.waited_for.values().flatten().count()
    }

    /// What waits for a thread, of all mirrors: each queue with its name and how much may wait there.
    pub fn queues(&self) -> [(&'static str, usize, usize); 2] {
        let limit = self.lanes.len() * MAX_WAITING;
        let documents = self.lanes.iter().map(|lane| lane.documents.len()).sum();
        let runs = self.lanes.iter().map(|lane| lane.runs.len()).sum();
        [("mirror-documents", documents, limit), ("mirror-runs", runs, limit)]
    }

    /// Starts the threads. `pool`: the landing buffers, of which [`THREADS`] for each mirror may be held by cancelled runs.
    /// `patience`: how long a server may be silent in the middle of a run.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(urls: &[MirrorUrl], pool: &BufferPool, patience: Duration, wake: Wake) -> io::Result<Self> {
        let (results_in, results) = unbounded();
        let mut lanes = Vec::new();
        for (mirror, url) in urls.iter().enumerate() {
            let (documents, document_queue) = bounded(MAX_WAITING);
            let (runs, run_queue) = bounded(MAX_WAITING);
            let tell = Tell { results: results_in.clone(), wake: Arc::clone(&wake) };
            {
                let (url, tell) = (url.clone(), tell.clone());
                std::thread::Builder::new()
                    .name(format!("lan-mirror-{mirror}"))
                    .spawn(move || documents_of(mirror, &url, &document_queue, &tell))?;
            }
            for number in 0..THREADS {
                let (url, tell, pool, queue) = (url.clone(), tell.clone(), pool.clone(), run_queue.clone());
                std::thread::Builder::new()
                    .name(format!("lan-mirror-{mirror}-{number}"))
                    .spawn(move || runs_of(&url, patience, &pool, &queue, &tell))?;
            }
            lanes.push(Lane { documents, runs });
        }
        let (waited_for, ready) = (HashMap::new(), VecDeque::new());
        Ok(Self { lanes, results, results_in, wake, waited_for, ready })
    }

    /// Asks what a mirror has.
    pub fn ask(&mut self, mirror: usize, ask: MirrorAsk) {
        let refused = match self.lanes.get(mirror) {
            Some(lane) => lane.documents.try_send(Document::Ask(ask.clone())).is_err(),
            None => true,
        };
        if refused {
            let result = Err(MirrorFault::Down("too much is asked of the mirror at once".to_owned()));
            self.later(Done::Asked { mirror, ask, result });
        }
    }

    /// Asks for the description of a game in one state.
    pub fn manifest(&mut self, mirror: usize, token: u64, game: GameId, manifest_hash: ManifestHash) {
        self.waited_for.insert(token, None);
        let document = Document::Manifest { token, game, manifest_hash };
        if self.lanes.get(mirror).is_none_or(|lane| lane.documents.try_send(document).is_err()) {
            let fault = MirrorFault::Down("too much is asked of the mirror at once".to_owned());
            self.later(Done::Manifest { token, result: Err(ManifestFault::Mirror(fault)) });
        }
    }

    /// Asks for chunks.
    pub fn fetch(&mut self, mirror: usize, run: Run) {
        let (token, control) = (run.token, Arc::new(Control::default()));
        self.waited_for.insert(token, Some(Arc::clone(&control)));
        if self.lanes.get(mirror).is_none_or(|lane| lane.runs.try_send((run, control)).is_err()) {
            self.later(Done::RunDone { token, result: Err(FetchFault::Busy) });
        }
    }

    /// Gives up a description or a run: nothing more is said of it, and its buffers are free but for the one that its thread may
    /// hold. False: there is none of this token.
    pub fn cancel(&mut self, token: u64) -> bool {
        let Some(control) = self.waited_for.remove(&token) else { return false };
        if let Some(control) = control {
            control.cancelled.store(true, Ordering::SeqCst);
            if let Some(agent) = lock(&control.agent).take() {
                agent.shutdown();
            }
            // Buffers of what landed go back to the pool here, not at some later time.
            while let Ok(done) = self.results.try_recv() {
                self.keep(done);
            }
            let of_it = |done: &Done| matches!(done, Done::Landed { token: of, .. } if *of == token);
            self.ready.retain(|done| !of_it(done));
        }
        true
    }

    /// The next result.
    pub fn try_next(&mut self) -> Option<Done> {
        while let Ok(done) = self.results.try_recv() {
            self.keep(done);
        }
        let done = self.ready.pop_front()?;
        if let Done::Manifest { token, .. } | Done::RunDone { token, .. } = &done {
            self.waited_for.remove(token);
        }
        Some(done)
    }

    /// Keeps a result, if somebody waits for it.
    fn keep(&mut self, done: Done) {
        match &done {
            Done::Manifest { token, .. } | Done::Landed { token, .. } | Done::RunDone { token, .. }
                if !self.waited_for.contains_key(token) => {}
            _ => self.ready.push_back(done),
        }
    }

    fn later(&self, done: Done) {
        // The receiver lives as long as this does.
        let _ = self.results_in.send(done);
        (self.wake)();
    }
}

impl std::fmt::Debug for Mirrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirrors")
            .field("mirrors", &self.lanes.len())
            .field("waited_for", &self.waited_for.len())
            .finish()
    }
}

#[derive(Clone)]
struct Tell {
    results: Sender<Done>,
    wake: Wake,
}

impl Tell {
    /// False: nobody listens any more.
    fn tell(&self, done: Done) -> bool {
        let told = self.results.send(done).is_ok();
        (self.wake)();
        told
    }
}

fn runs_of(url: &MirrorUrl, patience: Duration, pool: &BufferPool, queue: &Receiver<(Run, Arc<Control>)>, tell: &Tell) {
    // One connection for run after run; those of other threads are others.
    let agent = || {
        web::agent(url.as_str(), |config| {
            config.max_idle_connections(1).timeout_per_read(Some(patience)).timeout_recv_response(Some(patience))
        })
    };
    let mut own = agent();
    for (Run { token, download, plan, range }, control) in queue {
        *lock(&control.agent) = Some(own.clone());
        if control.cancelled.load(Ordering::SeqCst) {
            // Nobody had the agent yet, or it was shut down in between.
            own = agent();
            continue;
        }
        let result = fetch_run(&own, url, &plan, range, pool, |batch, buf| {
            !control.cancelled.load(Ordering::SeqCst) && tell.tell(Done::Landed { token, download, batch, buf })
        });
        *lock(&control.agent) = None;
        if control.cancelled.load(Ordering::SeqCst) {
            own = agent();
            continue;
        }
        if let Err(fault) = &result {
            tracing::debug!(%url, ?fault, "a run from a mirror failed");
        }
        if !tell.tell(Done::RunDone { token, result }) {
            return;
        }
    }
}

fn documents_of(mirror: usize, url: &MirrorUrl, queue: &Receiver<Document>, tell: &Tell) {
    let mut index_tag = None;
    let mut memory = Memory::default();
    for document in queue {
        let done = match document {
            Document::Ask(MirrorAsk::Index) => {
                let result = index(url, &mut index_tag);
                Done::Asked { mirror, ask: MirrorAsk::Index, result }
            }
            Document::Ask(MirrorAsk::Game(game)) => {
                let found = memory.game(url, &game, Duration::ZERO);
                let result = found.map(|game| MirrorNews::Game(game.map(|game| Arc::clone(&game.summary))));
                Done::Asked { mirror, ask: MirrorAsk::Game(game), result }
            }
            Document::Manifest { token, game, manifest_hash } => {
                let result = match memory.game(url, &game, FRESH) {
                    Err(fault) => Err(ManifestFault::Mirror(fault)),
                    Ok(None) => Err(ManifestFault::Missing),
                    Ok(Some(found)) if found.summary.manifest_hash != manifest_hash => Err(ManifestFault::Changed),
                    Ok(Some(found)) => Ok(found),
                };
                Done::Manifest { token, result }
            }
        };
        if !tell.tell(done) {
            return;
        }
    }
}

fn index(url: &MirrorUrl, tag: &mut Option<String>) -> Result<MirrorNews, MirrorFault> {
    let at = url.index();
    match web::get(&at, tag.as_deref(), MAX_INDEX_BYTES) {
        Ok(Fetched::NotModified) => Ok(MirrorNews::IndexUnchanged),
        Ok(Fetched::Body { bytes, etag }) => {
            let games = read_index(&bytes).map_err(|error| MirrorFault::Invalid(format!("{at}: {error}")))?;
            *tag = etag;
            Ok(MirrorNews::Index(Some(games)))
        }
        Err(GetError::Status(404 | 410)) => {
            *tag = None;
            Ok(MirrorNews::Index(None))
        }
        Err(error) => Err(fault(&at, &error)),
    }
}

fn fault(at: &str, error: &GetError) -> MirrorFault {
    let message = format!("{at}: {error}");
    match error {
        // The server works, and will not or cannot give this document.
        GetError::Status(400..=428 | 430..=499) | GetError::TooLarge(_) => MirrorFault::Invalid(message),
        GetError::Status(_) | GetError::Failed(_) => MirrorFault::Down(message),
    }
}

/// The descriptions that were fetched last: a download looks at a game twice.
#[derive(Default)]
struct Memory(VecDeque<Remembered>);

struct Remembered {
    game: Arc<MirrorGame>,
    etag: Option<String>,
    at: Instant,
}

impl Memory {
    /// A game as its mirror describes it now, or described it no longer than `fresh` ago; `None`: it does not have it.
    #[expect(clippy::disallowed_methods, reason = "a thread of the shell, which keeps what it fetched for seconds")]
    fn game(&mut self, url: &MirrorUrl, id: &GameId, fresh: Duration) -> Result<Option<Arc<MirrorGame>>, MirrorFault> {
        let known = self.0.iter().position(|known| known.game.summary.id == *id).and_then(|at| self.0.remove(at));
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < fresh) {
            let game = Arc::clone(&known.game);
            self.remember(Remembered { game: Arc::clone(&game), etag: known.etag.clone(), at: known.at });
            return Ok(Some(game));
        }
        let at = url.manifest(id);
        let tag = known.as_ref().and_then(|known| known.etag.clone());
        let (game, etag) = match web::get(&at, tag.as_deref(), MAX_MANIFEST_BYTES) {
            Ok(Fetched::Body { bytes, etag }) => {
                let read = read_manifest(id, &bytes).map_err(|error| MirrorFault::Invalid(format!("{at}: {error}")))?;
                (Arc::new(read), etag)
            }
            Ok(Fetched::NotModified) => match known {
                Some(known) => (known.game, tag),
                None => return Err(MirrorFault::Invalid(format!("{at}: not modified, though no tag was sent"))),
            },
            Err(GetError::Status(404 | 410)) => return Ok(None),
            Err(error) => return Err(fault(&at, &error)),
        };
        self.remember(Remembered { game: Arc::clone(&game), etag, at: Instant::now() });
        Ok(Some(game))
    }

    fn remember(&mut self, known: Remembered) {
        if known.game.content.chunks.len() <= REMEMBERED_CHUNKS {
            self.0.push_back(known);
            self.0.drain(..self.0.len().saturating_sub(REMEMBERED));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "its patience ends")]
    fn what_waits_for_a_mirror_is_counted_against_its_bound() {
        // Its backlog takes the connection, and nobody answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = MirrorUrl::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
        let pool = BufferPool::new(1, 1);
        let mut mirrors = Mirrors::start(&[url], &pool, Duration::from_secs(60), Arc::new(|| {})).unwrap();
        (0..3).for_each(|_| mirrors.ask(0, MirrorAsk::Index));
        // One of them is being asked for as soon as the thread has taken it.
        let end = Instant::now() + Duration::from_secs(60);
        while mirrors.queues()[0].1 != 2 {
            assert!(Instant::now() < end, "{:?}", mirrors.queues());
            std::thread::yield_now();
        }
        assert_eq!(mirrors.queues(), [("mirror-documents", 2, MAX_WAITING), ("mirror-runs", 0, MAX_WAITING)]);
    }
}
