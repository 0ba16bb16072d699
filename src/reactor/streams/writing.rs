//! What leaves on the streams, whatever it is: handed to the transport as fast as it takes it; and the answers.

use super::*;

impl Streams {
    /// Answers a request of a peer.
    pub(in crate::reactor) fn answer(&mut self, cx: &mut Shell<'_>, to: InboundId, body: &Answer) {
        let frame = encode(body, MAX_BULK_FRAME).unwrap_or_else(|error| {
            tracing::error!(%error, "an answer does not fit in a frame");
            error_frame(WireErrorCode::Internal, "the answer does not fit in a frame")
        });
        self.respond(cx, to, Outgoing::message(frame));
    }

    /// The transport may take more on this connection.
    pub(in crate::reactor) fn writable(&mut self, cx: &mut Shell<'_>, conn: Conn) {
        let Some(connection) = self.conns.get(&conn) else { return };
        let writing: Vec<u64> = connection.writing.iter().copied().collect();
        for number in writing {
            self.pump(cx, conn, number);
        }
        self.read_ahead(cx, conn);
    }

    pub(in crate::reactor) fn pump(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        let Some(stream) = connection.streams.get_mut(&number) else {
            connection.writing.remove(&number);
            return;
        };
        let outgoing = match &mut stream.kind {
            Kind::Asking(asking) => &mut asking.outgoing,
            Kind::Fetching { request, .. } => request,
            Kind::Telling(outgoing) | Kind::Inbound { state: Inbound::Answering(outgoing), .. } => outgoing,
            Kind::Inbound { state: Inbound::Sending(sending), .. } => &mut sending.outgoing,
            Kind::Hearing(_) | Kind::Inbound { .. } => {
                connection.writing.remove(&number);
                return;
            }
        };
        let (pumped, taken) = outgoing.pump(cx.endpoint, conn, number, self.upload.available(cx.now));
        self.upload.spend(taken.of_game);
        self.throttled |= pumped == Pumped::Throttled;
        if !matches!(pumped, Pumped::Blocked | Pumped::Throttled) {
            connection.writing.remove(&number);
        }
        if let Kind::Inbound { state, .. } = &mut stream.kind {
            // Nor is the peer to blame when this side holds it back.
            if taken.bytes > 0 || pumped == Pumped::Throttled {
                stream.deadline = Some(cx.now + cx.config.timers.run_stall);
            }
            if let Inbound::Sending(sending) = state {
                sending.sent += taken.of_game;
                self.counters.sent += taken.of_game;
                connection.moved_bytes += taken.bytes;
                if connection.moved_bytes >= PROGRESS_BYTES || pumped == Pumped::Throttled {
                    connection.moved_bytes = 0;
                    connection.moved_at = cx.now;
                }
            }
        }
        match (pumped, &stream.kind) {
            (Pumped::Finished, Kind::Telling(_)) => self.forget(conn, number),
            (Pumped::Finished, Kind::Inbound { state, fin }) => {
                let fin = *fin;
                if let Inbound::Sending(sending) = state {
                    let to = InboundId { conn: conn_id(conn), stream: number };
                    cx.inputs.push_back(Input::SendDone { to, bytes: sending.sent, changed: false });
                }
                if !fin {
                    // The whole request was read; whether its FIN comes no longer matters.
                    cx.endpoint.stop_sending(conn, number, StreamCode::Cancelled.number());
                }
                self.forget(conn, number);
            }
            (Pumped::Gone, Kind::Telling(_)) => self.forget(conn, number),
            (Pumped::Gone, Kind::Inbound { .. }) => self.stopped(cx, conn, number),
            // The answer, or the end of the connection, says the rest.
            _ => {}
        }
    }

    /// The peer no longer wants what this side sends on a stream.
    pub(in crate::reactor) fn stopped(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64) {
        match self.kind(conn, number) {
            Some(Kind::Telling(_)) => self.forget(conn, number),
            Some(Kind::Inbound { state, .. }) => match state {
                Inbound::Waiting(Some(_)) | Inbound::Sending(_) => {
                    self.stop_send(cx, conn, number, StreamCode::Cancelled, false);
                }
                Inbound::Waiting(None) => {
                    let from = InboundId { conn: conn_id(conn), stream: number };
                    cx.endpoint.reset(conn, number, StreamCode::Cancelled.number());
                    self.forget(conn, number);
                    cx.inputs.push_back(Input::RequestGone { from });
                }
                Inbound::Reading(_) | Inbound::Answering(_) => {
                    cx.endpoint.reset(conn, number, StreamCode::Cancelled.number());
                    cx.endpoint.stop_sending(conn, number, StreamCode::Cancelled.number());
                    self.forget(conn, number);
                }
                Inbound::Stopping { .. } => {}
            },
            _ => {}
        }
    }

    pub(super) fn respond(&mut self, cx: &mut Shell<'_>, to: InboundId, mut outgoing: Outgoing) {
        let (conn, number) = (conn_of(to.conn), to.stream);
        let len = outgoing.bytes_left();
        if len > LONG_ANSWER && !self.has_room_for_answer(cx.config.limits.frame_bytes, conn, len) {
            outgoing = Outgoing::message(error_frame(WireErrorCode::Busy, "too many answers wait to be read"));
        }
        let patience = cx.now + cx.config.timers.run_stall;
        let Some(stream) = self.stream(conn, number) else { return };
        let Kind::Inbound { state, .. } = &mut stream.kind else { return };
        *state = Inbound::Answering(outgoing);
        stream.deadline = Some(patience);
        self.arm(patience, conn, number);
        self.mark_writing(conn, number);
        self.pump(cx, conn, number);
    }

    /// Whether a long answer may join those that wait for their peers to take them. Answers lie in memory as a whole, so
    /// that peers who ask and do not read must be bounded: all of them together, and one of them to a quarter.
    fn has_room_for_answer(&self, limit: usize, conn: Conn, len: usize) -> bool {
        let waiting = |connection: &Connection| -> usize {
            let left = |stream: &Stream| match &stream.kind {
                Kind::Inbound { state: Inbound::Answering(outgoing), .. } => outgoing.bytes_left(),
                _ => 0,
            };
            connection.streams.values().map(left).sum()
        };
        let own = self.conns.get(&conn).map_or(0, waiting);
        let all: usize = self.conns.values().map(waiting).sum();
        (own == 0 || own + len <= limit / 4) && (all == 0 || all + len <= limit)
    }
}
