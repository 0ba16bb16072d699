//! What transfers may read of the other parts.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use super::core::Cx;
use super::io::{ConnId, Output, Planned, RequestId};
use super::library::Library;
use super::mirrors::Mirrors;
use super::operations::Operations;
use super::peers::Peers;
use super::scans::Scans;
use crate::proto::{GetManifest, Request};
use crate::types::{
    ChunkRange, ContentHash, GameId, GameSummary, InterfaceKind, ManifestHash, MirrorId, PeerId, SourceId,
};

/// How a source is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Via {
    /// A peer, over this connection.
    Conn(ConnId),
    /// A mirror, by its threads.
    Mirror(MirrorId),
}

impl Via {
    /// Asks for the files and hashes of a game.
    pub(super) fn ask_manifest(self, request: RequestId, game_id: GameId, manifest_hash: ManifestHash) -> Output {
        match self {
            Self::Conn(conn) => {
                let body = Request::GetManifest(GetManifest { game_id, manifest_hash, dirs: true });
                Output::Ask { request, conn, body: Box::new(body) }
            }
            Self::Mirror(mirror) => {
                Output::MirrorManifest { request, mirror: mirror.place(), game: game_id, manifest_hash }
            }
        }
    }

    /// Asks for a run of chunks.
    pub(super) fn fetch(
        self,
        request: RequestId,
        download: Planned,
        content_hash: Option<ContentHash>,
        range: ChunkRange,
    ) -> Output {
        match self {
            Self::Conn(conn) => Output::Fetch { request, conn, download, content_hash, range },
            Self::Mirror(mirror) => Output::MirrorFetch { request, mirror: mirror.place(), download, range },
        }
    }
}

/// A connected peer whose library is in step and lists a game as ready, or a mirror that has it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Source {
    /// Who.
    pub(super) id: SourceId,
    /// How it is reached.
    pub(super) via: Via,
    /// What it says of the game.
    pub(super) summary: Arc<GameSummary>,
}

/// The way to a source, as far as it is known.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Way {
    /// The shortest time there and back.
    pub(super) round_trip: Option<Duration>,
    /// What it begins with.
    pub(super) interface: Option<InterfaceKind>,
}

/// Who has what, and what else is done to the games here.
pub(super) trait World {
    /// Every source of a game, ascending by id.
    fn sources(&self, game: &GameId) -> Vec<Source>;
    /// What is known of the way to a source.
    fn way(&self, via: Via) -> Way;
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
        let mirrors = self.mirrors.sources(game).filter(|mirror| !self.peers.is_blocked(&mirror.id.told_as()));
        let peers = sources.len();
        sources.extend(mirrors);
        if sources.len() > peers {
            sources.sort_by_key(|source| source.id);
        }
        sources
    }

    fn way(&self, via: Via) -> Way {
        match via {
            Via::Conn(conn) => self.peers.way(conn),
            Via::Mirror(_) => Way::default(),
        }
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
