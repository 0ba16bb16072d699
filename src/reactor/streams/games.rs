//! Games that are open for peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::InboundId;
use crate::types::{DownloadId, GameId, ManifestHash};
use crate::workers::ServedGame;

/// Games that nobody fetches any more are closed after this.
const OPEN_GAMES_SWEEP: Duration = Duration::from_secs(15);
/// Games that may be open at once: each holds its list of files and up to 64 open ones.
const MAX_OPEN_GAMES: usize = 32;

/// Which files of a game are sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Files {
    pub(super) game: GameId,
    pub(super) manifest_hash: ManifestHash,
    /// They are still being written by this download.
    pub(super) download: Option<DownloadId>,
}

/// Games that are open for serving, and the requests that wait for one to open.
#[derive(Default)]
pub(super) struct OpenGames {
    games: BTreeMap<Files, OpenGame>,
    generation: u64,
    /// When to look for those that nobody holds.
    sweep_at: Option<Instant>,
}

enum OpenGame {
    Opening { generation: u64, waiting: Vec<InboundId> },
    Open(Arc<ServedGame>),
}

/// What [`OpenGames::get`] found.
pub(super) enum Lookup {
    /// Serve from this.
    Open(Arc<ServedGame>),
    /// The request was put in line; a worker is opening the game.
    Waiting,
    /// The request was put in line; ask a worker to open the game, with this number.
    Wanted(u64),
    /// As many games as may be are open, and all of them are in use.
    Full,
}

impl OpenGames {
    /// The open game with exactly this list of files, or a place in line.
    pub(super) fn get(&mut self, files: &Files, to: InboundId) -> Lookup {
        match self.games.get_mut(files) {
            Some(OpenGame::Open(served)) => Lookup::Open(Arc::clone(served)),
            Some(OpenGame::Opening { waiting, .. }) => {
                waiting.push(to);
                Lookup::Waiting
            }
            None => {
                if self.games.len() >= MAX_OPEN_GAMES {
                    self.forget_unused();
                }
                if self.games.len() >= MAX_OPEN_GAMES {
                    return Lookup::Full;
                }
                self.generation += 1;
                let generation = self.generation;
                self.games.insert(files.clone(), OpenGame::Opening { generation, waiting: vec![to] });
                Lookup::Wanted(generation)
            }
        }
    }

    /// A worker opened a game (or not). Returns who waited for it; nobody when it was forgotten meanwhile.
    pub(super) fn opened(&mut self, number: u64, served: Option<Arc<ServedGame>>, now: Instant) -> Vec<InboundId> {
        self.sweep_at.get_or_insert(now + OPEN_GAMES_SWEEP);
        let opening = self.games.iter_mut().find_map(|(key, game)| match game {
            OpenGame::Opening { generation, waiting } if *generation == number => {
                Some((key.clone(), std::mem::take(waiting)))
            }
            _ => None,
        });
        let Some((key, waiting)) = opening else { return Vec::new() };
        match served {
            Some(served) => self.games.insert(key, OpenGame::Open(served)),
            None => self.games.remove(&key),
        };
        waiting
    }

    /// Forgets a game, also those who wait for it to open: the caller must know them.
    pub(super) fn forget(&mut self, game: &GameId) {
        self.games.retain(|files, _| files.game != *game);
    }

    /// Closes one list of files of a game, which turned out to be out of date. Those who wait for one to open go on waiting.
    pub(super) fn close(&mut self, files: &Files) {
        if let Some(OpenGame::Open(_)) = self.games.get(files) {
            self.games.remove(files);
        }
    }

    /// When [`OpenGames::sweep`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Closes now and then what nobody fetches any more.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.forget_unused();
            self.sweep_at = (!self.games.is_empty()).then(|| now + OPEN_GAMES_SWEEP);
        }
    }

    /// Forgets every game that nobody but this table holds.
    fn forget_unused(&mut self) {
        self.games.retain(|_, game| match game {
            OpenGame::Opening { .. } => true,
            OpenGame::Open(served) => Arc::strong_count(served) > 1,
        });
    }
}
