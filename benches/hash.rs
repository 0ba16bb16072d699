//! What it costs to name one chunk's bytes: the content hash that every chunk is verified with, beside the hash that
//! names lists of files and the one that most other programs use; by itself, and as a pipeline of threads that are handed one
//! chunk after the other in recycled buffers.
//!
//! `cargo bench --bench hash`
#![allow(missing_docs, clippy::unwrap_used)]

use crossbeam_channel::bounded;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use lanspread_peer::types::{CHUNK_SIZE, ChunkHash};

/// Lengths in bytes: a small file, the end of a large one, a whole chunk.
const LENGTHS: [usize; 3] = [4 << 10, 100_000, CHUNK_SIZE as usize];
/// Chunks that are hashed in turn, so that the bytes come from memory as they do from the network.
const TURNS: usize = 64;

/// Threads of a pipeline.
const THREADS: [usize; 2] = [1, 2];

fn main() {
    divan::main();
}

fn blake3(bytes: &[u8]) -> u8 {
    ChunkHash::of(bytes).0[0]
}

fn xxh3(bytes: &[u8]) -> u8 {
    xxhash_rust::xxh3::xxh3_128(bytes) as u8
}

fn sha2(bytes: &[u8]) -> u8 {
    ring::digest::digest(&ring::digest::SHA256, bytes).as_ref()[0]
}

#[divan::bench(args = LENGTHS)]
fn blake3_chunk(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, len, blake3);
}

#[divan::bench(args = LENGTHS)]
fn xxh3_128(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, len, xxh3);
}

#[divan::bench(args = LENGTHS)]
fn sha256(bencher: Bencher<'_, '_>, len: usize) {
    run(bencher, len, sha2);
}

#[divan::bench(args = THREADS)]
fn pipeline_blake3(bencher: Bencher<'_, '_>, threads: usize) {
    pipeline(bencher, threads, blake3);
}

#[divan::bench(args = THREADS)]
fn pipeline_xxh3_128(bencher: Bencher<'_, '_>, threads: usize) {
    pipeline(bencher, threads, xxh3);
}

#[divan::bench(args = THREADS)]
fn pipeline_sha256(bencher: Bencher<'_, '_>, threads: usize) {
    pipeline(bencher, threads, sha2);
}

/// Each chunk is copied into a free buffer, as it is when it lands, and goes to a thread that hashes it and hands the buffer back.
fn pipeline(bencher: Bencher<'_, '_>, threads: usize, hash: fn(&[u8]) -> u8) {
    let len = CHUNK_SIZE as usize;
    let bytes = bytes_of(len);
    let (give, free) = bounded(2 * threads);
    (0..2 * threads).for_each(|_| give.send(vec![0; len]).unwrap());
    let (to_hash, queue) = bounded::<Vec<u8>>(2 * threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (queue, give) = (queue.clone(), give.clone());
            scope.spawn(move || {
                for chunk in queue {
                    black_box(hash(&chunk));
                    give.send(chunk).unwrap();
                }
            });
        }
        bencher.counter(BytesCount::new(len * TURNS)).bench_local(|| {
            for chunk in bytes.chunks_exact(len) {
                let mut buffer = free.recv().unwrap();
                buffer.copy_from_slice(chunk);
                to_hash.send(buffer).unwrap();
            }
            // Over when every buffer is back.
            let all: Vec<_> = (0..2 * threads).map(|_| free.recv().unwrap()).collect();
            all.into_iter().for_each(|buffer| give.send(buffer).unwrap());
        });
        drop(to_hash);
    });
}

fn run(bencher: Bencher<'_, '_>, len: usize, hash: fn(&[u8]) -> u8) {
    let bytes = bytes_of(len);
    let mut chunks = bytes.chunks_exact(len).cycle();
    bencher.counter(BytesCount::new(len)).bench_local(|| chunks.next().map(|chunk| hash(black_box(chunk))));
}

/// [`TURNS`] chunks of that length.
fn bytes_of(len: usize) -> Vec<u8> {
    (0..len * TURNS).map(|i| (i * 31 + i / 255) as u8).collect()
}
