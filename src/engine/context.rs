//! What every part of the engine is handed: time, configuration, the output queue, fresh numbers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ConnId, Output, RequestId};
use crate::api::{CommandResult, PeerEvent};
use crate::config::Config;
use crate::engine::CommandId;
use crate::types::{DownloadId, GameId, GameSummary, InterfaceKind, Job, PeerId};

/// Borrowed for the length of one input.
pub(super) struct Cx<'a> {
    /// This peer.
    pub(super) me: PeerId,
    /// The time of this input.
    pub(super) now: Instant,
    /// Limits and timers.
    pub(super) config: &'a Config,
    /// Where outputs go.
    pub(super) out: &'a mut VecDeque<Output>,
    /// Fresh numbers and injected randomness.
    pub(super) ids: &'a mut Ids,
}

impl Cx<'_> {
    /// Queues an output.
    pub(super) fn emit(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// Queues an event.
    pub(super) fn event(&mut self, event: PeerEvent) {
        self.emit(Output::Event(Box::new(event)));
    }

    /// Queues the answer to a command.
    pub(super) fn reply(&mut self, id: CommandId, result: CommandResult) {
        self.emit(Output::Reply { id, result: Box::new(result) });
    }

    /// Queues a job.
    pub(super) fn job(&mut self, job: Job) {
        self.emit(Output::Job(job));
    }
}

/// Numbers that are never reused, and a small deterministic generator (SplitMix64) for what must only be spread out.
#[derive(Debug)]
pub(super) struct Ids {
    next: u64,
    state: u64,
}

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self { next: 1, state: seed }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A number for a request.
    pub(super) fn request(&mut self) -> RequestId {
        RequestId(self.number())
    }

    /// A number for a download.
    pub(super) fn download(&mut self) -> DownloadId {
        DownloadId(self.number())
    }

    /// A number for a dial.
    pub(super) fn dial(&mut self) -> super::DialId {
        super::DialId(self.number())
    }

    /// A number for [`Job::Resolve`].
    pub(super) fn token(&mut self) -> u64 {
        self.number()
    }

    /// 64 bits. Not for secrets.
    pub(super) fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A connected peer whose library is in step and lists a game as ready.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Source {
    /// Who.
    pub(super) peer_id: PeerId,
    /// Over which connection.
    pub(super) conn: ConnId,
    /// What it says of the game.
    pub(super) summary: Arc<GameSummary>,
}

/// The way to a peer, as far as it is known.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Way {
    /// The shortest time there and back.
    pub(super) round_trip: Option<Duration>,
    /// What it begins with.
    pub(super) interface: Option<InterfaceKind>,
}

/// Who has what, as the transfers see it.
pub(super) trait SourceDirectory {
    /// Every source of a game, ascending by peer id.
    fn sources(&self, game: &GameId) -> Vec<Source>;
    /// What is known of the way to the peer of this connection.
    fn way(&self, conn: ConnId) -> Way;
    /// Every connected peer that serves what it is still downloading, ascending by peer id.
    fn swarm(&self) -> Vec<(PeerId, ConnId)>;
}
