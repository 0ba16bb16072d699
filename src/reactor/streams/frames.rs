//! Control frames over streams: one being read, some being written.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::proto::{FrameError, FrameHeader};
use crate::quic::SendError;

use super::io::Wire;

/// Collects one frame: prefix, then body. The body grows as bytes arrive, never by the announced length alone.
#[derive(Debug)]
pub(super) struct FrameReader {
    limit: usize,
    prefix: [u8; FrameHeader::SIZE],
    prefix_len: usize,
    /// Length of the body, once the prefix is complete.
    len: Option<usize>,
    body: Vec<u8>,
}

impl FrameReader {
    /// For frames of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, prefix: [0; FrameHeader::SIZE], prefix_len: 0, len: None, body: Vec::new() }
    }

    /// Takes what belongs to the frame and returns how many bytes that was.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, FrameError> {
        let mut taken = 0;
        let len = match self.len {
            Some(len) => len,
            None => {
                taken = bytes.len().min(FrameHeader::SIZE - self.prefix_len);
                self.prefix[self.prefix_len..self.prefix_len + taken].copy_from_slice(&bytes[..taken]);
                self.prefix_len += taken;
                if self.prefix_len < FrameHeader::SIZE {
                    return Ok(taken);
                }
                let header = FrameHeader::parse(self.prefix, self.limit)?;
                self.len = Some(header.len);
                header.len
            }
        };
        let rest = &bytes[taken..];
        let more = rest.len().min(len - self.body.len());
        self.body.extend_from_slice(&rest[..more]);
        Ok(taken + more)
    }

    /// How many bytes are certain to belong to the frame still; at least 1 until it is complete.
    pub(super) fn wanted(&self) -> usize {
        match self.len {
            Some(len) => len - self.body.len(),
            None => FrameHeader::SIZE - self.prefix_len,
        }
    }

    /// Whether the whole frame is here.
    pub(super) fn is_complete(&self) -> bool {
        self.len == Some(self.body.len())
    }

    /// Bytes held.
    pub(super) fn buffered(&self) -> usize {
        self.body.len()
    }

    /// The JSON of a complete frame; the reader is empty afterwards.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.prefix_len = 0;
        self.len = None;
        std::mem::take(&mut self.body)
    }
}

/// Bytes on their way into one stream, in order, then FIN.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    parts: VecDeque<Part>,
    /// FIN follows the last part.
    fin: bool,
    finished: bool,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// Part of a game, not of a message.
    of_game: bool,
}

/// What the transport took.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    /// Bytes of everything.
    pub(super) bytes: u64,
    /// Those of them that are of a game.
    pub(super) of_game: u64,
}

impl Taken {
    fn add(&mut self, bytes: usize, of_game: bool) {
        self.bytes += bytes as u64;
        self.of_game += if of_game { bytes as u64 } else { 0 };
    }
}

/// How far [`Outgoing::pump`] came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pumped {
    /// Everything, FIN included, is with the transport.
    Finished,
    /// All parts are with the transport; FIN is not due yet.
    Empty,
    /// The transport takes no more now.
    Blocked,
    /// No more of a game may go now.
    Throttled,
    /// The stream is gone: stopped by the peer, reset, or its connection closed.
    Gone,
}

impl Pumped {
    /// Whether something is left that may go later.
    pub(super) fn is_held_up(self) -> bool {
        matches!(self, Self::Blocked | Self::Throttled)
    }
}

impl Outgoing {
    /// One message and FIN.
    pub(super) fn message(frame: Vec<u8>) -> Self {
        let mut message = Self { parts: VecDeque::new(), fin: true, finished: false };
        message.push(frame.into());
        message
    }

    /// Adds a part.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.add(Part { bytes, of_game: false });
    }

    /// Adds a part of a game.
    pub(super) fn push_of_game(&mut self, bytes: Bytes) {
        self.add(Part { bytes, of_game: true });
    }

    fn add(&mut self, part: Part) {
        if !part.bytes.is_empty() {
            self.parts.push_back(part);
        }
    }

    /// Whether everything, FIN included, is with the transport.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Bytes that the transport has not taken.
    pub(super) fn bytes_left(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// Parts that the transport has not fully taken.
    pub(super) fn parts_left(&self) -> usize {
        self.parts.len()
    }

    /// No part follows.
    pub(super) fn finish(&mut self) {
        self.fin = true;
    }

    /// Hands as much as possible to the transport, but at most `allowance` bytes of a game; returns how far it came and
    /// what was taken.
    pub(super) fn pump(&mut self, wire: &mut impl Wire, allowance: usize) -> (Pumped, Taken) {
        let mut taken = Taken::default();
        while let Some(Part { mut bytes, of_game }) = self.parts.pop_front() {
            let allowed = allowance.saturating_sub(taken.of_game as usize);
            if of_game && bytes.len() > allowed {
                let later = bytes.split_off(allowed);
                self.parts.push_front(Part { bytes: later, of_game });
                if allowed == 0 {
                    return (Pumped::Throttled, taken);
                }
            }
            let len = bytes.len();
            let last = self.fin && self.parts.is_empty();
            match wire.send(bytes, last) {
                Ok(None) => {
                    taken.add(len, of_game);
                    self.finished = last;
                }
                Ok(Some(rest)) => {
                    taken.add(len - rest.len(), of_game);
                    self.parts.push_front(Part { bytes: rest, of_game });
                    return (Pumped::Blocked, taken);
                }
                Err(SendError::Stopped(_) | SendError::Gone) => return (Pumped::Gone, taken),
            }
        }
        if self.finished {
            return (Pumped::Finished, taken);
        }
        if !self.fin {
            return (Pumped::Empty, taken);
        }
        match wire.finish() {
            Ok(()) => {
                self.finished = true;
                (Pumped::Finished, taken)
            }
            Err(SendError::Stopped(_) | SendError::Gone) => (Pumped::Gone, taken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{MAX_CONTROL_FRAME, encode};

    #[test]
    fn a_frame_is_the_same_however_it_is_cut() {
        let frame = encode(&serde_json::json!({"type": "Ping", "nonce": 7}), MAX_CONTROL_FRAME).unwrap();
        for cut in 0..=frame.len() {
            let mut reader = FrameReader::new(MAX_CONTROL_FRAME);
            assert_eq!(reader.feed(&frame[..cut]).unwrap(), cut);
            assert_eq!(reader.is_complete(), cut == frame.len());
            assert_eq!(reader.feed(&frame[cut..]).unwrap(), frame.len() - cut);
            assert!(reader.is_complete());
            assert_eq!(reader.feed(b"more").unwrap(), 0);
            assert_eq!(reader.take(), &frame[4..]);
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_stored() {
        let mut reader = FrameReader::new(100);
        assert!(matches!(reader.feed(&[0, 0, 0, 101, b'x']), Err(FrameError::TooLarge { len: 101, limit: 100 })));
        assert_eq!(reader.buffered(), 0);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn noise_in_any_pieces_is_a_frame_or_an_error(
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            small: bool,
            piece in 1usize..40,
        ) {
            // Half of the time a length that can be met.
            let mut bytes = if small { vec![0, 0, 0] } else { Vec::new() };
            bytes.extend(noise);
            let mut reader = FrameReader::new(200);
            let mut taken = 0;
            let mut refused = false;
            for piece in bytes.chunks(piece) {
                let Ok(more) = reader.feed(piece) else {
                    refused = true;
                    break;
                };
                taken += more;
                assert!(reader.buffered() <= 200 && reader.wanted() <= 200);
                if more < piece.len() {
                    break;
                }
            }
            let announced = bytes.first_chunk().map(|prefix| u32::from_be_bytes(*prefix) as usize);
            match announced {
                Some(len) if len > 200 => assert!(refused),
                Some(len) => {
                    assert_eq!(taken, bytes.len().min(4 + len));
                    assert_eq!(reader.is_complete(), bytes.len() >= 4 + len);
                }
                None => assert!(!refused && !reader.is_complete()),
            }
        }
    }
}
