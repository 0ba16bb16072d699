//! What goes out comes back; what is not a message is refused without a panic.

use std::net::SocketAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::types::{
    Availability, ChunkRange, Epoch, FileEntry, GameId, GameSummary, LibraryDigest, ManifestHash, PeerId, RelPath,
    Revision,
};

fn peer() -> PeerId {
    PeerId::from_spki_sha256(&[5; 32])
}

fn game() -> Arc<GameSummary> {
    Arc::new(GameSummary {
        id: "Quake III Arena".parse().unwrap(),
        name: "Quake III — \"Arena\" 🎮".to_owned(),
        eti_version: Some("1.32".to_owned()),
        size: u64::MAX,
        downloaded: true,
        installed: false,
        manifest_hash: ManifestHash([0xab; 16]),
        content_hash: None,
        availability: Availability::LocalOnly,
        changed: false,
        supersedes: Vec::new(),
        not_shared: None,
    })
}

fn hello() -> Hello {
    Hello {
        peer_id: peer(),
        proto_ver: PROTO_VER,
        listen_addr: "[fe80::1]:47000".parse::<SocketAddr>().unwrap(),
        hostname: Some("pc".to_owned()),
        library_epoch: Epoch(0xfeed),
        library_rev: Revision(u64::MAX),
        library_digest: LibraryDigest([1; 16]),
        game_count: 3,
        features: vec![Feature::Swarm],
    }
}

fn delta() -> Delta {
    Delta {
        epoch: Epoch(1),
        from_rev: Revision(1),
        to_rev: Revision(2),
        to_digest: LibraryDigest([2; 16]),
        added: vec![game()],
        updated: Vec::new(),
        removed: vec!["gone".parse().unwrap()],
    }
}

fn chunks() -> GetChunks {
    let (game_id, manifest_hash) = ("quake".parse().unwrap(), ManifestHash([3; 16]));
    GetChunks { game_id, manifest_hash, content_hash: None, first: 0, count: u32::MAX }
}

fn requests() -> Vec<Request> {
    let game_id: GameId = "quake".parse().unwrap();
    vec![
        Request::Hello(hello()),
        Request::Ping { nonce: u64::MAX },
        Request::GetLibrary { peer_id: peer() },
        Request::GetLibraryDelta { epoch: Epoch(u64::MAX), from_rev: Revision(0) },
        Request::GetManifest(GetManifest {
            game_id: game_id.clone(),
            manifest_hash: ManifestHash([3; 16]),
            dirs: false,
        }),
        Request::GetManifest(GetManifest { game_id, manifest_hash: ManifestHash([3; 16]), dirs: true }),
        Request::GetChunks(chunks()),
    ]
}

fn answers() -> Vec<Answer> {
    let file = FileEntry { path: RelPath::parse("bin/quake.x86").unwrap(), size: 7, exec: true };
    vec![
        Answer::HelloAck(hello()),
        Answer::Pong { nonce: 0 },
        Answer::LibrarySnapshot {
            peer_id: peer(),
            snapshot: Snapshot { epoch: Epoch(1), rev: Revision(2), games: vec![game()] },
        },
        Answer::LibraryDelta { peer_id: peer(), delta: delta() },
        Answer::Manifest(ManifestAnswer {
            game_id: "quake".parse().unwrap(),
            manifest_hash: ManifestHash([3; 16]),
            files: vec![file.clone()],
            dirs: Vec::new(),
            chunk_size: 1 << 20,
            chunk_count: 1,
            content_hash: None,
        }),
        Answer::Manifest(ManifestAnswer {
            game_id: "quake".parse().unwrap(),
            manifest_hash: ManifestHash([4; 16]),
            files: vec![file],
            dirs: vec![RelPath::parse("saves").unwrap()],
            chunk_size: 1 << 20,
            chunk_count: 1,
            content_hash: None,
        }),
        Answer::ChunkRun(ChunkRun { first: 1, count: 2, bytes: 3, hashed: true }),
        Answer::Error(WireError { code: WireErrorCode::EpochReset, message: "new epoch".to_owned() }),
    ]
}

fn notifications() -> Vec<Notification> {
    vec![
        Notification::Goodbye { peer_id: peer() },
        Notification::LibrarySummary {
            peer_id: peer(),
            summary: LibraryState { epoch: Epoch(1), rev: Revision(2), digest: LibraryDigest([4; 16]), game_count: 0 },
        },
        Notification::LibraryDelta { peer_id: peer(), delta: delta() },
        Notification::HaveChunks(HaveChunks {
            game_id: "quake".parse().unwrap(),
            content_hash: crate::types::ContentHash([6; 32]),
            ranges: vec![ChunkRange { first: 0, count: 9 }],
            coming: vec![ChunkRange { first: 12, count: 2 }],
            introduce: true,
        }),
    ]
}

fn returns<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(messages: &[T]) {
    for message in messages {
        let frame = encode(message, MAX_CONTROL_FRAME).unwrap();
        let header = FrameHeader::parse(frame[..4].try_into().unwrap(), MAX_CONTROL_FRAME).unwrap();
        assert_eq!(header.len, frame.len() - FrameHeader::SIZE);
        assert_eq!(&decode::<T>(&frame[4..]).unwrap(), message);
    }
}

#[test]
fn every_message_comes_back_as_it_was() {
    returns(&requests());
    returns(&answers());
    returns(&notifications());
}

#[test]
fn the_text_is_what_the_specification_shows() {
    let text =
        |message: &Request| String::from_utf8(encode(message, MAX_CONTROL_FRAME).unwrap()[4..].to_vec()).unwrap();
    assert_eq!(text(&Request::Ping { nonce: 7 }), r#"{"type":"Ping","nonce":7}"#);
    let request = Request::GetLibraryDelta { epoch: Epoch(0xab), from_rev: Revision(3) };
    assert_eq!(text(&request), r#"{"type":"GetLibraryDelta","epoch":"00000000000000ab","from_rev":3}"#);
    let request = Request::GetLibrary { peer_id: peer() };
    assert_eq!(text(&request), r#"{"type":"GetLibrary","peer_id":"05050505-0505-8505-8505-050505050505"}"#);
}

#[test]
fn unknown_fields_features_and_error_codes_of_newer_versions_are_accepted() {
    let request: Request = decode(br#"{"type":"Ping","nonce":1,"colour":"blue"}"#).unwrap();
    assert_eq!(request, Request::Ping { nonce: 1 });
    let mut value = serde_json::to_value(Request::Hello(hello())).unwrap();
    value["features"] = serde_json::json!(["swarm", "telepathy"]);
    let Request::Hello(newer) = serde_json::from_value(value).unwrap() else { panic!() };
    assert_eq!(newer.features, [Feature::Swarm, Feature::Other]);
    let answer: Answer = decode(br#"{"type":"Error","code":"too-tired","message":"zzz"}"#).unwrap();
    assert!(matches!(answer, Answer::Error(WireError { code: WireErrorCode::Other, .. })));
}

#[test]
fn what_is_not_a_message_is_refused() {
    let bad: &[&[u8]] = &[
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        br#"{"type":"Ping"}"#,
        br#"{"type":"Ping","nonce":-1}"#,
        br#"{"type":"Ping","nonce":1} trailing"#,
        br#"{"type":"Teleport"}"#,
        br#"{"type":"GetLibrary","peer_id":"05050505-0505-4505-8505-050505050505"}"#,
        br#"{"type":"GetLibraryDelta","epoch":"AB000000000000ab","from_rev":3}"#,
        br#"{"type":"GetLibraryDelta","epoch":"ab","from_rev":3}"#,
        br#"{"type":"GetManifest","game_id":"../etc","manifest_hash":"03030303030303030303030303030303"}"#,
        br#"{"type":"GetManifest","game_id":"local","manifest_hash":"03030303030303030303030303030303"}"#,
    ];
    for json in bad {
        assert!(decode::<Request>(json).is_err(), "{}", String::from_utf8_lossy(json));
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert!(decode::<Request>(&deep).is_err(), "nesting is bounded");
}

#[test]
fn frames_have_limits_on_both_sides() {
    let over = (MAX_CONTROL_FRAME as u32 + 1).to_be_bytes();
    assert!(matches!(FrameHeader::parse(over, MAX_CONTROL_FRAME), Err(FrameError::TooLarge { .. })));
    assert!(FrameHeader::parse((MAX_CONTROL_FRAME as u32).to_be_bytes(), MAX_CONTROL_FRAME).is_ok());
    let long = Answer::Error(WireError { code: WireErrorCode::Busy, message: "x".repeat(MAX_CONTROL_FRAME) });
    assert!(matches!(encode(&long, MAX_CONTROL_FRAME), Err(FrameError::TooLarge { .. })));
    assert!(encode(&long, MAX_BULK_FRAME).is_ok());
}

#[test]
fn the_largest_allowed_library_fits_in_a_frame() {
    let games = (0..20_000)
        .map(|n| {
            let content_hash = Some(crate::types::ContentHash([7; 32]));
            let (id, name) = (format!("game-{n:05}").parse().unwrap(), format!("A game with a rather long name, {n}"));
            Arc::new(GameSummary { id, name, content_hash, ..(*game()).clone() })
        })
        .collect();
    let snapshot = Snapshot { epoch: Epoch(1), rev: Revision(2), games };
    assert!(encode(&Answer::LibrarySnapshot { peer_id: peer(), snapshot }, MAX_BULK_FRAME).is_ok());
}

#[test]
fn the_longest_allowed_list_of_files_fits_in_a_frame() {
    use crate::types::{FileEntry, MAX_LIST_BYTES, Manifest, RelPath};
    let deep = ["a", "b", "c", "d"].map(|name| name.repeat(215)).join("/");
    let file = |n: usize| FileEntry {
        path: RelPath::parse(&format!("{deep}/ü {n:06}")).unwrap(),
        size: 1 << 20,
        exec: n.is_multiple_of(2),
    };
    let dirs: Vec<RelPath> = (0..900).map(|n| RelPath::parse(&format!("{deep}/dir {n:04}")).unwrap()).collect();
    let of = |files: usize| Manifest::with_dirs((0..files).map(file).collect(), dirs.clone()).unwrap();
    let each = of(2).list_bytes() - of(1).list_bytes();
    let files = (MAX_LIST_BYTES - of(0).list_bytes()) / each;
    let manifest = of(files);
    assert!(manifest.list_bytes() <= MAX_LIST_BYTES && of(files + 1).list_bytes() > MAX_LIST_BYTES);
    let answer = Answer::Manifest(ManifestAnswer {
        game_id: "quake".parse().unwrap(),
        manifest_hash: manifest.hash(),
        files: manifest.files().to_vec(),
        dirs: manifest.dirs().to_vec(),
        chunk_size: crate::types::CHUNK_SIZE,
        chunk_count: manifest.chunk_count(),
        content_hash: Some(crate::types::ContentHash([7; 32])),
    });
    let frame = encode(&answer, MAX_BULK_FRAME).unwrap();
    // Close to it: nothing is refused that could be sent.
    assert!(frame.len() > MAX_BULK_FRAME / 100 * 95, "{}", frame.len());
}

#[test]
fn codes_keep_their_numbers() {
    for number in 0..15 {
        assert_eq!(CloseCode::from_number(number).map(CloseCode::number), Some(number));
    }
    assert_eq!(CloseCode::from_number(15), None);
    assert_eq!((CloseCode::Duplicate.number(), CloseCode::Stale.number()), (2, 11));
    assert_eq!(StreamCode::from_number(4), Some(StreamCode::Busy));
    assert_eq!(StreamCode::from_number(u64::MAX), None);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Answer>(&bytes);
        let _ = decode::<Notification>(&bytes);
    }

    #[test]
    fn a_damaged_message_never_panics(which in 0usize..6, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut frame = encode(&requests()[which], MAX_CONTROL_FRAME).unwrap();
        let len = frame.len() - 4;
        frame[4 + at.index(len)] = byte;
        let _ = decode::<Request>(&frame[4..]);
    }
}
