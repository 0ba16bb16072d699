//! What a user interface asks for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::types::{GameId, PeerId, RelPath};

/// What a user interface asks for. `cmd` is the tag in JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "kebab-case")]
pub enum PeerCommand {
    /// State of the daemon in one record.
    Status,
    /// What was moved, what is held, and what was waited for.
    Metrics,
    /// Every peer that is known.
    ListPeers,
    /// Every game, here or at a peer.
    ListGames,
    /// Dial `host:port`.
    Connect {
        /// `host:port`, `[v6]:port`.
        addr: String,
    },
    /// Use another directory of games.
    SetGameDir {
        /// The directory; must exist.
        path: PathBuf,
    },
    /// The files of a game, asked from its sources.
    GetGame {
        /// Which.
        game: GameId,
    },
    /// Why a download of a game gets what it gets now.
    Explain {
        /// Which.
        game: GameId,
    },
    /// Refresh the libraries of the peers, then download the newest version without installing.
    FetchLatest {
        /// Which.
        game: GameId,
    },
    /// Download a game, and install it unless told otherwise.
    Download {
        /// Which.
        game: GameId,
        /// Install afterwards; the default is true.
        #[serde(default = "yes")]
        install: bool,
        /// Also over a complete copy that is the user's own and has another content in the same version.
        #[serde(default)]
        again: bool,
    },
    /// End what runs on a game: a download, and take away what it left; an installation, an update or a verification. What
    /// cannot be stopped half-way goes on to its end.
    CancelDownload {
        /// Which.
        game: GameId,
    },
    /// Install a downloaded game; replaces an installation of another version.
    Install {
        /// Which.
        game: GameId,
    },
    /// Remove the installation. The downloaded files stay.
    Uninstall {
        /// Which.
        game: GameId,
    },
    /// Let lanspread have an installation that somebody else made: to be updated and removed.
    Adopt {
        /// Which.
        game: GameId,
    },
    /// Remove the downloaded files of a game that is not installed, or what a download left of it.
    Remove {
        /// Which.
        game: GameId,
    },
    /// Hash the downloaded files again and hold them against what is known of them.
    Verify {
        /// Which.
        game: GameId,
        /// Fetch what is damaged.
        #[serde(default)]
        repair: bool,
    },
    /// Limit how fast games go out and come in, from now on until the daemon stops. What is not given stays as it is.
    SetLimits {
        /// To the peers, in bytes per second; `Some(None)`: as fast as it goes.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_upload: Option<Option<u64>>,
        /// From the peers.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_download: Option<Option<u64>>,
    },
    /// Stop all transfers, both ways: the user plays. What was asked for already still arrives.
    Pause,
    /// Let transfers go on.
    Resume,
    /// Have nothing to do with a peer until the daemon stops.
    BlockPeer {
        /// Whom.
        peer_id: PeerId,
    },
    /// Deal with a peer again.
    UnblockPeer {
        /// Whom.
        peer_id: PeerId,
    },
    /// Let a waiting download be the next.
    Prioritise {
        /// Which.
        game: GameId,
    },
    /// List what can be started of an installed game.
    ListPrograms {
        /// Which.
        game: GameId,
    },
    /// Remember which program of an installed game `play` starts.
    ChooseProgram {
        /// Which game.
        game: GameId,
        /// Its path in `local/`.
        program: RelPath,
    },
    /// Start an installed game on this PC.
    Play {
        /// Which.
        game: GameId,
    },
    /// Show the folder of an installation on the desktop.
    OpenFolder {
        /// Of which game.
        game: GameId,
    },
    /// Look for what is wrong: here, with the other PCs, with the disk.
    Diagnose,
    /// Wait until so many peers are connected with their libraries in step.
    WaitPeers {
        /// How many.
        count: usize,
        /// For how long, in milliseconds.
        timeout_ms: u64,
    },
    /// Say goodbye and stop.
    Shutdown,
}

fn yes() -> bool {
    true
}

impl PeerCommand {
    /// The tag in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Metrics => "metrics",
            Self::ListPeers => "list-peers",
            Self::ListGames => "list-games",
            Self::Connect { .. } => "connect",
            Self::SetGameDir { .. } => "set-game-dir",
            Self::GetGame { .. } => "get-game",
            Self::Explain { .. } => "explain",
            Self::FetchLatest { .. } => "fetch-latest",
            Self::Download { .. } => "download",
            Self::CancelDownload { .. } => "cancel-download",
            Self::Install { .. } => "install",
            Self::Uninstall { .. } => "uninstall",
            Self::Adopt { .. } => "adopt",
            Self::Remove { .. } => "remove",
            Self::Verify { .. } => "verify",
            Self::SetLimits { .. } => "set-limits",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::BlockPeer { .. } => "block-peer",
            Self::UnblockPeer { .. } => "unblock-peer",
            Self::Prioritise { .. } => "prioritise",
            Self::ListPrograms { .. } => "list-programs",
            Self::ChooseProgram { .. } => "choose-program",
            Self::Play { .. } => "play",
            Self::OpenFolder { .. } => "open-folder",
            Self::Diagnose => "diagnose",
            Self::WaitPeers { .. } => "wait-peers",
            Self::Shutdown => "shutdown",
        }
    }
}
