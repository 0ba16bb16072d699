//! A source that lies: about its files, its hashes, its runs.

use lanspread_peer::types::{
    ChunkHash, ChunkIndex, FileEntry, GameSummary, Manifest, RelPath, content_hash, library_digest,
};

use super::*;
use crate::support::frame;

/// A game of a stranger: its files, and the bytes of its chunks.
#[derive(Clone)]
struct Fake {
    manifest: Manifest,
    chunks: Vec<Vec<u8>>,
    summary: Value,
}

impl Fake {
    fn new(files: &[(&str, u64)]) -> Self {
        let entry = |&(path, size): &(&str, u64)| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: false };
        let manifest = Manifest::new(files.iter().map(entry).collect()).unwrap();
        // Sizes that nobody has on disk have no bytes.
        let count = if manifest.bytes() > 64 * MIB { 0 } else { manifest.chunk_count() };
        let bytes = |index| vec![index as u8 + 1; manifest.chunk(ChunkIndex(index)).unwrap().len as usize];
        let chunks: Vec<Vec<u8>> = (0..count).map(bytes).collect();
        let mut summary = json!({
            "id": "quake", "name": "quake", "eti_version": "1.0", "size": manifest.bytes(), "downloaded": true,
            "installed": false, "manifest_hash": manifest.hash(), "availability": "ready",
        });
        if count > 0 {
            let hashes: Vec<ChunkHash> = chunks.iter().map(|chunk| ChunkHash::of(chunk)).collect();
            summary["content_hash"] = json!(content_hash(&manifest, &hashes));
        }
        Self { manifest, chunks, summary }
    }

    /// The honest answer to GetManifest: JSON and raw hashes.
    fn manifest(&self) -> (Value, Vec<u8>) {
        let mut json = json!({
            "type": "Manifest", "game_id": "quake", "manifest_hash": self.summary["manifest_hash"],
            "files": self.manifest.files(), "chunk_size": CHUNK, "chunk_count": self.manifest.chunk_count(),
        });
        if !self.chunks.is_empty() {
            json["content_hash"] = self.summary["content_hash"].clone();
        }
        (json, self.chunks.iter().flat_map(|chunk| ChunkHash::of(chunk).0).collect())
    }

    /// The honest answer to GetChunks.
    fn run(&self, request: &Value) -> (Value, Vec<u8>) {
        let (first, count) = (request["first"].as_u64().unwrap(), request["count"].as_u64().unwrap());
        let bytes = self.chunks[first as usize..(first + count) as usize].concat();
        (json!({"type": "ChunkRun", "first": first, "count": count, "bytes": bytes.len(), "hashed": false}), bytes)
    }
}

/// What a stranger makes of an honest answer.
type Twist = fn(&mut Value, &mut Vec<u8>);

/// Offers `fake` to a daemon, has it download, and returns the terminal event.
fn offer(daemon: &Daemon, fake: &Fake, of_manifest: Twist, of_run: Twist) -> Value {
    let mut stranger = Stranger::connect(daemon.addr);
    let (peer_id, game) = (stranger.peer_id.clone(), fake.clone());
    stranger.on_request(move |message| {
        let (mut json, mut raw) = match message["type"].as_str()? {
            "GetLibrary" | "GetLibraryDelta" => {
                let snapshot = json!({"epoch": "00000000000000aa", "rev": 7, "games": [game.summary]});
                (json!({"type": "LibrarySnapshot", "peer_id": peer_id, "snapshot": snapshot}), Vec::new())
            }
            "GetManifest" => game.manifest(),
            "GetChunks" => game.run(message),
            _ => return None,
        };
        match message["type"].as_str() {
            Some("GetManifest") => of_manifest(&mut json, &mut raw),
            Some("GetChunks") => of_run(&mut json, &mut raw),
            _ => {}
        }
        Some([frame(&json), raw].concat())
    });
    let summary: GameSummary = serde_json::from_value(fake.summary.clone()).unwrap();
    let mut hello = stranger.hello_message();
    hello["library_rev"] = json!(7);
    hello["game_count"] = json!(1);
    hello["library_digest"] = json!(library_digest([&summary].into_iter()));
    assert_eq!(stranger.request(&hello).unwrap().0["type"], "HelloAck");
    let mut listed = Instant::now();
    let known = stranger.drive("the game to be listed", |_| {
        if listed.elapsed() < Duration::from_millis(50) {
            return None;
        }
        listed = Instant::now();
        daemon.games().contains_key("quake").then_some(())
    });
    known.unwrap();
    let mark = daemon.begin_download("quake");
    let mut over = None;
    // The daemon may close the connection, and then waits in vain for another source.
    let _ = stranger.drive("the end of the download", |_| {
        over = daemon.since(mark).into_iter().find(is_end);
        over.as_ref().map(|_| ())
    });
    // Gone before the next one comes.
    let _ = stranger.drive("the farewell", |conn| {
        let _ = conn.close(true, 0, b"");
        Some(())
    });
    let over = over.unwrap_or_else(|| daemon.wait_record(mark, "the end of the download", 30, is_end));
    // Its close may have been lost on a busy machine: then it takes until its silence is noticed.
    eventually("the stranger to be gone", 60, || {
        let is_there = |peer: &Value| peer["peer_id"] == json!(stranger.peer_id) && peer["connected"] == true;
        (!daemon.peers().iter().any(is_there)).then_some(())
    });
    over
}

fn is_end(record: &Value) -> bool {
    record["event"] == "download-finished" || record["event"] == "download-failed"
}

fn honest(_: &mut Value, _: &mut Vec<u8>) {}

fn options() -> Options {
    Options::local()
        .set("timers.source_wait", "300ms")
        .set("timers.redial_min", "200ms")
        .set("timers.ping_after", "2s")
        .set("timers.ping_retry", "1s")
        .set("timers.stale_after", "8s")
}

const FILES: &[(&str, u64)] = &[("data.pak", 2 * CHUNK + 100), ("version.ini", 4)];

#[test]
fn an_honest_stranger_is_fetched_from() {
    let (_home, daemon) = daemon(GameSpec::small("doom"), &options());
    let end = offer(&daemon, &Fake::new(FILES), honest, honest);
    assert_eq!(end["event"], "download-finished", "{end}");
}

#[test]
fn runs_that_are_not_what_was_asked_for_never_become_a_game() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &options());
    let twists: [(&str, Twist); 8] = [
        ("wrong bytes", |_, raw| raw.iter_mut().for_each(|byte| *byte ^= 1)),
        ("a header of other chunks", |json, _| json["first"] = json!(77)),
        ("a header of other bytes", |json, _| json["bytes"] = json!(u64::MAX)),
        ("hashes that were not asked for", |json, _| json["hashed"] = json!(true)),
        ("a short run", |_, raw| raw.truncate(raw.len() - 1)),
        ("no run", |_, raw| raw.clear()),
        ("a long run", |_, raw| raw.push(0)),
        ("another answer", |json, _| *json = json!({"type": "Pong", "nonce": 1})),
    ];
    for (what, twist) in twists {
        let end = offer(&daemon, &Fake::new(FILES), honest, twist);
        assert_eq!(end["event"], "download-failed", "{what}: {end}");
        assert!(!home.game("quake").join("version.ini").exists(), "{what}: a sentinel over bytes that nobody has");
    }
    still_well(&daemon);
    still_serves(&home, &daemon);
}

#[test]
fn manifests_that_lie_never_touch_the_disk() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &options());
    let twists: [(&str, Twist); 9] = [
        ("junk hashes", |_, raw| raw.iter_mut().for_each(|byte| *byte ^= 1)),
        ("too few hashes", |_, raw| raw.truncate(32)),
        ("half a hash", |_, raw| raw.truncate(raw.len() - 7)),
        ("a way out", |json, _| json["files"][0]["path"] = json!("../../x")),
        ("an absolute path", |json, _| json["files"][0]["path"] = json!("/etc/passwd")),
        ("colliding paths", |json, _| json["files"][0]["path"] = json!("VERSION.INI")),
        ("another size", |json, _| json["files"][0]["size"] = json!(u64::MAX)),
        ("no chunks", |json, _| json["chunk_count"] = json!(u32::MAX)),
        ("chunks of one byte", |json, _| json["chunk_size"] = json!(1)),
    ];
    for (what, twist) in twists {
        let end = offer(&daemon, &Fake::new(FILES), twist, honest);
        assert_eq!(end["event"], "download-failed", "{what}: {end}");
        assert!(!home.game("quake").exists(), "{what}");
    }
    let end = offer(&daemon, &Fake::new(&[("data.pak", 1000)]), honest, honest);
    assert_eq!(end["event"], "download-failed", "no sentinel: {end}");
    assert!(!home.path().join("x").exists() && !home.game("quake").exists());
    still_well(&daemon);
    still_serves(&home, &daemon);
}

#[test]
fn a_game_that_no_disk_holds_is_refused_in_clear_words() {
    let (home, daemon) = daemon(GameSpec::small("doom"), &options());
    let end = offer(&daemon, &Fake::new(&[("data.pak", 32 << 40), ("version.ini", 4)]), honest, honest);
    assert_eq!((&end["event"], &end["code"]), (&json!("download-failed"), &json!("disk-full")), "{end}");
    assert!(!home.game("quake").join("data.pak").exists(), "nothing was reserved");
    still_well(&daemon);
}
