//! Commands that have no answer yet: they wait for others, but not for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::core::Cx;
use super::effect::{Effect, Then};
use super::io::CommandId;
use super::timers::TimerSet;
use crate::api::{CommandData, ErrorCode, PeerCount};
use crate::types::{GameId, PeerId};

/// Commands that wait at once.
const MAX_WAITS: usize = 256;
/// Longest wait of `wait-peers`.
const MAX_WAIT: Duration = Duration::from_secs(24 * 3_600);

/// Commands that have no answer yet. Those that dial or transfer are with the peers and the transfers.
#[derive(Debug)]
pub(super) struct Commands {
    waits: BTreeMap<u64, Wait>,
    timers: TimerSet<u64>,
}

#[derive(Debug)]
enum Wait {
    /// `wait-peers`.
    Peers { command: CommandId, count: usize },
    /// A command for a game that others must be asked about first.
    Refresh { command: CommandId, game: GameId, then: Then, asked: Asked },
}

/// Who has yet to answer.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Peers: whether their libraries are still the known ones.
    pub(super) peers: BTreeSet<PeerId>,
    /// Mirrors, by their place: whether they have the game.
    pub(super) mirrors: BTreeSet<usize>,
    /// Whoever has the catalog.
    pub(super) catalog: bool,
}

impl Asked {
    fn is_over(&self) -> bool {
        self.peers.is_empty() && self.mirrors.is_empty() && !self.catalog
    }
}

impl Commands {
    pub(super) fn new() -> Self {
        Self { waits: BTreeMap::new(), timers: TimerSet::new() }
    }

    /// The earliest deadline.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    fn add(&mut self, key: u64, wait: Wait, until: Instant) {
        self.waits.insert(key, wait);
        self.timers.set(key, until);
    }

    fn remove(&mut self, key: u64) -> Option<Wait> {
        self.timers.cancel(&key);
        self.waits.remove(&key)
    }

    /// `wait-peers`: answered by [`Commands::check`] when there are enough, which may be at once.
    pub(super) fn wait_peers(&mut self, cx: &mut Cx, id: CommandId, count: usize, timeout: Duration) {
        self.wait(cx, Wait::Peers { command: id, count }, timeout.min(MAX_WAIT), id);
    }

    /// Carries out a command for a game once everybody who was asked about it has answered, or after a while.
    pub(super) fn after(&mut self, cx: &mut Cx, id: CommandId, game: GameId, then: Then, asked: Asked) {
        if asked.is_over() {
            return cx.tell(Effect::CarryOut { command: id, game, then });
        }
        let timeout = cx.config.timers.request_timeout;
        self.wait(cx, Wait::Refresh { command: id, game, then, asked }, timeout, id);
    }

    fn wait(&mut self, cx: &mut Cx, wait: Wait, timeout: Duration, id: CommandId) {
        if self.waits.len() >= MAX_WAITS {
            return cx.refuse(id, ErrorCode::Io, "too many commands are waiting; wait for one of them to end");
        }
        let key = cx.ids.token();
        self.add(key, wait, cx.now + timeout);
    }

    /// Answers every waiting command: nothing will come of it.
    pub(super) fn cancel(&mut self, cx: &mut Cx) {
        self.timers = TimerSet::new();
        for wait in std::mem::take(&mut self.waits).into_values() {
            let (Wait::Peers { command, .. } | Wait::Refresh { command, .. }) = wait;
            cx.refuse(command, ErrorCode::Cancelled, "the daemon stops");
        }
    }

    /// A peer said whether its library is still the known one, or will not.
    pub(super) fn peer_settled(&mut self, cx: &mut Cx, peer: PeerId) {
        self.answered(cx, |_, asked| asked.peers.remove(&peer));
    }

    /// The catalog was looked at, with whatever result.
    pub(super) fn catalog_looked_at(&mut self, cx: &mut Cx) {
        self.answered(cx, |_, asked| std::mem::take(&mut asked.catalog));
    }

    /// A mirror said whether it has a game, or nothing.
    pub(super) fn mirror_looked_at(&mut self, cx: &mut Cx, mirror: usize, of: &GameId) {
        self.answered(cx, |game, asked| game == of && asked.mirrors.remove(&mirror));
    }

    /// Carries out the commands for which this was the last answer. `take` strikes it off the list of those who have yet to
    /// answer; false: it was not on it.
    fn answered(&mut self, cx: &mut Cx, mut take: impl FnMut(&GameId, &mut Asked) -> bool) {
        let mut ready = Vec::new();
        for (key, wait) in &mut self.waits {
            if let Wait::Refresh { game, asked, .. } = wait
                && take(game, asked)
                && asked.is_over()
            {
                ready.push(*key);
            }
        }
        for key in ready {
            if let Some(Wait::Refresh { command, game, then, .. }) = self.remove(key) {
                cx.tell(Effect::CarryOut { command, game, then });
            }
        }
    }

    /// Answers `wait-peers` commands whose time has come. `in_step`: peers that are connected with their libraries in step.
    pub(super) fn check(&mut self, cx: &mut Cx, in_step: impl Fn() -> usize) {
        if self.waits.is_empty() {
            return;
        }
        let peers = in_step();
        let enough = |wait: &Wait| matches!(wait, Wait::Peers { count, .. } if *count <= peers);
        let ready: Vec<u64> = self.waits.iter().filter(|(_, wait)| enough(wait)).map(|(key, _)| *key).collect();
        for key in ready {
            if let Some(Wait::Peers { command, .. }) = self.remove(key) {
                cx.reply(command, Ok(CommandData::PeerCount(PeerCount { peers })));
            }
        }
    }

    /// Ends waits that are over; `in_step` as above.
    pub(super) fn timeout(&mut self, cx: &mut Cx, in_step: impl Fn() -> usize) {
        while let Some(key) = self.timers.pop_due(cx.now) {
            match self.remove(key) {
                None => {}
                Some(Wait::Peers { command, count }) => {
                    let peers = in_step();
                    let message = format!("{peers} of {count} peers are connected with their libraries in step");
                    cx.refuse(command, ErrorCode::Timeout, &message);
                }
                // Peers, mirrors and a catalog that did not answer in time are taken as they are known.
                Some(Wait::Refresh { command, game, then, .. }) => cx.tell(Effect::CarryOut { command, game, then }),
            }
        }
    }
}
