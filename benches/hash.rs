//! What it costs to name one chunk's bytes: the content hash that every chunk is verified with, beside the hash that
//! names lists of files and the one that most other programs use.
//!
//! `cargo bench --bench hash`

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use lanspread_peer::types::{CHUNK_SIZE, ChunkHash};

/// Lengths in bytes: a small file, the end of a large one, a whole chunk.
const LENGTHS: [usize; 3] = [4 << 10, 100_000, CHUNK_SIZE as usize];
/// Chunks that are hashed in turn, so that the bytes come from memory as they do from the network.
const TURNS: usize = 64;

fn main() {
    divan::main();
}

#[divan::bench(args = LENGTHS)]
fn blake3_chunk(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, len, |bytes| ChunkHash::of(bytes).0[0]);
}

#[divan::bench(args = LENGTHS)]
fn xxh3_128(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, len, |bytes| xxhash_rust::xxh3::xxh3_128(bytes) as u8);
}

#[divan::bench(args = LENGTHS)]
fn sha256(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, len, |bytes| ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()[0]);
}

fn run(bencher: Bencher<'_, '_>, len: usize, hash: impl Fn(&[u8]) -> u8) {
    let bytes: Vec<u8> = (0..len * TURNS).map(|i| (i * 31 + i / 255) as u8).collect();
    let mut chunks = bytes.chunks_exact(len).cycle();
    bencher.counter(BytesCount::new(len)).bench_local(|| chunks.next().map(|chunk| hash(black_box(chunk))));
}
