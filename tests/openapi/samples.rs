//! Everything that the daemon can say, made by hand with every field that there is and with as few as possible, against the document.
//! A new field does not compile here, and then has to be documented.

use lanspread_peer::api::commands::COMMANDS;
use lanspread_peer::api::*;
use lanspread_peer::types::{
    ChunkIndex, ContentHash, Epoch, Finding, FindingCode, GameId, InstalledBy, InterfaceKind, KeptAside, LeftOut,
    LibraryDigest, ManifestHash, MirrorUrl, OpenedFolder, Packing, PeerId, ProgramList, RelPath, Revision,
    StartedProgram,
};
use serde_json::{Value, json};

use crate::document::Document;
use crate::{keys, variants};

fn game() -> GameId {
    "Doom II – Ärger".parse().unwrap()
}

fn peer() -> PeerId {
    PeerId::from_spki_sha256(&[0xa7; 32])
}

fn path(text: &str) -> RelPath {
    text.parse().unwrap()
}

fn url() -> MirrorUrl {
    MirrorUrl::parse("https://party.lan/games").unwrap()
}

fn aside() -> Vec<KeptAside> {
    vec![KeptAside { file: path("a/config.ini"), kept_as: path("a/config.ini.mine") }]
}

fn left_out() -> LeftOut {
    LeftOut { count: 2, first: "saves/one.sav".into() }
}

fn operations() -> Vec<OperationRow> {
    [Operation::Queued, Operation::Updating].map(|operation| OperationRow { game: game(), operation }).to_vec()
}

fn addr() -> std::net::SocketAddr {
    "[fe80::1%3]:47000".parse().unwrap()
}

/// Events that say who and what of peers, the library and the daemon.
fn events_of_the_daemon() -> Vec<PeerEvent> {
    let (peer_id, game_count, addr) = (peer(), 3, addr());
    let refused = "the keys differ".to_owned();
    vec![
        PeerEvent::LocalPeerReady { peer_id, listen_addr: addr, control: Some("http://127.0.0.1:1".into()) },
        PeerEvent::LocalPeerReady { peer_id, listen_addr: ([127, 0, 0, 1], 9).into(), control: None },
        PeerEvent::PeerDiscovered { peer_id, addr },
        PeerEvent::PeerConnected { peer_id, addr, hostname: Some("attic".into()), game_count },
        PeerEvent::PeerConnected { peer_id, addr, hostname: None, game_count },
        PeerEvent::PeerLibraryChanged { peer_id, rev: Revision(u64::MAX), game_count },
        PeerEvent::PeerLost { peer_id, reason: "goodbye".into() },
        PeerEvent::PeerRefused { peer_id, addr, reason: refused.clone() },
        PeerEvent::LocalLibraryChanged { epoch: Epoch(7), rev: Revision(0), games: 0 },
        PeerEvent::GameDirectoryGone { path: "/games".into(), reason: refused },
        PeerEvent::GameDirectoryBack { path: "/games".into(), games: 1 },
        PeerEvent::ActiveOperationsChanged { operations: operations() },
        PeerEvent::ActiveOperationsChanged { operations: vec![] },
        PeerEvent::SettingsChanged {
            max_upload: Some(1_000_000),
            max_download: None,
            paused: true,
            peers_blocked: vec![peer_id],
        },
        PeerEvent::Traffic { bytes_received: 1, bytes_sent: u64::MAX, receiving: 0, sending: 0 },
        PeerEvent::CatalogChanged { games: 1, serial: u64::MAX },
        PeerEvent::RuntimeError { code: ErrorCode::Io, message: "it is full".into() },
    ]
}

fn events_of_downloads() -> Vec<PeerEvent> {
    let (game, peer_id, bytes, total, sources) = (game, peer(), 5, 9, 1);
    let finished = |sources, kept_aside| PeerEvent::DownloadFinished {
        game: game(),
        bytes,
        chunks: u32::MAX,
        duration_ms: 0,
        mib_per_s: 0.0,
        mbit_per_s: 1.5,
        refetched_bytes: 0,
        resumed_bytes: 0,
        sources,
        kept_aside,
    };
    let failed = |kept_aside| PeerEvent::DownloadFailed {
        game: game(),
        code: ErrorCode::NoSources,
        message: "nobody has it".into(),
        kept_aside,
    };
    let banned = |url, chunk| PeerEvent::DownloadSourceBanned {
        game: game(),
        peer_id,
        url,
        reason: "its bytes are wrong".into(),
        chunk,
    };
    vec![
        PeerEvent::GotGameFiles { game: game(), files: 2, bytes },
        PeerEvent::DownloadChecking { game: game(), bytes, total },
        PeerEvent::DownloadBegin { game: game(), bytes, sources },
        PeerEvent::DownloadProgress { game: game(), bytes, total, bytes_per_second: 0, sources },
        banned(Some(url()), Some(ChunkIndex(u32::MAX))),
        banned(None, None),
        finished(vec![SourceBytes { peer_id, bytes }], aside()),
        finished(vec![], vec![]),
        failed(aside()),
        failed(vec![]),
    ]
}

fn events_of_operations() -> Vec<PeerEvent> {
    let (bytes, total, code, message) = (5, 9, ErrorCode::BadArchive, "it is damaged".to_owned());
    let installed = |carried_over, kept_aside, kept_in| PeerEvent::InstallFinished {
        game: game(),
        carried_over,
        kept_aside,
        kept_in,
    };
    let verified = |missing_dirs| PeerEvent::VerifyFinished { game: game(), bad_chunks: 1, missing_dirs, chunks: 2 };
    vec![
        PeerEvent::InstallBegin { game: game() },
        PeerEvent::InstallProgress { game: game(), bytes, total },
        installed(3, aside(), Some("kept".into())),
        installed(0, vec![], None),
        PeerEvent::InstallFailed { game: game(), code, message: message.clone() },
        PeerEvent::UninstallBegin { game: game() },
        PeerEvent::UninstallFinished { game: game(), kept_in: Some("kept".into()) },
        PeerEvent::UninstallFinished { game: game(), kept_in: None },
        PeerEvent::UninstallFailed { game: game(), code, message: message.clone() },
        PeerEvent::AdoptBegin { game: game() },
        PeerEvent::AdoptFinished { game: game() },
        PeerEvent::AdoptFailed { game: game(), code, message: message.clone() },
        PeerEvent::RemoveBegin { game: game() },
        PeerEvent::RemoveFinished { game: game() },
        PeerEvent::RemoveFailed { game: game(), code, message: message.clone() },
        PeerEvent::VerifyProgress { game: game(), bytes, total },
        verified(1),
        verified(0),
        PeerEvent::VerifyFailed { game: game(), code, message },
    ]
}

#[test]
fn every_event_with_all_and_with_few_fields_is_as_documented() {
    let document = Document::load();
    let events = [events_of_the_daemon(), events_of_downloads(), events_of_operations()].concat();
    let mut said = std::collections::BTreeSet::new();
    let mut fields = std::collections::BTreeSet::new();
    for event in events {
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(document.faults("StreamEvent", &value), [""; 0], "{value}");
        // A client understands it, also with what a later version adds.
        let mut later = value.clone();
        later["a_later_field"] = json!([1]);
        for value in [value.clone(), later] {
            assert_eq!(serde_json::from_value::<StreamEvent>(value).unwrap(), StreamEvent::Event(event.clone()));
        }
        let name = value["event"].as_str().unwrap().to_owned();
        fields.extend(keys(&value).into_iter().map(|field| format!("{name}/{field}")));
        said.insert(name);
    }
    assert_eq!(said, variants("src/api/events.rs", "PeerEvent"));
    let mapping = document.schema("PeerEvent")["discriminator"]["mapping"].as_object().unwrap();
    for (name, target) in mapping {
        let schema = document.at(target.as_str().unwrap().strip_prefix('#').unwrap());
        for field in keys(&schema["properties"]) {
            assert!(fields.contains(&format!("{name}/{field}")), "the document invents {field} of {name}");
        }
    }
}

fn full_status() -> Status {
    let (peer_id, reason) = (peer(), "its bytes are wrong".to_owned());
    let (url, bytes, games) = (url(), 9, 1);
    let unknown = LibraryTooLarge { peer_id, hostname: None, addr: None, bytes, games };
    Status {
        version: "0.1.0".into(),
        peer_id,
        listen_addrs: vec![addr()],
        game_dir: "/games".into(),
        game_dir_gone: Some("it was pulled".into()),
        library_epoch: Epoch(u64::MAX),
        library_rev: Revision(1),
        library_digest: LibraryDigest([0xab; 16]),
        games,
        peers_connected: 1,
        peers_incompatible: vec![IncompatiblePeer { peer_id, proto_ver: u32::MAX }],
        peers_blocked: vec![peer_id],
        sources_banned: vec![
            BannedSource { game: game(), peer_id, reason: reason.clone(), chunk: Some(ChunkIndex(1)), when_ms: 5 },
            BannedSource { game: game(), peer_id, reason, chunk: None, when_ms: 5 },
        ],
        libraries_too_large: vec![
            LibraryTooLarge { hostname: Some("attic".into()), addr: Some(addr()), ..unknown.clone() },
            unknown,
        ],
        operations: operations(),
        watch: WatchState::Polling,
        bytes_received: 0,
        bytes_sent: u64::MAX,
        hash_queue: 1,
        limits: LimitState { max_upload: None, max_download: Some(1_000_000) },
        paused: true,
        mirrors: vec![MirrorRow { peer_id, url, reachable: false, games }],
    }
}

fn rows() -> (GameRow, PeerRow) {
    let text = || Some("text".to_owned());
    let game = GameRow {
        id: game(),
        name: "Doom II".into(),
        version: text(),
        size: u64::MAX,
        downloaded: true,
        installed: true,
        installed_by: Some(InstalledBy::SomebodyElse),
        installs_by: Some(Packing::CopyAndUnpack),
        operation: Some(Operation::Verifying),
        progress: Some(0.25),
        local_only_reason: text(),
        arriving: true,
        brought: true,
        newest_version: text(),
        description: text(),
        genre: text(),
        players: text(),
        other_content_peers: 1,
        unavailable_reason: text(),
        changed: true,
        leaves_out: Some(left_out()),
        content_hash: Some(ContentHash([0xcd; 32])),
        peer_count: 1,
        sources: vec![peer()],
    };
    let peer = PeerRow {
        peer_id: peer(),
        hostname: text(),
        addr: Some(addr()),
        connected: true,
        library_epoch: Some(Epoch(1)),
        library_rev: Some(Revision(1)),
        game_count: 1,
        last_seen_ms: Some(0),
        rtt_ms: Some(0.25),
        interface: Some(InterfaceKind::Wireless),
    };
    (game, peer)
}

fn few_rows() -> (GameRow, PeerRow) {
    let game = GameRow {
        version: None,
        downloaded: false,
        installed: false,
        installed_by: None,
        installs_by: None,
        operation: None,
        progress: None,
        local_only_reason: None,
        arriving: false,
        brought: false,
        newest_version: None,
        description: None,
        genre: None,
        players: None,
        other_content_peers: 0,
        unavailable_reason: None,
        changed: false,
        leaves_out: None,
        content_hash: None,
        sources: vec![],
        ..rows().0
    };
    let peer = PeerRow {
        hostname: None,
        addr: None,
        connected: false,
        library_epoch: None,
        library_rev: None,
        last_seen_ms: None,
        rtt_ms: None,
        interface: None,
        ..rows().1
    };
    (game, peer)
}

fn metrics() -> Metrics {
    let peers = |min_rtt_seconds| PeerMetrics {
        peer_id: peer(),
        rtt_seconds: 0.001,
        min_rtt_seconds,
        congestion_window_bytes: 1,
        delivery_rate: 1,
        packets_sent: 1,
        packets_received: 1,
        packets_lost: 0,
        retransmitted_bytes: 0,
        backlog_bytes: 0,
    };
    Metrics {
        cpu_seconds: Some(1.5),
        syncs: vec![SyncMetrics { what: "file-system".into(), calls: 1, seconds: 0.5, longest_seconds: 0.5 }],
        queues: vec![QueueMetrics { queue: "bulk".into(), waiting: 0, limit: 1 }],
        stalls: StallCause::ALL.map(|cause| StallMetrics { cause, events: 1, seconds: 0.5 }).to_vec(),
        peers: vec![peers(None), peers(Some(0.5))],
        ..Metrics::default()
    }
}

/// Answers to commands: the name of the schema, and what it is.
fn answers() -> Vec<(&'static str, CommandData)> {
    let ((game_row, peer_row), (few_game, few_peer), peer_id) = (rows(), few_rows(), peer());
    let source = SourceExplanation {
        peer_id,
        hostname: Some("attic".into()),
        url: Some(url()),
        state: SourceState::NothingFresh,
        reason: "it has nothing".into(),
        runs: 0,
        bytes_per_second: 0,
    };
    let sources = vec![SourceExplanation { hostname: None, url: None, ..source.clone() }, source];
    let explanation = Explanation { game: game(), state: DownloadState::Fetching, reason: "it comes".into(), sources };
    let files = GameFiles {
        game: game(),
        manifest_hash: ManifestHash([1; 16]),
        bytes: 9,
        installs_by: Packing::Copy,
        files: vec![GameFile { path: path("a/b"), size: 9 }],
        dirs: vec![path("c")],
        leaves_out: Some(left_out()),
        sources: vec![peer_id],
    };
    let few_files = GameFiles { dirs: vec![], leaves_out: None, ..files.clone() };
    let finding = Finding::new(FindingCode::Unreachable, "it does not answer", "open the firewall");
    let programs = ProgramList { programs: vec![path("a.exe")], chosen: Some(path("a.exe")), launch: Some(path("b")) };
    let few_status = Status { game_dir_gone: None, libraries_too_large: vec![], ..full_status() };
    vec![
        ("Status", CommandData::Status(Box::new(full_status()))),
        ("Status", CommandData::Status(Box::new(few_status))),
        ("Metrics", CommandData::Metrics(Box::new(metrics()))),
        ("PeerList", CommandData::Peers(PeerList { peers: vec![peer_row, few_peer] })),
        ("GameList", CommandData::Games(GameList { games: vec![game_row, few_game] })),
        ("GameFiles", CommandData::GameFiles(files)),
        ("GameFiles", CommandData::GameFiles(few_files)),
        ("Explanation", CommandData::Explanation(Box::new(explanation))),
        ("Accepted", CommandData::Accepted(Accepted { game: game(), queued: true })),
        ("ProgramList", CommandData::Programs(programs)),
        ("ProgramList", CommandData::Programs(ProgramList { programs: vec![], chosen: None, launch: None })),
        ("Diagnosis", CommandData::Diagnosis(Diagnosis { findings: vec![] })),
        ("Diagnosis", CommandData::Diagnosis(Diagnosis { findings: vec![finding] })),
        ("StartedProgram", CommandData::Started(StartedProgram { game: game(), program: path("a.exe") })),
        ("OpenedFolder", CommandData::Opened(OpenedFolder { path: "/games/doom/local".into() })),
        ("Connected", CommandData::Connected(Connected { peer_id, addr: addr() })),
        ("LimitState", CommandData::Limits(LimitState::default())),
        ("PeerCount", CommandData::PeerCount(PeerCount { peers: 0 })),
        ("Done", CommandData::Done(Done {})),
    ]
}

/// What a client reads is what the daemon answered.
fn assert_read_back(answer: &CommandData) {
    fn is<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(record: &T) {
        let mut value = serde_json::to_value(record).unwrap();
        value["a_later_field"] = json!([1]);
        assert_eq!(serde_json::from_value::<T>(value).unwrap(), *record);
    }
    match answer {
        CommandData::Status(record) => is(&**record),
        CommandData::Metrics(record) => is(&**record),
        CommandData::Peers(record) => is(record),
        CommandData::Games(record) => is(record),
        CommandData::GameFiles(record) => is(record),
        CommandData::Explanation(record) => is(&**record),
        CommandData::Accepted(record) => is(record),
        CommandData::Programs(record) => is(record),
        CommandData::Started(record) => is(record),
        CommandData::Diagnosis(record) => is(record),
        CommandData::Opened(record) => is(record),
        CommandData::Connected(record) => is(record),
        CommandData::Limits(record) => is(record),
        CommandData::PeerCount(record) => is(record),
        CommandData::Done(record) => is(record),
    }
}

#[test]
fn every_answer_with_all_and_with_few_fields_is_as_documented() {
    let document = Document::load();
    let mut seen = std::collections::BTreeSet::new();
    for (schema, answer) in answers() {
        let value = serde_json::to_value(&answer).unwrap();
        assert_eq!(document.faults(schema, &value), [""; 0], "{schema}: {value:#}");
        // Each fits one of the answers only.
        assert_eq!(document.faults("CommandData", &value), [""; 0], "{schema}");
        assert_read_back(&answer);
        seen.insert(format!("#/components/schemas/{schema}"));
    }
    let listed = document.schema("CommandData")["oneOf"].as_array().unwrap();
    let listed: std::collections::BTreeSet<String> =
        listed.iter().map(|one| one["$ref"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, seen);
    // No field of the rows is documented that the daemon does not have.
    let (game, peer) = rows();
    let status = serde_json::to_value(full_status()).unwrap();
    assert_eq!(keys(&document.schema("Status")["properties"]), keys(&status));
    for (schema, row) in [("GameRow", serde_json::to_value(game)), ("PeerRow", serde_json::to_value(peer))] {
        assert_eq!(keys(&document.schema(schema)["properties"]), keys(&row.unwrap()), "{schema}");
    }
}

#[test]
fn a_snapshot_in_words_of_a_later_version_is_still_read() {
    let (game, peer) = rows();
    let snapshot = Snapshot { status: Box::new(full_status()), peers: vec![peer], games: vec![game] };
    let mut value = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(Document::load().faults("StreamEvent", &value), [""; 0]);
    assert_eq!(serde_json::from_value::<StreamEvent>(value.clone()).unwrap(), StreamEvent::Snapshot(snapshot));
    value["status"]["watch"] = json!("guessing");
    value["status"]["operations"][0]["operation"] = json!("polishing");
    value["peers"][0]["interface"] = json!("light");
    for word in ["operation", "installs_by", "installed_by"] {
        value["games"][0][word] = json!("magic");
    }
    let StreamEvent::Snapshot(read) = serde_json::from_value(value).unwrap() else { panic!("another event") };
    assert_eq!((read.status.watch, read.peers[0].interface), (WatchState::Later, None));
    assert_eq!(
        (read.status.operations[0].operation, read.games[0].operation),
        (Operation::Later, Some(Operation::Later))
    );
}

fn commands() -> Vec<PeerCommand> {
    let (peer_id, game) = (peer(), game);
    vec![
        PeerCommand::Status,
        PeerCommand::Metrics,
        PeerCommand::ListPeers,
        PeerCommand::ListGames,
        PeerCommand::Connect { addr: "attic.lan:4711".into() },
        PeerCommand::Connect { addr: "[fe80::1%eth0]:4711".into() },
        PeerCommand::SetGameDir { path: "/games".into() },
        PeerCommand::GetGame { game: game() },
        PeerCommand::Explain { game: game() },
        PeerCommand::FetchLatest { game: game() },
        PeerCommand::Download { game: game(), install: false, again: true },
        PeerCommand::CancelDownload { game: game() },
        PeerCommand::Install { game: game() },
        PeerCommand::Uninstall { game: game() },
        PeerCommand::Adopt { game: game() },
        PeerCommand::Remove { game: game() },
        PeerCommand::Verify { game: game(), repair: true },
        PeerCommand::SetLimits { max_upload: None, max_download: None },
        PeerCommand::SetLimits { max_upload: Some(None), max_download: Some(Some(1_000_000)) },
        PeerCommand::Pause,
        PeerCommand::Resume,
        PeerCommand::BlockPeer { peer_id },
        PeerCommand::UnblockPeer { peer_id },
        PeerCommand::Prioritise { game: game() },
        PeerCommand::ListPrograms { game: game() },
        PeerCommand::Diagnose,
        PeerCommand::ChooseProgram { game: game(), program: path("bin/doom.exe") },
        PeerCommand::Play { game: game() },
        PeerCommand::OpenFolder { game: game() },
        PeerCommand::WaitPeers { count: 1_000_000, timeout_ms: 86_400_000 },
        PeerCommand::Shutdown,
    ]
}

#[test]
fn every_command_is_as_documented_and_the_daemon_knows_no_field_beyond() {
    let document = Document::load();
    let mut named = std::collections::BTreeSet::new();
    for command in commands() {
        let value = serde_json::to_value(&command).unwrap();
        assert_eq!(document.faults("PeerCommand", &value), [""; 0], "{value}");
        named.insert(command.name().to_owned());
        for key in keys(&value).into_iter().filter(|key| key != "cmd") {
            // Of another type; or, of a field that may be null, of a type that none has.
            let mut wrong = value.clone();
            wrong[&key] = json!([[]]);
            agree(&document, &wrong, false);
            let mut lacking = value.clone();
            lacking.as_object_mut().unwrap().remove(&key);
            let spec = COMMANDS.iter().find(|spec| spec.name == command.name()).unwrap();
            let field = spec.fields.iter().find(|field| field.name == key).unwrap();
            agree(&document, &lacking, field.optional);
        }
        let mut more = value.clone();
        more["id"] = json!([1, {"x": null}]);
        agree(&document, &more, true);
        more["instal"] = json!(true);
        agree(&document, &more, false);
    }
    assert_eq!(named, COMMANDS.iter().map(|spec| spec.name.to_owned()).collect());
}

/// The document and the parser of the daemon say the same of a command.
fn agree(document: &Document, command: &Value, valid: bool) {
    let faults = document.faults("PeerCommand", command);
    assert_eq!(faults.is_empty(), valid, "the document of {command}: {faults:?}");
    let parsed = PeerCommand::parse(command.as_object().unwrap());
    assert_eq!(parsed.is_ok(), valid, "the daemon of {command}: {parsed:?}");
}

#[test]
fn the_document_draws_the_limits_of_commands_where_the_daemon_does() {
    let document = Document::load();
    let limit = |rate: Value| json!({"cmd": "set-limits", "max_upload": rate});
    let wait = |count: Value, timeout: Value| json!({"cmd": "wait-peers", "count": count, "timeout_ms": timeout});
    let game = |id: &str| json!({"cmd": "explain", "game": id});
    let connect = |addr: &str| json!({"cmd": "connect", "addr": addr});
    for (command, valid) in [
        (limit(json!(1_000_000)), true),
        (limit(json!(999_999)), false),
        (limit(json!(9_007_199_254_740_992_u64)), true),
        (limit(json!(9_007_199_254_740_993_u64)), false),
        (limit(json!(1e7)), true),
        (limit(json!(1e7 + 0.5)), false),
        (limit(json!(1e300)), false),
        (limit(json!("50MB/s")), true),
        (limit(json!("1.5 Gbit/s")), true),
        (limit(json!("unlimited")), true),
        (limit(json!("50MB")), false),
        (limit(json!("fast")), false),
        (limit(json!(true)), false),
        (wait(json!(0), json!(0)), true),
        (wait(json!(1_000_001), json!(0)), false),
        (wait(json!(-1), json!(0)), false),
        (wait(json!(1), json!(86_400_001)), false),
        (wait(json!(1.0), json!(1)), true),
        (wait(json!(1.5), json!(1)), false),
        (wait(json!(-1.0), json!(1)), false),
        (game("x"), true),
        (game(&"x".repeat(255)), true),
        (game(&"x".repeat(256)), false),
        (game(""), false),
        (game("../etc"), false),
        (game(".hidden"), false),
        (game("a/b"), false),
        (game("a\\b"), false),
        (game("a:b"), false),
        (game("a\u{7f}b"), false),
        (game("a\nb"), false),
        (connect("pc:1"), true),
        (connect("pc"), false),
        (connect("::1:80"), false),
        (connect("pc:port"), false),
        (json!({"cmd": "set-game-dir", "path": ""}), false),
        (json!({"cmd": "set-game-dir", "path": "a\0b"}), false),
        (json!({"cmd": "block-peer", "peer_id": "a7a7a7a7-a7a7-47a7-a7a7-a7a7a7a7a7a7"}), false),
        (json!({"cmd": "choose-program", "game": "x", "program": "a//b"}), false),
        (json!({"cmd": "choose-program", "game": "x", "program": "/a"}), false),
        (json!({"cmd": "fly"}), false),
        (json!({}), false),
    ] {
        agree(&document, &command, valid);
    }
}
