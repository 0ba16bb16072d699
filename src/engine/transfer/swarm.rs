//! The other downloaders of the same content: who is near, and what each has and expects.
//!
//! A source that has everything is scarce as soon as others download the same: each byte should leave it once, and the
//! rest be passed on among the downloaders. A source behind a slow link is scarce for all on this side of it. What is asked
//! where for that reason says `select`.
//!
//! What was verified, and what is on its way from a scarce source, is told to the other downloaders a few times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::chunk_set::ChunkSet;
use super::planner::Planner;
use super::select::rank::{best_reach, is_far};
use super::sources::{Roster, Usable};
use crate::engine::core::Cx;
use crate::engine::io::{ConnId, Output};
use crate::faults::{self, Bug};
use crate::proto::{HaveChunks, Notification};
use crate::types::{ChunkIndex, ChunkRange, ContentHash, GameId, PeerId, SourceId};

/// Time between two announcements to one downloader; and so much more for each of them, so that a large party does not
/// spend its time on announcements.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);
const ANNOUNCE_EVERY_PER_PEER: Duration = Duration::from_millis(5);
/// Ranges in one announcement: they fit in a frame of 64 KiB.
const MAX_RANGES: usize = 1_000;
/// Downloaders of one content that are listened to.
const MAX_HOLDERS: usize = 256;
/// When nothing at all is under way for so long, what is promised to come is no longer waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// What another downloader has.
#[derive(Debug)]
struct Holder {
    conn: ConnId,
    chunks: ChunkSet,
    /// What is on its way to it.
    coming: Vec<ChunkRange>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Swarm {
    game: GameId,
    /// `None`: this download takes no part, since nobody knows its content or it is switched off.
    content: Option<ContentHash>,
    chunks: u32,
    /// Chunks that are not on disk before the commit: those of the sentinel.
    withheld: Range<u32>,
    holders: BTreeMap<PeerId, Holder>,
    /// Holders whose chunks are counted in `held` and `coming`.
    near: BTreeSet<PeerId>,
    /// Near holders that have each chunk.
    held: Vec<u16>,
    /// Near holders to which each chunk is on its way.
    coming: Vec<u16>,
    /// Who was told that this download exists, and over which connection.
    introduced: BTreeMap<PeerId, ConnId>,
    /// Verified here and not announced yet.
    news: Vec<ChunkRange>,
    /// What was said to be on its way.
    said_coming: Vec<ChunkRange>,
    announced_at: Instant,
    /// Since when nothing is under way although something is wanted.
    idle_since: Option<Instant>,
}

impl Swarm {
    /// Nobody is known yet. `content`: `None` takes no part.
    pub(super) fn new(planner: &Planner, content: Option<ContentHash>, now: Instant) -> Self {
        let plan = planner.plan();
        let chunks = plan.manifest.chunk_count();
        let sentinel = plan.manifest.files().iter().position(|file| file.path.as_str() == "version.ini");
        let counted = if content.is_some() { chunks as usize } else { 0 };
        Self {
            game: plan.game.clone(),
            content,
            chunks,
            withheld: sentinel.map_or(0..0, |file| plan.manifest.chunks_of_file(file)),
            holders: BTreeMap::new(),
            near: BTreeSet::new(),
            held: vec![0; counted],
            coming: vec![0; counted],
            introduced: BTreeMap::new(),
            news: Vec::new(),
            said_coming: Vec::new(),
            announced_at: now,
            idle_since: None,
        }
    }

    /// Whether chunks of this download may be handed out: exactly what was verified against this content.
    pub(super) fn serves(&self, planner: &Planner, content: Option<ContentHash>, range: ChunkRange) -> bool {
        content.is_some()
            && content == self.content
            && range.iter().all(|index| {
                !self.withheld.contains(&index.0) && (planner.has(index) || faults::is(Bug::UnverifiedServed))
            })
    }

    /// Tells peers that this download exists, those that were not told over this connection; they answer what they have.
    pub(super) fn introduce(&mut self, cx: &mut Cx, planner: &Planner, peers: &[(PeerId, ConnId)]) {
        if self.content.is_none() {
            return;
        }
        self.introduced.retain(|peer, conn| peers.contains(&(*peer, *conn)));
        for &(peer, conn) in peers {
            if self.introduced.insert(peer, conn) != Some(conn) {
                self.tell_all(cx, planner, conn, true);
            }
        }
    }

    /// A peer says what it has. Answers whether it is a source from now on.
    pub(super) fn hear(
        &mut self,
        cx: &mut Cx,
        planner: &Planner,
        peer: PeerId,
        conn: ConnId,
        have: &HaveChunks,
    ) -> bool {
        let sound = is_sound(&have.ranges, self.chunks) && is_sound(&have.coming, self.chunks);
        if self.content != Some(have.content_hash) || !sound {
            return false;
        }
        let is_new = self.holders.get(&peer).is_none_or(|holder| holder.conn != conn);
        if is_new {
            self.forget(SourceId::Peer(peer));
            if self.holders.len() >= MAX_HOLDERS {
                return false;
            }
            self.holders.insert(peer, Holder { conn, chunks: ChunkSet::new(self.chunks), coming: Vec::new() });
        }
        let counted = self.near.contains(&peer);
        let Some(holder) = self.holders.get_mut(&peer) else { return false };
        if counted {
            count(&mut self.coming, &holder.coming, false);
            count(&mut self.coming, &have.coming, true);
        }
        holder.coming.clone_from(&have.coming);
        for range in &have.ranges {
            let held = &mut self.held;
            holder.chunks.insert(*range, |chunk| {
                if counted && let Some(held) = held.get_mut(chunk as usize) {
                    *held += 1;
                }
            });
        }
        if !have.ranges.is_empty() {
            self.idle_since = None;
        }
        // One that only answers heard what was there when it was greeted, and nothing since.
        if have.introduce || is_new {
            self.introduced.insert(peer, conn);
            self.tell_all(cx, planner, conn, false);
        }
        true
    }

    /// What a peer has is no longer to be had.
    pub(super) fn forget(&mut self, source: SourceId) {
        if let Some(peer) = source.peer() {
            self.discount(peer);
            self.holders.remove(&peer);
        }
    }

    /// A connection is gone, and what was said over it.
    pub(super) fn connection_down(&mut self, conn: ConnId) {
        let gone: Vec<_> =
            self.holders.iter().filter(|(_, holder)| holder.conn == conn).map(|(peer, _)| *peer).collect();
        gone.into_iter().for_each(|peer| self.forget(SourceId::Peer(peer)));
        self.introduced.retain(|_, to| *to != conn);
    }

    /// Chunks were verified and written.
    pub(super) fn verified(&mut self, range: ChunkRange, bad: &[ChunkIndex]) {
        // Whoever comes later is told everything.
        if self.holders.is_empty() {
            return;
        }
        for index in range.iter().filter(|index| !bad.contains(index) && !self.withheld.contains(&index.0)) {
            match self.news.last_mut() {
                Some(last) if last.first + last.count == index.0 => last.count += 1,
                _ => self.news.push(ChunkRange { first: index.0, count: 1 }),
            }
        }
    }

    /// Tells the other downloaders what is new, if it is time.
    pub(super) fn announce(&mut self, cx: &mut Cx, planner: &Planner) {
        if self.next_announcement().is_none_or(|at| at > cx.now) {
            return;
        }
        let coming = self.coming_here(planner);
        if self.news.is_empty() && coming == self.said_coming {
            return;
        }
        self.announced_at = cx.now;
        self.said_coming.clone_from(&coming);
        let news = ascending(std::mem::take(&mut self.news));
        for holder in self.holders.values() {
            self.tell(cx, holder.conn, &news, &coming, false);
        }
    }

    /// Whether there is something to tell the others.
    pub(super) fn has_news(&self, planner: &Planner) -> bool {
        !self.news.is_empty() || self.coming_here(planner) != self.said_coming
    }

    /// When [`Swarm::announce`] may have something to say.
    pub(super) fn next_announcement(&self) -> Option<Instant> {
        let peers = u32::try_from(self.holders.len()).unwrap_or(u32::MAX);
        let pause = ANNOUNCE_EVERY + ANNOUNCE_EVERY_PER_PEER.saturating_mul(peers);
        (peers > 0).then(|| self.announced_at + pause)
    }

    /// When patience with those who promised something ends.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        self.idle_since.map(|since| since + PATIENCE)
    }

    /// Whether the chunks of this source are known one by one.
    pub(super) fn knows(&self, source: SourceId) -> bool {
        self.chunks_of(source).is_some()
    }

    /// Whether a downloader said that it has a chunk.
    pub(super) fn holds(&self, source: SourceId, chunk: ChunkIndex) -> bool {
        self.chunks_of(source).is_some_and(|chunks| chunks.has(chunk.0))
    }

    /// Whether some downloader has a chunk that is wanted here.
    pub(super) fn has_wanted(&self, planner: &Planner, roster: &Roster) -> bool {
        self.holders.iter().any(|(peer, holder)| {
            roster.is_present(SourceId::Peer(*peer))
                && planner.wanted().any(|(first, end)| holder.chunks.first_in(first..end).is_some())
        })
    }

    /// Whether a source has all of these chunks, as far as is known.
    pub(super) fn has_all(&self, source: &Usable, range: ChunkRange) -> bool {
        source.complete || self.chunks_of(source.id).is_some_and(|chunks| chunks.has_all(range))
    }

    /// Looks at the sources anew before chunks are handed out: who is near, and whether anything is under way.
    pub(super) fn look(&mut self, planner: &Planner, usable: &[Usable], now: Instant) {
        if self.holders.is_empty() {
            self.idle_since = None;
            return;
        }
        let best = best_reach(usable);
        let near: BTreeSet<_> = usable
            .iter()
            .filter(|source| !is_far(source, best))
            .filter_map(|source| source.id.peer())
            .filter(|peer| self.holders.contains_key(peer))
            .collect();
        let gone: Vec<_> = self.near.difference(&near).copied().collect();
        gone.into_iter().for_each(|peer| self.discount(peer));
        for peer in near {
            if self.near.insert(peer)
                && let Some(holder) = self.holders.get(&peer)
            {
                count(&mut self.coming, &holder.coming, true);
                holder.chunks.for_each(|chunk| {
                    if let Some(held) = self.held.get_mut(chunk as usize) {
                        *held += 1;
                    }
                });
            }
        }
        if planner.is_fetching() || !planner.has_wanted() {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
    }

    /// Where a source's first run is best taken, when nobody has said yet what he has: those who begin at the same moment
    /// begin at different places.
    pub(super) fn beginning(&self, me: PeerId) -> u32 {
        self.part(self.introduced.range(..me).count(), self.introduced.len())
    }

    /// The own part of the game: with those of the near downloaders, it is all of it.
    pub(super) fn slice(&self, me: PeerId) -> Range<u32> {
        let (rank, others) = (self.near.range(..me).count(), self.near.len());
        self.part(rank, others)..self.part(rank + 1, others)
    }

    /// Where a part of the game begins if it is divided by one and so many others.
    fn part(&self, rank: usize, others: usize) -> u32 {
        (u64::from(self.chunks) * rank as u64 / (others as u64 + 1)) as u32
    }

    /// How many chunks the game has.
    pub(super) fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Near downloaders that have a chunk.
    pub(super) fn held(&self, chunk: u32) -> u16 {
        self.held.get(chunk as usize).copied().unwrap_or(0)
    }

    /// Whether no near downloader has a chunk or expects it.
    pub(super) fn is_unclaimed(&self, chunk: u32) -> bool {
        let at = chunk as usize;
        self.held.get(at) == Some(&0) && self.coming.get(at) == Some(&0)
    }

    /// What a downloader said that it has.
    pub(super) fn chunks_of(&self, source: SourceId) -> Option<&ChunkSet> {
        self.holders.get(&source.peer()?).map(|holder| &holder.chunks)
    }

    /// Whether a source is a near downloader.
    pub(super) fn is_near(&self, source: SourceId) -> bool {
        source.peer().is_some_and(|peer| self.near.contains(&peer))
    }

    /// Whether other downloaders share the sources.
    pub(super) fn is_contested(&self) -> bool {
        !self.near.is_empty()
    }

    /// Whether a source is asked only for what cannot be had otherwise.
    pub(super) fn is_scarce(&self, source: &Usable) -> bool {
        self.is_contested() && !self.is_near(source.id)
    }

    /// Nothing has been under way for so long that whoever can bring something is asked.
    pub(super) fn is_out_of_patience(&self, now: Instant) -> bool {
        self.patience_ends().is_some_and(|end| end <= now)
    }

    /// What was asked of sources that are not near: others need not ask for it as well.
    fn coming_here(&self, planner: &Planner) -> Vec<ChunkRange> {
        let in_flight = planner.runs().map(|run| (run.source, run.rest));
        let scarce = in_flight.chain(planner.being_written()).filter(|(source, _)| !self.is_near(*source));
        let mut coming = ascending(scarce.map(|(_, range)| range).collect());
        coming.truncate(MAX_RANGES / 2);
        coming
    }

    fn tell_all(&self, cx: &mut Cx, planner: &Planner, conn: ConnId, introduce: bool) {
        let have = planner.have_ranges(&self.withheld);
        self.tell(cx, conn, &have, &self.said_coming, introduce);
    }

    fn tell(&self, cx: &mut Cx, conn: ConnId, ranges: &[ChunkRange], coming: &[ChunkRange], introduce: bool) {
        let Some(content_hash) = self.content else { return };
        let mut parts = ranges.chunks(MAX_RANGES / 2).peekable();
        let mut introduce = introduce;
        loop {
            let ranges = parts.next().unwrap_or_default().to_vec();
            let (game_id, coming) = (self.game.clone(), coming.to_vec());
            let have = HaveChunks { game_id, content_hash, ranges, coming, introduce };
            cx.emit(Output::Notify { conn, body: Box::new(Notification::HaveChunks(have)) });
            introduce = false;
            if parts.peek().is_none() {
                return;
            }
        }
    }

    /// A holder is no longer near.
    fn discount(&mut self, peer: PeerId) {
        if self.near.remove(&peer)
            && let Some(holder) = self.holders.get(&peer)
        {
            count(&mut self.coming, &holder.coming, false);
            holder.chunks.for_each(|chunk| {
                if let Some(held) = self.held.get_mut(chunk as usize) {
                    *held -= 1;
                }
            });
        }
    }

    /// Recounts. For tests.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        for chunk in 0..self.held.len() as u32 {
            let near = || self.near.iter().map(|peer| &self.holders[peer]);
            let held = near().filter(|holder| holder.chunks.has(chunk)).count();
            assert_eq!(usize::from(self.held[chunk as usize]), held, "holders of chunk {chunk}");
            let covers = |range: &&ChunkRange| (range.first..range.first + range.count).contains(&chunk);
            let coming = near().flat_map(|holder| &holder.coming).filter(covers).count();
            assert_eq!(usize::from(self.coming[chunk as usize]), coming, "chunk {chunk} on its way");
        }
    }
}

/// Ascending, apart from each other and within the game: so that a message costs no more than one pass over it.
fn is_sound(ranges: &[ChunkRange], chunks: u32) -> bool {
    let mut at = 0;
    ranges.iter().all(|range| {
        let end = range.first.checked_add(range.count);
        let sound = range.count > 0 && range.first >= at && end.is_some_and(|end| end <= chunks);
        at = end.unwrap_or(u32::MAX);
        sound
    })
}

/// The same chunks as ranges in ascending order that do not touch.
fn ascending(mut ranges: Vec<ChunkRange>) -> Vec<ChunkRange> {
    ranges.sort_unstable_by_key(|range| range.first);
    ranges.dedup_by(|next, last| {
        let touches = next.first <= last.first + last.count;
        if touches {
            last.count = last.count.max(next.first + next.count - last.first);
        }
        touches
    });
    ranges
}

fn count(counts: &mut [u16], ranges: &[ChunkRange], add: bool) {
    for index in ranges.iter().flat_map(|range| range.iter()) {
        if let Some(count) = counts.get_mut(index.0 as usize) {
            *count = if add { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }
}
