//! Downloads on a simulated disk: chunks are asked for, land batch by batch, are verified and kept.

use super::*;
use crate::proto::{WireError, WireErrorCode};
use crate::types::{Batch, KnownContent, PreparedDownload};

/// What goes wrong, in cases of 100.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Faults {
    /// Batches of which a chunk does not match its hash.
    pub(super) bad_batches: u64,
    /// Batches after which a run breaks off.
    pub(super) broken_runs: u64,
    /// Batches after which nothing more comes.
    pub(super) silent_runs: u64,
    /// Batches that the disk refuses.
    pub(super) refused_writes: u64,
    /// Preparations and commits that fail.
    pub(super) failing_jobs: u64,
}

/// A run of chunks that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    pub(super) conn: ConnId,
    pub(super) download: DownloadId,
    /// What has not landed, last first.
    pub(super) batches: Vec<Batch>,
}

impl Fetch {
    pub(super) fn new(conn: ConnId, download: DownloadId, manifest: &Manifest, range: ChunkRange) -> Self {
        let mut batches: Vec<Batch> = manifest.batches(range).collect();
        batches.reverse();
        Self { conn, download, batches }
    }
}

impl Node {
    /// Whether a transport would still report this. What is reported of a connection is seen here before the engine sees it.
    pub(super) fn admits(&mut self, input: &Input) -> bool {
        match input {
            Input::ConnectionUp { conn, .. } => self.open.insert(*conn),
            Input::ConnectionDown { conn, .. } => self.open.remove(conn),
            Input::Request { from, .. } | Input::RequestGone { from } => self.open.contains(&from.conn),
            Input::Notification { conn, .. } => self.open.contains(conn),
            _ => true,
        }
    }

    /// Another game directory is opened; whatever worked in the old one must be over. What goes out to peers
    /// may go on: its files are open, and the receiver verifies.
    pub(super) fn change_dir(&mut self, dir: &std::path::Path) {
        if dir == self.dir {
            return;
        }
        self.let_go();
        self.is_open = true;
        let disk = std::mem::replace(&mut self.disk, self.shelf.remove(dir).unwrap_or_default());
        self.moves += 1;
        self.shelf.insert(std::mem::replace(&mut self.dir, dir.to_owned()), disk);
    }

    /// Nothing is at work in the game directory.
    pub(super) fn let_go(&mut self) {
        let busy = (&self.plans, &self.at_work, &self.writing, self.saving);
        let idle = self.plans.is_empty() && self.at_work.is_empty() && self.writing.is_empty() && self.saving == 0;
        assert!(idle, "the directory is left by {busy:?}");
        self.is_open = false;
    }

    /// Whether a worker has the files of a download of this game open.
    pub(super) fn is_downloading(&self, game: &GameId) -> bool {
        self.plans.values().any(|plan| plan.game == *game)
    }

    /// Landing buffers that are promised or in use.
    pub(super) fn buffers(&self) -> usize {
        self.fetches.values().map(|fetch| fetch.batches.len()).sum::<usize>() + self.writing.len()
    }

    /// The verified chunks of a download that lie on the disk.
    pub(super) fn verified(&self, plan: &DownloadPlan) -> BTreeSet<ChunkIndex> {
        let part = self.disk.parts.get(&plan.game).filter(|(hash, _)| *hash == plan.manifest_hash);
        part.map(|(_, chunks)| chunks.clone()).unwrap_or_default()
    }
}

fn changed() -> Answer {
    Answer::Error(WireError { code: WireErrorCode::Changed, message: "it has other files now".to_owned() })
}

impl World {
    /// What is on the disk may have changed since it was last looked at.
    pub(super) fn send_manifest(
        &mut self,
        n: usize,
        to: InboundId,
        game: GameId,
        manifest_hash: ManifestHash,
        content_hash: Option<ContentHash>,
    ) {
        self.nodes[n].sends.insert(to, game.clone());
        let here = self.nodes[n].disk.games.get(&game).filter(|here| here.manifest_hash == manifest_hash);
        let is_changed = here.is_none();
        let (answer, hashes) = match here.map(|here| content(here.size)) {
            None => (changed(), Vec::new()),
            Some((manifest, hashes)) => {
                let answer = Answer::Manifest(ManifestAnswer {
                    game_id: game,
                    manifest_hash,
                    files: manifest.files().to_vec(),
                    dirs: manifest.dirs().to_vec(),
                    chunk_size: CHUNK_SIZE,
                    chunk_count: manifest.chunk_count(),
                    content_hash,
                });
                (answer, if content_hash.is_some() { hashes } else { Vec::new() })
            }
        };
        self.answer(n, to, Ok((answer, hashes)));
        self.later(n, Input::SendDone { to, bytes: 0, changed: is_changed });
    }

    /// A game that is being downloaded is sent from the files of the download.
    pub(super) fn send_chunks(&mut self, n: usize, to: InboundId, request: &GetChunks, download: Option<DownloadId>) {
        let node = &mut self.nodes[n];
        node.sends.insert(to, request.game_id.clone());
        let range = ChunkRange { first: request.first, count: request.count };
        let manifest = match download {
            Some(download) => node.plans.get(&download).map(|plan| plan.manifest.clone()),
            None => {
                let here = node.disk.games.get(&request.game_id);
                here.filter(|here| here.manifest_hash == request.manifest_hash).map(|here| content(here.size).0)
            }
        };
        let is_changed = manifest.is_none();
        let (answer, bytes) = match manifest {
            None => (changed(), 0),
            Some(manifest) => {
                let bytes = manifest.range_bytes(range);
                let run = ChunkRun { first: request.first, count: request.count, bytes, hashed: false };
                (Answer::ChunkRun(run), bytes)
            }
        };
        self.answer(n, to, Ok((answer, Vec::new())));
        self.later(n, Input::SendDone { to, bytes, changed: is_changed });
    }

    pub(super) fn begin_landing(&mut self, n: usize, request: RequestId) {
        let (at, life) = (self.now + self.delay(), self.nodes[n].life);
        self.at(at, Happening::Landing { node: n, life, request });
    }

    /// The next batch of a run, or what goes wrong with it.
    pub(super) fn land(&mut self, n: usize, request: RequestId) {
        let Some(fetch) = self.nodes[n].fetches.get_mut(&request) else { return };
        let (download, conn) = (fetch.download, fetch.conn);
        let Some(batch) = fetch.batches.pop() else {
            self.nodes[n].fetches.remove(&request);
            self.nodes[n].asked.remove(&request);
            return self.input(n, Input::RunDone { request, result: Ok(()) });
        };
        let range = batch.range;
        self.nodes[n].writing.push((download, request, range));
        self.input(n, Input::BatchLanded { request, range });
        let faults = self.faults;
        let (refused, spoilt) = (self.random(100) < faults.refused_writes, self.random(100) < faults.bad_batches);
        let spoilt = self.is_spoilt_by_liar(n, conn) || spoilt;
        let pulled = self.is_unplugged(n).then(unplugged::gone);
        let error = pulled.or_else(|| refused.then(|| JobError::new(JobErrorKind::DiskFull, "injected")));
        let bad: Vec<_> = range.iter().take(usize::from(spoilt && !refused)).collect();
        let (at, life) = (self.now + self.delay(), self.nodes[n].life);
        let input = Input::BatchDone { download, request, range, bad, error };
        self.at(at, Happening::Input { node: n, life, input });
        match self.random(100) {
            // The deadline of the run ends it.
            at if at < faults.silent_runs => {}
            at if at < faults.silent_runs + faults.broken_runs => {
                self.answered(n, request, Err(RunFailure::Reset(4)));
            }
            _ => self.begin_landing(n, request),
        }
    }

    /// A batch is off the books before the engine hears of it.
    pub(super) fn written(&mut self, n: usize, input: &Input) {
        let Input::BatchDone { download, request, range, bad, error } = input else { return };
        let node = &mut self.nodes[n];
        node.writing.retain(|(_, of, batch)| (of, batch) != (request, range));
        if let Some(plan) = node.plans.get(download).filter(|_| error.is_none()).cloned() {
            let (_, chunks) = node.disk.parts.get_mut(&plan.game).expect("prepared");
            chunks.extend(range.iter().filter(|chunk| !bad.contains(chunk)));
        }
    }

    /// A worker begins with the files of a download.
    pub(super) fn download_job(&mut self, n: usize, job: Job) {
        let node = &mut self.nodes[n];
        match &job {
            Job::PrepareDownload { download, plan } => {
                let game = &plan.game;
                let is_held = node.at_work.contains_key(game) || node.is_downloading(game);
                assert!(!is_held, "two operations on {game}");
                let sent = |(to, sent): (&InboundId, &GameId)| sent == game && node.conns.contains_key(&to.conn);
                assert!(!node.sends.iter().any(sent), "{game} is replaced while it is sent");
                node.plans.insert(*download, plan.clone());
                node.at_work.insert(game.clone(), false);
            }
            Job::CommitDownload { download } | Job::AbandonDownload { download, .. } => {
                assert!(node.plans.contains_key(download), "{download:?} is over");
                let fetched =
                    node.fetches.values().any(|fetch| fetch.download == *download && !fetch.batches.is_empty());
                let written = node.writing.iter().any(|(of, ..)| of == download);
                let landing = || format!("{:?} {:?}", node.fetches, node.writing);
                assert!(!fetched && !written, "{job:?} while chunks land: {}", landing());
            }
            Job::LearnContent { download, .. } => {
                let plan = node.plans.get(download).expect("what is over learns nothing");
                assert!(plan.content.is_none(), "{} is known already", plan.game);
            }
            other => panic!("{other:?}"),
        }
        let (at, life) = (self.now + self.delay(), self.nodes[n].life);
        self.at(at, Happening::Worked { node: n, life, job });
    }

    /// And is done.
    pub(super) fn download_worked(&mut self, n: usize, job: Job) {
        let failing = self.random(100) < self.faults.failing_jobs;
        let injected = || JobError::new(JobErrorKind::Io, "injected");
        let done = match job {
            Job::PrepareDownload { download, plan } => {
                let node = &mut self.nodes[n];
                let cancelled = node.at_work.remove(&plan.game).expect("begun");
                let result = if cancelled || failing {
                    Err(if cancelled { JobError::new(JobErrorKind::Cancelled, "cancelled") } else { injected() })
                } else {
                    let kept = node.verified(&plan);
                    node.disk.parts.insert(plan.game.clone(), (plan.manifest_hash, kept.clone()));
                    // The sentinel goes first.
                    if let Some(here) = node.disk.games.get_mut(&plan.game) {
                        let before = (**here).clone();
                        *here = Arc::new(ScannedGame {
                            downloaded: false,
                            eti_version: None,
                            content_hash: None,
                            ..before
                        });
                    }
                    let kept = kept.into_iter().map(|chunk| ChunkRange { first: chunk.0, count: 1 }).collect();
                    Ok(PreparedDownload { kept, kept_aside: Vec::new() })
                };
                JobDone::DownloadPrepared { download, result }
            }
            Job::LearnContent { download, content } => {
                let node = &mut self.nodes[n];
                let result = match node.plans.get_mut(&download) {
                    None => Err(JobError::new(JobErrorKind::Cancelled, "it is over")),
                    Some(plan) => {
                        node.learned += 1;
                        let content = Some((*content).clone());
                        *plan = Arc::new(DownloadPlan { content, ..(**plan).clone() });
                        Ok(Vec::new())
                    }
                };
                JobDone::ContentLearned { download, result }
            }
            Job::CommitDownload { download } if failing => {
                JobDone::DownloadCommitted { download, result: Err(injected()) }
            }
            Job::CommitDownload { download } => {
                let plan = self.nodes[n].plans.remove(&download).expect("prepared");
                let whole = self.nodes[n].verified(&plan).len();
                assert_eq!(whole, plan.manifest.chunk_count() as usize, "{} is committed in parts", plan.game);
                let same = |game: &&Arc<ScannedGame>| game.manifest_hash == plan.manifest_hash && game.downloaded;
                let elsewhere = self.nodes.iter().filter_map(|node| node.disk.games.get(&plan.game)).find(same);
                let version = elsewhere.and_then(|game| game.eti_version.clone()).unwrap_or_else(|| "1".to_owned());
                let mut game = scanned(plan.game.as_str(), &version, plan.manifest.bytes());
                let node = &mut self.nodes[n];
                if let Some(before) = node.disk.games.get(&plan.game) {
                    (game.installed, game.installed_version) = (before.installed, before.installed_version.clone());
                }
                game.content_hash = Some(content_hash_of(game.size));
                game.brought = game.content_hash;
                assert!(plan.content.as_ref().is_none_or(|KnownContent { hash, .. }| game.content_hash == Some(*hash)));
                let game = Arc::new(game);
                node.disk.parts.remove(&plan.game);
                node.disk.games.insert(plan.game.clone(), game.clone());
                JobDone::DownloadCommitted { download, result: Ok(game) }
            }
            Job::AbandonDownload { download, keep } => {
                let node = &mut self.nodes[n];
                let plan = node.plans.remove(&download).expect("prepared");
                if !keep {
                    node.disk.parts.remove(&plan.game);
                }
                JobDone::DownloadAbandoned { download, result: Ok(node.disk.games.get(&plan.game).cloned()) }
            }
            other => panic!("{other:?}"),
        };
        self.input(n, Input::JobDone(done));
    }
}
