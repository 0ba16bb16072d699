//! Notifications: one stream each, one way.
//!
//! ```text
//! ours   Telling  notification ►
//! theirs Hearing  ◄ notification FIN    ► Input::Notification
//! ```

use std::collections::VecDeque;

use crate::engine::{ConnId, Input};
use crate::proto::{MAX_BULK_FRAME, Notification, Parsed, StreamCode, encode, parse_notification};
use crate::quic::Recv;

use super::frames::{FrameReader, Outgoing, Pumped};
use super::io::{Fault, Io, Step, Wire};
use super::parsing::{PARSE_HERE, Unparsed};

/// A notification of this side, on its way.
pub(super) struct Telling(Outgoing);

impl Telling {
    /// `None`: it is too long for a frame.
    pub(super) fn new(body: &Notification) -> Option<Self> {
        match encode(body, MAX_BULK_FRAME) {
            Ok(frame) => Some(Self(Outgoing::message(frame))),
            Err(error) => {
                tracing::error!(%error, "a notification does not fit in a frame");
                None
            }
        }
    }

    pub(super) fn writable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        match io.pump(&mut self.0).0 {
            Pumped::Finished | Pumped::Gone => Step::Over,
            Pumped::Blocked | Pumped::Throttled => Step::Again,
            Pumped::Empty => Step::Wait,
        }
    }

    pub(super) fn expired(io: &mut Io<'_, impl Wire>) -> Step {
        io.wire.reset(StreamCode::Busy);
        Step::Over
    }
}

/// A notification of a peer, as far as it is here.
pub(super) struct Hearing(FrameReader);

impl Hearing {
    pub(super) fn new() -> Self {
        Self(FrameReader::new(MAX_BULK_FRAME))
    }

    pub(super) fn readable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        let Self(frame) = self;
        let (len, fin) = match io.wire.recv(io.scratch) {
            Recv::Data { len, fin } => (len, fin),
            Recv::Blocked => return Step::Wait,
            Recv::Reset(_) | Recv::Gone => return Step::Over,
        };
        let fed = frame.feed(&io.scratch[..len]);
        *io.held = frame.buffered();
        match fed {
            Err(error) => return Step::Fault(error.into()),
            Ok(taken) if taken < len => return Step::Fault(Fault::too_long()),
            Ok(_) if !fin => return Step::Again,
            Ok(_) if !frame.is_complete() => return Step::Fault(Fault::cut_short()),
            Ok(_) => {}
        }
        let json = frame.take();
        if json.len() > PARSE_HERE {
            return Step::Parse(Unparsed::Notification(json));
        }
        match heard(io.id.conn, parse(&json), io.inputs) {
            Ok(()) => Step::Over,
            Err(fault) => Step::Fault(fault),
        }
    }
}

/// A notification, or what is wrong with it.
pub(super) fn parse(json: &[u8]) -> Result<Parsed<Notification>, String> {
    parse_notification(json).map_err(|error| error.to_string())
}

/// Hands a notification on.
pub(super) fn heard(
    conn: ConnId,
    parsed: Result<Parsed<Notification>, String>,
    inputs: &mut VecDeque<Input>,
) -> Result<(), Fault> {
    match parsed.map_err(Fault::malformed)? {
        Parsed::Known(notification) => inputs.push_back(Input::Notification { conn, notification }),
        Parsed::Unknown(name) => tracing::debug!(name, "unknown notification ignored"),
    }
    Ok(())
}
