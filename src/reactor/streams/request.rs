//! What this side asks and tells: requests, runs of chunks, notifications, on streams of its own.

use super::*;

impl Streams {
    /// Sends a request.
    pub(in crate::reactor) fn ask(&mut self, cx: &mut Shell<'_>, request: RequestId, conn: ConnId, body: &Request) {
        let bulk =
            matches!(body, Request::GetLibrary { .. } | Request::GetLibraryDelta { .. } | Request::GetManifest { .. });
        // Whole libraries and manifests may have to be read from a slow disk first.
        let patience = cx.config.timers.request_timeout * if bulk { 3 } else { 1 };
        let opened = self.open(cx, conn, body);
        let (number, outgoing) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                cx.inputs.push_back(Input::Answered { request, result: Err(failure) });
                return;
            }
        };
        let asking = Asking {
            request,
            outgoing,
            frame: FrameReader::new(if bulk { MAX_BULK_FRAME } else { MAX_CONTROL_FRAME }),
            tail: Vec::new(),
            tail_limit: if matches!(body, Request::GetManifest { .. }) { MAX_HASH_BYTES } else { 0 },
        };
        self.start(cx, conn_of(conn), number, Kind::Asking(Box::new(asking)), patience);
        self.requests.insert(request, (conn_of(conn), number));
    }

    /// Asks for a run of chunks.
    pub(in crate::reactor) fn fetch(
        &mut self,
        cx: &mut Shell<'_>,
        request: RequestId,
        conn: ConnId,
        download: Planned,
        content_hash: Option<ContentHash>,
        range: ChunkRange,
    ) {
        let Planned { id, plan } = download;
        let body = Request::GetChunks(GetChunks {
            game_id: plan.game.clone(),
            manifest_hash: plan.manifest_hash,
            content_hash,
            first: range.first,
            count: range.count,
        });
        match self.open(cx, conn, &body) {
            Ok((number, outgoing)) => {
                let fetching = Fetching::new(request, id, plan, range, content_hash.is_some());
                let kind = Kind::Fetching { request: outgoing, fetching: Box::new(fetching) };
                self.start(cx, conn_of(conn), number, kind, cx.config.timers.run_stall);
                self.requests.insert(request, (conn_of(conn), number));
            }
            Err(failure) => cx.inputs.push_back(Input::RunDone { request, result: Err(failure) }),
        }
    }

    /// Gives up an `ask` or `fetch`.
    pub(in crate::reactor) fn cancel(&mut self, cx: &mut Shell<'_>, request: RequestId) {
        self.parsing.remove(&request);
        let Some((conn, number)) = self.requests.remove(&request) else { return };
        cx.endpoint.stop_sending(conn, number, StreamCode::Cancelled.number());
        cx.endpoint.reset(conn, number, StreamCode::Cancelled.number());
        self.forget(conn, number);
    }

    /// Sends a notification; silently dropped when the connection cannot take it.
    pub(in crate::reactor) fn notify(&mut self, cx: &mut Shell<'_>, conn: ConnId, body: &Notification) {
        let frame = match encode(body, MAX_BULK_FRAME) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%error, "a notification does not fit in a frame");
                return;
            }
        };
        let conn = conn_of(conn);
        if !self.conns.contains_key(&conn) {
            return;
        }
        let Some(number) = cx.endpoint.open_uni(conn) else {
            tracing::debug!(?conn, "no stream for a notification");
            return;
        };
        let patience = cx.config.timers.request_timeout;
        self.start(cx, conn, number, Kind::Telling(Outgoing::message(frame)), patience);
    }

    pub(super) fn open(
        &mut self,
        cx: &mut Shell<'_>,
        conn: ConnId,
        body: &Request,
    ) -> Result<(u64, Outgoing), RunFailure> {
        let conn = conn_of(conn);
        if !self.conns.contains_key(&conn) {
            return Err(RunFailure::ConnectionLost);
        }
        let frame = encode(body, MAX_CONTROL_FRAME).map_err(|error| RunFailure::Malformed(error.to_string()))?;
        let number = cx.endpoint.open_bi(conn).ok_or(RunFailure::NoStream)?;
        Ok((number, Outgoing::message(frame)))
    }

    pub(super) fn start(&mut self, cx: &mut Shell<'_>, conn: Conn, number: u64, kind: Kind, patience: Duration) {
        let deadline = cx.now + patience;
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        self.counters.fetching += usize::from(matches!(kind, Kind::Fetching { .. }));
        connection.streams.insert(number, Stream { kind, deadline: Some(deadline) });
        self.arm(deadline, conn, number);
        self.mark_writing(conn, number);
        self.pump(cx, conn, number);
    }
}
