//! `docs/PROTOCOL.md` against the code: its test vectors, its examples and its numbers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use lanspread_peer::proto::{
    Answer, CloseCode, MAX_BULK_FRAME, MAX_CONTROL_FRAME, Notification, Request, StreamCode, WireErrorCode, decode,
    encode,
};
use lanspread_peer::types::{
    CHUNK_SIZE, ChunkHash, FileEntry, GameSummary, Manifest, PeerId, RelPath, content_hash, library_digest,
};

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROTOCOL.md")).unwrap()
}

/// The page with its line breaks taken out, so that examples may be folded.
fn unfolded() -> String {
    page().replace("\n ", "").replace('\n', " ")
}

fn says(what: &str, value: impl ToString) {
    let value = value.to_string();
    assert!(page().contains(&value), "the page should give {what} as {value}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The first line after `heading` that consists of hexadecimal digits.
fn hex_line_after(heading: &str) -> String {
    let page = page();
    let (_, rest) = page.split_once(heading).unwrap_or_else(|| panic!("{heading} is on the page"));
    let line = rest.lines().find(|line| line.len() > 20 && line.bytes().all(|b| b.is_ascii_hexdigit()));
    line.expect("a line of hexadecimal digits").to_owned()
}

fn manifest(files: &[(&str, u64)]) -> Manifest {
    let entry = |&(path, size): &(&str, u64)| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: false };
    Manifest::new(files.iter().map(entry).collect()).unwrap()
}

#[test]
fn the_peer_id_is_derived_as_the_page_says() {
    let spki = unhex(&hex_line_after("**peer_id.**"));
    let digest: [u8; 32] = ring::digest::digest(&ring::digest::SHA256, &spki).as_ref().try_into().unwrap();
    says("the SHA-256", hex(&digest));
    says("the peer id", PeerId::from_spki_sha256(&digest));
}

#[test]
fn the_proofs_of_a_party_key_are_computed_as_the_page_says() {
    use lanspread_peer::identity::PartyKey;
    let exported: Vec<u8> = (0..32).collect();
    let proofs = PartyKey::new(b"sixteen bytes at least\n").unwrap().proofs(true, b"abc", b"def", &exported);
    says("the proof of the dialler", format!("dialler   {}", proofs.own));
    says("the proof of the listener", format!("listener  {}", proofs.peer));
}

#[test]
fn manifest_chunks_and_content_hash_to_the_vectors() {
    let game = manifest(&[("version.ini", 4), ("data/maps.pak", CHUNK_SIZE + 5), ("empty.txt", 0)]);
    let mut canonical = Vec::new();
    game.canonical(|bytes| canonical.extend_from_slice(bytes));
    assert_eq!(hex_line_after("**Manifest**"), hex(&canonical));
    says("the manifest hash", game.hash());
    says("the empty manifest's hash", manifest(&[]).hash());
    let dirs = ["saves", "data/screens"].map(|dir| RelPath::parse(dir).unwrap());
    let with_dirs = Manifest::with_dirs(game.files().to_vec(), dirs.to_vec()).unwrap();
    let mut canonical = Vec::new();
    with_dirs.canonical(|bytes| canonical.extend_from_slice(bytes));
    assert_eq!(hex_line_after("**Empty directories.**"), hex(&canonical));
    says("its hash with empty directories", with_dirs.hash());
    let first: Vec<u8> = (0..CHUNK_SIZE).map(|i| (i % 251) as u8).collect();
    let hashes = [ChunkHash::of(&first), ChunkHash::of(b"maps!"), ChunkHash::of(b"1.0\n")];
    assert_eq!(game.chunk_count() as usize, hashes.len());
    for (number, hash) in hashes.iter().enumerate() {
        says("a chunk's hash", format!("{number}  {hash}"));
    }
    says("the content hash", content_hash(&game, &hashes));
    says("the content hash with empty directories", content_hash(&with_dirs, &hashes));
}

#[test]
fn the_library_digest_is_the_vector() {
    let page = unfolded();
    let summary = |start: &str| -> GameSummary {
        let at = page.find(start).unwrap_or_else(|| panic!("{start} is on the page"));
        let end = at + page[at..].find('}').unwrap() + 1;
        serde_json::from_str(&page[at..end]).unwrap()
    };
    let (doom, quake) = (summary(r#"{"id":"doom""#), summary(r#"{"id":"quake""#));
    says("the empty library's digest", library_digest([].iter()));
    says("the digest of two games", library_digest([&doom, &quake].into_iter()));
}

#[test]
fn every_example_is_a_message() {
    let page = unfolded().replace("GameSummary, …", "").replace("[GameSummary]", "[]");
    let id = "6252b62f-1fdd-80c2-a70b-a86f0d688ff6";
    let mut seen = 0;
    for (at, _) in page.match_indices(r#"{"type":""#) {
        let text = page[at..].to_owned().replace("…the owner…", id).replace("…the requester…", id);
        let text = text
            .replace("…hash16…", "8cde9ef64d68290eeb436a276d5f706c")
            .replace(r#""peer_id":"…""#, &format!(r#""peer_id":"{id}""#));
        let text = text.replace(r#""content_hash":"…""#, &format!(r#""content_hash":"{}""#, "ab".repeat(32)));
        let value: serde_json::Value = serde_json::Deserializer::from_str(&text).into_iter().next().unwrap().unwrap();
        let bytes = serde_json::to_vec(&value).unwrap();
        let (request, answer, notification) =
            (decode::<Request>(&bytes), decode::<Answer>(&bytes), decode::<Notification>(&bytes));
        let known = request.is_ok() || answer.is_ok() || notification.is_ok();
        assert!(known, "{value}: {request:?} {answer:?} {notification:?}");
        seen += 1;
    }
    assert!(seen >= 14, "{seen} examples were found");
    let frame = encode(&Request::Ping { nonce: 7 }, MAX_CONTROL_FRAME).unwrap();
    assert_eq!(hex_line_after("**Frame**"), hex(&frame));
    let hello = unhex(&hex_line_after("**A Hello frame**"));
    let (prefix, json) = hello.split_first_chunk::<4>().unwrap();
    assert_eq!(u32::from_be_bytes(*prefix) as usize, json.len());
    let Request::Hello(hello) = decode::<Request>(json).unwrap() else { panic!("it is another message") };
    assert_eq!(hello.library_digest, library_digest([].iter()));
}

#[test]
fn numbers_and_codes_are_all_listed() {
    let rows = |section: &str| -> Vec<(u64, String)> {
        let page = page();
        let (_, rest) = page.split_once(section).unwrap();
        let lines = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        lines
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                Some((cells.next()?.parse().ok()?, cells.next()?.trim_matches('`').to_owned()))
            })
            .collect()
    };
    let numbered = |name: &dyn Fn(u64) -> Option<String>| -> Vec<(u64, String)> {
        (0..1000).filter_map(|number| Some((number, name(number)?))).collect()
    };
    let close = numbered(&|number| CloseCode::from_number(number).map(|code| format!("{code:?}")));
    assert_eq!(rows("Application codes of CONNECTION_CLOSE"), close);
    let stream = numbered(&|number| StreamCode::from_number(number).map(|code| format!("{code:?}")));
    assert_eq!(rows("Application codes of RESET_STREAM"), stream);
    for code in [
        WireErrorCode::UnknownType,
        WireErrorCode::BadRequest,
        WireErrorCode::HelloFirst,
        WireErrorCode::NotServed,
        WireErrorCode::Changed,
        WireErrorCode::EpochReset,
        WireErrorCode::Busy,
        WireErrorCode::Internal,
    ] {
        says("an error code", format!("`{}`", serde_json::to_value(code).unwrap().as_str().unwrap()));
    }
    assert_eq!((MAX_CONTROL_FRAME, MAX_BULK_FRAME), (65_536, 16_777_216));
}
