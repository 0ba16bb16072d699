use serde_json::json;

use super::arguments::MAX_RATE;
use super::*;

fn parse(value: Value) -> Result<PeerCommand, CommandError> {
    PeerCommand::parse(value.as_object().unwrap())
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
    for object in [json!({"cmd": "defragment", "game": "q"}), json!({"cmd": 3}), json!({}), json!({"cmd": "Status"})] {
        assert_eq!(parse(object).unwrap_err().code, ErrorCode::UnknownCommand);
    }
}
