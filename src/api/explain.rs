//! Why a game comes as it comes: the answer to `explain`.

use serde::{Deserialize, Serialize};

use crate::types::{GameId, MirrorUrl, PeerId};

/// What is being done about a game now, and what each source of its download is doing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// Which.
    pub game: GameId,
    /// Where its download is.
    pub state: DownloadState,
    /// In words: what it waits for, or why there is none.
    pub reason: String,
    /// Every source that the download has met, ascending by id.
    pub sources: Vec<SourceExplanation>,
}

/// Where a download is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DownloadState {
    /// There is none.
    None,
    /// It waits for its turn.
    Queued,
    /// Nobody who has the game is connected.
    Seeking,
    /// A source is asked for the list of files.
    Asking,
    /// The files on the disk are made ready, and looked through.
    Preparing,
    /// Chunks are asked for.
    Fetching,
    /// The files are made durable, or an ended download is put away.
    Ending,
}

/// What one source is doing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SourceExplanation {
    /// Who.
    pub peer_id: PeerId,
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Where it is, if it is a mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<MirrorUrl>,
    /// Why it delivers, or does not.
    pub state: SourceState,
    /// The same in words.
    pub reason: String,
    /// Runs that it was asked for and that have not come whole.
    pub runs: usize,
    /// How fast it was lately; 0: nothing was measured yet.
    pub bytes_per_second: u64,
}

/// Why a source delivers, or does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceState {
    /// It was asked for chunks that are on their way.
    Delivering,
    /// It can be asked next.
    Ready,
    /// All chunks are asked for at others already.
    NothingWanted,
    /// It has no chunk that is still wanted: it is downloading the game itself.
    NothingFresh,
    /// It seems farther than another source, which is asked first.
    Far,
    /// All landing buffers are in use.
    NoBuffer,
    /// The limit of the rate is used up.
    RateLimit,
    /// All transfers are stopped by `pause`.
    Paused,
    /// It answered `busy`, or failed, and is given a pause.
    BackingOff,
    /// It does not serve the content at the moment, or its files had changed.
    Left,
    /// Its library does not list the content of this download any more.
    NotOffering,
    /// It is not connected.
    Disconnected,
    /// It is not asked again in this download.
    Banned,
}
