//! The one vocabulary of every door: [`PeerCommand`] in, [`PeerEvent`] and [`CommandResult`] out.
//!
//! The shapes below are the JSON of the JSONL and HTTP doors; `docs/CONTROL.md` lists them.

mod answers;
pub mod commands;
mod errors;
mod events;
mod explain;
mod metrics;
mod records;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

pub use answers::{
    Accepted, CommandData, CommandResult, Connected, Diagnosis, Done, GameFile, GameFiles, GameList, LimitState,
    PageAddress, PeerCount, PeerList,
};
pub use commands::PeerCommand;
pub use errors::{CommandError, ErrorCode};
pub use events::{PeerEvent, Snapshot, SourceBytes, StreamEvent};
pub use explain::{DownloadState, Explanation, SourceExplanation, SourceState};
pub use metrics::{
    BufferMetrics, Metrics, NetworkMetrics, PeerMetrics, QueueMetrics, StallCause, StallMetrics, SyncMetrics,
};
pub use records::{
    BannedSource, GameRow, IncompatiblePeer, LibraryTooLarge, MirrorRow, Operation, OperationRow, PeerRow, Status,
    WatchState,
};

pub use crate::types::{OpenedFolder, ProgramList, StartedProgram};

/// For fields that say nothing when they are 0.
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// For words that may be missing: one of a later version counts as missing.
fn known<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word<T> {
        Known(T),
        Later(IgnoredAny),
    }
    Ok(match Option::deserialize(deserializer)? {
        Some(Word::Known(word)) => Some(word),
        Some(Word::Later(_)) | None => None,
    })
}
