//! Between the engine and the mirrors: what is asked of one, and what comes of it.

use std::collections::BTreeSet;

use super::Reactor;
use crate::engine::{Input, RequestId, RunFailure};
use crate::mirror::{Done, FetchFault, ManifestFault, MirrorGame, Run};
use crate::proto::{Answer, ManifestAnswer, WireError, WireErrorCode};
use crate::types::{CHUNK_SIZE, ChunkHash, ChunkRange, DownloadId, MirrorFault};
use crate::workers::{Task, WriteBatch};

/// Which mirrors do not answer, for the log.
#[derive(Debug, Default)]
pub(super) struct Outages(BTreeSet<usize>);

impl Reactor {
    /// Asks a mirror for a run of chunks.
    pub(super) fn fetch_from_mirror(
        &mut self,
        mirror: usize,
        request: RequestId,
        download: DownloadId,
        range: ChunkRange,
    ) {
        match self.plans.get(&download) {
            Some(plan) => {
                let run = Run { token: request.0, download, plan: plan.clone(), range };
                self.mirrors.fetch(mirror, run);
            }
            None => self.inputs.push_back(Input::RunDone { request, result: Err(RunFailure::NoStream) }),
        }
    }

    /// Takes what the mirrors brought.
    pub(super) fn mirrors_done(&mut self) {
        while let Some(done) = self.mirrors.try_next() {
            match done {
                Done::Asked { mirror, ask, result } => {
                    match &result {
                        Err(MirrorFault::Down(reason)) if self.outages.0.insert(mirror) => {
                            tracing::warn!(reason, "a mirror does not answer; it is tried again");
                        }
                        Err(MirrorFault::Invalid(reason)) => tracing::warn!(reason, "a mirror says what cannot be"),
                        Ok(_) if self.outages.0.remove(&mirror) => {
                            let url = self.config.mirrors.get(mirror).map(ToString::to_string);
                            tracing::info!(url, "a mirror answers again");
                        }
                        _ => {}
                    }
                    self.inputs.push_back(Input::MirrorAnswered { mirror, ask, result });
                }
                Done::Manifest { token, result } => {
                    let result = match result {
                        Ok(game) => Ok(answer(&game)),
                        Err(fault) => Err(manifest_failure(fault)),
                    };
                    self.inputs.push_back(Input::Answered { request: RequestId(token), result });
                }
                Done::Landed { token, download, batch, buf } => {
                    self.streams.counters.landed(batch);
                    self.inputs.push_back(Input::BatchLanded { request: RequestId(token), range: batch.range });
                    let write = WriteBatch { token, download, batch, buf, hashes: None };
                    self.tasks.push_back(Task::Write(write));
                }
                Done::RunDone { token, result } => {
                    let result = result.map_err(run_failure);
                    self.inputs.push_back(Input::RunDone { request: RequestId(token), result });
                }
            }
        }
    }
}

/// As a peer would have answered.
fn answer(game: &MirrorGame) -> (Answer, Vec<ChunkHash>) {
    let manifest = &game.manifest;
    let answer = ManifestAnswer {
        game_id: game.summary.id.clone(),
        manifest_hash: game.summary.manifest_hash,
        files: manifest.files().to_vec(),
        dirs: manifest.dirs().to_vec(),
        chunk_size: CHUNK_SIZE,
        chunk_count: manifest.chunk_count(),
        content_hash: Some(game.content.hash),
    };
    (Answer::Manifest(answer), game.content.chunks.clone())
}

fn refused(code: WireErrorCode, message: impl Into<String>) -> RunFailure {
    RunFailure::Refused(WireError { code, message: message.into() })
}

fn manifest_failure(fault: ManifestFault) -> RunFailure {
    match fault {
        ManifestFault::Missing => refused(WireErrorCode::NotServed, "the mirror does not have it any more"),
        ManifestFault::Changed => refused(WireErrorCode::Changed, "the mirror has it in another state"),
        ManifestFault::Mirror(MirrorFault::Invalid(reason)) => RunFailure::Malformed(reason),
        ManifestFault::Mirror(MirrorFault::Down(reason)) => refused(WireErrorCode::Internal, reason),
    }
}

fn run_failure(fault: FetchFault) -> RunFailure {
    match fault {
        FetchFault::Useless(reason) => RunFailure::Malformed(reason),
        FetchFault::Missing(reason) => refused(WireErrorCode::NotServed, reason),
        FetchFault::Changed(reason) => refused(WireErrorCode::Changed, reason),
        FetchFault::Timeout => RunFailure::Timeout,
        FetchFault::Failed(reason) => refused(WireErrorCode::Internal, reason),
        FetchFault::Busy => RunFailure::NoStream,
    }
}
