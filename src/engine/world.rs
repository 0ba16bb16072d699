//! What transfers may read of the other parts.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use super::core::Cx;
use super::io::ConnId;
use super::library::Library;
use super::mirrors::Mirrors;
use super::operations::Operations;
use super::peers::Peers;
use super::scans::Scans;
use crate::types::{GameId, GameSummary, InterfaceKind, PeerId};

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

/// Who has what, and what else is done to the games here.
pub(super) trait World {
    /// Every source of a game, ascending by peer id.
    fn sources(&self, game: &GameId) -> Vec<Source>;
    /// What is known of the way to the peer of this connection.
    fn way(&self, conn: ConnId) -> Way;
    /// Every connected peer that serves what it is still downloading, ascending by peer id.
    fn swarm(&self) -> Vec<(PeerId, ConnId)>;
    /// Whether any peer's library lists the game, ready or not.
    fn lists(&self, game: &GameId) -> bool;
    /// Who has a game and does not hand it out, and why, for the end of a sentence; empty when nobody has.
    fn why_not(&self, game: &GameId) -> String;
    /// The game as this library announces it.
    fn summary(&self, game: &GameId) -> Option<Arc<GameSummary>>;
    /// Whether an operation other than a download runs on the game.
    fn holds(&self, game: &GameId) -> bool;
    /// Whether that operation forbids that the game is served.
    fn withdraws(&self, game: &GameId) -> bool;
}

/// The context of the transfers.
pub(super) struct TransferCx<'a> {
    /// As of every part.
    pub(super) core: &'a mut Cx,
    /// The other parts.
    pub(super) world: &'a dyn World,
}

impl Deref for TransferCx<'_> {
    type Target = Cx;

    fn deref(&self) -> &Cx {
        self.core
    }
}

impl DerefMut for TransferCx<'_> {
    fn deref_mut(&mut self) -> &mut Cx {
        self.core
    }
}

/// Every part but the transfers.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) library: Library,
    pub(super) scans: Scans,
    pub(super) peers: Peers,
    pub(super) mirrors: Mirrors,
    pub(super) operations: Operations,
}

impl World for Parts {
    fn sources(&self, game: &GameId) -> Vec<Source> {
        let mut sources = self.peers.sources(game);
        let mirrors = self.mirrors.sources(game).filter(|mirror| !self.peers.is_blocked(&mirror.peer_id));
        let peers = sources.len();
        sources.extend(mirrors);
        if sources.len() > peers {
            sources.sort_by_key(|source| source.peer_id);
        }
        sources
    }

    fn way(&self, conn: ConnId) -> Way {
        self.peers.way(conn)
    }

    fn swarm(&self) -> Vec<(PeerId, ConnId)> {
        self.peers.swarm()
    }

    fn lists(&self, game: &GameId) -> bool {
        self.peers.lists(game) || self.mirrors.lists(game)
    }

    fn why_not(&self, game: &GameId) -> String {
        self.peers.why_not(game)
    }

    fn summary(&self, game: &GameId) -> Option<Arc<GameSummary>> {
        self.library.summary(game).cloned()
    }

    fn holds(&self, game: &GameId) -> bool {
        self.operations.operation(game).is_some()
    }

    fn withdraws(&self, game: &GameId) -> bool {
        self.operations.withdraws(game)
    }
}
