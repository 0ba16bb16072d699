//! Numbers and names with which connections, streams and requests end. Stable: listed in `docs/PROTOCOL.md`.

use serde::{Deserialize, Serialize};

/// Application error code of CONNECTION_CLOSE.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum CloseCode {
    /// The daemon stops.
    Shutdown = 0,
    /// Nothing was said for the on-demand idle time.
    Idle = 1,
    /// Another connection between the same two peers is kept instead.
    Duplicate = 2,
    /// `proto_ver` differs.
    ProtocolMismatch = 3,
    /// A frame was not what the specification says.
    Malformed = 4,
    /// A frame was longer than its limit.
    FrameTooLarge = 5,
    /// The certificate does not belong to the peer that was dialled, or a message named another peer.
    IdentityMismatch = 6,
    /// The party key is missing or wrong.
    PartyKey = 7,
    /// A request was not answered, or a frame not finished, by its deadline.
    Timeout = 8,
    /// A limit on connections, streams or queues is reached.
    Overload = 9,
    /// The peer dialled itself.
    SelfConnect = 10,
    /// No sign of life within the stale timeout.
    Stale = 11,
    /// A fault of this side.
    Internal = 12,
    /// The user blocked the peer.
    Blocked = 13,
    /// Another PC with the same identity is connected, and the two replaced each other again and again.
    SharedIdentity = 14,
}

/// Application error code of RESET_STREAM and STOP_SENDING.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum StreamCode {
    /// The requester no longer wants the answer.
    Cancelled = 0,
    /// The answer cannot be continued: the game is under an operation or gone.
    NotServed = 1,
    /// The file changed while it was being served.
    Changed = 2,
    /// Reading from disk failed.
    Io = 3,
    /// A limit is reached; ask again later.
    Busy = 4,
}

/// Code of an `Error` answer, kebab-case on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireErrorCode {
    /// The request's `type` is not known.
    UnknownType,
    /// A field has a value that is not allowed.
    BadRequest,
    /// Hello has not been answered on this connection yet.
    HelloFirst,
    /// Not in the catalog, no sentinel, or an operation is active on it.
    NotServed,
    /// The game no longer has the manifest or content that was asked for.
    Changed,
    /// The epoch or revision asked from lies ahead of this library: a new epoch follows.
    EpochReset,
    /// A limit is reached; ask again later.
    Busy,
    /// A fault of this side (disk error).
    Internal,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

macro_rules! numeric_code {
    ($name:ident, $($variant:ident),+) => {
        impl $name {
            /// The number on the wire.
            pub fn number(self) -> u64 {
                self as u16 as u64
            }

            /// The code with this number, if it is one of this version's.
            pub fn from_number(number: u64) -> Option<Self> {
                [$(Self::$variant),+].into_iter().find(|code| code.number() == number)
            }
        }
    };
}
numeric_code!(
    CloseCode,
    Shutdown,
    Idle,
    Duplicate,
    ProtocolMismatch,
    Malformed,
    FrameTooLarge,
    IdentityMismatch,
    PartyKey,
    Timeout,
    Overload,
    SelfConnect,
    Stale,
    Internal,
    Blocked,
    SharedIdentity
);
numeric_code!(StreamCode, Cancelled, NotServed, Changed, Io, Busy);
