//! What this side asks and tells: requests, runs of chunks, notifications, on streams of its own.

use std::time::Duration;

use crate::engine::{ConnId, Input, Planned, RequestId, RunFailure};
use crate::proto::{MAX_CONTROL_FRAME, Notification, Request, StreamCode, encode};
use crate::quic::ConnHandle as Conn;
use crate::types::{ChunkRange, ContentHash};

use super::fetch::Fetch;
use super::frames::Outgoing;
use super::notice::Telling;
use super::request::{self, Place, patience};
use super::stream::{Kind, Stream};
use super::{Shell, Streams, conn_of};

impl Streams {
    /// Sends a request.
    pub(in crate::reactor) fn ask(&mut self, cx: &mut Shell<'_>, request: RequestId, conn: ConnId, body: &Request) {
        match self.open(cx, conn, body) {
            Ok((number, outgoing)) => {
                let kind = Kind::Request(Box::new(request::Request::new(request, body, outgoing)));
                self.requests.add(request, conn_of(conn), number, false);
                let patience = patience(body, &cx.config.timers);
                self.start(cx, conn_of(conn), number, kind, Some(request), patience);
            }
            Err(failure) => cx.inputs.push_back(Input::Answered { request, result: Err(failure) }),
        }
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
        match self.open(cx, conn, &Fetch::body(&download.plan, range, content_hash)) {
            Ok((number, outgoing)) => {
                let fetch = Fetch::new(request, outgoing, download, range, content_hash.is_some());
                self.requests.add(request, conn_of(conn), number, true);
                let patience = cx.config.timers.run_stall;
                self.start(cx, conn_of(conn), number, Kind::Fetch(Box::new(fetch)), Some(request), patience);
            }
            Err(failure) => cx.inputs.push_back(Input::RunDone { request, result: Err(failure) }),
        }
    }

    /// Gives up an `ask` or `fetch`.
    pub(in crate::reactor) fn cancel(&mut self, cx: &mut Shell<'_>, request: RequestId) {
        self.parsing.remove(request);
        let Some(Place { conn, number, .. }) = self.requests.remove(request) else { return };
        cx.endpoint.stop_sending(conn, number, StreamCode::Cancelled.number());
        cx.endpoint.reset(conn, number, StreamCode::Cancelled.number());
        self.forget(conn, number);
    }

    /// Sends a notification; silently dropped when the connection cannot take it.
    pub(in crate::reactor) fn notify(&mut self, cx: &mut Shell<'_>, conn: ConnId, body: &Notification) {
        let conn = conn_of(conn);
        let Some(telling) = Telling::new(body).filter(|_| self.conns.contains_key(&conn)) else { return };
        let Some(number) = cx.endpoint.open_uni(conn) else {
            tracing::debug!(?conn, "no stream for a notification");
            return;
        };
        self.start(cx, conn, number, Kind::Telling(telling), None, cx.config.timers.request_timeout);
    }

    fn open(&mut self, cx: &mut Shell<'_>, conn: ConnId, body: &Request) -> Result<(u64, Outgoing), RunFailure> {
        let conn = conn_of(conn);
        if !self.conns.contains_key(&conn) {
            return Err(RunFailure::ConnectionLost);
        }
        let frame = encode(body, MAX_CONTROL_FRAME).map_err(|error| RunFailure::Malformed(error.to_string()))?;
        let number = cx.endpoint.open_bi(conn).ok_or(RunFailure::NoStream)?;
        Ok((number, Outgoing::message(frame)))
    }

    fn start(
        &mut self,
        cx: &mut Shell<'_>,
        conn: Conn,
        number: u64,
        kind: Kind,
        request: Option<RequestId>,
        patience: Duration,
    ) {
        let Some(connection) = self.conns.get_mut(&conn) else { return };
        let deadline = Some(cx.now + patience);
        connection.streams.insert(number, Stream { kind, deadline, request, held: 0 });
        self.begin(cx, conn, number);
    }
}
