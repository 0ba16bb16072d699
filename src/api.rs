//! The one vocabulary of every door: [`PeerCommand`] in, [`PeerEvent`] and [`CommandResult`] out.
//!
//! The shapes below are the JSON of the JSONL and HTTP doors; `docs/CONTROL.md` lists them.

mod answers;
mod commands;
mod errors;
mod events;
mod explain;
mod metrics;
mod records;

pub use answers::{
    Accepted, CommandData, CommandResult, Connected, Diagnosis, Done, GameFile, GameFiles, GameList, LimitState,
    PeerCount, PeerList,
};
pub use commands::PeerCommand;
pub use errors::{CommandError, ErrorCode};
pub use events::{PeerEvent, SourceBytes};
pub use explain::{DownloadState, Explanation, SourceExplanation, SourceState};
pub use metrics::{
    BufferMetrics, Metrics, NetworkMetrics, PeerMetrics, QueueMetrics, StallCause, StallMetrics, SyncMetrics,
};
pub use records::{
    BannedSource, GameRow, IncompatiblePeer, LibraryTooLarge, MirrorRow, Operation, OperationRow, PeerRow, Status,
    WatchState,
};

/// For fields that say nothing when they are 0.
fn is_zero(number: &usize) -> bool {
    *number == 0
}
