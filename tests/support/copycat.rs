//! Peers that offer what an honest one has, and hand out bytes of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::stranger::frame;
use super::{CHUNK, Daemon, Stranger};

/// The revision of every copycat's library.
const REV: u64 = 7;

/// What an honest daemon says of its only game, and the bytes behind it.
pub(crate) struct Offer {
    digest: Value,
    summary: Value,
    /// The answer to GetManifest, with the hashes behind it.
    manifest: Vec<u8>,
    chunks: Vec<Vec<u8>>,
}

impl Offer {
    /// Asked of `daemon` as anybody may ask. Its library must have one game, which lies at `root` and is hashed.
    pub(crate) fn of(daemon: &Daemon, root: &Path) -> Self {
        let mut guest = Stranger::connect(daemon.addr);
        let digest = guest.hello()["library_digest"].clone();
        let (library, _) = guest.request(&json!({"type": "GetLibrary", "peer_id": guest.peer_id})).unwrap();
        let [summary] = library["snapshot"]["games"].as_array().unwrap().as_slice() else { panic!("{library}") };
        let ask = json!({"type": "GetManifest", "game_id": summary["id"], "manifest_hash": summary["manifest_hash"]});
        let (manifest, hashes) = guest.request(&ask).unwrap();
        assert_eq!(manifest["content_hash"], summary["content_hash"], "{manifest}");
        let mut chunks = Vec::new();
        for file in manifest["files"].as_array().unwrap() {
            let bytes = std::fs::read(root.join(file["path"].as_str().unwrap())).unwrap();
            chunks.extend(bytes.chunks(CHUNK as usize).map(<[u8]>::to_vec));
        }
        assert_eq!((chunks.len() * 32, &manifest["chunk_count"]), (hashes.len(), &json!(chunks.len())));
        Self { digest, summary: summary.clone(), manifest: [frame(&manifest), hashes].concat(), chunks }
    }

    /// Chunks of the game.
    pub(crate) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The answer to GetChunks, with one bit of every chunk turned over.
    fn flipped(&self, request: &Value) -> Vec<u8> {
        let (first, count) = (request["first"].as_u64().unwrap() as usize, request["count"].as_u64().unwrap() as usize);
        let mut bytes = Vec::new();
        for chunk in &self.chunks[first..first + count] {
            let at = bytes.len() + chunk.len() / 2;
            bytes.extend_from_slice(chunk);
            bytes[at] ^= 1;
        }
        let run = json!({"type": "ChunkRun", "first": first, "count": count, "bytes": bytes.len(), "hashed": false});
        [frame(&run), bytes].concat()
    }
}

/// A peer with a damaged copy: says the same hashes as everybody, and hands out chunks that do not match them. Gone when
/// dropped.
pub(crate) struct Copycat {
    pub(crate) peer_id: String,
    /// Chunks that it was asked for.
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Copycat {
    /// Introduces itself to the daemon at `to`; whether it was let in is for the test to wait for.
    pub(crate) fn start(offer: &Arc<Offer>, to: SocketAddr) -> Self {
        Self::begin(offer, to, false)
    }

    /// The same without the game in its library: it says again and again that it is downloading it, and has all but the sentinel.
    pub(crate) fn start_in_swarm(offer: &Arc<Offer>, to: SocketAddr) -> Self {
        Self::begin(offer, to, true)
    }

    fn begin(offer: &Arc<Offer>, to: SocketAddr, swarm: bool) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (name, named) = mpsc::channel();
        let thread = std::thread::spawn({
            let (offer, stop, asked) = (Arc::clone(offer), Arc::clone(&stop), Arc::clone(&asked));
            move || offer.spread(to, swarm, &stop, &asked, &name)
        });
        let peer_id = named.recv().expect("the stranger was let in");
        Self { peer_id, asked, stop, thread: Some(thread) }
    }

    /// Chunks that it was asked for so far.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Copycat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A failure there shows in the test as what did not happen.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Offer {
    fn spread(
        self: Arc<Self>,
        to: SocketAddr,
        swarm: bool,
        stop: &AtomicBool,
        asked: &Arc<AtomicU64>,
        name: &mpsc::Sender<String>,
    ) {
        let mut stranger = Stranger::connect(to);
        let mut hello = stranger.hello_message();
        if !swarm {
            hello["library_rev"] = json!(REV);
            hello["game_count"] = json!(1);
            hello["library_digest"] = self.digest.clone();
        }
        let have = json!({
            "type": "HaveChunks", "game_id": self.summary["id"], "content_hash": self.summary["content_hash"],
            "ranges": [{"first": 0, "count": self.chunks.len() - 1}],
        });
        let (offer, peer_id, asked) = (Arc::clone(&self), stranger.peer_id.clone(), Arc::clone(asked));
        stranger.on_request(move |message| match message["type"].as_str()? {
            "GetLibrary" | "GetLibraryDelta" if !swarm => {
                let snapshot = json!({"epoch": "00000000000000aa", "rev": REV, "games": [offer.summary]});
                Some(frame(&json!({"type": "LibrarySnapshot", "peer_id": peer_id, "snapshot": snapshot})))
            }
            "GetManifest" => Some(offer.manifest.clone()),
            "GetChunks" => {
                asked.fetch_add(message["count"].as_u64().unwrap_or(0), Ordering::Relaxed);
                Some(offer.flipped(message))
            }
            _ => None,
        });
        assert_eq!(stranger.request(&hello).expect("an answer to Hello").0["type"], "HelloAck");
        name.send(stranger.peer_id.clone()).unwrap();
        let mut looked = std::time::Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let served = stranger.drive("the next turn", |_| {
                let now = std::time::Instant::now();
                (now.duration_since(looked) > Duration::from_millis(100)).then(|| looked = now)
            });
            if served.is_err() {
                return;
            }
            if swarm {
                stranger.notify(&have);
            }
        }
        let _ = stranger.drive("the farewell", |conn| {
            let _ = conn.close(true, 0, b"");
            Some(())
        });
    }
}
