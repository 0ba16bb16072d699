//! How fast bytes are hashed: the chunks of games by BLAKE3, by one thread and by all; beside it the hash of lists of
//! files, and the one that most other programs use.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::Receiver;
use serde_json::{Value, json};

use super::{BenchArgs, BenchError, MAX_ROUNDS, MIN_ROUNDS, cores, is_interrupted, spread};
use crate::types::{CHUNK_SIZE, ChunkHash};

/// Bytes that are hashed over and over: more than caches hold, as little as may be.
const MOST_MEMORY: u64 = 256 << 20;

/// A hash by name, by so many threads.
type Case = (&'static str, usize, fn(&[u8]));

pub(super) fn measure(args: &BenchArgs, interrupt: &Receiver<()>) -> Result<Value, BenchError> {
    let chunk = CHUNK_SIZE as usize;
    let bytes = args.size.min(MOST_MEMORY) / CHUNK_SIZE * CHUNK_SIZE;
    let mut memory = vec![0; usize::try_from(bytes).unwrap_or(chunk)];
    blake3::Hasher::new().finalize_xof().fill(&mut memory);
    let all = cores();
    let cases: [Case; 4] =
        [("blake3", 1, blake3_chunk), ("blake3", all, blake3_chunk), ("xxh3-128", 1, xxh3), ("sha-256", 1, sha256)];
    let patience = args.patience() / cases.len() as u32;
    let mut results = Vec::new();
    for (name, threads, hash) in cases {
        let begun = Instant::now();
        let mut rates = Vec::new();
        while rates.len() < MIN_ROUNDS || begun.elapsed() < patience && rates.len() < MAX_ROUNDS {
            if is_interrupted(interrupt) {
                return Err(BenchError::Interrupted);
            }
            let round = Instant::now();
            hash_all(&memory, threads, hash);
            rates.push(memory.len() as f64 / (1 << 20) as f64 / round.elapsed().as_secs_f64().max(1e-9));
        }
        results.push(json!({"hash": name, "threads": threads, "rounds": rates.len(), "mib_per_s": spread(&rates)}));
    }
    Ok(json!({"chunk_bytes": CHUNK_SIZE, "bytes": memory.len(), "results": results}))
}

fn xxh3(bytes: &[u8]) {
    black_box(xxhash_rust::xxh3::xxh3_128(bytes));
}

fn sha256(bytes: &[u8]) {
    black_box(ring::digest::digest(&ring::digest::SHA256, bytes));
}

fn blake3_chunk(bytes: &[u8]) {
    black_box(ChunkHash::of(bytes));
}

/// Each chunk once, by so many threads.
fn hash_all(memory: &[u8], threads: usize, hash: fn(&[u8])) {
    let chunks: Vec<&[u8]> = memory.chunks(CHUNK_SIZE as usize).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(bytes) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
            hash(black_box(bytes));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}
