//! The wire: messages, framing, limits, close codes. Pure data and parsing; `docs/PROTOCOL.md` is its specification.

mod codes;
mod frame;
mod messages;
mod parse;
#[cfg(test)]
mod tests;

pub use codes::{CloseCode, StreamCode, WireErrorCode};
pub use frame::{FrameError, FrameHeader, MAX_BULK_FRAME, MAX_CONTROL_FRAME, decode, encode};
pub use messages::{
    Answer, ChunkRun, Delta, Feature, GetChunks, GetManifest, HaveChunks, Hello, LibraryState, ManifestAnswer,
    Notification, Request, Snapshot, WireError,
};

pub use parse::{Parsed, parse_notification, parse_request};

/// Version of this protocol; peers with another one are ignored but still watched.
pub const PROTO_VER: u32 = 1;
