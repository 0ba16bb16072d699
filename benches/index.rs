//! What a library of 2,000 games costs: opening it again, looking at it again, its index and its digest.
//!
//! `cargo bench --bench index`

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a bench that cannot set up its files has nothing to measure"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use divan::{Bencher, black_box};
use lanspread_peer::index::{GameDir, decode_index, encode_index};
use lanspread_peer::types::{
    Availability, Epoch, GameSummary, LibraryDigest, LibraryIndex, ManifestHash, Revision, library_digest,
};
use tempfile::TempDir;

const GAMES: usize = 2_000;

fn main() {
    divan::main();
}

/// 2,000 games of two root files and one nested file, with an index that was saved.
fn library() -> (TempDir, LibraryIndex) {
    let disk = tempfile::tempdir().expect("a temporary directory");
    for n in 0..GAMES {
        write(&disk.path().join(format!("game-{n:04}/version.ini")), b"version=1.0\n");
        write(&disk.path().join(format!("game-{n:04}/game.eti")), &[7; 64]);
        write(&disk.path().join(format!("game-{n:04}/data/maps/one.map")), &[7; 64]);
    }
    let (dir, opened) = GameDir::open(disk.path()).expect("a readable library");
    let index = LibraryIndex { epoch: Epoch(1), rev: Revision(1), digest: LibraryDigest([0; 16]), games: opened.games };
    dir.save_index(&index).expect("a saved index");
    (disk, index)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
    fs::write(path, bytes).expect("a file");
}

/// The second start of a daemon: lock, sweep, load, look at each root.
#[divan::bench(sample_count = 20)]
fn open_2000_unchanged_games(bencher: Bencher) {
    let (disk, _) = library();
    bencher.bench_local(|| {
        let (dir, opened) = GameDir::open(disk.path()).expect("a readable library");
        assert_eq!((opened.games.len(), dir.directory_reads()), (GAMES, GAMES as u64 + 2));
    });
}

/// The regular scan of a running daemon.
#[divan::bench(sample_count = 20)]
fn scan_2000_unchanged_games(bencher: Bencher) {
    let (disk, index) = library();
    let (dir, _) = GameDir::open(disk.path()).expect("a readable library");
    bencher.bench_local(|| dir.scan_all(black_box(&index.games)).expect("a scan").len());
}

/// The first start: every game is listed.
#[divan::bench(sample_count = 10)]
fn list_2000_games(bencher: Bencher) {
    let (disk, _) = library();
    let (dir, _) = GameDir::open(disk.path()).expect("a readable library");
    bencher.bench_local(|| dir.scan_all(&[]).expect("a scan").len());
}

#[divan::bench(sample_count = 20)]
fn save_index_of_2000_games(bencher: Bencher) {
    let (disk, index) = library();
    let (dir, _) = GameDir::open(disk.path()).expect("a readable library");
    bencher.bench_local(|| dir.save_index(black_box(&index)).expect("a saved index"));
}

#[divan::bench(sample_count = 20)]
fn encode_index_of_2000_games(bencher: Bencher) {
    let (_disk, index) = library();
    bencher.bench_local(|| encode_index(black_box(&index)).expect("an index").len());
}

#[divan::bench(sample_count = 20)]
fn decode_index_of_2000_games(bencher: Bencher) {
    let (_disk, index) = library();
    let bytes = encode_index(&index).expect("an index");
    bencher.bench_local(|| decode_index(black_box(&bytes)).expect("an index").games.len());
}

#[divan::bench(sample_count = 20)]
fn digest_of_10000_games(bencher: Bencher) {
    let games: Vec<Arc<GameSummary>> = (0..10_000)
        .map(|n| {
            Arc::new(GameSummary {
                id: format!("game-{n:05}").parse().expect("an id"),
                name: format!("A game with the number {n}"),
                eti_version: Some("20240131".to_owned()),
                size: n,
                downloaded: true,
                installed: false,
                manifest_hash: ManifestHash([n as u8; 16]),
                content_hash: None,
                availability: Availability::Ready,
                changed: false,
                supersedes: Vec::new(),
                not_shared: None,
            })
        })
        .collect();
    bencher.bench_local(|| library_digest(black_box(&games).iter().map(Arc::as_ref)));
}
