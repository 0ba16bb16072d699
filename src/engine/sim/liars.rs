//! Peers that lie for their whole life: a real engine, of which what it says is mangled on its way out.

use super::*;
use crate::proto::{Delta, HaveChunks, Request, WireError, WireErrorCode};
use crate::types::library_digest;

/// What liars were caught at, or could have been.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lies {
    /// Batches of which a chunk did not match.
    pub(super) bad_chunks: u64,
    /// Manifests that are not those that were asked for.
    pub(super) manifests: u64,
    /// Runs that were refused or never answered.
    pub(super) refusals: u64,
    /// Claims to have chunks that are not there, or of games that do not exist.
    pub(super) claims: u64,
    /// Deltas and snapshots that do not fit.
    pub(super) libraries: u64,
    /// Answers that nobody asked for.
    pub(super) unasked: u64,
    /// Runs that were asked for though nobody said that he has them.
    pub(super) greed: u64,
    /// Whole libraries that honest peers asked liars for, though they knew one.
    pub(super) snapshots: u64,
}

/// More than a library may have: see [`World::make_liars`].
const TOO_MANY: usize = 65;

impl World {
    /// From now on these lie in most of what they say.
    pub(super) fn make_liars(&mut self, liars: impl IntoIterator<Item = usize>) {
        self.liars = liars.into_iter().collect();
        for node in &mut self.nodes {
            node.config.limits.games_per_library = TOO_MANY - 1;
        }
    }

    /// Who is at the other end of a connection.
    pub(super) fn other_end(&self, n: usize, conn: ConnId) -> Option<usize> {
        let link = self.links.get(self.nodes[n].conns.get(&conn)?)?;
        link.ends.iter().map(|(node, ..)| *node).find(|node| *node != n)
    }

    /// A request that shows that a liar's delta was not believed.
    pub(super) fn count_fallback(&mut self, n: usize, conn: ConnId, body: &Request) {
        if !matches!(body, Request::GetLibrary { .. }) || self.liars.contains(&n) {
            return;
        }
        let Some(liar) = self.other_end(n, conn).filter(|other| self.liars.contains(other)) else { return };
        let Some(engine) = &self.nodes[n].engine else { return };
        let known = engine.parts.peers.libraries().any(|(peer, ..)| peer == self.nodes[liar].id);
        self.lies.snapshots += u64::from(known);
    }

    /// What a liar says instead of a notification; more than one thing may be said.
    pub(super) fn mangle_notification(&mut self, n: usize, said: Notification) -> Vec<Notification> {
        if !self.liars.contains(&n) {
            return vec![said];
        }
        match said {
            Notification::LibraryDelta { peer_id, delta } => {
                let delta = self.mangle_delta(delta);
                vec![Notification::LibraryDelta { peer_id, delta }]
            }
            Notification::HaveChunks(have) => {
                self.lies.claims += 1;
                let everything = vec![ChunkRange { first: 0, count: 2 + self.random(8) as u32 }];
                let unknown = HaveChunks { game_id: "no-such-game".parse().unwrap(), ..have.clone() };
                let claim = HaveChunks { ranges: everything, coming: Vec::new(), ..have };
                vec![Notification::HaveChunks(unknown), Notification::HaveChunks(claim)]
            }
            other => vec![other],
        }
    }

    fn mangle_delta(&mut self, mut delta: Delta) -> Delta {
        let kind = self.random(8);
        self.lies.libraries += u64::from(kind < 6);
        match kind {
            0..=2 => delta.to_digest = library_digest(std::iter::empty()),
            3 => std::mem::swap(&mut delta.from_rev, &mut delta.to_rev),
            4 => delta.from_rev.0 += 1_000,
            5 => delta.added = self.too_many_games(),
            _ => {}
        }
        delta
    }

    fn too_many_games(&self) -> Vec<Arc<GameSummary>> {
        let summary = |n: usize| GameSummary {
            id: format!("flood-{n:03}").parse().unwrap(),
            name: "flood".to_owned(),
            eti_version: None,
            size: 5,
            downloaded: true,
            installed: false,
            manifest_hash: content(5).0.hash(),
            content_hash: None,
            availability: crate::types::Availability::Ready,
            changed: false,
            supersedes: Vec::new(),
            not_shared: None,
        };
        (0..TOO_MANY).map(|n| Arc::new(summary(n))).collect()
    }

    /// What a liar answers instead; `None`: nothing, ever.
    pub(super) fn mangle_answer(
        &mut self,
        n: usize,
        result: Result<(Answer, Vec<ChunkHash>), RunFailure>,
    ) -> Option<Result<(Answer, Vec<ChunkHash>), RunFailure>> {
        if !self.liars.contains(&n) {
            return Some(result);
        }
        Some(match result {
            Ok((Answer::Manifest(mut answer), mut hashes)) => {
                let kind = self.random(8);
                self.lies.manifests += u64::from(kind < 6);
                match kind {
                    0 => answer.files[0].size += 1,
                    1 => answer.chunk_count = u32::MAX,
                    2 => answer.files.extend(answer.files.clone()),
                    3 => answer.manifest_hash = content(3).0.hash(),
                    4 if hashes.is_empty() => answer.files.clear(),
                    4 => hashes[0] = ChunkHash::of(b"another chunk"),
                    5 => return Some(Err(RunFailure::Malformed("a path leads out of the game".to_owned()))),
                    _ => {}
                }
                Ok((Answer::Manifest(answer), hashes))
            }
            Ok((Answer::ChunkRun(run), hashes)) => match self.random(10) {
                0 => {
                    self.lies.refusals += 1;
                    return None;
                }
                1 => {
                    self.lies.refusals += 1;
                    let error = WireError { code: WireErrorCode::NotServed, message: "not today".to_owned() };
                    Ok((Answer::Error(error), Vec::new()))
                }
                _ => Ok((Answer::ChunkRun(run), hashes)),
            },
            Ok((Answer::LibraryDelta { peer_id, delta }, hashes)) => {
                let delta = self.mangle_delta(delta);
                Ok((Answer::LibraryDelta { peer_id, delta }, hashes))
            }
            Ok((Answer::LibrarySnapshot { peer_id, mut snapshot }, hashes)) => {
                let kind = self.random(8);
                self.lies.libraries += u64::from(kind < 3);
                match kind {
                    0 => snapshot.games = self.too_many_games(),
                    1 => snapshot.rev.0 = snapshot.rev.0.saturating_sub(1),
                    2 => snapshot.games.truncate(snapshot.games.len() / 2),
                    _ => {}
                }
                Ok((Answer::LibrarySnapshot { peer_id, snapshot }, hashes))
            }
            other => other,
        })
    }

    /// Of a game with so many chunks, a liar asks for any, whatever the other said that it has.
    pub(super) fn mangle_range(&mut self, n: usize, range: ChunkRange, chunks: u32) -> ChunkRange {
        if !self.liars.contains(&n) || self.random(2) == 0 {
            return range;
        }
        self.lies.greed += 1;
        let first = self.random(u64::from(chunks)) as u32;
        ChunkRange { first, count: 1 + self.random(u64::from(chunks - first)) as u32 }
    }

    /// A chunk of a liar's batch is another one.
    pub(super) fn is_spoilt_by_liar(&mut self, n: usize, conn: ConnId) -> bool {
        let liar = self.other_end(n, conn).is_some_and(|other| self.liars.contains(&other));
        let spoilt = liar && self.random(4) > 0;
        self.lies.bad_chunks += u64::from(spoilt);
        spoilt
    }

    /// An answer to a request that nobody made reaches everybody honest.
    pub(super) fn answer_unasked(&mut self) {
        for n in 0..self.nodes.len() {
            if !self.liars.is_empty() && !self.liars.contains(&n) && self.nodes[n].engine.is_some() {
                self.lies.unasked += 1;
                let request = RequestId(u64::MAX - self.lies.unasked);
                let error = WireError { code: WireErrorCode::Busy, message: "unasked".to_owned() };
                self.later(n, Input::Answered { request, result: Ok((Answer::Error(error), Vec::new())) });
            }
        }
    }
}
