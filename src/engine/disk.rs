//! What lies in the game directory, as far as it was looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::types::{GameId, ScannedGame};

/// Every game of the game directory.
#[derive(Debug, Default)]
pub(super) struct Disk {
    games: BTreeMap<GameId, Arc<ScannedGame>>,
    /// Games that were found to be other than before, since [`Disk::take_changed`].
    changed: BTreeSet<GameId>,
    /// Some of them in more than that their content is known now, and that of others is still to come.
    urgent: bool,
    /// No directory is there: whatever is still seen of it does not count.
    closed: bool,
}

impl Disk {
    /// Another directory was opened. Of too many games the last by name are left out.
    pub(super) fn open(&mut self, games: &[Arc<ScannedGame>], limit: usize) {
        self.games = games.iter().take(limit).map(|game| (game.id.clone(), game.clone())).collect();
        self.changed.clear();
        self.closed = false;
    }

    /// The directory is not there any more.
    pub(super) fn close(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }

    /// Ascending by id.
    pub(super) fn games(&self) -> &BTreeMap<GameId, Arc<ScannedGame>> {
        &self.games
    }

    /// One of them.
    pub(super) fn get(&self, game: &GameId) -> Option<&Arc<ScannedGame>> {
        self.games.get(game)
    }

    /// Notes what lies there under this id now (`None`: nothing). One game more than the limit is left out.
    pub(super) fn put(&mut self, game: &GameId, scanned: Option<Arc<ScannedGame>>, limit: usize) {
        if self.closed || self.games.get(game) == scanned.as_ref() {
            return;
        }
        match scanned {
            None => drop(self.games.remove(game)),
            Some(_) if !self.games.contains_key(game) && self.games.len() >= limit => return,
            Some(scanned) => drop(self.games.insert(game.clone(), scanned)),
        }
        self.changed.insert(game.clone());
        self.urgent = true;
    }

    /// Notes the content of a game that lies there; `more`: that of others will be known soon.
    pub(super) fn put_content(&mut self, game: &GameId, scanned: Arc<ScannedGame>, more: bool) {
        if self.games.get(game).is_none_or(|known| *known == scanned) {
            return;
        }
        self.games.insert(game.clone(), scanned);
        self.changed.insert(game.clone());
        self.urgent |= !more;
    }

    /// The games that are other than at the last call, and whether that should be told soon.
    pub(super) fn take_changed(&mut self) -> (BTreeSet<GameId>, bool) {
        (std::mem::take(&mut self.changed), std::mem::take(&mut self.urgent))
    }
}
