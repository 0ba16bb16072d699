//! What commands are answered.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{CommandError, Explanation, GameRow, Metrics, PeerRow, Status};
use crate::types::{
    Finding, GameId, LeftOut, ManifestHash, OpenedFolder, Packing, PeerId, ProgramAnswer, ProgramList, RelPath,
    StartedProgram,
};

/// The answer to one command.
pub type CommandResult = Result<CommandData, CommandError>;

impl From<ProgramAnswer> for CommandData {
    fn from(answer: ProgramAnswer) -> Self {
        match answer {
            ProgramAnswer::Programs(list) => Self::Programs(list),
            ProgramAnswer::Chosen => Self::Done(Done {}),
            ProgramAnswer::Started(started) => Self::Started(started),
            ProgramAnswer::Opened(opened) => Self::Opened(opened),
        }
    }
}

/// The `data` of a result record.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum CommandData {
    /// To `status`.
    Status(Box<Status>),
    /// To `metrics`.
    Metrics(Box<Metrics>),
    /// To `list-peers`.
    Peers(PeerList),
    /// To `list-games`.
    Games(GameList),
    /// To `get-game`.
    GameFiles(GameFiles),
    /// To `explain`.
    Explanation(Box<Explanation>),
    /// To `download`, `fetch-latest`, `install`, `uninstall`, `adopt`, `remove` and `verify`: it runs, or waits its turn.
    Accepted(Accepted),
    /// To `list-programs`.
    Programs(ProgramList),
    /// To `play`.
    Started(StartedProgram),
    /// To `diagnose`.
    Diagnosis(Diagnosis),
    /// To `open-folder`.
    Opened(OpenedFolder),
    /// To `connect`: the peer that answered.
    Connected(Connected),
    /// To `set-limits`: what holds now.
    Limits(LimitState),
    /// To `wait-peers`: how many there are.
    PeerCount(PeerCount),
    /// To the rest: `{}`.
    Done(Done),
}

/// `{}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Done {}

/// Limits to the rate of game data, in bytes per second; `null`: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LimitState {
    /// To the peers.
    pub max_upload: Option<u64>,
    /// From the peers.
    pub max_download: Option<u64>,
}

/// `{"findings":[…]}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// What is wrong; empty: nothing was found.
    pub findings: Vec<Finding>,
}

/// `{"peers":[…]}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PeerList {
    /// Ascending by id.
    pub peers: Vec<PeerRow>,
}

/// `{"games":[…]}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GameList {
    /// Ascending by id.
    pub games: Vec<GameRow>,
}

/// An operation was accepted.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// Which game.
    pub game: GameId,
    /// Whether it waits for a free slot; only downloads do.
    pub queued: bool,
}

/// A connection stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Connected {
    /// Who answered.
    pub peer_id: PeerId,
    /// Where.
    pub addr: SocketAddr,
}

/// To `POST /api/v1/page`: where the web page is, for one browser.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PageAddress {
    /// Works once.
    pub url: String,
}

/// `{"peers":n}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerCount {
    /// Connected peers whose library is in step.
    pub peers: usize,
}

/// The files of a game at its sources.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GameFiles {
    /// Which.
    pub game: GameId,
    /// Names the list.
    pub manifest_hash: ManifestHash,
    /// Sum of the sizes.
    pub bytes: u64,
    /// How it would be installed, by the names of its files.
    pub installs_by: Packing,
    /// The files in canonical order.
    pub files: Vec<GameFile>,
    /// The folders that hold nothing, in canonical order; left out when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<RelPath>,
    /// What of the game's folder here is no part of the game as it is here; left out when there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves_out: Option<LeftOut>,
    /// Who can hand it out.
    pub sources: Vec<PeerId>,
}

/// One file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct GameFile {
    /// Where, beneath the game's root.
    pub path: RelPath,
    /// Bytes.
    pub size: u64,
}
