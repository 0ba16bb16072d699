//! Between the engine and the mirrors: what is asked of them, and what comes of it.

use std::collections::BTreeSet;
use std::io;

use crate::config::Config;
use crate::engine::{Planned, RequestId, RunFailure};
use crate::mirror::{Done, FetchFault, ManifestFault, MirrorGame, Mirrors, Run, Wake};
use crate::proto::{Answer, ManifestAnswer, WireError, WireErrorCode};
use crate::types::{
    CHUNK_SIZE, ChunkHash, ChunkRange, GameId, ManifestHash, MirrorAsk, MirrorFault, MirrorNews, MirrorUrl,
};
use crate::workers::BufferPool;

/// The mirrors, as the engine sees them.
pub(super) struct WebServers {
    mirrors: Mirrors,
    urls: Vec<MirrorUrl>,
    /// Which do not answer, for the log.
    down: BTreeSet<usize>,
}

impl WebServers {
    pub(super) fn start(config: &Config, landing: &BufferPool, wake: Wake) -> io::Result<Self> {
        let urls = config.mirrors.clone();
        let mirrors = Mirrors::start(&urls, landing, config.timers.run_stall, wake)?;
        Ok(Self { mirrors, urls, down: BTreeSet::new() })
    }

    /// Asks a mirror what it has.
    pub(super) fn ask(&mut self, mirror: usize, ask: MirrorAsk) {
        self.mirrors.ask(mirror, ask);
    }

    /// Asks a mirror for the files and hashes of a game.
    pub(super) fn manifest(&mut self, mirror: usize, request: RequestId, game: GameId, manifest_hash: ManifestHash) {
        self.mirrors.manifest(mirror, request.0, game, manifest_hash);
    }

    /// Asks a mirror for a run of chunks.
    pub(super) fn fetch(&mut self, mirror: usize, request: RequestId, download: Planned, range: ChunkRange) {
        let run = Run { token: request.0, download: download.id, plan: download.plan, range };
        self.mirrors.fetch(mirror, run);
    }

    pub(super) fn cancel(&mut self, request: RequestId) {
        self.mirrors.cancel(request.0);
    }

    /// What came next.
    pub(super) fn try_next(&mut self) -> Option<Done> {
        self.mirrors.try_next()
    }

    /// A mirror answered, or did not: says so when that is new.
    pub(super) fn answered(&mut self, mirror: usize, result: &Result<MirrorNews, MirrorFault>) {
        match result {
            Err(MirrorFault::Down(reason)) if self.down.insert(mirror) => {
                tracing::warn!(reason, "a mirror does not answer; it is tried again");
            }
            Err(MirrorFault::Invalid(reason)) => tracing::warn!(reason, "a mirror says what cannot be"),
            Ok(_) if self.down.remove(&mirror) => {
                let url = self.urls.get(mirror).map(ToString::to_string);
                tracing::info!(url, "a mirror answers again");
            }
            _ => {}
        }
    }

    /// Runs that are not over.
    pub(super) fn runs(&self) -> usize {
        self.mirrors.runs()
    }

    /// The queues of their threads: name, waiting, limit.
    pub(super) fn queues(&self) -> [(&'static str, usize, usize); 2] {
        self.mirrors.queues()
    }
}

/// As a peer would have answered.
pub(super) fn answer(game: &MirrorGame) -> (Answer, Vec<ChunkHash>) {
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

/// Why there is no manifest, as if a peer had said so.
pub(super) fn manifest_failure(fault: ManifestFault) -> RunFailure {
    match fault {
        ManifestFault::Missing => refused(WireErrorCode::NotServed, "the mirror does not have it any more"),
        ManifestFault::Changed => refused(WireErrorCode::Changed, "the mirror has it in another state"),
        ManifestFault::Mirror(MirrorFault::Invalid(reason)) => RunFailure::Malformed(reason),
        ManifestFault::Mirror(MirrorFault::Down(reason)) => refused(WireErrorCode::Internal, reason),
    }
}

/// Why a run ended early, as if a peer had said so.
pub(super) fn run_failure(fault: FetchFault) -> RunFailure {
    match fault {
        FetchFault::Useless(reason) => RunFailure::Malformed(reason),
        FetchFault::Missing(reason) => refused(WireErrorCode::NotServed, reason),
        FetchFault::Changed(reason) => refused(WireErrorCode::Changed, reason),
        FetchFault::Timeout => RunFailure::Timeout,
        FetchFault::Failed(reason) => refused(WireErrorCode::Internal, reason),
        FetchFault::Busy => RunFailure::NoStream,
    }
}
