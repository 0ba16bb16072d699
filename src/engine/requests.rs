//! What other peers ask: libraries are answered here, games by the transfers.

use super::core::Cx;
use super::io::{InboundId, Output};
use super::library::SinceAnswer;
use super::world::Parts;
use crate::proto::{Answer, GetChunks, GetManifest, Request, WireError, WireErrorCode};
use crate::types::{Epoch, Revision};

/// What is for the transfers to answer.
#[derive(Debug)]
pub(super) enum GameRequest {
    /// The files of a game.
    Manifest(GetManifest),
    /// Some of its chunks.
    Chunks(GetChunks),
}

/// Answers a peer; gives back what is for the transfers. `leaving`: this daemon stops.
pub(super) fn answer(
    parts: &mut Parts,
    cx: &mut Cx,
    leaving: bool,
    from: InboundId,
    request: Request,
) -> Option<GameRequest> {
    let peers = &mut parts.peers;
    let request = match request {
        Request::Prove { proof } => {
            peers.prove(cx, from, proof);
            return None;
        }
        // Whoever has not proved the party key is told nothing but a close code.
        _ if !peers.proved(cx, from.conn) => return None,
        Request::Hello(hello) => {
            peers.hello(cx, from, hello);
            return None;
        }
        request => request,
    };
    let Some(peer) = peers.heard(from.conn, cx.now) else {
        reply(cx, from, refusal(WireErrorCode::HelloFirst, "say Hello first"));
        return None;
    };
    let is_other = |named| named != peer;
    let answer = match request {
        // Answered above.
        Request::Hello(_) | Request::Prove { .. } => return None,
        Request::Ping { nonce } => {
            peers.confirm(cx, peer);
            peers.pinged(cx, peer);
            Answer::Pong { nonce }
        }
        _ if leaving || !cx.announced.is_open => refusal(WireErrorCode::Busy, "not now"),
        Request::GetLibrary { peer_id } if is_other(peer_id) => {
            peers.impostor(cx, from.conn);
            return None;
        }
        Request::GetLibrary { .. } => Answer::LibrarySnapshot { peer_id: cx.me, snapshot: parts.library.snapshot() },
        Request::GetLibraryDelta { epoch, from_rev } => since(parts, cx, epoch, from_rev),
        Request::GetManifest(request) => return Some(GameRequest::Manifest(request)),
        Request::GetChunks(request) => return Some(GameRequest::Chunks(request)),
    };
    reply(cx, from, answer);
    None
}

/// Answers a peer that asks something that this version does not know.
pub(super) fn answer_unknown(parts: &mut Parts, cx: &mut Cx, from: InboundId, name: &str) {
    if parts.peers.proved(cx, from.conn) {
        parts.peers.heard(from.conn, cx.now);
        reply(cx, from, refusal(WireErrorCode::UnknownType, &format!("unknown request type {name:?}")));
    }
}

fn since(parts: &mut Parts, cx: &Cx, epoch: Epoch, from: Revision) -> Answer {
    match parts.library.since(cx, epoch, from) {
        SinceAnswer::Delta(delta) => Answer::LibraryDelta { peer_id: cx.me, delta },
        SinceAnswer::Snapshot(snapshot) => Answer::LibrarySnapshot { peer_id: cx.me, snapshot },
        SinceAnswer::EpochReset => {
            let why = "this library was restored from an older state; a new epoch follows";
            refusal(WireErrorCode::EpochReset, why)
        }
        SinceAnswer::NeverWas => {
            refusal(WireErrorCode::BadRequest, "this revision never was; ask for the whole library")
        }
    }
}

fn refusal(code: WireErrorCode, message: &str) -> Answer {
    Answer::Error(WireError { code, message: message.to_owned() })
}

fn reply(cx: &mut Cx, to: InboundId, answer: Answer) {
    cx.emit(Output::Answer { to, body: Box::new(answer) });
}
