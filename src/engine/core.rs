//! What every part of the engine is handed: who this is, the time, the settings, what is known in common, and where to say what
//! is to be done.
//!
//! A part says two things: an [`Output`] is for the world outside, an [`Effect`] for another part.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::disk::Disk;
use super::effect::Effect;
use super::io::{CommandId, DialId, Output, RequestId};
use crate::api::{CommandData, CommandError, CommandResult, Done, ErrorCode, PeerEvent};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::proto::LibraryState;
use crate::types::{ContentHash, DownloadId, GameId, Job, PeerId, ScannedGame};

/// The one context of an engine.
#[derive(Debug)]
pub(super) struct Cx {
    /// This peer.
    pub(super) me: PeerId,
    /// The time of this input.
    pub(super) now: Instant,
    /// Limits and timers.
    pub(super) config: Arc<Config>,
    /// Which games are offered and fetched.
    pub(super) catalog: Arc<Catalog>,
    /// What lies in the game directory.
    pub(super) disk: Disk,
    /// What others may know of it.
    pub(super) announced: Announced,
    /// Fresh numbers and injected randomness.
    pub(super) ids: Ids,
    out: VecDeque<Output>,
    effects: Vec<Effect>,
}

/// The state of the own library that is durable, or is to be so first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// It may be told to others.
    pub(super) is_open: bool,
    /// It.
    pub(super) state: LibraryState,
}

impl Cx {
    /// Nothing is known yet. `seed`: of all that is random; `announced`: of a library that is not open.
    pub(super) fn new(
        me: PeerId,
        config: Arc<Config>,
        catalog: Arc<Catalog>,
        announced: LibraryState,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            me,
            now,
            config,
            catalog,
            disk: Disk::default(),
            announced: Announced { is_open: false, state: announced },
            ids: Ids::new(seed),
            out: VecDeque::new(),
            effects: Vec::new(),
        }
    }

    /// Queues an output.
    pub(super) fn emit(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// The first output that was not taken yet.
    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Says what another part is to do. It is done when the part that says so has come to its end.
    pub(super) fn tell(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// What was said since the last call, in order.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Queues an event.
    pub(super) fn event(&mut self, event: PeerEvent) {
        self.emit(Output::Event(Box::new(event)));
    }

    /// Queues the answer to a command.
    pub(super) fn reply(&mut self, id: CommandId, result: CommandResult) {
        self.emit(Output::Reply { id, result: Box::new(result) });
    }

    /// Answers a command that has no data.
    pub(super) fn reply_done(&mut self, id: CommandId) {
        self.reply(id, Ok(CommandData::Done(Done {})));
    }

    /// Refuses a command.
    pub(super) fn refuse(&mut self, id: CommandId, code: ErrorCode, message: &str) {
        self.reply(id, Err(CommandError::new(code, message)));
    }

    /// Why a game that lies here is not offered to others, but for a download that writes it.
    pub(super) fn why_not_offered(&self, game: &ScannedGame) -> Option<String> {
        match &game.unportable {
            Some(reason) => Some(reason.clone()),
            None if game.arriving => Some("still being copied".to_owned()),
            None => {
                let withheld = self.catalog.withholds(&game.id, game.eti_version.as_deref(), game.content_hash);
                withheld.map(str::to_owned)
            }
        }
    }

    /// The version of a game that the catalog demands.
    pub(super) fn expected_version(&self, game: &GameId) -> Option<&str> {
        self.catalog.entry(game).map(|entry| entry.version.as_str())
    }

    /// The content of a game that the catalog demands.
    pub(super) fn expected_content(&self, game: &GameId) -> Option<ContentHash> {
        self.catalog.entry(game).and_then(|entry| entry.content_hash)
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
    pub(super) fn dial(&mut self) -> DialId {
        DialId(self.number())
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
