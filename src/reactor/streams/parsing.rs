//! Long frames, which a worker parses.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::{Input, RequestId, RunFailure};
use crate::proto::{Notification, Parsed};
use crate::quic::ConnHandle as Conn;
use crate::workers::{Compute, Task};

use super::notice;
use super::request::{Answered, parse_answer};

/// Frames over this are parsed by a worker.
pub(super) const PARSE_HERE: usize = 64 << 10;

/// A long frame, and what came behind it.
pub(super) enum Unparsed {
    Notification(Vec<u8>),
    Answer { request: RequestId, json: Vec<u8>, tail: Vec<u8> },
}

/// A frame that a worker has parsed.
pub(in crate::reactor) struct ParsedElsewhere {
    pub(super) conn: Conn,
    /// Bytes of the frame and of what followed it.
    pub(super) bytes: usize,
    pub(super) message: Message,
}

/// What a long frame held.
pub(super) enum Message {
    Notification(Result<Parsed<Notification>, String>),
    Answer { request: RequestId, result: Answered },
}

impl Unparsed {
    fn parse(self) -> Message {
        match self {
            Self::Notification(json) => Message::Notification(notice::parse(&json)),
            Self::Answer { request, json, tail } => Message::Answer { request, result: parse_answer(&json, &tail) },
        }
    }
}

/// What the workers are parsing.
#[derive(Default)]
pub(super) struct Parsing {
    /// Requests whose answer is with a worker.
    answers: BTreeMap<RequestId, Conn>,
    /// Bytes of frames that are with a worker, also of connections that are gone.
    bytes: usize,
}

impl Parsing {
    /// The task for a frame of so many bytes.
    pub(super) fn begin(&mut self, conn: Conn, bytes: usize, unparsed: Unparsed) -> Task<ParsedElsewhere> {
        self.bytes += bytes;
        if let Unparsed::Answer { request, .. } = &unparsed {
            self.answers.insert(*request, conn);
        }
        Task::Compute(Compute::new(move || ParsedElsewhere { conn, bytes, message: unparsed.parse() }))
    }

    /// A frame of so many bytes came back.
    pub(super) fn done(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nobody waits for the answer any more; whether somebody did.
    pub(super) fn remove(&mut self, request: RequestId) -> bool {
        self.answers.remove(&request).is_some()
    }

    /// A connection is gone.
    pub(super) fn lost(&mut self, conn: Conn, inputs: &mut VecDeque<Input>) {
        self.answers.retain(|&request, of| {
            if *of == conn {
                inputs.push_back(Input::Answered { request, result: Err(RunFailure::ConnectionLost) });
            }
            *of != conn
        });
    }
}
