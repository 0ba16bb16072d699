//! A run of chunks on its way in: header, then batches into landing buffers, each handed to a worker when full.
//!
//! ```text
//! request ► ◄ run header, chunks, FIN    ► Input::BatchLanded …, RunDone
//!
//! Header ──ChunkRun──► Body: batch 0, batch 1, … ──► Tail (waits for FIN) ──► over
//!                       │ chunk bytes [32-byte hash] chunk bytes [32-byte hash] …
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::{Input, Planned, RequestId, RunFailure};
use crate::proto::{Answer, ChunkRun, GetChunks, MAX_CONTROL_FRAME, Request, StreamCode, decode};
use crate::quic::Recv;
use crate::types::{Batch, ChunkHash, ChunkIndex, ChunkRange, ContentHash, DownloadId, DownloadPlan};
use crate::workers::{BufferPool, PooledBuf, Task, WriteBatch};

use super::frames::{FrameReader, Outgoing};
use super::io::{Io, Step, Wire, end_of_answer};
use super::request::fault_of;

/// One run that was asked for.
pub(super) struct Fetch {
    request: RequestId,
    outgoing: Outgoing,
    download: DownloadId,
    plan: Arc<DownloadPlan>,
    range: ChunkRange,
    /// The request named no content: each chunk must be followed by its hash.
    hashed: bool,
    reader: Reader,
}

enum Reader {
    Header(FrameReader),
    Body(Body),
    /// Everything landed; FIN must follow.
    Tail,
}

struct Body {
    /// Batches that have not begun to land.
    waiting: VecDeque<Batch>,
    current: Option<Filling>,
}

/// A batch that is landing.
struct Filling {
    batch: Batch,
    buf: PooledBuf,
    filled: usize,
    /// Only when hashes travel along.
    hashing: Option<HashCursor>,
}

/// Where in a batch with hashes the next byte belongs.
struct HashCursor {
    next: u32,
    /// Bytes of the current chunk that are still to come.
    chunk_left: usize,
    partial: [u8; 32],
    partial_len: usize,
    done: Vec<ChunkHash>,
}

/// A batch that has landed.
struct Landed {
    batch: Batch,
    buf: PooledBuf,
    /// The hashes that came along; `None` when the plan knows them.
    hashes: Option<Vec<ChunkHash>>,
}

/// Where the next bytes of the stream go.
enum Space<'a> {
    /// Straight into a landing buffer.
    Landing(&'a mut [u8]),
    /// Through the scratch buffer to [`Fetch::feed`], at most so many bytes.
    Scratch(usize),
}

impl Fetch {
    /// `content_known`: the request named it.
    pub(super) fn new(
        request: RequestId,
        outgoing: Outgoing,
        download: Planned,
        range: ChunkRange,
        content_known: bool,
    ) -> Self {
        let Planned { id: download, plan } = download;
        let reader = Reader::Header(FrameReader::new(MAX_CONTROL_FRAME));
        Self { request, outgoing, download, plan, range, hashed: !content_known, reader }
    }

    /// What is asked of the peer.
    pub(super) fn body(plan: &DownloadPlan, range: ChunkRange, content_hash: Option<ContentHash>) -> Request {
        Request::GetChunks(GetChunks {
            game_id: plan.game.clone(),
            manifest_hash: plan.manifest_hash,
            content_hash,
            first: range.first,
            count: range.count,
        })
    }

    /// Reads all there is.
    pub(super) fn readable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        loop {
            let (landed, len, fin) = match self.space(io.landing) {
                Err(failure) => return self.end(io, Err(failure)),
                Ok(Space::Landing(space)) => match io.wire.recv(space) {
                    Recv::Data { len, fin } => (Ok(self.landed(len)), len, fin),
                    other => return self.read_ended(io, other),
                },
                Ok(Space::Scratch(most)) => {
                    let most = most.min(io.scratch.len());
                    let space = &mut io.scratch[..most];
                    match io.wire.recv(space) {
                        Recv::Data { len: 0, fin } => (Ok(None), 0, fin),
                        Recv::Data { len, fin } => (self.feed(&space[..len]), len, fin),
                        other => return self.read_ended(io, other),
                    }
                }
            };
            if len > 0 {
                io.wait_for(io.config.timers.run_stall);
            }
            match landed {
                Err(failure) => return self.fail(io, failure),
                Ok(Some(landed)) => self.hand_on(io, landed),
                Ok(None) => {}
            }
            if fin {
                return match self.complete() {
                    Ok(()) => self.end(io, Ok(())),
                    Err(failure) => self.fail(io, failure),
                };
            }
        }
    }

    pub(super) fn writable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        // What becomes of it the run says, or the end of the connection.
        if io.pump(&mut self.outgoing).0.is_held_up() { Step::Again } else { Step::Wait }
    }

    pub(super) fn expired(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        self.end(io, Err(RunFailure::Timeout))
    }

    pub(super) fn lost(&self, inputs: &mut VecDeque<Input>) {
        inputs.push_back(Input::RunDone { request: self.request, result: Err(RunFailure::ConnectionLost) });
    }

    fn read_ended(&mut self, io: &mut Io<'_, impl Wire>, recv: Recv) -> Step {
        end_of_answer(recv).map_or(Step::Wait, |failure| self.end(io, Err(failure)))
    }

    /// A batch has landed: the engine hears so, and a worker gets it.
    fn hand_on(&self, io: &mut Io<'_, impl Wire>, landed: Landed) {
        let Landed { batch, buf, hashes } = landed;
        io.counters.landed(batch);
        io.inputs.push_back(Input::BatchLanded { request: self.request, range: batch.range });
        let token = self.request.0;
        io.tasks.push_back(Task::Write(WriteBatch { token, download: self.download, batch, buf, hashes }));
    }

    fn fail(&mut self, io: &mut Io<'_, impl Wire>, failure: RunFailure) -> Step {
        let result = Err(failure);
        let fault = fault_of(&result);
        let over = self.end(io, result);
        fault.map_or(over, Step::Fault)
    }

    fn end(&mut self, io: &mut Io<'_, impl Wire>, result: Result<(), RunFailure>) -> Step {
        if result.is_err() {
            io.wire.stop_sending(StreamCode::Cancelled);
        }
        if !self.outgoing.is_finished() {
            io.wire.reset(StreamCode::Cancelled);
        }
        io.inputs.push_back(Input::RunDone { request: self.request, result });
        Step::Over
    }

    /// Where to read to next. `Err`: no landing buffer, which the engine's reservation rules out.
    fn space(&mut self, pool: &BufferPool) -> Result<Space<'_>, RunFailure> {
        let plan = &self.plan;
        let body = match &mut self.reader {
            Reader::Header(frame) => return Ok(Space::Scratch(frame.wanted().max(1))),
            // One byte is enough to see that there is one too many.
            Reader::Tail => return Ok(Space::Scratch(1)),
            Reader::Body(body) => body,
        };
        if body.current.is_none() {
            let Some(&batch) = body.waiting.front() else { return Ok(Space::Scratch(1)) };
            let Some(buf) = pool.take() else {
                debug_assert!(false, "a run was requested without a reserved landing buffer");
                return Err(RunFailure::NoStream);
            };
            body.waiting.pop_front();
            let hashing = self.hashed.then(|| HashCursor {
                next: batch.range.first,
                chunk_left: chunk_len(plan, batch.range.first),
                partial: [0; 32],
                partial_len: 0,
                done: Vec::with_capacity(batch.range.count as usize),
            });
            body.current = Some(Filling { batch, buf, filled: 0, hashing });
        }
        let Some(filling) = &mut body.current else { return Ok(Space::Scratch(1)) };
        match &filling.hashing {
            Some(cursor) if cursor.chunk_left == 0 => Ok(Space::Scratch(32 - cursor.partial_len)),
            Some(cursor) => Ok(Space::Landing(&mut filling.buf[filling.filled..filling.filled + cursor.chunk_left])),
            None => Ok(Space::Landing(&mut filling.buf[filling.filled..filling.batch.bytes as usize])),
        }
    }

    /// `len` bytes were read into the landing space; returns the batch if they completed it.
    fn landed(&mut self, len: usize) -> Option<Landed> {
        let Reader::Body(body) = &mut self.reader else { return None };
        let filling = body.current.as_mut()?;
        filling.filled += len;
        match &mut filling.hashing {
            Some(cursor) => {
                cursor.chunk_left -= len;
                None
            }
            None => self.complete_batch(),
        }
    }

    /// Takes bytes that were read through the scratch buffer, at most as many as [`Space::Scratch`] said; returns the
    /// batch if they completed it.
    fn feed(&mut self, bytes: &[u8]) -> Result<Option<Landed>, RunFailure> {
        match &mut self.reader {
            Reader::Header(frame) => {
                frame.feed(bytes).map_err(|error| RunFailure::Malformed(error.to_string()))?;
                if frame.is_complete() {
                    let json = frame.take();
                    self.begin(&json)?;
                }
                Ok(None)
            }
            Reader::Tail => Err(RunFailure::Malformed("bytes after the last chunk of a run".into())),
            Reader::Body(body) => {
                let plan = &self.plan;
                let Some(filling) = &mut body.current else {
                    return Err(RunFailure::Malformed("bytes after the last chunk of a run".into()));
                };
                let Some(cursor) = &mut filling.hashing else { return Ok(None) };
                let end = (cursor.partial_len + bytes.len()).min(32);
                cursor.partial[cursor.partial_len..end].copy_from_slice(&bytes[..end - cursor.partial_len]);
                cursor.partial_len = end;
                if cursor.partial_len < 32 {
                    return Ok(None);
                }
                cursor.done.push(ChunkHash(cursor.partial));
                cursor.partial_len = 0;
                cursor.next += 1;
                if cursor.next < filling.batch.range.first + filling.batch.range.count {
                    cursor.chunk_left = chunk_len(plan, cursor.next);
                    return Ok(None);
                }
                Ok(self.complete_batch())
            }
        }
    }

    /// The stream ended. `Ok`: the run is complete.
    fn complete(&self) -> Result<(), RunFailure> {
        match &self.reader {
            Reader::Tail => Ok(()),
            _ => Err(RunFailure::Malformed("the stream ended in the middle of a run".into())),
        }
    }

    fn begin(&mut self, json: &[u8]) -> Result<(), RunFailure> {
        let header = match decode::<Answer>(json).map_err(|error| RunFailure::Malformed(error.to_string()))? {
            Answer::ChunkRun(header) => header,
            Answer::Error(error) => return Err(RunFailure::Refused(error)),
            other => return Err(RunFailure::Malformed(format!("GetChunks was answered by {}", answer_name(&other)))),
        };
        let expected = ChunkRun {
            first: self.range.first,
            count: self.range.count,
            bytes: self.plan.manifest.range_bytes(self.range),
            hashed: self.hashed,
        };
        if header != expected {
            return Err(RunFailure::Malformed(format!(
                "a run of {header:?} was sent where {expected:?} was asked for"
            )));
        }
        let waiting = self.plan.manifest.batches(self.range).collect();
        self.reader = Reader::Body(Body { waiting, current: None });
        Ok(())
    }

    fn complete_batch(&mut self) -> Option<Landed> {
        let Reader::Body(body) = &mut self.reader else { return None };
        let full = body.current.take_if(|filling| {
            filling.filled == filling.batch.bytes as usize
                && filling.hashing.as_ref().is_none_or(|cursor| cursor.done.len() == filling.batch.range.count as usize)
        })?;
        if body.waiting.is_empty() {
            self.reader = Reader::Tail;
        }
        Some(Landed { batch: full.batch, buf: full.buf, hashes: full.hashing.map(|cursor| cursor.done) })
    }
}

fn chunk_len(plan: &DownloadPlan, index: u32) -> usize {
    plan.manifest.chunk(ChunkIndex(index)).map_or(0, |chunk| chunk.len as usize)
}

/// The `type` of an answer, for messages.
fn answer_name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Proved { .. } => "Proved",
        Answer::HelloAck(_) => "HelloAck",
        Answer::Pong { .. } => "Pong",
        Answer::LibrarySnapshot { .. } => "LibrarySnapshot",
        Answer::LibraryDelta { .. } => "LibraryDelta",
        Answer::Manifest(_) => "Manifest",
        Answer::ChunkRun(_) => "ChunkRun",
        Answer::Error(_) => "Error",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::encode;
    use crate::types::{CHUNK_SIZE, FileEntry, Manifest, RelPath};

    /// A plan of two long files and many short ones, and every byte of a run of all of it.
    fn run(hashed: bool) -> (Arc<DownloadPlan>, ChunkRange, Vec<u8>) {
        let entry = |(path, size): (String, u64)| FileEntry { path: RelPath::parse(&path).unwrap(), size, exec: false };
        let mut files = vec![("a".to_owned(), CHUNK_SIZE + 17), ("z".to_owned(), 3000)];
        files.extend((0..300).map(|i| (format!("small/{i:03}"), i % 5)));
        let manifest = Manifest::new(files.into_iter().map(entry).collect()).unwrap();
        let range = ChunkRange { first: 0, count: manifest.chunk_count() };
        let header = ChunkRun { first: 0, count: range.count, bytes: manifest.bytes(), hashed };
        let mut bytes = encode(&Answer::ChunkRun(header), MAX_CONTROL_FRAME).unwrap();
        for index in range.iter() {
            let chunk = vec![index.0 as u8; manifest.chunk(index).unwrap().len as usize];
            bytes.extend_from_slice(&chunk);
            if hashed {
                bytes.extend_from_slice(&ChunkHash::of(&chunk).0);
            }
        }
        let plan =
            DownloadPlan { game: "doom".parse().unwrap(), manifest_hash: manifest.hash(), manifest, content: None };
        (Arc::new(plan), range, bytes)
    }

    /// One batch that landed: its chunks, their bytes, their hashes.
    type Got = (Batch, Vec<u8>, Option<Vec<ChunkHash>>);

    /// What comes of a stream of bytes that arrives in pieces of these lengths, over and over.
    fn fetch(
        plan: &Arc<DownloadPlan>,
        range: ChunkRange,
        hashed: bool,
        mut bytes: &[u8],
        pieces: &[usize],
    ) -> Result<Vec<Got>, RunFailure> {
        let pool = BufferPool::new(1, CHUNK_SIZE as usize);
        let download = Planned { id: DownloadId(1), plan: Arc::clone(plan) };
        let mut fetch = Fetch::new(RequestId(1), Outgoing::default(), download, range, !hashed);
        let mut got = Vec::new();
        let mut pieces = pieces.iter().copied().cycle();
        while !bytes.is_empty() {
            let mut piece;
            (piece, bytes) = bytes.split_at(pieces.next().unwrap_or(usize::MAX).min(bytes.len()));
            while !piece.is_empty() {
                let taken;
                let landed = match fetch.space(&pool)? {
                    Space::Landing(space) => {
                        taken = space.len().min(piece.len());
                        space[..taken].copy_from_slice(&piece[..taken]);
                        fetch.landed(taken)
                    }
                    Space::Scratch(most) => {
                        taken = most.min(piece.len());
                        fetch.feed(&piece[..taken])?
                    }
                };
                assert!(taken > 0, "there is room for what comes");
                piece = &piece[taken..];
                got.extend(landed.map(|l| (l.batch, l.buf[..l.batch.bytes as usize].to_vec(), l.hashes)));
            }
        }
        fetch.complete()?;
        Ok(got)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_run_is_the_same_however_it_is_cut(
            hashed: bool,
            pieces in prop::collection::vec(prop_oneof![1usize..50, 1000usize..100_000], 1..20),
        ) {
            let (plan, range, bytes) = run(hashed);
            let got = fetch(&plan, range, hashed, &bytes, &pieces).unwrap();
            prop_assert_eq!(&got, &fetch(&plan, range, hashed, &bytes, &[usize::MAX]).unwrap());
            let batches: Vec<Batch> = got.iter().map(|(batch, ..)| *batch).collect();
            prop_assert_eq!(batches, plan.manifest.batches(range).collect::<Vec<_>>());
            for (batch, bytes, hashes) in got {
                let mut rest = &bytes[..];
                for (at, index) in batch.range.iter().enumerate() {
                    let (chunk, tail) = rest.split_at(plan.manifest.chunk(index).unwrap().len as usize);
                    rest = tail;
                    prop_assert!(chunk.iter().all(|byte| *byte == index.0 as u8));
                    prop_assert_eq!(hashes.as_ref().map(|hashes| hashes[at]), hashed.then(|| ChunkHash::of(chunk)));
                }
            }
        }

        #[test]
        fn a_run_that_is_cut_short_or_goes_on_is_an_error(hashed: bool, cut in 0.0f64..1.0, extra in 1usize..100) {
            let (plan, range, bytes) = run(hashed);
            let at = (bytes.len() as f64 * cut) as usize;
            let short = fetch(&plan, range, hashed, &bytes[..at], &[70_000]);
            prop_assert!(matches!(short, Err(RunFailure::Malformed(_))), "{:?}", short.err());
            let long = fetch(&plan, range, hashed, &[&bytes[..], &vec![0; extra]].concat(), &[70_000]);
            prop_assert!(matches!(long, Err(RunFailure::Malformed(_))), "{:?}", long.err());
        }

        #[test]
        fn a_damaged_header_is_an_error_and_never_a_panic(hashed: bool, at in 0usize..80, flip in 1u8..) {
            let (plan, range, mut bytes) = run(hashed);
            let header = 4 + u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
            bytes[at % header] ^= flip;
            if let Ok(got) = fetch(&plan, range, hashed, &bytes, &[10_000]) {
                // What does not change the meaning is no damage: another spelling of the same JSON.
                prop_assert_eq!(got.len(), plan.manifest.batches(range).count());
            }
        }

        #[test]
        fn noise_is_never_a_run(noise in prop::collection::vec(any::<u8>(), 0..2000), pieces in 1usize..100) {
            let (plan, range, _) = run(false);
            prop_assert!(fetch(&plan, range, false, &noise, &[pieces]).is_err());
        }
    }
}
