//! Answers to peers, and what of games they get.

use std::sync::Arc;

use crate::engine::{ConnId, InboundId, Input};
use crate::proto::{Answer, GetChunks, StreamCode, WireErrorCode};
use crate::quic::ConnHandle as Conn;
use crate::types::{ContentHash, DownloadId, GameId, JobErrorKind, ManifestHash};
use crate::workers::{OpenServed, Opened, ReadDone, ServedGame, Task};

use super::frames::Outgoing;
use super::games::{Files, Lookup};
use super::inbound::{Inbound, ToSend, answer_frame, error_answer};
use super::io::{Io, OnStream, Step};
use super::{Shell, Streams, conn_of};

/// Answers over this are bounded in number.
const LONG_ANSWER: usize = 4 << 10;

impl Streams {
    /// Answers a request of a peer.
    pub(in crate::reactor) fn answer(&mut self, cx: &mut Shell<'_>, to: InboundId, body: &Answer) {
        self.respond(cx, to, answer_frame(body));
    }

    /// Answers with a manifest as soon as the game is open.
    pub(in crate::reactor) fn send_manifest(
        &mut self,
        cx: &mut Shell<'_>,
        to: InboundId,
        game: GameId,
        manifest_hash: ManifestHash,
        content_hash: Option<ContentHash>,
        dirs: bool,
    ) {
        let files = Files { game, manifest_hash, download: None };
        self.send_when_open(cx, to, files, ToSend::Manifest { content_hash, dirs });
    }

    /// Answers with chunks as soon as the game is open.
    pub(in crate::reactor) fn send_chunks(
        &mut self,
        cx: &mut Shell<'_>,
        to: InboundId,
        request: Box<GetChunks>,
        download: Option<DownloadId>,
    ) {
        let files = Files { game: request.game_id.clone(), manifest_hash: request.manifest_hash, download };
        self.send_when_open(cx, to, files, ToSend::Chunks(request));
    }

    fn send_when_open(&mut self, cx: &mut Shell<'_>, to: InboundId, files: Files, what: ToSend) {
        let stream = self.conns.get_mut(&conn_of(to.conn)).and_then(|of| of.streams.get_mut(&to.stream));
        let inbound = stream.and_then(|stream| stream.kind.inbound_mut());
        if !inbound.is_some_and(|inbound| inbound.wait_for_game(files.clone(), what)) {
            cx.inputs.push_back(Input::SendDone { to, bytes: 0, changed: false });
            return;
        }
        match self.uploads.games.get(&files, to) {
            Lookup::Open(served) => self.begin_send(cx, to, served),
            Lookup::Waiting => {}
            Lookup::Full => self.refuse(cx, to, WireErrorCode::Busy, "too many games are being sent", false),
            Lookup::Wanted(token) => {
                let Files { game, manifest_hash, download } = files;
                cx.tasks.push_back(Task::OpenServed(OpenServed { token, game, manifest_hash, download }));
            }
        }
    }

    /// A game was opened for serving, or could not be.
    pub(in crate::reactor) fn game_opened(&mut self, cx: &mut Shell<'_>, opened: Opened) {
        let Opened { token, game, result } = opened;
        let served = result.as_ref().ok().map(Arc::clone);
        for to in self.uploads.games.opened(token, served, cx.now) {
            match &result {
                Ok(served) => self.begin_send(cx, to, Arc::clone(served)),
                Err(error) => {
                    let changed = error.kind == JobErrorKind::Changed;
                    let code = if changed { WireErrorCode::Changed } else { WireErrorCode::Internal };
                    tracing::info!(%game, %error, "cannot open a game for serving");
                    self.refuse(cx, to, code, "the files are not the ones that were asked for", changed);
                }
            }
        }
    }

    fn begin_send(&mut self, cx: &mut Shell<'_>, to: InboundId, served: Arc<ServedGame>) {
        self.step_inbound(cx, to, |inbound, io| inbound.begin(io, served));
        self.read_ahead(cx, conn_of(to.conn));
    }

    fn refuse(&mut self, cx: &mut Shell<'_>, to: InboundId, code: WireErrorCode, message: &str, changed: bool) {
        self.step_inbound(cx, to, |_, io| Inbound::refuse(io, code, message, changed));
    }

    /// A block was read for a run, or could not be.
    pub(in crate::reactor) fn block_read(&mut self, cx: &mut Shell<'_>, done: ReadDone) {
        let ReadDone { token, batch, result } = done;
        let Some((to, block)) = self.uploads.read_done(token) else { return };
        if self.step_inbound(cx, to, |inbound, io| inbound.block_read(io, block, batch, result)) {
            self.write(cx, conn_of(to.conn), to.stream);
        }
    }

    /// Ends everything that is being sent of a game.
    pub(in crate::reactor) fn stop_sending_game(&mut self, cx: &mut Shell<'_>, game: &GameId) {
        self.uploads.games.forget(game);
        let mut hit = Vec::new();
        for (&conn, connection) in &self.conns {
            let of_game = connection.streams.iter().filter(|(_, stream)| {
                let inbound = stream.kind.inbound();
                inbound.is_some_and(|inbound| inbound.is_of(game))
            });
            hit.extend(of_game.map(|(&stream, _)| InboundId { conn: ConnId(conn.0), stream }));
        }
        hit.sort_unstable();
        for to in hit {
            self.step_inbound(cx, to, |inbound, io| inbound.stop(io, StreamCode::NotServed, false));
        }
    }

    pub(super) fn respond(&mut self, cx: &mut Shell<'_>, to: InboundId, mut outgoing: Outgoing) {
        let len = outgoing.bytes_left();
        if len > LONG_ANSWER && !self.has_room_for_answer(cx.config.limits.frame_bytes, conn_of(to.conn), len) {
            outgoing = error_answer(WireErrorCode::Busy, "too many answers wait to be read");
        }
        self.step_inbound(cx, to, |inbound, io| inbound.answer(io, outgoing));
    }

    /// Whether a long answer may join those that wait for their peers to take them. Answers lie in memory as a whole, so
    /// that peers who ask and do not read must be bounded: all of them together, and one of them to a quarter.
    fn has_room_for_answer(&self, limit: usize, conn: Conn, len: usize) -> bool {
        let own = self.conns.get(&conn).map_or(0, |connection| connection.answers_left());
        let all: usize = self.conns.values().map(|connection| connection.answers_left()).sum();
        (own == 0 || own + len <= limit / 4) && (all == 0 || all + len <= limit)
    }

    fn step_inbound(
        &mut self,
        cx: &mut Shell<'_>,
        to: InboundId,
        take: impl FnOnce(&mut Inbound, &mut Io<'_, OnStream<'_>>) -> Step,
    ) -> bool {
        self.step(cx, conn_of(to.conn), to.stream, |kind, io| {
            kind.inbound_mut().map_or(Step::Wait, |inbound| take(inbound, io))
        })
    }
}
