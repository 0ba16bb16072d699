//! The other downloaders of the same content: what each has, and which chunk to ask where.
//!
//! A source that has everything is scarce as soon as others download the same: each byte should leave it once, and the
//! rest be passed on among the downloaders. A source behind a slow link is scarce for all on this side of it. So
//!
//! - of a scarce source only *fresh* chunks are asked: those that no near downloader has or is about to get. Every
//!   downloader begins in a slice of its own, so that no two ask for the same one;
//! - of a near downloader what fewest of the others have, beginning at a random place;
//! - of a scarce source anything, when the near ones would take long, or bring nothing at all.
//!
//! What was verified, and what is on its way from a scarce source, is told to the other downloaders a few times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::chunk_set::ChunkSet;
use super::planner::{Planner, Portion};
use super::sources::{Roster, Usable};
use crate::engine::core::Cx;
use crate::engine::io::{ConnId, Output};
use crate::faults::{self, Bug};
use crate::proto::{HaveChunks, Notification};
use crate::types::{CHUNK_SIZE, ChunkIndex, ChunkRange, ContentHash, GameId, PeerId, SourceId};

/// Time between two announcements to one downloader; and so much more for each of them, so that a large party does not
/// spend its time on announcements.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(100);
const ANNOUNCE_EVERY_PER_PEER: Duration = Duration::from_millis(5);
/// Ranges in one announcement: they fit in a frame of 64 KiB.
const MAX_RANGES: usize = 1_000;
/// Downloaders of one content that are listened to.
const MAX_HOLDERS: usize = 256;
/// A source that is so many times slower than the best one counts as far away.
const FAR_FACTOR: f64 = 6.0;
/// What the near downloaders have is left to them if it takes them no longer than this, in seconds.
const LEAVE_SECONDS: f64 = 2.0;
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

/// What a source may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// Anything: the planner knows best.
    Any,
    /// A run that begins here and ends before the second.
    Within(u32, u32),
    /// Nothing for now.
    Nothing,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Swarm {
    game: GameId,
    /// `None`: this download takes no part, since nobody knows its content or it is switched off.
    content: Option<ContentHash>,
    chunks: u32,
    /// Chunks that are not on disk before the commit: those of the sentinel.
    withheld: std::ops::Range<u32>,
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
        self.holder(source).is_some()
    }

    /// Whether a downloader said that it has a chunk.
    pub(super) fn holds(&self, source: SourceId, chunk: ChunkIndex) -> bool {
        self.holder(source).is_some_and(|holder| holder.chunks.has(chunk.0))
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
        source.complete || self.holder(source.id).is_some_and(|holder| holder.chunks.has_all(range))
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
    fn beginning(&self, me: PeerId) -> u32 {
        let members = self.introduced.len() as u64 + 1;
        let rank = self.introduced.range(..me).count() as u64;
        (u64::from(self.chunks) * rank / members) as u32
    }

    /// Whether other downloaders share the sources.
    pub(super) fn is_contested(&self) -> bool {
        !self.near.is_empty()
    }

    /// Whether a source is asked only for what cannot be had otherwise.
    pub(super) fn is_scarce(&self, source: &Usable) -> bool {
        self.is_contested() && !self.is_near(source.id)
    }

    /// Where a source's next run may lie.
    pub(super) fn choose(
        &self,
        cx: &mut Cx,
        planner: &Planner,
        usable: &[Usable],
        source: &Usable,
        portion: &Portion,
    ) -> Choice {
        if self.is_near(source.id) {
            return self.rarest(cx, planner, source, portion);
        }
        if !self.is_contested() {
            if !planner.is_begun() && source.complete && portion.avoid.is_none() {
                let first = self.beginning(cx.me);
                let behind = planner.wanted_in(first..self.chunks).next();
                return behind.map_or(Choice::Any, |(first, end)| Choice::Within(first, end));
            }
            return if source.complete { Choice::Any } else { self.rarest(cx, planner, source, portion) };
        }
        let best = best_reach(usable);
        let other_complete = |other: &Usable| other.id != source.id && other.complete && !is_far(other, best);
        // What only seems far is tried once it has everything: what it lacks now comes sooner from the one that is near.
        let is_farther = is_far(source, best) && (source.reach > 0.0 || !source.complete);
        if is_farther && !self.is_out_of_patience(cx.now) && usable.iter().any(other_complete) {
            return Choice::Nothing;
        }
        match self.fresh(cx.me, planner, source, portion) {
            Choice::Nothing if self.is_urgent(planner, usable, cx.now) => {
                if source.complete {
                    Choice::Any
                } else {
                    self.rarest(cx, planner, source, portion)
                }
            }
            choice => choice,
        }
    }

    /// Nothing has been under way for so long that whoever can bring something is asked.
    fn is_out_of_patience(&self, now: Instant) -> bool {
        self.patience_ends().is_some_and(|end| end <= now)
    }

    /// Whether the near downloaders cannot be left alone with what they have or expect.
    fn is_urgent(&self, planner: &Planner, usable: &[Usable], now: Instant) -> bool {
        if self.is_out_of_patience(now) {
            return true;
        }
        let rate: f64 = usable.iter().filter(|source| self.is_near(source.id)).map(|source| source.rate).sum();
        let held = |chunk: &u32| self.held.get(*chunk as usize).is_some_and(|held| *held > 0);
        let enough = (rate * LEAVE_SECONDS / CHUNK_SIZE as f64) as usize;
        // Nothing has been seen of them yet: they get their chance.
        rate > 0.0 && planner.wanted().flat_map(|(first, end)| first..end).filter(held).nth(enough).is_some()
    }

    /// Chunks of a scarce source that no near downloader has or expects.
    fn fresh(&self, me: PeerId, planner: &Planner, source: &Usable, portion: &Portion) -> Choice {
        let holder = self.holder(source.id).filter(|_| !source.complete);
        let avoid = portion.avoid.map(|avoid| avoid.0);
        let is_fresh = |chunk: u32| {
            let at = chunk as usize;
            self.held.get(at) == Some(&0)
                && self.coming.get(at) == Some(&0)
                && avoid != Some(chunk)
                && holder.is_none_or(|holder| holder.chunks.has(chunk))
        };
        let until = |first: u32, end: u32| (first..end).find(|&chunk| !is_fresh(chunk)).unwrap_or(end);
        if let Some((cursor, end)) = planner.wanted_at_cursor(source.id)
            && is_fresh(cursor)
        {
            return Choice::Within(cursor, until(cursor, end));
        }
        // The own slice from its beginning on; those of others from the middle of what is left, because they are at work
        // on its beginning.
        let members = self.near.len() as u64 + 1;
        let rank = self.near.range(..me).count() as u64;
        let slice = |rank: u64| (u64::from(self.chunks) * rank / members) as u32;
        let (own_first, own_end) = (slice(rank), slice(rank + 1));
        let own = planner.wanted_in(own_first..own_end).find_map(|(first, end)| {
            let first = (first..end).find(|&chunk| is_fresh(chunk))?;
            Some((first, until(first, end)))
        });
        if let Some((first, end)) = own {
            return Choice::Within(first, end);
        }
        let mut largest: Option<(u32, u32)> = None;
        for (mut at, end) in planner.wanted() {
            while let Some(first) = (at..end).find(|&chunk| is_fresh(chunk)) {
                at = until(first, end);
                if largest.is_none_or(|(from, to)| at - first > to - from) {
                    largest = Some((first, at));
                }
            }
        }
        largest.map_or(Choice::Nothing, |(first, end)| Choice::Within(first + (end - first) / 2, end))
    }

    /// Of what a downloader has and is wanted here, that which fewest near ones have; of equals the first behind where it
    /// is at work, or else behind a random place.
    fn rarest(&self, cx: &mut Cx, planner: &Planner, source: &Usable, portion: &Portion) -> Choice {
        let holder = self.holder(source.id);
        let avoid = portion.avoid.map(|avoid| avoid.0);
        let has = |chunk: u32| {
            avoid != Some(chunk) && (source.complete || holder.is_some_and(|holder| holder.chunks.has(chunk)))
        };
        let held = |chunk: u32| self.held.get(chunk as usize).copied().unwrap_or(0);
        let until = |first: u32, end: u32| (first..end).find(|&chunk| !has(chunk)).unwrap_or(end);
        // It counts itself.
        let least = u16::from(self.is_near(source.id));
        if let Some((cursor, end)) = planner.wanted_at_cursor(source.id)
            && has(cursor)
            && held(cursor) <= least
        {
            return Choice::Within(cursor, until(cursor, end));
        }
        let start = (cx.ids.random() % u64::from(self.chunks.max(1))) as u32;
        let mut best: Option<(u16, u32, u32)> = None;
        for (first, end) in planner.wanted_in(start..self.chunks).chain(planner.wanted_in(0..start)) {
            for chunk in (first..end).filter(|&chunk| has(chunk)) {
                let count = held(chunk);
                if best.is_none_or(|(least, ..)| count < least) {
                    best = Some((count, chunk, end));
                }
                if count <= least {
                    return Choice::Within(chunk, until(chunk, end));
                }
            }
        }
        best.map_or(Choice::Nothing, |(_, first, end)| Choice::Within(first, until(first, end)))
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

    fn holder(&self, source: SourceId) -> Option<&Holder> {
        self.holders.get(&source.peer()?)
    }

    fn is_near(&self, source: SourceId) -> bool {
        source.peer().is_some_and(|peer| self.near.contains(&peer))
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

fn best_reach(usable: &[Usable]) -> f64 {
    usable.iter().map(|source| source.reach).fold(0.0, f64::max)
}

fn is_far(source: &Usable, best: f64) -> bool {
    source.seems_far.is_some() || (source.reach > 0.0 && source.reach * FAR_FACTOR < best)
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
