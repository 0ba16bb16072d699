//! A run of chunks on its way out: blocks are read ahead by workers, kept in order, and handed to the transport without
//! a copy. And the games that are open for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::InboundId;
use crate::proto::{Answer, ChunkRun, GetChunks, MAX_CONTROL_FRAME, encode};
use crate::types::{Batch, ChunkHash, ChunkIndex, ChunkRange, DownloadId, GameId, ManifestHash};
use crate::workers::{ReadChunks, ServedGame};

use super::frames::Outgoing;

/// One run that a peer asked for.
pub(super) struct Sending {
    pub(super) files: Files,
    pub(super) served: Arc<ServedGame>,
    /// The request named no content: each chunk is followed by its hash.
    pub(super) hashed: bool,
    /// Batches that no worker has been asked for.
    to_read: VecDeque<Batch>,
    next_to_read: u64,
    /// Blocks at the workers.
    pub(super) reading: usize,
    /// Blocks that came back before their turn.
    early: BTreeMap<u64, Block>,
    next_to_send: u64,
    /// Blocks of this run that are read or being read, and not yet fully with the transport.
    pub(super) outgoing: Outgoing,
    /// Bytes of game data given to the transport.
    pub(super) sent: u64,
}

/// A block that was read.
struct Block {
    batch: Batch,
    bytes: Bytes,
    hashes: Vec<ChunkHash>,
}

impl Sending {
    /// Checks the range and begins with the header. `None`: the range is not within the game.
    pub(super) fn new(files: Files, served: Arc<ServedGame>, request: &GetChunks) -> Option<Self> {
        let range = ChunkRange { first: request.first, count: request.count };
        let end = range.first.checked_add(range.count)?;
        if range.count == 0 || end > served.manifest().chunk_count() {
            return None;
        }
        let hashed = request.content_hash.is_none();
        let header = Answer::ChunkRun(ChunkRun {
            first: range.first,
            count: range.count,
            bytes: served.manifest().range_bytes(range),
            hashed,
        });
        let mut outgoing = Outgoing::default();
        outgoing.push(encode(&header, MAX_CONTROL_FRAME).ok()?.into());
        let to_read = served.manifest().batches(range).collect();
        Some(Self {
            files,
            served,
            hashed,
            to_read,
            next_to_read: 0,
            reading: 0,
            early: BTreeMap::new(),
            next_to_send: 0,
            outgoing,
            sent: 0,
        })
    }

    /// Blocks read, or being read, and not yet queued for the transport.
    pub(super) fn ahead(&self) -> usize {
        self.reading + self.early.len()
    }

    /// The next block to ask a worker for: its number and its chunks.
    pub(super) fn next_read(&mut self) -> Option<(u64, Batch)> {
        let batch = self.to_read.pop_front()?;
        let number = self.next_to_read;
        self.next_to_read += 1;
        self.reading += 1;
        Some((number, batch))
    }

    /// Whether blocks remain to be asked for.
    pub(super) fn wants_read(&self) -> bool {
        !self.to_read.is_empty()
    }

    /// A block came back; everything that is in order now goes out.
    pub(super) fn block_read(&mut self, number: u64, batch: Batch, read: ReadChunks) {
        self.reading -= 1;
        let hashes = read.hashes.unwrap_or_default();
        self.early.insert(number, Block { batch, bytes: read.bytes, hashes });
        while let Some(block) = self.early.remove(&self.next_to_send) {
            self.next_to_send += 1;
            self.queue(block);
        }
        if self.to_read.is_empty() && self.next_to_send == self.next_to_read {
            self.outgoing.finish();
        }
    }

    fn queue(&mut self, block: Block) {
        if !self.hashed {
            self.outgoing.push_of_game(block.bytes);
            return;
        }
        let mut from = 0;
        for (index, hash) in block.batch.range.iter().zip(&block.hashes) {
            let len = self.served.manifest().chunk(ChunkIndex(index.0)).map_or(0, |chunk| chunk.len as usize);
            self.outgoing.push_of_game(block.bytes.slice(from..from + len));
            self.outgoing.push(Bytes::copy_from_slice(&hash.0));
            from += len;
        }
    }
}

/// Games that may be open at once: each holds its list of files and up to 64 open ones.
const MAX_OPEN_GAMES: usize = 32;

/// Which files of a game are sent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::reactor) struct Files {
    pub(in crate::reactor) game: GameId,
    pub(in crate::reactor) manifest_hash: ManifestHash,
    /// They are still being written by this download.
    pub(in crate::reactor) download: Option<DownloadId>,
}

/// Games that are open for serving, and the requests that wait for one to open.
#[derive(Default)]
pub(super) struct OpenGames {
    games: BTreeMap<Files, OpenGame>,
    generation: u64,
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
    pub(super) fn opened(&mut self, number: u64, served: Option<Arc<ServedGame>>) -> Vec<InboundId> {
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

    /// Forgets every game that nobody but this table holds; returns whether any game is left.
    pub(super) fn forget_unused(&mut self) -> bool {
        self.games.retain(|_, game| match game {
            OpenGame::Opening { .. } => true,
            OpenGame::Open(served) => Arc::strong_count(served) > 1,
        });
        !self.games.is_empty()
    }
}
