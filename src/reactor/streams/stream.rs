//! One stream: what it is for, and what is true of every kind.

use std::collections::VecDeque;
use std::time::Instant;

use crate::engine::{InboundId, Input, RequestId};

use super::fetch::Fetch;
use super::inbound::Inbound;
use super::io::{Fault, Io, Step, Wire};
use super::notice::{Hearing, Telling};
use super::request::Request;

/// A stream.
pub(super) struct Stream {
    pub(super) kind: Kind,
    /// When patience with it ends; checked lazily.
    pub(super) deadline: Option<Instant>,
    /// The request of this side that it carries.
    pub(super) request: Option<RequestId>,
    /// Bytes that it holds of a frame which is not complete.
    pub(super) held: usize,
}

/// What a stream is for.
pub(super) enum Kind {
    Request(Box<Request>),
    Fetch(Box<Fetch>),
    Telling(Telling),
    Hearing(Hearing),
    Inbound(Inbound),
}

impl Kind {
    /// Something has arrived, or nothing will any more.
    pub(super) fn readable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        match self {
            Self::Request(request) => request.readable(io),
            Self::Fetch(fetch) => fetch.readable(io),
            Self::Telling(_) => Step::Wait,
            Self::Hearing(hearing) => hearing.readable(io),
            Self::Inbound(inbound) => inbound.readable(io),
        }
    }

    /// The transport may take more. [`Step::Again`]: it did not take all.
    pub(super) fn writable(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        match self {
            Self::Request(request) => request.writable(io),
            Self::Fetch(fetch) => fetch.writable(io),
            Self::Telling(telling) => telling.writable(io),
            Self::Hearing(_) => Step::Wait,
            Self::Inbound(inbound) => inbound.writable(io),
        }
    }

    /// The peer no longer wants what this side sends.
    pub(super) fn stopped(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        match self {
            // The answer, or the end of the connection, says the rest.
            Self::Request(_) | Self::Fetch(_) | Self::Hearing(_) => Step::Wait,
            Self::Telling(_) => Step::Over,
            Self::Inbound(inbound) => inbound.stopped(io),
        }
    }

    /// Patience has ended.
    pub(super) fn expired(&mut self, io: &mut Io<'_, impl Wire>) -> Step {
        match self {
            Self::Request(request) => request.expired(io),
            Self::Fetch(fetch) => fetch.expired(io),
            Self::Telling(_) => Telling::expired(io),
            Self::Hearing(_) => Step::Fault(Fault::unfinished()),
            Self::Inbound(inbound) => inbound.expired(io),
        }
    }

    /// Its connection is gone: tells whoever waits for it.
    pub(super) fn lost(&self, id: InboundId, inputs: &mut VecDeque<Input>) {
        match self {
            Self::Request(request) => request.lost(inputs),
            Self::Fetch(fetch) => fetch.lost(inputs),
            Self::Telling(_) | Self::Hearing(_) => {}
            Self::Inbound(inbound) => inbound.lost(id, inputs),
        }
    }

    /// A request of the peer, if it is one.
    pub(super) fn inbound(&self) -> Option<&Inbound> {
        if let Self::Inbound(inbound) = self { Some(inbound) } else { None }
    }

    pub(super) fn inbound_mut(&mut self) -> Option<&mut Inbound> {
        if let Self::Inbound(inbound) = self { Some(inbound) } else { None }
    }
}
