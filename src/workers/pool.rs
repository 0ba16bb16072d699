//! The threads. Several kinds, so that none waits for what another is about:
//!
//! - *bulk*: verify and write, read, compute; never waits for anything but bytes on a disk,
//! - *jobs*: scans, fsyncs, directories; may wait for seconds,
//! - *local*: installs, uninstalls, removes and verifies games, for minutes,
//! - *prepare*: looks for what a download need not fetch, for minutes,
//! - *background*: hashes games at the lowest priority the system has, for minutes.
//!
//! Names are resolved, and the catalog is fetched, on threads of their own that nobody waits for: a dead server must not
//! hold up a shutdown.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::jobs::Context;
use super::task::{Task, TaskDone};
use crate::sys;
use crate::types::{Finding, GameId, Job, JobLane};

/// Tasks of one kind that may be queued, running, or done and not yet fetched. Bulk tasks hold a buffer each, so that
/// the buffer pools bind first.
const MAX_OUTSTANDING: usize = 256;
/// More than this many bulk threads do not make one machine's disk and network faster.
const MAX_AUTO_THREADS: usize = 8;

/// A job's progress is told at most so many times.
const PROGRESS_STEPS: u64 = 200;

/// Called when the first result waits; from any thread, so that it must be quick and must not call back.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The workers, as their one user sees them. Dropping it waits for running tasks; results are lost.
pub struct Workers<C> {
    lanes: [Lane<C>; Kind::COUNT],
    results: Receiver<TaskDone<C>>,
    shared: Arc<Shared<C>>,
    threads: Vec<JoinHandle<()>>,
}

/// One kind's queue, and how much of it is under way.
struct Lane<C> {
    queue: Option<Sender<Task<C>>>,
    outstanding: usize,
}

struct Shared<C> {
    context: Context,
    results: Sender<TaskDone<C>>,
    /// How far local operations came that nobody has asked for: bytes done, of how many.
    progress: Mutex<BTreeMap<GameId, (u64, u64)>>,
    /// Whether the user was woken and has not yet found the results empty.
    woken: AtomicBool,
    wake: Wake,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bulk,
    Jobs,
    Local,
    Prepare,
    Background,
    Names,
    Catalog,
}

impl Kind {
    const COUNT: usize = 7;
    const ALL: [Self; Self::COUNT] =
        [Self::Bulk, Self::Jobs, Self::Local, Self::Prepare, Self::Background, Self::Names, Self::Catalog];

    fn of<C>(task: &Task<C>) -> Self {
        match task {
            Task::Job(job) => Self::of_lane(job.lane()),
            Task::OpenServed(_) => Self::Jobs,
            Task::FetchCatalog(_) => Self::Catalog,
            Task::Write(_) | Task::Read(_) | Task::Compute(_) => Self::Bulk,
        }
    }

    /// Agrees with [`of`](Self::of) for the task that it came of.
    fn of_done<C>(done: &TaskDone<C>) -> Self {
        match done {
            TaskDone::Job(job) => Self::of_lane(job.lane()),
            TaskDone::Opened(_) => Self::Jobs,
            TaskDone::CatalogFetched(..) => Self::Catalog,
            TaskDone::Written(_) | TaskDone::Read(_) | TaskDone::Computed(_) => Self::Bulk,
        }
    }

    fn of_lane(lane: JobLane) -> Self {
        match lane {
            JobLane::Jobs => Self::Jobs,
            JobLane::Prepare => Self::Prepare,
            JobLane::Local => Self::Local,
            JobLane::Background => Self::Background,
            JobLane::Names => Self::Names,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Jobs => "jobs",
            Self::Local => "local",
            Self::Prepare => "prepare",
            Self::Background => "background",
            Self::Names => "names",
            Self::Catalog => "catalog",
        }
    }

    fn threads(self, bulk: usize) -> usize {
        match self {
            Self::Bulk => bulk,
            // A commit of one game must not hold up the scan of another, unless everything was asked to be in order.
            Self::Jobs | Self::Local | Self::Prepare => bulk.min(2),
            Self::Background | Self::Names | Self::Catalog => 1,
        }
    }
}

impl<C: Send + 'static> Workers<C> {
    /// Starts the threads. `threads`: how many for bulk work; 0: one per core, at least 2. `adapters`: looks for
    /// what is wrong with the network adapters.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(threads: usize, adapters: fn() -> Vec<Finding>, wake: Wake) -> io::Result<Self> {
        let bulk = match threads {
            0 => std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, MAX_AUTO_THREADS)),
            n => n,
        };
        let (result_in, results) = unbounded();
        let shared = Arc::new(Shared {
            context: Context::new(adapters),
            results: result_in,
            progress: Mutex::default(),
            woken: AtomicBool::new(false),
            wake,
        });
        let mut workers = Self {
            lanes: std::array::from_fn(|_| Lane { queue: None, outstanding: 0 }),
            results,
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for (kind, lane) in Kind::ALL.into_iter().zip(&mut workers.lanes) {
            let (queue_in, queue) = bounded(MAX_OUTSTANDING);
            lane.queue = Some(queue_in);
            for number in 0..kind.threads(bulk) {
                let (queue, shared) = (queue.clone(), Arc::clone(&shared));
                let thread = std::thread::Builder::new()
                    .name(format!("lan-{}-{number}", kind.name()))
                    .spawn(move || work(kind, &queue, &shared))?;
                if !matches!(kind, Kind::Names | Kind::Catalog) {
                    workers.threads.push(thread);
                }
            }
        }
        Ok(workers)
    }

    /// Queues a task, or gives it back when as many of its kind are under way as may be: try again after a result came.
    /// Never blocks.
    pub fn try_submit(&mut self, task: Task<C>) -> Result<(), Task<C>> {
        let lane = self.lane(Kind::of(&task));
        if lane.outstanding >= MAX_OUTSTANDING {
            return Err(task);
        }
        let Some(queue) = lane.queue.clone() else { return Err(task) };
        lane.outstanding += 1;
        match &task {
            Task::Job(Job::HashGame { game, .. }) => self.shared.context.hash_queued(game),
            Task::Job(
                Job::Install { game, .. }
                | Job::Uninstall { game }
                | Job::Adopt { game }
                | Job::RemoveFiles { game }
                | Job::VerifyFiles { game, .. },
            ) => self.shared.context.operation_queued(game),
            Task::Job(Job::PrepareDownload { plan, .. }) => self.shared.context.operation_queued(&plan.game),
            _ => {}
        }
        queue.try_send(task).map_err(|refused| {
            // Cannot happen: the queue has room for all that may be outstanding.
            let task = refused.into_inner();
            self.lane(Kind::of(&task)).outstanding -= 1;
            task
        })
    }

    /// The next result; `None`: there is none now, and the wake-up call will come with the next one.
    pub fn try_next(&mut self) -> Option<TaskDone<C>> {
        let done = self.results.try_recv().or_else(|_| {
            // In this order: a result that comes after the look below finds the flag down and wakes us.
            self.shared.woken.store(false, Ordering::SeqCst);
            self.results.try_recv()
        });
        let done = done.ok()?;
        let lane = self.lane(Kind::of_done(&done));
        lane.outstanding = lane.outstanding.saturating_sub(1);
        Some(done)
    }

    /// Makes the hashing of a game end soon; its result still comes.
    pub fn cancel_hash(&self, game: &GameId) {
        self.shared.context.cancel_hash(game);
    }

    /// Makes the install or verification of a game, or the preparation of its download, end soon, as far as it can still be
    /// given up; its result still comes.
    pub fn cancel_operation(&self, game: &GameId) {
        self.shared.context.cancel_operation(game);
    }

    /// How far local operations and preparations came: game, bytes done, of how many. Each game once, and only if it moved since the last
    /// call. To be asked when [`try_next`](Self::try_next) has no more.
    pub fn take_progress(&mut self) -> Vec<(GameId, u64, u64)> {
        let taken = std::mem::take(&mut *self.shared.progress());
        taken.into_iter().map(|(game, (done, total))| (game, done, total)).collect()
    }

    /// Why the game directory is gone, in words, when that was found out since the last call. To be asked as
    /// [`take_progress`](Self::take_progress).
    pub fn take_lost(&mut self) -> Option<String> {
        self.shared.context.take_lost()
    }

    /// Each lane: its name, its tasks that are queued, running, or done and not yet fetched, and how many there may be.
    pub fn lanes(&self) -> impl Iterator<Item = (&'static str, usize, usize)> {
        Kind::ALL.iter().zip(&self.lanes).map(|(kind, lane)| (kind.name(), lane.outstanding, MAX_OUTSTANDING))
    }

    /// Tasks that are queued, running, or done and not yet fetched, of all kinds.
    pub fn outstanding(&self) -> usize {
        self.lanes.iter().map(|lane| lane.outstanding).sum()
    }

    #[cfg(test)]
    pub(super) fn waiting_results(&self) -> usize {
        self.results.len()
    }

    fn lane(&mut self, kind: Kind) -> &mut Lane<C> {
        &mut self.lanes[kind as usize]
    }
}

impl<C> Drop for Workers<C> {
    fn drop(&mut self) {
        self.shared.context.cancel_all_hashes();
        self.shared.context.cancel_all_operations();
        self.lanes.iter_mut().for_each(|lane| lane.queue = None);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

impl<C> std::fmt::Debug for Workers<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Workers");
        for (kind, lane) in Kind::ALL.iter().zip(&self.lanes) {
            out.field(kind.name(), &lane.outstanding);
        }
        out.finish()
    }
}

fn work<C>(kind: Kind, queue: &Receiver<Task<C>>, shared: &Shared<C>) {
    if kind == Kind::Background {
        sys::lower_priority();
    }
    for task in queue {
        let done = shared.run(task);
        // The user is gone: nobody waits for the rest either.
        if shared.results.send(done).is_err() {
            return;
        }
        shared.wake();
    }
}

impl<C> Shared<C> {
    /// Keeps the latest progress of a game for whoever asks. `last`: the bytes of this job that were reported last.
    fn report(&self, last: &Cell<Option<u64>>, game: &GameId, done: u64, total: u64) {
        let step = (total / PROGRESS_STEPS).max(1 << 20);
        if done < total && last.get().is_some_and(|last| done < last.saturating_add(step)) {
            return;
        }
        last.set(Some(done));
        self.progress().insert(game.clone(), (done, total));
        self.wake();
    }

    fn progress(&self) -> MutexGuard<'_, BTreeMap<GameId, (u64, u64)>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    fn run(&self, task: Task<C>) -> TaskDone<C> {
        match task {
            Task::Job(job) => {
                let last = Cell::new(None);
                TaskDone::Job(self.context.job(job, &|game, done, total| self.report(&last, game, done, total)))
            }
            Task::Write(batch) => TaskDone::Written(self.context.write(batch)),
            Task::OpenServed(task) => TaskDone::Opened(self.context.open_served(task)),
            Task::Read(task) => TaskDone::Read(self.context.read(task)),
            Task::FetchCatalog(mut keeper) => {
                let result = keeper.refresh();
                TaskDone::CatalogFetched(keeper, result)
            }
            Task::Compute(work) => TaskDone::Computed(work.run()),
        }
    }
}
