//! Chunks through the workers, with the network left out: from files to buffers, as a source reads them, and from buffers to files,
//! as a target verifies and writes them. The files lie in memory where the system has such a place (`/dev/shm`).
//!
//! `cargo bench --bench landing`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};
use divan::Bencher;
use divan::counter::BytesCount;
use lanspread_peer::types::{
    Batch, CHUNK_SIZE, ChunkHash, ChunkRange, DownloadId, DownloadPlan, FileEntry, GameId, Job, JobDone, KnownContent,
    Manifest, PreparedDownload, content_hash,
};
use lanspread_peer::workers::{
    BufferPool, OpenServed, ReadBatch, ServedGame, Task, TaskDone, Wake, Workers, WriteBatch,
};

const CHUNK: usize = CHUNK_SIZE as usize;
/// Of the one large file.
const CHUNKS: usize = 64;
/// Batches that are with the workers at once: what a fast link keeps them busy with.
const AT_ONCE: usize = 8;
const THREADS: [usize; 2] = [1, 2];

fn main() {
    divan::main();
}

/// A target: BLAKE3 of each chunk, then the write. Without what comes before the first batch and after the last.
#[divan::bench(args = THREADS, sample_count = 20, sample_size = 1)]
fn verify_and_write(bencher: Bencher<'_, '_>, threads: usize) {
    let dir = place();
    let bytes = content();
    let plan = plan(&bytes);
    let pool = BufferPool::new(AT_ONCE, CHUNK);
    let workers = RefCell::new(Rig::start(threads));
    workers.borrow_mut().open(dir.path());
    let mut last = DownloadId(0);
    let prepare = || {
        let mut workers = workers.borrow_mut();
        workers.job(Job::AbandonDownload { download: last, keep: false });
        last = DownloadId(last.0 + 1);
        let prepared = workers.job(Job::PrepareDownload { download: last, plan: Arc::clone(&plan) });
        assert_eq!(prepared, JobDone::DownloadPrepared { download: last, result: Ok(PreparedDownload::default()) });
        last
    };
    bencher.counter(BytesCount::new(bytes.len())).with_inputs(prepare).bench_local_values(|download| {
        let task = |batch: Batch| {
            let mut buf = pool.take().expect("a buffer for each batch that is under way");
            let from = batch.range.first as usize * CHUNK;
            buf[..batch.bytes as usize].copy_from_slice(&bytes[from..][..batch.bytes as usize]);
            Task::Write(WriteBatch { token: 0, download, batch, buf, hashes: None })
        };
        workers.borrow_mut().all(&plan.manifest, task, |done| match done {
            TaskDone::Written(written) => assert!(written.bad.is_empty() && written.error.is_none(), "{written:?}"),
            other => panic!("{other:?}"),
        });
    });
}

/// A source: the chunks of a game, without their hashes (they are known) and with.
#[divan::bench(args = [(1, false), (2, false), (1, true), (2, true)], sample_count = 20)]
fn read(bencher: Bencher<'_, '_>, (threads, hash): (usize, bool)) {
    let dir = place();
    let bytes = content();
    let plan = plan(&bytes);
    store(dir.path(), &bytes);
    let pool = BufferPool::new(AT_ONCE, CHUNK);
    let mut workers = Rig::start(threads);
    workers.open(dir.path());
    let game = workers.serve(&plan);
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| {
        let task = |batch| {
            let buf = pool.take().expect("a buffer for each batch that is under way");
            Task::Read(ReadBatch { token: 0, game: Arc::clone(&game), batch, buf, hash })
        };
        workers.all(&plan.manifest, task, |done| match done {
            TaskDone::Read(read) => drop(read.result.unwrap()),
            other => panic!("{other:?}"),
        });
    });
}

/// A game that is not known yet: every file once, from front to back, one BLAKE3 for each chunk.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn hash_a_game(bencher: Bencher<'_, '_>) {
    let bytes = content();
    let plan = plan(&bytes);
    let strange = || {
        let dir = place();
        store(dir.path(), &bytes);
        let mut workers = Rig::start(1);
        workers.open(dir.path());
        (dir, workers)
    };
    bencher.counter(BytesCount::new(bytes.len())).with_inputs(strange).bench_local_values(|(dir, mut workers)| {
        let job = Job::HashGame { game: plan.game.clone(), manifest_hash: plan.manifest_hash, anew: false };
        let JobDone::GameHashed { result: Ok(_), .. } = workers.job(job) else { panic!("not hashed") };
        (dir, workers)
    });
}

/// What it matters where a buffer begins: a file of the disk, which lies in the page cache, is read into buffers that begin so many
/// bytes behind a multiple of 4096. The allocator puts large blocks at 16.
#[divan::bench(args = [0, 16, 64, 2048], sample_count = 20)]
fn alignment(bencher: Bencher<'_, '_>, offset: usize) {
    let dir = tempfile::tempdir().unwrap();
    store(dir.path(), &content());
    let mut file = std::fs::File::open(dir.path().join("bench/data.eti")).unwrap();
    let mut memory = vec![0; (AT_ONCE + 1) * 2 * CHUNK];
    let first = memory.as_ptr().align_offset(4096) + offset;
    bencher.counter(BytesCount::new(CHUNKS * CHUNK)).bench_local(|| {
        file.rewind().unwrap();
        for chunk in 0..CHUNKS {
            let at = first + chunk % AT_ONCE * 2 * CHUNK;
            file.read_exact(&mut memory[at..][..CHUNK]).unwrap();
        }
    });
}

/// Workers, and what they say.
struct Rig {
    workers: Workers<()>,
    woken: Receiver<()>,
}

impl Rig {
    fn start(threads: usize) -> Self {
        let (woke, woken) = unbounded();
        let wake: Wake = Arc::new(move || woke.send(()).unwrap());
        Self { workers: Workers::start(threads, Vec::new, wake).unwrap(), woken }
    }

    fn next(&mut self) -> TaskDone<()> {
        loop {
            if let Some(done) = self.workers.try_next() {
                return done;
            }
            self.woken.recv().unwrap();
        }
    }

    fn job(&mut self, job: Job) -> JobDone {
        self.workers.try_submit(Task::Job(job)).unwrap();
        match self.next() {
            TaskDone::Job(done) => done,
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self, dir: &Path) {
        let JobDone::LibraryOpened(opened) = self.job(Job::OpenLibrary { dir: dir.to_owned() }) else { panic!() };
        opened.unwrap();
    }

    fn serve(&mut self, plan: &DownloadPlan) -> Arc<ServedGame> {
        let (game, manifest_hash) = (plan.game.clone(), plan.manifest_hash);
        self.workers
            .try_submit(Task::OpenServed(OpenServed { token: 0, game, manifest_hash, download: None }))
            .unwrap();
        let TaskDone::Opened(opened) = self.next() else { panic!("not opened") };
        opened.result.unwrap()
    }

    /// Every batch of a game, [`AT_ONCE`] at a time.
    fn all(&mut self, manifest: &Manifest, task: impl Fn(Batch) -> Task<()>, check: impl Fn(TaskDone<()>)) {
        let mut under_way = 0;
        for batch in manifest.batches(ChunkRange { first: 0, count: manifest.chunk_count() }) {
            if under_way == AT_ONCE {
                check(self.next());
                under_way -= 1;
            }
            self.workers.try_submit(task(batch)).unwrap();
            under_way += 1;
        }
        (0..under_way).for_each(|_| check(self.next()));
    }
}

fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// The large file, and the sentinel as its last byte.
fn content() -> Vec<u8> {
    let mut bytes = vec![0; CHUNKS * CHUNK + 1];
    blake3::Hasher::new().update(b"landing").finalize_xof().fill(&mut bytes);
    bytes
}

fn plan(bytes: &[u8]) -> Arc<DownloadPlan> {
    let entry = |path: &str, size| FileEntry { path: path.parse().unwrap(), size, exec: false };
    let manifest = Manifest::new(vec![entry("data.eti", (CHUNKS * CHUNK) as u64), entry("version.ini", 1)]).unwrap();
    let chunks: Vec<ChunkHash> = bytes.chunks(CHUNK).map(ChunkHash::of).collect();
    let content = KnownContent { hash: content_hash(&manifest, &chunks), chunks };
    let game: GameId = "bench".parse().unwrap();
    Arc::new(DownloadPlan { game, manifest_hash: manifest.hash(), manifest, content: Some(content) })
}

#[allow(clippy::disallowed_methods)]
fn store(dir: &Path, bytes: &[u8]) {
    let root = dir.join("bench");
    std::fs::create_dir(&root).unwrap();
    let (data, sentinel) = bytes.split_at(CHUNKS * CHUNK);
    std::fs::write(root.join("data.eti"), data).unwrap();
    std::fs::write(root.join("version.ini"), sentinel).unwrap();
}
