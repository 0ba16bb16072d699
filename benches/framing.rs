//! What a message costs on its way to and from the wire: the frames that go out and come in for each run of chunks.
//!
//! `cargo bench --bench framing`
#![allow(clippy::expect_used, reason = "a benchmark that cannot begin has nothing to report")]

use divan::{Bencher, black_box};
use lanspread_peer::proto::{self, Answer, ChunkRun, GetChunks, MAX_BULK_FRAME, MAX_CONTROL_FRAME, Request};
use lanspread_peer::proto::{ManifestAnswer, parse_request};
use lanspread_peer::types::{CHUNK_SIZE, ContentHash, FileEntry, Manifest, ManifestHash, RelPath};

/// Bytes in front of the JSON of a frame.
const PREFIX: usize = 4;

fn main() {
    divan::main();
}

fn request() -> Request {
    Request::GetChunks(GetChunks {
        game_id: "a-game".parse().expect("a game id"),
        manifest_hash: ManifestHash([1; 16]),
        content_hash: Some(ContentHash([2; 32])),
        first: 40_000,
        count: 4,
    })
}

/// The request for a run.
#[divan::bench]
fn encode_get_chunks(bencher: Bencher<'_, '_>) {
    let request = request();
    bencher.bench_local(|| proto::encode(black_box(&request), MAX_CONTROL_FRAME).expect("fits"));
}

#[divan::bench]
fn parse_get_chunks(bencher: Bencher<'_, '_>) {
    let frame = proto::encode(&request(), MAX_CONTROL_FRAME).expect("fits");
    bencher.bench_local(|| parse_request(black_box(&frame[PREFIX..])).expect("reads back"));
}

/// The header in front of the bytes of a run.
#[divan::bench]
fn run_header_both_ways(bencher: Bencher<'_, '_>) {
    let header = Answer::ChunkRun(ChunkRun { first: 40_000, count: 4, bytes: 4 * CHUNK_SIZE, hashed: false });
    bencher.bench_local(|| {
        let frame = proto::encode(black_box(&header), MAX_CONTROL_FRAME).expect("fits");
        proto::decode::<Answer>(&frame[PREFIX..]).expect("reads back")
    });
}

/// The list of files of a game with 3,000 of them.
#[divan::bench]
fn manifest_of_3000_files_both_ways(bencher: Bencher<'_, '_>) {
    let entry = |n: u64| {
        let path = RelPath::parse(&format!("data/maps/level-{n:04}.pak")).expect("a path");
        FileEntry { path, size: n * 1000, exec: false }
    };
    let manifest = Manifest::new((0..3_000).map(entry).collect()).expect("a manifest");
    let answer = Answer::Manifest(ManifestAnswer {
        game_id: "a-game".parse().expect("a game id"),
        manifest_hash: manifest.hash(),
        files: manifest.files().to_vec(),
        dirs: manifest.dirs().to_vec(),
        chunk_size: CHUNK_SIZE,
        chunk_count: manifest.chunk_count(),
        content_hash: None,
    });
    bencher.bench_local(|| {
        let frame = proto::encode(black_box(&answer), MAX_BULK_FRAME).expect("fits");
        proto::decode::<Answer>(&frame[PREFIX..]).expect("reads back")
    });
}
