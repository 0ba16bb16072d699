//! What the transfers are told of the library, the catalog and the other operations.

use std::cmp::Ordering;
use std::sync::Arc;

use super::library::Library;
use super::mirrors::Mirrors;
use super::operations::Operations;
use super::peers::Peers;
use super::transfer::LocalView;
use crate::catalog::Catalog;
use crate::types::{ContentHash, GameId, GameSummary, ScannedGame};

/// The local side, as the transfers see it.
pub(super) struct Local<'a> {
    pub(super) library: &'a Library,
    pub(super) catalog: &'a Catalog,
    pub(super) peers: &'a Peers,
    pub(super) mirrors: &'a Mirrors,
    pub(super) operations: &'a Operations,
}

impl LocalView for Local<'_> {
    fn scanned(&self, game: &GameId) -> Option<Arc<ScannedGame>> {
        self.library.games().get(game).cloned()
    }

    fn summary(&self, game: &GameId) -> Option<Arc<GameSummary>> {
        self.library.summary(game).cloned()
    }

    fn listed_by_peers(&self, game: &GameId) -> bool {
        self.peers.lists(game) || self.mirrors.lists(game)
    }

    fn held(&self, game: &GameId) -> bool {
        self.operations.operation(game).is_some()
    }

    fn withdrawn(&self, game: &GameId) -> bool {
        self.operations.withdraws(game)
    }

    fn admits(&self, game: &GameId) -> bool {
        self.catalog.admits(game)
    }

    fn withheld(&self, game: &ScannedGame) -> Option<&'static str> {
        self.catalog.withholds(&game.id, game.eti_version.as_deref(), game.content_hash)
    }

    fn expected_version(&self, game: &GameId) -> Option<String> {
        self.catalog.entry(game).map(|entry| entry.version.clone())
    }

    fn expected_content(&self, game: &GameId) -> Option<ContentHash> {
        self.catalog.entry(game).and_then(|entry| entry.content_hash)
    }

    fn compare_versions(&self, game: &GameId, a: &str, b: &str) -> Ordering {
        self.catalog.compare_versions(game, a, b)
    }
}
