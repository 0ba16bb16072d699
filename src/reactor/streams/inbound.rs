//! A request of a peer, and its answer.
//!
//! ```text
//! ◄ request FIN    Reading ─► Waiting for the engine ──────────────► Answering ─► over
//!                  (Input::Request)  │                               ▲
//!                                    └► Waiting for the game to open ┼► Sending a run ─► over (SendDone)
//!                                                                    │      └► Stopping: blocks are at the workers
//!                                                      manifest, refusal
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::{InboundId, Input};
use crate::proto::{
    Answer, GetChunks, MAX_BULK_FRAME, MAX_CONTROL_FRAME, ManifestAnswer, Parsed, StreamCode, WireError, WireErrorCode,
    encode, parse_request,
};
use crate::quic::Recv;
use crate::types::{Batch, CHUNK_SIZE, ContentHash, GameId, JobError};
use crate::workers::{ReadChunks, ServedGame};

use super::frames::{FrameReader, Outgoing, Pumped};
use super::games::Files;
use super::io::{Fault, Io, Step, Wire};
use super::upload::Upload;

/// A request of a peer.
pub(super) struct Inbound {
    state: State,
    /// The request has ended.
    fin: bool,
}

enum State {
    Reading(FrameReader),
    /// With the engine, or waiting for a game to be opened.
    Waiting(Option<Opening>),
    Answering(Outgoing),
    Sending(Box<Upload>),
    /// Stopped; blocks are still at the workers.
    Stopping {
        reading: usize,
        bytes: u64,
        changed: bool,
    },
}

/// What to send once the game is open.
struct Opening {
    files: Files,
    what: ToSend,
}

/// What a peer gets of a game.
pub(super) enum ToSend {
    Manifest { content_hash: Option<ContentHash>, dirs: bool },
    Chunks(Box<GetChunks>),
}

impl ToSend {
    /// What the game must consist of.
    fn content_hash(&self) -> Option<ContentHash> {
        match self {
            Self::Manifest { content_hash, .. } => *content_hash,
            Self::Chunks(request) => request.content_hash,
        }
    }
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self { state: State::Reading(FrameReader::new(MAX_CONTROL_FRAME)), fin: false }
    }

    pub(super) fn readable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        let (len, fin) = match io.wire.recv(io.scratch) {
            Recv::Data { len, fin } => (len, fin),
            // After its FIN there is just nothing to read.
            Recv::Reset(_) | Recv::Gone if !self.fin => return self.given_up(io),
            Recv::Blocked | Recv::Reset(_) | Recv::Gone => return Step::Wait,
        };
        self.fin |= fin;
        let step = match &mut self.state {
            State::Reading(frame) => {
                let fed = frame.feed(&io.scratch[..len]);
                *io.held = frame.buffered();
                match fed {
                    Err(error) => Step::Fault(error.into()),
                    Ok(taken) if taken < len => Step::Fault(Fault::too_long()),
                    Ok(_) if frame.is_complete() => self.complete(io),
                    Ok(_) if fin => Step::Fault(Fault::cut_short()),
                    Ok(_) => Step::Again,
                }
            }
            _ if len > 0 => Step::Fault(Fault::too_long()),
            _ => Step::Again,
        };
        match step {
            Step::Fault(fault) => self.fault(io, fault),
            Step::Again if fin => Step::Wait,
            step => step,
        }
    }

    pub(super) fn writable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        let (pumped, taken) = match &mut self.state {
            State::Answering(outgoing) => io.pump(outgoing),
            State::Sending(upload) => upload.pump(io),
            State::Reading(_) | State::Waiting(_) | State::Stopping { .. } => return Step::Wait,
        };
        // Nor is the peer to blame when this side holds it back.
        if taken.bytes > 0 || pumped == Pumped::Throttled {
            io.wait_for(io.config.timers.run_stall);
        }
        match pumped {
            Pumped::Blocked | Pumped::Throttled => Step::Again,
            Pumped::Empty => Step::Wait,
            Pumped::Gone => self.stopped(io),
            Pumped::Finished => {
                if let State::Sending(upload) = &self.state {
                    io.inputs.push_back(Input::SendDone { to: io.id, bytes: upload.sent(), changed: false });
                }
                if !self.fin {
                    // The whole request was read; whether its FIN comes no longer matters.
                    io.wire.stop_sending(StreamCode::Cancelled);
                }
                Step::Over
            }
        }
    }

    /// The peer no longer wants the answer.
    pub(super) fn stopped(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        let step = self.given_up(io);
        if matches!(self.state, State::Reading(_) | State::Answering(_)) {
            io.wire.stop_sending(StreamCode::Cancelled);
        }
        step
    }

    pub(super) fn expired(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        match self.state {
            State::Reading(_) => Step::Fault(Fault::unfinished()),
            State::Answering(_) => {
                io.wire.reset(StreamCode::Busy);
                Step::Over
            }
            State::Sending(_) => self.stop(io, StreamCode::Busy, false),
            State::Waiting(_) | State::Stopping { .. } => Step::Wait,
        }
    }

    pub(super) fn lost(&self, to: InboundId, inputs: &mut VecDeque<Input>) {
        let (bytes, changed) = match &self.state {
            State::Reading(_) | State::Answering(_) => return,
            State::Waiting(None) => return inputs.push_back(Input::RequestGone { from: to }),
            State::Waiting(Some(_)) => (0, false),
            State::Sending(upload) => (upload.sent(), false),
            State::Stopping { bytes, changed, .. } => (*bytes, *changed),
        };
        inputs.push_back(Input::SendDone { to, bytes, changed });
    }

    /// The whole request is here: the engine gets it.
    fn complete(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        let State::Reading(frame) = &mut self.state else { return Step::Wait };
        let json = frame.take();
        *io.held = 0;
        self.state = State::Waiting(None);
        *io.deadline = None;
        let from = io.id;
        match parse_request(&json) {
            Ok(Parsed::Known(request)) => io.inputs.push_back(Input::Request { from, request }),
            Ok(Parsed::Unknown(name)) => io.inputs.push_back(Input::UnknownRequest { from, name }),
            Err(error) => return Step::Fault(Fault::malformed(error.to_string())),
        }
        Step::Again
    }

    fn fault(&self, io: &mut Io<'_, impl Wire>, fault: Fault) -> Step {
        self.lost(io.id, io.inputs);
        Step::Fault(fault)
    }

    /// The peer gave up its request.
    fn given_up(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        match self.state {
            State::Reading(_) | State::Answering(_) => io.wire.reset(StreamCode::Cancelled),
            State::Waiting(None) => {
                io.wire.reset(StreamCode::Cancelled);
                io.inputs.push_back(Input::RequestGone { from: io.id });
            }
            State::Waiting(Some(_)) | State::Sending(_) => return self.stop(io, StreamCode::Cancelled, false),
            State::Stopping { .. } => return Step::Wait,
        }
        Step::Over
    }

    /// Sends an answer.
    pub(super) fn answer(&mut self, io: &mut Io<'_, impl Wire>, outgoing: Outgoing) -> Step {
        self.state = State::Answering(outgoing);
        io.wait_for(io.config.timers.run_stall);
        Step::Begin
    }

    /// Bytes of an answer that wait for the peer to take them.
    pub(super) fn answer_left(&self) -> usize {
        match &self.state {
            State::Answering(outgoing) => outgoing.bytes_left(),
            _ => 0,
        }
    }

    /// The run that is sent.
    pub(super) fn upload(&self) -> Option<&Upload> {
        match &self.state {
            State::Sending(upload) => Some(upload),
            _ => None,
        }
    }

    pub(super) fn upload_mut(&mut self) -> Option<&mut Upload> {
        match &mut self.state {
            State::Sending(upload) => Some(upload),
            _ => None,
        }
    }

    /// Whether something of this game is sent, or is to be.
    pub(super) fn is_of(&self, game: &GameId) -> bool {
        match &self.state {
            State::Sending(upload) => upload.files().game == *game,
            State::Waiting(Some(opening)) => opening.files.game == *game,
            _ => false,
        }
    }

    /// The answer is something of a game, which must be open first. `false`: nobody waits for it.
    pub(super) fn wait_for_game(&mut self, files: Files, what: ToSend) -> bool {
        let State::Waiting(opening) = &mut self.state else { return false };
        *opening = Some(Opening { files, what });
        true
    }

    /// The game is open.
    pub(super) fn begin(&mut self, io: &mut Io<'_, impl Wire>, served: Arc<ServedGame>) -> Step {
        let State::Waiting(opening) = &mut self.state else { return Step::Wait };
        let Some(Opening { files, what }) = opening.take() else { return Step::Wait };
        if matches!(what, ToSend::Manifest { dirs: false, .. }) && !served.manifest().dirs().is_empty() {
            // It could not make the hash of the list out of what it knows, and would take this peer for a liar.
            let message = "the game has empty folders, of which the version that asks does not know: update it";
            return Self::refuse(io, WireErrorCode::NotServed, message, false);
        }
        let wanted = what.content_hash();
        if wanted.is_some() && served.content_hash() != wanted {
            io.uploads.games.close(&files);
            return Self::refuse(io, WireErrorCode::Changed, "the files have changed", true);
        }
        let request = match what {
            ToSend::Manifest { .. } => {
                io.inputs.push_back(Input::SendDone { to: io.id, bytes: 0, changed: false });
                return Step::Answer(manifest_answer(files.game, &served));
            }
            ToSend::Chunks(request) => request,
        };
        let Some(upload) = Upload::new(files, served, &request) else {
            return Self::refuse(io, WireErrorCode::BadRequest, "no such chunks", false);
        };
        self.state = State::Sending(Box::new(upload));
        io.wait_for(io.config.timers.run_stall);
        io.wire.make_bulk();
        io.uploads.join(io.share, io.id);
        Step::Begin
    }

    /// Nothing of the game is sent, but an error.
    pub(super) fn refuse(io: &mut Io<'_, impl Wire>, code: WireErrorCode, message: &str, changed: bool) -> Step {
        io.inputs.push_back(Input::SendDone { to: io.id, bytes: 0, changed });
        Step::Answer(error_answer(code, message))
    }

    /// A block was read for the run, or could not be.
    pub(super) fn block_read(
        &mut self,
        io: &mut Io<'_, impl Wire>,
        block: u64,
        batch: Batch,
        result: Result<ReadChunks, JobError>,
    ) -> Step {
        match &mut self.state {
            State::Sending(upload) => match result {
                Ok(read) => {
                    upload.block_read(block, batch, read);
                    // It could not move without the block.
                    io.share.moved_at = io.now;
                    Step::Again
                }
                Err(error) => {
                    let (code, changed) = upload.block_failed(io, &error);
                    self.stop(io, code, changed)
                }
            },
            State::Stopping { reading, bytes, changed } => {
                *reading -= 1;
                if *reading > 0 {
                    return Step::Wait;
                }
                io.inputs.push_back(Input::SendDone { to: io.id, bytes: *bytes, changed: *changed });
                Step::Over
            }
            State::Reading(_) | State::Waiting(_) | State::Answering(_) => Step::Wait,
        }
    }

    /// Ends a send that is waiting or running, with `SendDone` once no worker reads for it any more.
    pub(super) fn stop(&mut self, io: &mut Io<'_, impl Wire>, code: StreamCode, changed: bool) -> Step {
        let (reading, bytes) = match &self.state {
            State::Sending(upload) => (upload.reading(), upload.sent()),
            State::Waiting(Some(_)) => (0, 0),
            _ => return Step::Wait,
        };
        if !self.fin {
            io.wire.stop_sending(code);
        }
        io.wire.reset(code);
        if reading == 0 {
            io.inputs.push_back(Input::SendDone { to: io.id, bytes, changed });
            return Step::Over;
        }
        self.state = State::Stopping { reading, bytes, changed };
        self.fin = true;
        io.uploads.leave(io.share, io.id);
        Step::Wait
    }
}

/// An answer of the engine, as bytes.
pub(super) fn answer_frame(body: &Answer) -> Outgoing {
    match encode(body, MAX_BULK_FRAME) {
        Ok(frame) => Outgoing::message(frame),
        Err(error) => {
            tracing::error!(%error, "an answer does not fit in a frame");
            error_answer(WireErrorCode::Internal, "the answer does not fit in a frame")
        }
    }
}

/// An error instead of an answer.
pub(super) fn error_answer(code: WireErrorCode, message: &str) -> Outgoing {
    let error = Answer::Error(WireError { code, message: message.to_owned() });
    Outgoing::message(encode(&error, MAX_CONTROL_FRAME).unwrap_or_default())
}

/// The files of a game, and their hashes where they are known.
fn manifest_answer(game_id: GameId, served: &ServedGame) -> Outgoing {
    let answer = Answer::Manifest(ManifestAnswer {
        game_id,
        manifest_hash: served.manifest_hash(),
        files: served.manifest().files().to_vec(),
        dirs: served.manifest().dirs().to_vec(),
        chunk_size: CHUNK_SIZE,
        chunk_count: served.manifest().chunk_count(),
        content_hash: served.content_hash(),
    });
    match encode(&answer, MAX_BULK_FRAME) {
        Ok(frame) => {
            let mut outgoing = Outgoing::default();
            outgoing.push(frame.into());
            if let Some(hashes) = served.chunk_hashes() {
                outgoing.push(hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>().into());
            }
            outgoing.finish();
            outgoing
        }
        Err(error) => {
            tracing::warn!(%error, "a manifest does not fit in a frame");
            error_answer(WireErrorCode::Internal, "the manifest does not fit in a frame")
        }
    }
}
