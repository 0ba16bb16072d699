//! The table of commands: what each is called, which fields it has, how it is answered, and what it is for.
//!
//! From it come the command as a variant of [`PeerCommand`] and as a [`Call`] of its own, its parser, the help of the command line,
//! and what the tests hold `docs/CONTROL.md` and `docs/openapi.yaml` against.

mod arguments;

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{CommandError, ErrorCode};
use crate::types::{GameId, PeerId, RelPath};
use arguments::{COUNT, DIRECTORY, Fields, GAME, HOST_PORT, OFF, ON, PEER, PROGRAM, RATE, TIMEOUT_MS, shorten};

/// One row of the table.
pub struct CommandSpec {
    /// The tag `cmd` in JSON.
    pub name: &'static str,
    /// What it is for, in one line.
    pub summary: &'static str,
    /// Its fields in JSON, in order.
    pub fields: &'static [FieldSpec],
    /// The type of its answer.
    pub reply: &'static str,
    parse: fn(&Fields) -> Result<PeerCommand, CommandError>,
}

/// A field of a command.
pub struct FieldSpec {
    /// Its name.
    pub name: &'static str,
    /// Whether it may be missing.
    pub optional: bool,
}

/// A command by itself, whose answer is of one type.
pub trait Call: Into<PeerCommand> {
    /// What a daemon answers.
    type Reply: DeserializeOwned;
    /// Its row in the table.
    const SPEC: CommandSpec;
}

/// Makes of each row a variant, a structure of the same name, and its [`Call`]. The first line of a row is its summary; behind `=` stands
/// the kind of a field.
macro_rules! table {
    ($(
        #[doc = $summary:literal]
        $(#[doc = $more:literal])*
        $command:ident $name:literal -> $reply:ident $({$(
            $(#[doc = $what:literal])+
            $(#[serde($serde:meta)])?
            $field:ident: $type:ty = $kind:expr,
        )+})? ;
    )+) => {
        /// What a user interface asks for. `cmd` is the tag in JSON.
        #[derive(Clone, PartialEq, Debug, Serialize)]
        #[serde(tag = "cmd")]
        pub enum PeerCommand {$(
            #[doc = $summary]
            $(#[doc = $more])*
            #[serde(rename = $name)]
            $command $({$(
                $(#[doc = $what])+
                $(#[serde($serde)])?
                $field: $type,
            )+})?,
        )+}

        /// Every command.
        pub const COMMANDS: &[CommandSpec] = &[$($command::SPEC),+];

        impl PeerCommand {
            /// The tag in JSON.
            pub fn name(&self) -> &'static str {
                match self {$(
                    Self::$command { .. } => $name,
                )+}
            }
        }

        $(
            #[doc = concat!("[`PeerCommand::", stringify!($command), "`] by itself.")]
            #[derive(Clone, PartialEq, Debug)]
            pub struct $command {$($(
                $(#[doc = $what])+
                pub $field: $type,
            )+)?}

            impl From<$command> for PeerCommand {
                fn from(command: $command) -> Self {
                    let $command { $($($field),+)? } = command;
                    Self::$command $({ $($field),+ })?
                }
            }

            impl Call for $command {
                type Reply = super::$reply;
                const SPEC: CommandSpec = CommandSpec {
                    name: $name,
                    summary: $summary.trim_ascii(),
                    fields: &[$($(FieldSpec { name: stringify!($field), optional: $kind.is_optional() }),+)?],
                    reply: stringify!($reply),
                    parse: |fields| {
                        $($(let $field = $kind.of(fields, stringify!($field));)+)?
                        fields.check(&[$($((stringify!($field), $field.as_ref().err())),+)?])?;
                        Ok(PeerCommand::$command $({ $($field: $field?),+ })?)
                    },
                };
            }
        )+
    };
}

table! {
    /// Show what the running daemon does
    Status "status" -> Status;

    /// Show what it moves, holds and waits for
    Metrics "metrics" -> Metrics;

    /// List the PCs that it knows
    ListPeers "list-peers" -> PeerList;

    /// List the games, here and at other PCs
    ListGames "list-games" -> GameList;

    /// Connect to a PC that discovery does not find
    Connect "connect" -> Connected {
        /// `host:port`, `[v6]:port`.
        addr: String = HOST_PORT,
    };

    /// Use another directory of games
    SetGameDir "set-game-dir" -> Done {
        /// The directory; must exist.
        path: PathBuf = DIRECTORY,
    };

    /// List the files of a game
    ///
    /// They are asked from its sources.
    GetGame "get-game" -> GameFiles {
        /// Which.
        game: GameId = GAME,
    };

    /// Say what a download waits for, and what each of its sources is doing
    Explain "explain" -> Explanation {
        /// Which.
        game: GameId = GAME,
    };

    /// Refresh the libraries of the peers, then download the newest version without installing
    FetchLatest "fetch-latest" -> Accepted {
        /// Which.
        game: GameId = GAME,
    };

    /// Download a game, and install it unless told otherwise
    Download "download" -> Accepted {
        /// Which.
        game: GameId = GAME,
        /// Install afterwards; the default is true.
        install: bool = ON,
        /// Also over a complete copy that is the user's own and has another content in the same version.
        again: bool = OFF,
    };

    /// End what runs on a game; of a download nothing stays
    ///
    /// An installation, an update or a verification ends as well. What cannot be stopped half-way goes on to its end.
    CancelDownload "cancel-download" -> Done {
        /// Which.
        game: GameId = GAME,
    };

    /// Install a downloaded game, or update its installation
    Install "install" -> Accepted {
        /// Which.
        game: GameId = GAME,
    };

    /// Remove an installation; the downloaded files stay
    Uninstall "uninstall" -> Accepted {
        /// Which.
        game: GameId = GAME,
    };

    /// Let lanspread update and remove an installation that it did not make
    Adopt "adopt" -> Accepted {
        /// Which.
        game: GameId = GAME,
    };

    /// Remove the downloaded files of a game that is not installed
    ///
    /// Also what a download left of it.
    Remove "remove" -> Accepted {
        /// Which.
        game: GameId = GAME,
    };

    /// Hold the downloaded files against what is known of them
    Verify "verify" -> Accepted {
        /// Which.
        game: GameId = GAME,
        /// Fetch what is damaged.
        repair: bool = OFF,
    };

    /// Show or change how fast games may go out and come in
    ///
    /// From now on until the daemon stops. What is not given stays as it is.
    SetLimits "set-limits" -> LimitState {
        /// To the peers, in bytes per second; `Some(None)`: as fast as it goes.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_upload: Option<Option<u64>> = RATE,
        /// From the peers.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_download: Option<Option<u64>> = RATE,
    };

    /// Stop all transfers, both ways
    ///
    /// The user plays. What was asked for already still arrives.
    Pause "pause" -> Done;

    /// Let transfers go on
    Resume "resume" -> Done;

    /// Have nothing to do with a PC until the daemon stops
    BlockPeer "block-peer" -> Done {
        /// Whom.
        peer_id: PeerId = PEER,
    };

    /// Deal with a blocked PC again
    UnblockPeer "unblock-peer" -> Done {
        /// Whom.
        peer_id: PeerId = PEER,
    };

    /// Let a waiting download be the next
    Prioritise "prioritise" -> Done {
        /// Which.
        game: GameId = GAME,
    };

    /// List what can be started of an installed game
    ListPrograms "list-programs" -> ProgramList {
        /// Which.
        game: GameId = GAME,
    };

    /// Remember which program of an installed game `play` starts
    ChooseProgram "choose-program" -> Done {
        /// Which game.
        game: GameId = GAME,
        /// Its path in `local/`.
        program: RelPath = PROGRAM,
    };

    /// Start an installed game on this PC
    Play "play" -> StartedProgram {
        /// Which.
        game: GameId = GAME,
    };

    /// Show the folder of an installation on the desktop
    OpenFolder "open-folder" -> OpenedFolder {
        /// Of which game.
        game: GameId = GAME,
    };

    /// Look for what is wrong on this PC and with the others, and say what to do about it
    Diagnose "diagnose" -> Diagnosis;

    /// Wait until so many peers are connected with their libraries in step
    WaitPeers "wait-peers" -> PeerCount {
        /// How many.
        count: usize = COUNT,
        /// For how long, in milliseconds.
        timeout_ms: u64 = TIMEOUT_MS,
    };

    /// Say goodbye and stop
    Shutdown "shutdown" -> Done;
}

impl PeerCommand {
    /// The command in `object`: `cmd` names it, `id` is the caller's own, every other member is a field of the command.
    /// A member that the command does not have is refused: a misspelt option must not quietly do the opposite.
    ///
    /// # Errors
    /// `unknown-command` when `cmd` names none, `bad-argument` when a field is missing, wrong or unknown.
    pub fn parse(object: &Map<String, Value>) -> Result<Self, CommandError> {
        let unknown = |message: String| CommandError::new(ErrorCode::UnknownCommand, message);
        let name = match object.get("cmd") {
            Some(Value::String(name)) => name.as_str(),
            Some(_) => return Err(unknown("cmd: expected a string that names a command".into())),
            None => return Err(unknown("cmd is missing: expected a string that names a command".into())),
        };
        match COMMANDS.iter().find(|spec| spec.name == name) {
            Some(spec) => (spec.parse)(&Fields { command: spec.name, object }),
            None => Err(unknown(format!("there is no command {:?}", shorten(name)))),
        }
    }
}

#[cfg(test)]
mod tests;
