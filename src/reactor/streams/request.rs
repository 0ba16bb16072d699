//! A request of this side, and its answer.
//!
//! ```text
//! request ► ◄ answer frame [raw hashes] FIN    ► Input::Answered
//! ```

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::config::Timers;
use crate::engine::{Input, RequestId, RunFailure};
use crate::proto::{self, Answer, MAX_BULK_FRAME, MAX_CONTROL_FRAME, StreamCode, decode};
use crate::quic::{ConnHandle as Conn, Recv};
use crate::types::ChunkHash;

use super::frames::{FrameReader, Outgoing};
use super::io::{Fault, Io, Step, Wire, end_of_answer};
use super::parsing::{PARSE_HERE, Unparsed};

/// Raw bytes of chunk hashes behind one manifest: a game of 1 TiB.
const MAX_HASH_BYTES: usize = 32 << 20;

/// An answer and the chunk hashes behind it, or why there is none.
pub(super) type Answered = Result<(Answer, Vec<ChunkHash>), RunFailure>;

/// A request that waits for its answer.
pub(super) struct Request {
    id: RequestId,
    outgoing: Outgoing,
    frame: FrameReader,
    /// Bytes after the frame; only a manifest has them.
    tail: Vec<u8>,
    tail_limit: usize,
}

impl Request {
    pub(super) fn new(id: RequestId, body: &proto::Request, outgoing: Outgoing) -> Self {
        Self {
            id,
            outgoing,
            frame: FrameReader::new(if is_long(body) { MAX_BULK_FRAME } else { MAX_CONTROL_FRAME }),
            tail: Vec::new(),
            tail_limit: if matches!(body, proto::Request::GetManifest { .. }) { MAX_HASH_BYTES } else { 0 },
        }
    }

    pub(super) fn readable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        let (len, fin) = match io.wire.recv(io.scratch) {
            Recv::Data { len, fin } => (len, fin),
            other => return end_of_answer(other).map_or(Step::Wait, |failure| self.end(io, Err(failure))),
        };
        let stored = self.store(&io.scratch[..len]);
        *io.held = self.frame.buffered() + self.tail.len();
        match stored {
            Err(fault) => self.fault(io, fault),
            Ok(()) if !fin => Step::Again,
            Ok(()) if !self.frame.is_complete() => self.fault(io, Fault::cut_short()),
            Ok(()) => self.complete(io),
        }
    }

    pub(super) fn writable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        // What becomes of it the answer says, or the end of the connection.
        if io.pump(&mut self.outgoing).0.is_held_up() { Step::Again } else { Step::Wait }
    }

    pub(super) fn expired(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        io.wire.stop_sending(StreamCode::Cancelled);
        self.end(io, Err(RunFailure::Timeout))
    }

    pub(super) fn lost(&self, inputs: &mut VecDeque<Input>) {
        inputs.push_back(Input::Answered { request: self.id, result: Err(RunFailure::ConnectionLost) });
    }

    fn store(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let taken = self.frame.feed(bytes)?;
        let rest = &bytes[taken..];
        if rest.len() > self.tail_limit - self.tail.len() {
            return Err(Fault::too_long());
        }
        self.tail.extend_from_slice(rest);
        Ok(())
    }

    /// The whole answer is here.
    fn complete(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        let (json, tail) = (self.frame.take(), std::mem::take(&mut self.tail));
        if json.len() + tail.len() > PARSE_HERE {
            return Step::Parse(Unparsed::Answer { request: self.id, json, tail });
        }
        let result = parse_answer(&json, &tail);
        let fault = fault_of(&result);
        let over = self.end(io, result);
        fault.map_or(over, Step::Fault)
    }

    /// Whoever waits hears of what the peer did wrong.
    fn fault(&mut self, io: &mut Io<'_, impl Wire>, fault: Fault) -> Step {
        self.end(io, Err(RunFailure::Malformed(fault.what.clone())));
        Step::Fault(fault)
    }

    fn end(&mut self, io: &mut Io<'_, impl Wire>, result: Answered) -> Step {
        if !self.outgoing.is_finished() {
            // Answered, or given up, before the request was out: the stream would stay open for ever.
            io.wire.reset(StreamCode::Cancelled);
        }
        // Few things are answered that way, pings among them: so the round trip is kept up to date without a timer.
        if let Some(least) = io.wire.least_round_trip() {
            io.inputs.push_back(Input::RoundTrip { conn: io.id.conn, least });
        }
        io.inputs.push_back(Input::Answered { request: self.id, result });
        Step::Over
    }
}

/// The rule that a peer broke with its answer.
pub(super) fn fault_of<T>(result: &Result<T, RunFailure>) -> Option<Fault> {
    match result {
        Err(RunFailure::Malformed(what)) => Some(Fault::malformed(what.clone())),
        _ => None,
    }
}

/// How long an answer is waited for.
pub(super) fn patience(body: &proto::Request, timers: &Timers) -> Duration {
    // Whole libraries and manifests may have to be read from a slow disk first.
    timers.request_timeout * if is_long(body) { 3 } else { 1 }
}

/// Whether the answer may be a long one.
fn is_long(body: &proto::Request) -> bool {
    use proto::Request::{GetLibrary, GetLibraryDelta, GetManifest};
    matches!(body, GetLibrary { .. } | GetLibraryDelta { .. } | GetManifest { .. })
}

/// Decodes an answer and the raw chunk hashes behind it.
pub(super) fn parse_answer(json: &[u8], tail: &[u8]) -> Answered {
    let answer: Answer = decode(json).map_err(|error| RunFailure::Malformed(error.to_string()))?;
    let expected = match &answer {
        Answer::Manifest(manifest) if manifest.content_hash.is_some() => manifest.chunk_count as usize * 32,
        _ => 0,
    };
    if tail.len() != expected {
        return Err(RunFailure::Malformed(format!("{} bytes of chunk hashes where {expected} belong", tail.len())));
    }
    Ok((answer, tail.as_chunks().0.iter().copied().map(ChunkHash).collect()))
}

/// On which streams the requests of this side are under way.
#[derive(Default)]
pub(super) struct Requests {
    places: HashMap<RequestId, Place>,
    runs: usize,
}

/// Where a request is under way.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) conn: Conn,
    pub(super) number: u64,
    /// A run of chunks was asked for.
    is_run: bool,
}

impl Requests {
    pub(super) fn add(&mut self, request: RequestId, conn: Conn, number: u64, is_run: bool) {
        self.places.insert(request, Place { conn, number, is_run });
        self.runs += usize::from(is_run);
    }

    /// It is over.
    pub(super) fn remove(&mut self, request: RequestId) -> Option<Place> {
        let place = self.places.remove(&request)?;
        self.runs -= usize::from(place.is_run);
        Some(place)
    }

    pub(super) fn is_run(&self, request: RequestId) -> bool {
        self.places.get(&request).is_some_and(|place| place.is_run)
    }

    /// Runs that are under way.
    pub(super) fn runs(&self) -> usize {
        self.runs
    }
}
