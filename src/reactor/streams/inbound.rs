//! What arrives on the streams.

use super::*;

impl Streams {
    /// A stream has data, FIN or a reset to read.
    pub(in crate::reactor) fn readable(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH];
        }
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        if !connection.streams.contains_key(&number) {
            if !connection.is_new(number) {
                // Over on this side: what the peer still says on it is of no interest.
                cx.endpoint.stop_sending(conn, number, StreamCode::Cancelled.number());
                return;
            }
            let deadline = cx.now + cx.config.timers.request_timeout;
            let kind = if number & 2 == 2 {
                Kind::Hearing(FrameReader::new(MAX_BULK_FRAME))
            } else {
                Kind::Inbound { state: Inbound::Reading(FrameReader::new(MAX_CONTROL_FRAME)), fin: false }
            };
            connection.streams.insert(number, Stream { kind, deadline: Some(deadline) });
            self.arm(deadline, conn, number);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        while self.read_once(cx, conn, number, &mut scratch) {}
        self.scratch = scratch;
    }

    /// Reads once; returns whether there may be more.
    fn read_once(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64, scratch: &mut [u8]) -> bool {
        let Some(connection) = self.conns.get_mut(&conn) else { return false };
        let Some(stream) = connection.streams.get_mut(&number) else { return false };
        if let Kind::Fetching { fetching, .. } = &mut stream.kind {
            let read = match fetching.space(cx.landing_pool) {
                Err(failure) => {
                    self.end_fetch(cx, conn, number, Err(failure));
                    return false;
                }
                Ok(Space::Landing(space)) => match cx.endpoint.recv(conn, number, space) {
                    Recv::Data { len, fin } => (Ok(fetching.landed(len)), len, fin),
                    other => return self.read_ended(cx, conn, number, other),
                },
                Ok(Space::Scratch(most)) => {
                    let space = &mut scratch[..most.min(SCRATCH)];
                    match cx.endpoint.recv(conn, number, space) {
                        Recv::Data { len: 0, fin } => (Ok(None), 0, fin),
                        Recv::Data { len, fin } => (fetching.feed(&space[..len]), len, fin),
                        other => return self.read_ended(cx, conn, number, other),
                    }
                }
            };
            let (landed, len, fin) = read;
            if len > 0 {
                stream.deadline = Some(cx.now + cx.config.timers.run_stall);
            }
            return self.fetched(cx, conn, number, landed, fin);
        }
        match cx.endpoint.recv(conn, number, scratch) {
            Recv::Data { len, fin } => self.received(cx, conn, number, &scratch[..len], fin),
            other => self.read_ended(cx, conn, number, other),
        }
    }

    /// Bytes of a run arrived; returns whether to read on.
    fn fetched(
        &mut self,
        cx: &mut Shell<'_>,
        conn: Conn,
        number: u64,
        landed: Result<Option<Landed>, RunFailure>,
        fin: bool,
    ) -> bool {
        let Some(Kind::Fetching { fetching, .. }) = self.kind(conn, number) else { return false };
        match landed {
            Err(RunFailure::Malformed(what)) => {
                self.malformed(cx, conn, number, &what);
                false
            }
            Err(failure) => {
                self.end_fetch(cx, conn, number, Err(failure));
                false
            }
            Ok(landed) => {
                if let Some(landed) = landed {
                    let (request, download) = (fetching.request, fetching.download);
                    self.counters.landed(landed.batch);
                    cx.inputs.push_back(Input::BatchLanded { request, range: landed.batch.range });
                    cx.tasks.push_back(Task::Write(WriteBatch {
                        token: request.0,
                        download,
                        batch: landed.batch,
                        buf: landed.buf,
                        hashes: landed.hashes,
                    }));
                }
                if !fin {
                    return true;
                }
                let Some(Kind::Fetching { fetching, .. }) = self.kind(conn, number) else { return false };
                match fetching.end() {
                    Ok(()) => self.end_fetch(cx, conn, number, Ok(())),
                    Err(RunFailure::Malformed(what)) => self.malformed(cx, conn, number, &what),
                    Err(failure) => self.end_fetch(cx, conn, number, Err(failure)),
                }
                false
            }
        }
    }

    pub(in crate::reactor) fn end_fetch(
        &mut self,
        cx: &mut Shell<'_>,
        conn: Conn,
        number: u64,
        result: Result<(), RunFailure>,
    ) {
        let Some(Kind::Fetching { request: outgoing, fetching }) = self.kind(conn, number) else { return };
        let (request, sent) = (fetching.request, outgoing.is_finished());
        if result.is_err() {
            cx.endpoint.stop_sending(conn, number, StreamCode::Cancelled.number());
        }
        if !sent {
            cx.endpoint.reset(conn, number, StreamCode::Cancelled.number());
        }
        self.requests.remove(&request);
        self.forget(conn, number);
        cx.inputs.push_back(Input::RunDone { request, result });
    }

    /// Nothing more can be read now, or ever; returns `false`.
    pub(in crate::reactor) fn read_ended(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64, recv: Recv) -> bool {
        let failure = match recv {
            Recv::Blocked | Recv::Data { .. } => return false,
            Recv::Reset(code) => RunFailure::Reset(code),
            Recv::Gone => RunFailure::ConnectionLost,
        };
        match self.kind(conn, number) {
            Some(Kind::Fetching { .. }) => self.end_fetch(cx, conn, number, Err(failure)),
            Some(Kind::Asking(_)) => self.end_ask(cx, conn, number, Err(failure)),
            Some(Kind::Hearing(_)) => self.forget(conn, number),
            // The peer gave up its request, or (after its FIN) there is just nothing to read.
            Some(Kind::Inbound { state, fin }) if !*fin => match state {
                Inbound::Reading(_) | Inbound::Answering(_) | Inbound::Stopping { .. } => {
                    if !matches!(state, Inbound::Stopping { .. }) {
                        cx.endpoint.reset(conn, number, StreamCode::Cancelled.number());
                        self.forget(conn, number);
                    }
                }
                Inbound::Waiting(None) => {
                    let from = InboundId { conn: conn_id(conn), stream: number };
                    cx.endpoint.reset(conn, number, StreamCode::Cancelled.number());
                    self.forget(conn, number);
                    cx.inputs.push_back(Input::RequestGone { from });
                }
                Inbound::Waiting(Some(_)) | Inbound::Sending(_) => {
                    self.stop_send(cx, conn, number, StreamCode::Cancelled, false);
                }
            },
            _ => {}
        }
        false
    }

    /// Control bytes arrived; returns whether to read on.
    fn received(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64, bytes: &[u8], fin: bool) -> bool {
        let before = self.frame_bytes;
        if let Err((code, what)) = self.take_bytes(conn, number, bytes) {
            self.stream_fault(cx, conn, number, code, &what);
            return false;
        }
        if self.frame_bytes > before && self.frame_bytes > cx.config.limits.frame_bytes {
            self.relieve(cx);
        }
        let complete = match self.kind(conn, number) {
            Some(Kind::Inbound { state: Inbound::Reading(frame), .. }) => frame.is_complete(),
            _ => fin,
        };
        if let Some(Kind::Inbound { fin: ended, .. }) = self.kind(conn, number) {
            *ended |= fin;
        }
        if complete {
            self.message_complete(cx, conn, number);
        } else if fin {
            self.malformed(cx, conn, number, "a stream ended in the middle of a frame");
            return false;
        }
        !fin
    }

    /// Too much is held: the connection that holds most of it goes, whoever brought the last byte.
    fn relieve(&mut self, cx: &mut Shell<'_>) {
        let most = self.conns.iter().max_by_key(|(conn, connection)| (connection.frame_bytes, **conn));
        if let Some((&conn, connection)) = most {
            tracing::warn!(of_all = self.frame_bytes, of_connection = connection.frame_bytes, "too much is unfinished");
            self.protocol_fault(cx, conn, CloseCode::Overload, "too many incomplete frames");
        }
    }

    /// Stores control bytes where they belong.
    fn take_bytes(&mut self, conn: Conn, number: u64, bytes: &[u8]) -> Result<(), (CloseCode, String)> {
        let Some(kind) = self.kind(conn, number) else { return Ok(()) };
        let before = kind.buffered();
        let result = kind.take_bytes(bytes);
        // Also of what was refused some may have been stored.
        let stored = kind.buffered() - before;
        self.hold(conn, stored);
        result
    }

    /// A whole message is here: hand it on.
    fn message_complete(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        let Some(stream) = connection.streams.get_mut(&number) else { return };
        let len = stream.kind.buffered();
        match &mut stream.kind {
            Kind::Inbound { state, .. } => {
                let Inbound::Reading(frame) = state else { return };
                let json = frame.take();
                *state = Inbound::Waiting(None);
                stream.deadline = None;
                self.release(conn, json.len());
                let from = InboundId { conn: conn_id(conn), stream: number };
                match parse_request(&json) {
                    Ok(Parsed::Known(request)) => cx.inputs.push_back(Input::Request { from, request }),
                    Ok(Parsed::Unknown(name)) => cx.inputs.push_back(Input::UnknownRequest { from, name }),
                    Err(error) => self.malformed(cx, conn, number, &error.to_string()),
                }
            }
            Kind::Hearing(frame) => {
                if !frame.is_complete() {
                    self.malformed(cx, conn, number, "a stream ended in the middle of a frame");
                    return;
                }
                let json = frame.take();
                self.forget(conn, number);
                let parse = move || parse_notification(&json).map_err(|error| error.to_string());
                if len <= PARSE_HERE {
                    self.release(conn, len);
                    self.heard(cx, conn, parse());
                } else {
                    self.parse_elsewhere(cx, conn, len, move || Message::Notification(parse()));
                }
            }
            Kind::Asking(asking) => {
                if !asking.frame.is_complete() {
                    self.malformed(cx, conn, number, "a stream ended in the middle of a frame");
                    return;
                }
                let json = asking.frame.take();
                let tail = std::mem::take(&mut asking.tail);
                let request = asking.request;
                if len <= PARSE_HERE {
                    self.release(conn, len);
                    match parse_answer(&json, &tail) {
                        Err(RunFailure::Malformed(what)) => self.malformed(cx, conn, number, &what),
                        result => self.end_ask(cx, conn, number, result),
                    }
                } else {
                    self.requests.remove(&request);
                    self.forget(conn, number);
                    self.parsing.insert(request, conn);
                    self.parse_elsewhere(cx, conn, len, move || {
                        let result = parse_answer(&json, &tail);
                        Message::Answer { request, result }
                    });
                }
            }
            Kind::Telling(_) | Kind::Fetching { .. } => {}
        }
    }

    pub(in crate::reactor) fn heard(
        &mut self,
        cx: &mut Shell<'_>,
        conn: Conn,
        result: Result<Parsed<Notification>, String>,
    ) {
        match result {
            Ok(Parsed::Known(notification)) => {
                cx.inputs.push_back(Input::Notification { conn: conn_id(conn), notification });
            }
            Ok(Parsed::Unknown(name)) => tracing::debug!(name, "unknown notification ignored"),
            Err(what) => self.protocol_fault(cx, conn, CloseCode::Malformed, &what),
        }
    }

    /// Lets a worker parse a frame of `bytes` bytes, which count as held until it is done.
    fn parse_elsewhere(
        &mut self,
        cx: &mut Shell<'_>,
        conn: Conn,
        bytes: usize,
        parse: impl FnOnce() -> Message + Send + 'static,
    ) {
        self.parsing_bytes += bytes;
        cx.tasks.push_back(Task::Compute(Compute::new(move || ParsedElsewhere { conn, bytes, message: parse() })));
        // Bytes of connections that are gone meanwhile count as well: they lie there until a worker has been at them.
        if self.parsing_bytes > cx.config.limits.frame_bytes {
            self.protocol_fault(cx, conn, CloseCode::Overload, "long messages come faster than they can be read");
        }
    }

    pub(in crate::reactor) fn end_ask(
        &mut self,
        cx: &mut Shell<'_>,
        conn: Conn,
        number: u64,
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    ) {
        let Some(Kind::Asking(asking)) = self.kind(conn, number) else { return };
        let (request, sent) = (asking.request, asking.outgoing.is_finished());
        if !sent {
            // Answered, or given up, before the request was out: the stream would stay open for ever.
            cx.endpoint.reset(conn, number, StreamCode::Cancelled.number());
        }
        self.requests.remove(&request);
        self.forget(conn, number);
        // Few things are answered that way, pings among them: so the round trip is kept up to date without a timer.
        cx.tell_round_trip(conn);
        cx.inputs.push_back(Input::Answered { request, result });
    }
}

impl Kind {
    /// Stores control bytes.
    fn take_bytes(&mut self, bytes: &[u8]) -> Result<(), (CloseCode, String)> {
        let frame_error = |error: FrameError| match error {
            FrameError::TooLarge { .. } => (CloseCode::FrameTooLarge, error.to_string()),
            FrameError::Malformed(_) => (CloseCode::Malformed, error.to_string()),
        };
        let rest = match self {
            Self::Inbound { state: Inbound::Reading(frame), .. } | Self::Hearing(frame) => {
                let taken = frame.feed(bytes).map_err(frame_error)?;
                &bytes[taken..]
            }
            Self::Asking(asking) => {
                let taken = asking.frame.feed(bytes).map_err(frame_error)?;
                let tail = &bytes[taken..];
                match tail.len() <= asking.tail_limit - asking.tail.len() {
                    true => {
                        asking.tail.extend_from_slice(tail);
                        &[]
                    }
                    false => tail,
                }
            }
            Self::Inbound { .. } | Self::Telling(_) | Self::Fetching { .. } => bytes,
        };
        match rest {
            [] => Ok(()),
            _ => Err((CloseCode::Malformed, "bytes after the end of a message".to_owned())),
        }
    }
}

/// Decodes an answer and the raw chunk hashes behind it.
fn parse_answer(json: &[u8], tail: &[u8]) -> Result<(Answer, Vec<ChunkHash>), RunFailure> {
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
