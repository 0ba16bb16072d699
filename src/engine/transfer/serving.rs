//! What other peers fetch from here.

use std::collections::{BTreeMap, BTreeSet};

use super::slots::{Place, Slots, most_waiting};
use crate::config::Config;
use crate::engine::core::Cx;
use crate::engine::io::{ConnId, InboundId, Output};
use crate::engine::world::TransferCx;
use crate::proto::{Answer, GetChunks, GetManifest, WireError, WireErrorCode};
use crate::types::{ContentHash, DownloadId, GameId, ManifestHash, ScannedGame};

/// What an operation means for requests for a game's chunks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// Nothing.
    Free,
    /// None is served.
    Busy,
    /// It is the download that has verified exactly these.
    Verified(DownloadId),
}

/// Every outgoing run and manifest.
#[derive(Debug, Default)]
pub(super) struct Serving {
    /// By connection, so that one peer's can be counted.
    sends: BTreeMap<InboundId, GameId>,
    /// Which of the runs of chunks may go out, and which wait.
    slots: Slots,
    /// Bytes of game data handed to the transport by what has ended.
    bytes_sent: u64,
}

impl Serving {
    /// A peer asks for the files of a game. `busy`: an operation runs on it.
    pub(super) fn get_manifest(&mut self, cx: &mut Cx, busy: bool, from: InboundId, request: GetManifest) {
        let GetManifest { game_id: game, manifest_hash, dirs } = request;
        match self.admit(cx, busy, from, &game, manifest_hash) {
            Err(error) => refuse(cx, from, error),
            Ok(scanned) => {
                self.sends.insert(from, game.clone());
                let content_hash = scanned.content_hash;
                cx.emit(Output::SendManifest { to: from, game, manifest_hash, content_hash, dirs });
            }
        }
    }

    /// A peer asks for a run of chunks. Whether the range ends within the game is known where its files are.
    pub(super) fn get_chunks(&mut self, cx: &mut Cx, hold: Hold, from: InboundId, request: GetChunks) {
        match self.admit_chunks(cx, hold, from, &request) {
            Err(error) => refuse(cx, from, error),
            Ok(download) => match self.slots.enter(from, request, upload_runs(&cx.config)) {
                Place::Now(request) => self.send(cx, from, request, download),
                Place::Queued => {}
                Place::Full => refuse(cx, from, error(WireErrorCode::Busy, "too many runs are being sent".to_owned())),
            },
        }
    }

    /// Sends what waits, as far as slots are free. What was admitted when it was asked for may not be any more.
    pub(super) fn go_on(&mut self, cx: &mut TransferCx<'_>, hold: impl Fn(&TransferCx<'_>, &GetChunks) -> Hold) {
        while let Some((to, request)) = self.slots.next(upload_runs(&cx.config)) {
            match self.admit_chunks(cx, hold(cx, &request), to, &request) {
                Ok(download) => self.send(cx, to, request, download),
                Err(error) => {
                    self.slots.done(to);
                    refuse(cx, to, error);
                }
            }
        }
    }

    /// Nothing that waits is sent.
    pub(super) fn refuse_waiting(&mut self, cx: &mut Cx) {
        while let Some(to) = self.slots.take() {
            refuse(cx, to, error(WireErrorCode::Busy, "nothing is sent for the time being".to_owned()));
        }
    }

    /// Nobody waits any more for the answer to a request that was not begun to be answered.
    pub(super) fn request_gone(&mut self, from: InboundId) {
        self.slots.gone(from);
    }

    fn send(&mut self, cx: &mut Cx, to: InboundId, request: GetChunks, download: Option<DownloadId>) {
        self.sends.insert(to, request.game_id.clone());
        cx.emit(Output::SendChunks { to, request: Box::new(request), download });
    }

    /// A send is over; the game it was of, unless it was written off before.
    pub(super) fn send_done(&mut self, to: InboundId, bytes: u64) -> Option<GameId> {
        self.slots.done(to);
        let game = self.sends.remove(&to)?;
        self.bytes_sent = self.bytes_sent.saturating_add(bytes);
        Some(game)
    }

    /// Nothing of a closed connection is reported any more: its sends are over.
    pub(super) fn connection_down(&mut self, conn: ConnId) {
        self.sends.retain(|to, _| to.conn != conn);
        self.slots.connection_down(conn);
    }

    /// Whether anything of a game is being sent.
    pub(super) fn is_sending(&self, game: &GameId) -> bool {
        self.sends.values().any(|sent| sent == game)
    }

    /// How many runs and manifests are being sent.
    pub(super) fn count(&self) -> usize {
        self.sends.len()
    }

    /// How many runs wait to be sent, and how many may.
    pub(super) fn waiting(&self, config: &Config) -> (usize, usize) {
        (self.slots.waiting(), most_waiting(upload_runs(config)))
    }

    /// The games that are being sent.
    pub(super) fn games(&self) -> BTreeSet<GameId> {
        self.sends.values().cloned().collect()
    }

    pub(super) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Whether these chunks may go out; and the download that has verified them, if their game is not complete.
    fn admit_chunks(
        &self,
        cx: &Cx,
        hold: Hold,
        from: InboundId,
        request: &GetChunks,
    ) -> Result<Option<DownloadId>, WireError> {
        if let Hold::Verified(download) = hold {
            return if self.is_at_limit(cx, from) { Err(too_many()) } else { Ok(Some(download)) };
        }
        let busy = hold == Hold::Busy;
        let scanned = self.admit(cx, busy, from, &request.game_id, request.manifest_hash)?;
        check_run(request, scanned.content_hash)?;
        Ok(None)
    }

    /// The rule: as the catalog demands, complete, portable, without an operation, exactly the list of files that was asked for.
    fn admit(
        &self,
        cx: &Cx,
        busy: bool,
        from: InboundId,
        game: &GameId,
        manifest_hash: ManifestHash,
    ) -> Result<std::sync::Arc<ScannedGame>, WireError> {
        let not_served = |why: &str| error(WireErrorCode::NotServed, format!("{game} is not served: {why}"));
        if !cx.catalog.admits(game) {
            return Err(not_served("it is not in the catalog"));
        }
        let scanned = cx.disk.get(game).filter(|scanned| scanned.downloaded);
        let scanned = scanned.ok_or_else(|| not_served("it is not complete here"))?;
        if let Some(why) = cx.catalog.withholds(&scanned.id, scanned.eti_version.as_deref(), scanned.content_hash) {
            return Err(not_served(why));
        }
        if scanned.arriving {
            return Err(not_served("it is still being copied"));
        }
        if scanned.unportable.is_some() {
            return Err(not_served("a name in it is not portable"));
        }
        if busy {
            return Err(not_served("an operation runs on it"));
        }
        if scanned.manifest_hash != manifest_hash {
            return Err(error(WireErrorCode::Changed, format!("{game} has other files now")));
        }
        if self.is_at_limit(cx, from) {
            return Err(too_many());
        }
        Ok(scanned.clone())
    }

    /// Whether a peer has as many requests outstanding as it may.
    fn is_at_limit(&self, cx: &Cx, from: InboundId) -> bool {
        let first = InboundId { conn: from.conn, stream: 0 };
        let last = InboundId { conn: from.conn, stream: u64::MAX };
        let outstanding = self.sends.range(first..=last).count() + self.slots.waiting_of(from.conn);
        outstanding >= cx.config.limits.inbound_runs_per_peer
    }
}

/// Runs that may go out at once.
fn upload_runs(config: &Config) -> usize {
    config.limits.upload_runs.max(1)
}

fn check_run(request: &GetChunks, content_hash: Option<ContentHash>) -> Result<(), WireError> {
    if request.count == 0 || request.first.checked_add(request.count).is_none() {
        return Err(error(WireErrorCode::BadRequest, "a run has at least one chunk and ends below 2^32".to_owned()));
    }
    match (request.content_hash, content_hash) {
        (Some(asked), ours) if ours != Some(asked) => {
            Err(error(WireErrorCode::Changed, format!("{} has other bytes now", request.game_id)))
        }
        _ => Ok(()),
    }
}

/// Answers that nothing is handed out for the time being.
pub(super) fn refuse_paused(cx: &mut Cx, to: InboundId) {
    refuse(cx, to, error(WireErrorCode::Busy, "transfers are paused here".to_owned()));
}

fn too_many() -> WireError {
    error(WireErrorCode::Busy, "too many requests are outstanding".to_owned())
}

fn error(code: WireErrorCode, message: String) -> WireError {
    WireError { code, message }
}

fn refuse(cx: &mut Cx, to: InboundId, error: WireError) {
    cx.emit(Output::Answer { to, body: Box::new(Answer::Error(error)) });
}
