//! A run of chunks on its way out: blocks are read ahead by workers, kept in order, and handed to the transport without
//! a copy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Input;
use crate::proto::{Answer, ChunkRun, GetChunks, MAX_CONTROL_FRAME, StreamCode, encode};
use crate::types::{Batch, ChunkHash, ChunkIndex, ChunkRange, JobError, JobErrorKind};
use crate::workers::{PooledBuf, ReadBatch, ReadChunks, ServedGame};

use super::frames::{Outgoing, Pumped, Taken};
use super::games::Files;
use super::io::{Io, Wire};

/// One run that a peer asked for.
pub(super) struct Upload {
    files: Files,
    served: Arc<ServedGame>,
    /// The request named no content: each chunk is followed by its hash.
    hashed: bool,
    /// Batches that no worker has been asked for.
    to_read: VecDeque<Batch>,
    next_to_read: u64,
    /// Blocks at the workers.
    reading: usize,
    /// Blocks that came back before their turn.
    early: BTreeMap<u64, Block>,
    next_to_send: u64,
    /// Blocks of this run that are read or being read, and not yet fully with the transport.
    outgoing: Outgoing,
    /// Bytes of game data given to the transport.
    sent: u64,
}

/// A block that was read.
struct Block {
    batch: Batch,
    bytes: Bytes,
    hashes: Vec<ChunkHash>,
}

impl Upload {
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

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Bytes of game data given to the transport.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Blocks at the workers.
    pub(super) fn reading(&self) -> usize {
        self.reading
    }

    /// Blocks read, or being read, and not yet queued for the transport.
    pub(super) fn ahead(&self) -> usize {
        self.reading + self.early.len()
    }

    /// Parts that the transport has not fully taken.
    pub(super) fn parts_left(&self) -> usize {
        self.outgoing.parts_left()
    }

    /// Whether blocks remain to be asked for.
    pub(super) fn wants_read(&self) -> bool {
        !self.to_read.is_empty()
    }

    /// The next block to ask a worker for: its number, and its task under this token.
    pub(super) fn next_read(&mut self, token: u64, buf: PooledBuf) -> Option<(u64, ReadBatch)> {
        let batch = self.to_read.pop_front()?;
        let number = self.next_to_read;
        self.next_to_read += 1;
        self.reading += 1;
        Some((number, ReadBatch { token, game: Arc::clone(&self.served), batch, buf, hash: self.hashed }))
    }

    /// Hands on what may go.
    pub(super) fn pump(&mut self, io: &mut Io<'_, impl Wire>) -> (Pumped, Taken) {
        let (pumped, taken) = io.pump(&mut self.outgoing);
        self.sent += taken.of_game;
        io.counters.sent += taken.of_game;
        io.share.moved(taken.bytes, pumped == Pumped::Throttled, io.now);
        (pumped, taken)
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

    /// A block could not be read: what the peer hears, and whether the game is not what it was.
    pub(super) fn block_failed(&mut self, io: &mut Io<'_, impl Wire>, error: &JobError) -> (StreamCode, bool) {
        self.reading -= 1;
        tracing::info!(game = %self.files.game, %error, "cannot read a block for a peer");
        if error.kind == JobErrorKind::Changed {
            io.uploads.games.close(&self.files);
            return (StreamCode::Changed, true);
        }
        if error.kind == JobErrorKind::Io {
            io.inputs.push_back(Input::ReadFailed { game: self.files.game.clone() });
        }
        (StreamCode::Io, false)
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
