//! Framing: a 4-byte big-endian length, then that many bytes of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest control message in bytes, without the length prefix.
pub const MAX_CONTROL_FRAME: usize = 64 << 10;
/// Longest snapshot, delta or manifest in bytes, without the length prefix.
pub const MAX_BULK_FRAME: usize = 16 << 20;
/// Bytes of the length prefix.
const PREFIX: usize = 4;

/// Why bytes are not a frame, or a value does not fit in one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length prefix, or the encoded message, is over the limit.
    #[error("a frame of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// Announced or encoded length in bytes.
        len: usize,
        /// The limit that applies.
        limit: usize,
    },
    /// The JSON is not a message.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// A decoded length prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// Length of the JSON that follows, in bytes.
    pub len: usize,
}

impl FrameHeader {
    /// Size of the prefix in bytes.
    pub const SIZE: usize = PREFIX;

    /// Reads the prefix and holds it against `limit`.
    pub fn parse(prefix: [u8; PREFIX], limit: usize) -> Result<Self, FrameError> {
        let len = u32::from_be_bytes(prefix) as usize;
        if len > limit { Err(FrameError::TooLarge { len, limit }) } else { Ok(Self { len }) }
    }
}

/// Encodes prefix and JSON; refuses what is longer than `limit`.
pub fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut out = vec![0; PREFIX];
    serde_json::to_writer(&mut out, message)?;
    let len = out.len() - PREFIX;
    if len > limit {
        return Err(FrameError::TooLarge { len, limit });
    }
    out[..PREFIX].copy_from_slice(&(len as u32).to_be_bytes());
    Ok(out)
}

/// Decodes the JSON of one frame (without its prefix).
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(json)?)
}
