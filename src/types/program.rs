//! Programs in an installed game: what can be asked of them, and what the answers are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::path::unreserved;
use super::{GameId, PathError, RelPath};

/// Most arguments of a program that a catalog names, and the bytes of each.
const MAX_ARGS: usize = 32;
const MAX_ARG_BYTES: usize = 1024;

/// What games are told of whoever plays them, as the user set it; nothing is told without that.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Personal {
    /// The player's name.
    pub player: Option<String>,
    /// The language, as the games' files name it: `german`.
    pub language: Option<String>,
}

/// What is to be done with the programs in the `local/` of a game.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProgramAsk {
    /// List what can be started.
    List,
    /// Remember which one the user wants.
    Choose(RelPath),
    /// Start the one that was chosen, or the only one.
    Play,
    /// Show the folder on the desktop.
    OpenFolder,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProgramAnswer {
    /// To [`ProgramAsk::List`].
    Programs(ProgramList),
    /// To [`ProgramAsk::Choose`].
    Chosen,
    /// To [`ProgramAsk::Play`].
    Started(StartedProgram),
    /// To [`ProgramAsk::OpenFolder`].
    Opened(OpenedFolder),
}

/// What can be started in the `local/` of a game.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProgramList {
    /// Paths in `local/`, the likeliest first.
    #[serde(deserialize_with = "unreserved::all")]
    pub programs: Vec<RelPath>,
    /// The one that the user chose.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreserved::perhaps")]
    pub chosen: Option<RelPath>,
    /// The one that the catalog names.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unreserved::perhaps")]
    pub launch: Option<RelPath>,
}

/// A program that was started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StartedProgram {
    /// Of which game.
    pub game: GameId,
    /// Its path in `local/`.
    #[serde(deserialize_with = "unreserved::one")]
    pub program: RelPath,
}

/// A folder that was opened on the desktop.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenedFolder {
    /// Where it is.
    pub path: PathBuf,
}

/// What a catalog says of how a game is started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Launch {
    /// Path in `local/`.
    pub program: RelPath,
    /// What it is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// The same as it is written: a path, or a path and arguments.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum RawLaunch {
    /// Only the program.
    Program(String),
    /// With arguments.
    WithArgs {
        /// Path in `local/`.
        program: String,
        /// What it is given.
        #[serde(default)]
        args: Vec<String>,
    },
}

/// Why a catalog's `launch` is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LaunchError {
    /// It names no file in `local/`.
    #[error("{0}")]
    Path(#[from] PathError),
    /// Too much.
    #[error("more than {MAX_ARGS} arguments, or one of more than {MAX_ARG_BYTES} bytes or with a control character")]
    Args,
}

impl TryFrom<RawLaunch> for Launch {
    type Error = LaunchError;

    fn try_from(raw: RawLaunch) -> Result<Self, LaunchError> {
        let (program, args) = match raw {
            RawLaunch::Program(program) => (program, Vec::new()),
            RawLaunch::WithArgs { program, args } => (program, args),
        };
        let is_odd = |arg: &String| arg.len() > MAX_ARG_BYTES || arg.chars().any(char::is_control);
        if args.len() > MAX_ARGS || args.iter().any(is_odd) {
            return Err(LaunchError::Args);
        }
        Ok(Self { program: RelPath::parse_unreserved(&program)?, args })
    }
}
