//! The workers, and what waits for them.

use std::collections::VecDeque;

use super::streams::ParsedElsewhere;
use crate::catalog::{CatalogError, Keeper};
use crate::types::{GameId, JobError, JobErrorKind};
use crate::workers::{Task, TaskDone, Workers};

/// The workers, and what they have not been given yet.
pub(super) struct Crew {
    workers: Workers<ParsedElsewhere>,
    /// In order; bounded by buffers and by the engine's jobs.
    tasks: VecDeque<Task<ParsedElsewhere>>,
    /// `None`: there is no catalog, or a worker is fetching it.
    keeper: Option<Box<Keeper>>,
}

impl Crew {
    pub(super) fn new(workers: Workers<ParsedElsewhere>, keeper: Option<Keeper>) -> Self {
        Self { workers, tasks: VecDeque::new(), keeper: keeper.map(Box::new) }
    }

    /// What waits for the workers.
    pub(super) fn tasks(&mut self) -> &mut VecDeque<Task<ParsedElsewhere>> {
        &mut self.tasks
    }

    pub(super) fn fetch_catalog(&mut self) {
        self.tasks.extend(self.keeper.take().map(Task::FetchCatalog));
    }

    /// The catalog was fetched, or not.
    pub(super) fn catalog_fetched(&mut self, keeper: Box<Keeper>) {
        self.keeper = Some(keeper);
    }

    /// Hands waiting tasks to the workers, those of one kind in order, as far as its queue goes: names that nobody
    /// resolves must not keep chunks from being written.
    pub(super) fn submit(&mut self) {
        for _ in 0..self.tasks.len() {
            let Some(task) = self.tasks.pop_front() else { break };
            if let Err(task) = self.workers.try_submit(task) {
                self.tasks.push_back(task);
            }
        }
    }

    /// What a worker has done.
    pub(super) fn try_next(&mut self) -> Option<TaskDone<ParsedElsewhere>> {
        self.workers.try_next()
    }

    /// How far jobs are: game, done, of so much.
    pub(super) fn take_progress(&mut self) -> Vec<(GameId, u64, u64)> {
        self.workers.take_progress()
    }

    /// Why the game directory is gone, if a worker saw that.
    pub(super) fn take_lost(&mut self) -> Option<String> {
        self.workers.take_lost()
    }

    pub(super) fn cancel_hash(&self, game: &GameId) {
        self.workers.cancel_hash(game);
    }

    pub(super) fn cancel_operation(&self, game: &GameId) {
        self.workers.cancel_operation(game);
    }

    /// The queues of the workers: name, waiting, limit.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (&'static str, usize, usize)> {
        self.workers.lanes()
    }
}

/// Why there is no new catalog, as the error of a job.
pub(super) fn catalog_error(error: &CatalogError) -> JobError {
    let kind = match error {
        CatalogError::Signature { .. } | CatalogError::Older { .. } => JobErrorKind::Verification,
        _ => JobErrorKind::Io,
    };
    JobError::new(kind, error.to_string())
}
