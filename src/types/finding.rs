//! What `lanspread doctor` finds: a stable code, and one remedy.

use serde::{Deserialize, Serialize};

/// Something that keeps this PC from its games, or may soon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Which kind.
    pub code: FindingCode,
    /// What was found, where.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Kinds of findings. Stable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingCode {
    /// The game directory is not there any more.
    GameDirectoryGone,
    /// Little is free where the games are.
    DiskNearlyFull,
    /// The file system of the games takes no file of 4 GiB or more.
    LargeFilesRefused,
    /// The games lie on a network drive.
    NetworkDrive,
    /// No file watches are left: changes are noticed late.
    NoWatches,
    /// The process may have few files open at once.
    FewHandles,
    /// The clock is years off.
    ClockWrong,
    /// Transfers are paused.
    Paused,
    /// No other PC was found.
    NobodyFound,
    /// A PC is seen, and does not answer.
    Unreachable,
    /// PCs of another protocol version.
    OtherVersion,
    /// PCs of another party.
    OtherPartyKey,
    /// A PC's list of games does not fit.
    LibraryTooLarge,
    /// Two adapters in one subnet.
    SameSubnetTwice,
    /// A VPN takes what goes to the LAN, or all of it.
    VpnRoute,
}

impl Finding {
    /// Code, message and remedy.
    pub fn new(code: FindingCode, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: remedy.into() }
    }
}
