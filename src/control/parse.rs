//! From a JSON object to a [`PeerCommand`], with errors that name the field.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::api::{CommandError, ErrorCode, PeerCommand};
use crate::config::Rates;
use crate::types::{GameId, PeerId, RelPath, is_utf16, without_mark};

/// Most peers and longest time that `wait-peers` takes; a day in milliseconds.
const MAX_COUNT: u64 = 1_000_000;
const MAX_TIMEOUT_MS: u64 = 86_400_000;
/// Highest limit of a rate, as one in words: above it a decimal number, which is all that JavaScript has, is no longer exact.
const MAX_RATE: u64 = 1 << 53;

/// The JSON object in a line or a body. A UTF-8 byte order mark in front is skipped, as the pipes and editors of Windows write it.
///
/// # Errors
/// In words that complete "the line …".
pub(super) fn json_object(text: &[u8]) -> Result<Map<String, Value>, String> {
    let text = without_mark(text);
    if is_utf16(text) {
        return Err("is UTF-16: send it as UTF-8".into());
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("is not a JSON object".into()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

/// The command in `object`: `cmd` names it, `id` is the caller's own, every other member is a field of the command.
/// A member that the command does not have is refused: a misspelt option must not quietly do the opposite.
///
/// # Errors
/// `unknown-command` when `cmd` names none, `bad-argument` when a field is missing, wrong or unknown.
pub fn parse_command(object: &Map<String, Value>) -> Result<PeerCommand, CommandError> {
    let name = match object.get("cmd") {
        Some(Value::String(name)) => name.as_str(),
        Some(_) => return Err(unknown("cmd: expected a string that names a command")),
        None => return Err(unknown("cmd is missing: expected a string that names a command")),
    };
    let fields = Fields { command: name, object };
    match name {
        "status" => fields.only(&[], PeerCommand::Status),
        "metrics" => fields.only(&[], PeerCommand::Metrics),
        "list-peers" => fields.only(&[], PeerCommand::ListPeers),
        "list-games" => fields.only(&[], PeerCommand::ListGames),
        "shutdown" => fields.only(&[], PeerCommand::Shutdown),
        "connect" => fields.only(&["addr"], PeerCommand::Connect { addr: fields.host_port("addr")? }),
        "set-game-dir" => fields.only(&["path"], PeerCommand::SetGameDir { path: fields.path("path")? }),
        "get-game" => fields.only(&["game"], PeerCommand::GetGame { game: fields.game()? }),
        "explain" => fields.only(&["game"], PeerCommand::Explain { game: fields.game()? }),
        "fetch-latest" => fields.only(&["game"], PeerCommand::FetchLatest { game: fields.game()? }),
        "cancel-download" => fields.only(&["game"], PeerCommand::CancelDownload { game: fields.game()? }),
        "install" => fields.only(&["game"], PeerCommand::Install { game: fields.game()? }),
        "uninstall" => fields.only(&["game"], PeerCommand::Uninstall { game: fields.game()? }),
        "adopt" => fields.only(&["game"], PeerCommand::Adopt { game: fields.game()? }),
        "remove" => fields.only(&["game"], PeerCommand::Remove { game: fields.game()? }),
        "verify" => {
            let repair = fields.optional_bool("repair")?.unwrap_or(false);
            fields.only(&["game", "repair"], PeerCommand::Verify { game: fields.game()?, repair })
        }
        "download" => {
            let install = fields.optional_bool("install")?.unwrap_or(true);
            let again = fields.optional_bool("again")?.unwrap_or(false);
            fields.only(&["game", "install", "again"], PeerCommand::Download { game: fields.game()?, install, again })
        }
        "list-programs" => fields.only(&["game"], PeerCommand::ListPrograms { game: fields.game()? }),
        "choose-program" => {
            let program = fields.program("program")?;
            fields.only(&["game", "program"], PeerCommand::ChooseProgram { game: fields.game()?, program })
        }
        "play" => fields.only(&["game"], PeerCommand::Play { game: fields.game()? }),
        "open-folder" => fields.only(&["game"], PeerCommand::OpenFolder { game: fields.game()? }),
        "diagnose" => fields.only(&[], PeerCommand::Diagnose),
        "pause" => fields.only(&[], PeerCommand::Pause),
        "resume" => fields.only(&[], PeerCommand::Resume),
        "block-peer" => fields.only(&["peer_id"], PeerCommand::BlockPeer { peer_id: fields.peer_id()? }),
        "unblock-peer" => fields.only(&["peer_id"], PeerCommand::UnblockPeer { peer_id: fields.peer_id()? }),
        "prioritise" => fields.only(&["game"], PeerCommand::Prioritise { game: fields.game()? }),
        "set-limits" => {
            let (max_upload, max_download) = (fields.rate("max_upload")?, fields.rate("max_download")?);
            fields.only(&["max_upload", "max_download"], PeerCommand::SetLimits { max_upload, max_download })
        }
        "wait-peers" => {
            let count = fields.number("count", MAX_COUNT)? as usize;
            let timeout_ms = fields.number("timeout_ms", MAX_TIMEOUT_MS)?;
            fields.only(&["count", "timeout_ms"], PeerCommand::WaitPeers { count, timeout_ms })
        }
        other => Err(unknown(format!("there is no command {:?}", shorten(other)))),
    }
}

fn unknown(message: impl Into<String>) -> CommandError {
    CommandError::new(ErrorCode::UnknownCommand, message)
}

/// Enough of a caller's text to recognise it.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A whole number, also where it is written with a point or an exponent: to JSON that is the same.
fn whole(value: &Value) -> Option<u64> {
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=MAX_RATE as f64).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}

struct Fields<'a> {
    command: &'a str,
    object: &'a Map<String, Value>,
}

impl Fields<'_> {
    /// `command`, unless the object has a member beyond `names`.
    fn only(&self, names: &[&str], command: PeerCommand) -> Result<PeerCommand, CommandError> {
        let stranger =
            self.object.keys().find(|key| !matches!(key.as_str(), "id" | "cmd") && !names.contains(&key.as_str()));
        match stranger {
            None => Ok(command),
            Some(key) if names.is_empty() => Err(self.bad(&shorten(key), "no such field; the command has none")),
            Some(key) => Err(self.bad(&shorten(key), &format!("no such field; the command has {}", names.join(", ")))),
        }
    }

    fn bad(&self, field: &str, what: &str) -> CommandError {
        CommandError::new(ErrorCode::BadArgument, format!("{}: {field}: {what}", self.command))
    }

    fn wrong(&self, field: &str, expected: &str) -> CommandError {
        match self.object.get(field) {
            None => self.bad(field, &format!("missing; expected {expected}")),
            Some(_) => self.bad(field, &format!("expected {expected}")),
        }
    }

    fn text(&self, field: &str, expected: &str) -> Result<&str, CommandError> {
        self.object.get(field).and_then(Value::as_str).ok_or_else(|| self.wrong(field, expected))
    }

    fn game(&self) -> Result<GameId, CommandError> {
        let text = self.text("game", "the id of a game, a string")?;
        text.parse().map_err(|error| self.bad("game", &format!("{error}")))
    }

    fn program(&self, field: &str) -> Result<RelPath, CommandError> {
        let text = self.text(field, "a path in local/, a string")?;
        RelPath::parse_unreserved(text).map_err(|error| self.bad(field, &format!("{error}")))
    }

    fn peer_id(&self) -> Result<PeerId, CommandError> {
        let text = self.text("peer_id", "the id of a peer, a string")?;
        text.parse().map_err(|error| self.bad("peer_id", &format!("{error}")))
    }

    fn host_port(&self, field: &str) -> Result<String, CommandError> {
        let expected = "HOST:PORT or [IPV6]:PORT, a string";
        let text = self.text(field, expected)?;
        if !crate::config::is_host_port(text) {
            return Err(self.wrong(field, expected));
        }
        Ok(text.to_owned())
    }

    fn path(&self, field: &str) -> Result<PathBuf, CommandError> {
        let expected = "the path of a directory, a string";
        let text = self.text(field, expected)?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.wrong(field, expected));
        }
        Ok(PathBuf::from(text))
    }

    fn optional_bool(&self, field: &str) -> Result<Option<bool>, CommandError> {
        match self.object.get(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong(field, "true or false")),
        }
    }

    /// Bytes per second as a number, a rate as people write it, or none as `null`.
    fn rate(&self, field: &str) -> Result<Option<Option<u64>>, CommandError> {
        let rate = match self.object.get(field) {
            None => return Ok(None),
            Some(Value::Null) => Some(None),
            Some(Value::String(text)) => Rates::parse(text),
            Some(value) => whole(value).filter(|rate| (Rates::LEAST..=MAX_RATE).contains(rate)).map(Some),
        };
        let expected = || self.wrong(field, &format!("bytes per second from {}, null, {}", Rates::LEAST, Rates::FORM));
        rate.map(Some).ok_or_else(expected)
    }

    fn number(&self, field: &str, most: u64) -> Result<u64, CommandError> {
        let value = self.object.get(field).and_then(whole).filter(|number| *number <= most);
        value.ok_or_else(|| self.wrong(field, &format!("a whole number from 0 to {most}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: Value) -> Result<PeerCommand, CommandError> {
        parse_command(value.as_object().unwrap())
    }

    #[test]
    fn an_object_is_found_behind_the_mark_that_windows_puts_before_it() {
        for text in ["{\"cmd\":\"status\"}", "\u{feff}{\"cmd\":\"status\"}\r"] {
            assert_eq!(json_object(text.as_bytes()).unwrap()["cmd"], "status", "{text:?}");
        }
        let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(json_object(&utf16).unwrap_err().contains("UTF-16"));
        assert!(json_object(b"[]").unwrap_err().contains("object"));
        assert!(json_object(b"{").unwrap_err().contains("is not JSON"));
    }

    #[test]
    fn what_a_command_serializes_to_is_parsed_back() {
        let game: GameId = "quake".parse().unwrap();
        for command in [
            PeerCommand::Status,
            PeerCommand::ListPeers,
            PeerCommand::ListGames,
            PeerCommand::Connect { addr: "[fe80::1%3]:4711".into() },
            PeerCommand::SetGameDir { path: "/games".into() },
            PeerCommand::GetGame { game: game.clone() },
            PeerCommand::Explain { game: game.clone() },
            PeerCommand::FetchLatest { game: game.clone() },
            PeerCommand::Download { game: game.clone(), install: false, again: true },
            PeerCommand::CancelDownload { game: game.clone() },
            PeerCommand::Install { game: game.clone() },
            PeerCommand::Uninstall { game: game.clone() },
            PeerCommand::Adopt { game: game.clone() },
            PeerCommand::ListPrograms { game: game.clone() },
            PeerCommand::ChooseProgram { game: game.clone(), program: "bin/doom.exe".parse().unwrap() },
            PeerCommand::Play { game: game.clone() },
            PeerCommand::Diagnose,
            PeerCommand::OpenFolder { game: game.clone() },
            PeerCommand::Remove { game: game.clone() },
            PeerCommand::Verify { game, repair: true },
            PeerCommand::WaitPeers { count: 3, timeout_ms: 500 },
            PeerCommand::Pause,
            PeerCommand::BlockPeer { peer_id: PeerId::from_spki_sha256(&[7; 32]) },
            PeerCommand::UnblockPeer { peer_id: PeerId::from_spki_sha256(&[7; 32]) },
            PeerCommand::Resume,
            PeerCommand::Prioritise { game: "quake".parse().unwrap() },
            PeerCommand::SetLimits { max_upload: Some(None), max_download: None },
            PeerCommand::SetLimits { max_upload: None, max_download: Some(Some(5_000_000)) },
            PeerCommand::Shutdown,
        ] {
            let mut object = serde_json::to_value(&command).unwrap();
            object["id"] = json!([1, "x"]);
            assert_eq!(object["cmd"], command.name());
            assert_eq!(parse(object), Ok(command));
        }
        let float = parse(json!({"cmd": "wait-peers", "count": 3.0, "timeout_ms": 5e2})).unwrap();
        assert_eq!(float, PeerCommand::WaitPeers { count: 3, timeout_ms: 500 });
        let default = parse(json!({"cmd": "download", "game": "quake"})).unwrap();
        assert!(matches!(default, PeerCommand::Download { install: true, again: false, .. }));
        let default = parse(json!({"cmd": "verify", "game": "quake"})).unwrap();
        assert!(matches!(default, PeerCommand::Verify { repair: false, .. }));
    }

    #[test]
    fn a_wrong_field_is_named_together_with_what_is_expected() {
        for (object, expected) in [
            (json!({"cmd": "download"}), "download: game: missing; expected the id of a game"),
            (json!({"cmd": "download", "game": 3}), "download: game: expected the id of a game"),
            (json!({"cmd": "download", "game": "../etc"}), "download: game: not a game id"),
            (json!({"cmd": "get-game", "game": "local"}), "get-game: game: not a game id"),
            (json!({"cmd": "download", "game": "q", "install": "no"}), "download: install: expected true or false"),
            (json!({"cmd": "download", "game": "q", "again": 1}), "download: again: expected true or false"),
            (json!({"cmd": "download", "game": "q", "instal": false}), "instal: no such field"),
            (json!({"cmd": "verify", "game": "q", "repair": 1}), "verify: repair: expected true or false"),
            (json!({"cmd": "remove"}), "remove: game: missing; expected the id of a game"),
            (json!({"cmd": "uninstall", "game": "q", "repair": true}), "repair: no such field; the command has game"),
            (json!({"cmd": "status", "game": "q"}), "status: game: no such field; the command has none"),
            (json!({"cmd": "connect", "addr": "nowhere"}), "connect: addr: expected HOST:PORT"),
            (json!({"cmd": "set-game-dir", "path": ""}), "set-game-dir: path: expected the path"),
            (json!({"cmd": "wait-peers", "count": -1, "timeout_ms": 1}), "wait-peers: count: expected a whole number"),
            (json!({"cmd": "block-peer", "peer_id": "me"}), "block-peer: peer_id: "),
            (json!({"cmd": "set-limits", "max_upload": 999_999}), "max_upload: expected bytes per second from 1000000"),
            (
                json!({"cmd": "set-limits", "max_upload": MAX_RATE + 1}),
                "max_upload: expected bytes per second from 1000000",
            ),
            (json!({"cmd": "set-limits", "max_download": "5MB"}), "such as 50MB/s"),
            (json!({"cmd": "wait-peers", "count": 1.5, "timeout_ms": 1}), "wait-peers: count: expected a whole number"),
            (json!({"cmd": "wait-peers", "count": 1}), "wait-peers: timeout_ms: missing; expected a whole number"),
        ] {
            let error = parse(object).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadArgument);
            assert!(error.message.contains(expected), "{}", error.message);
        }
    }

    #[test]
    fn a_command_of_another_version_is_unknown() {
        for object in
            [json!({"cmd": "defragment", "game": "q"}), json!({"cmd": 3}), json!({}), json!({"cmd": "Status"})]
        {
            assert_eq!(parse(object).unwrap_err().code, ErrorCode::UnknownCommand);
        }
    }
}
