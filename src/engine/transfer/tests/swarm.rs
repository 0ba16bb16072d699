//! Many downloaders of one game, chunk by chunk: each link carries one chunk in a tick, either way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::planner::{Planner, Portion};
use super::super::select::chunks::{Choice, Choosing, runs_in_flight};
use super::super::select::rank::waits_for_a_trial;
use super::super::sources::Usable;
use super::super::swarm::Swarm;
use super::sim::peer_id;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::engine::core::{Cx, Ids};
use crate::engine::library::Library;
use crate::engine::world::Via;
use crate::engine::{ConnId, Output, RequestId};
use crate::proto::{HaveChunks, Notification};
use crate::types::{
    CHUNK_SIZE, ChunkHash, ChunkRange, DownloadPlan, FileEntry, KnownContent, Manifest, PeerId, RelPath, SourceId,
    content_hash,
};

/// A chunk takes so long over a link.
const TICK: Duration = Duration::from_millis(50);
/// So many of them are a second.
const SECOND: u32 = 20;
const LINK: f64 = CHUNK_SIZE as f64 / 0.05;

struct Node {
    planner: Planner,
    swarm: Swarm,
    /// Requests of others, by the one who asked: served in turn.
    queue: VecDeque<(usize, RequestId, u32)>,
    /// Others from which something came.
    seen: BTreeSet<usize>,
    runs: BTreeMap<RequestId, usize>,
    done_at: Option<u32>,
    gone: bool,
}

struct Party {
    now: Instant,
    cx: Cx,
    nodes: Vec<Node>,
    /// Said in this tick, heard in the next one.
    said: Vec<(usize, usize, HaveChunks)>,
    /// Nodes from this number on are behind a link that carries a chunk every so many ticks, either way.
    site: Option<(usize, u32)>,
    /// A longer round trip to the other side of that link is known.
    far_is_known: bool,
    /// Chunks that were asked for over that link in the first ticks, as many as are a second.
    asked_across_at_first: u32,
    crossed: u32,
    sent_by_the_source: u32,
}

fn plan(chunks: u32) -> Arc<DownloadPlan> {
    let file = |path: &str, size| FileEntry { path: RelPath::parse(path).unwrap(), size, exec: false };
    let data = file("data.eti", u64::from(chunks - 1) * CHUNK_SIZE);
    let manifest = Manifest::new(vec![data, file("version.ini", 4)]).unwrap();
    let chunks: Vec<_> = (0..manifest.chunk_count()).map(|n| ChunkHash::of(&n.to_be_bytes())).collect();
    let content = KnownContent { hash: content_hash(&manifest, &chunks), chunks };
    let game = "doom".parse().unwrap();
    Arc::new(DownloadPlan { game, manifest_hash: manifest.hash(), manifest, content: Some(content) })
}

impl Party {
    /// Node 0 has everything, `nodes` others want it.
    fn new(seed: u64, chunks: u32, nodes: usize) -> Self {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
        let now = Instant::now();
        let plan = plan(chunks);
        let content = plan.content.as_ref().map(|content| content.hash);
        let node = |n: usize| {
            let kept = ChunkRange { first: 0, count: if n == 0 { plan.manifest.chunk_count() } else { 0 } };
            let planner = Planner::new(plan.clone(), &[kept]);
            let swarm = Swarm::new(&planner, content, now);
            let (queue, seen, runs) = (VecDeque::new(), BTreeSet::new(), BTreeMap::new());
            Node { planner, swarm, queue, seen, runs, done_at: None, gone: false }
        };
        let config = Arc::new(Config::new("/games".into(), "/state".into()));
        let announced = Library::new(config.game_dir.clone()).state();
        Self {
            now,
            cx: Cx::new(Self::id(0), config, Arc::new(Catalog::open_to_all()), announced, seed, now),
            nodes: (0..=nodes).map(node).collect(),
            said: Vec::new(),
            site: None,
            far_is_known: false,
            asked_across_at_first: 0,
            crossed: 0,
            sent_by_the_source: 0,
        }
    }

    fn id(n: usize) -> PeerId {
        peer_id(n as u8)
    }

    fn source(n: usize) -> SourceId {
        SourceId::Peer(Self::id(n))
    }

    fn with<T>(&mut self, n: usize, f: impl FnOnce(&mut Node, &mut Cx) -> T) -> T {
        (self.cx.me, self.cx.now) = (Self::id(n), self.now);
        let result = f(&mut self.nodes[n], &mut self.cx);
        while let Some(output) = self.cx.next_output() {
            let Output::Notify { conn, body } = output else { panic!("{output:?}") };
            let Notification::HaveChunks(have) = *body else { panic!("{body:?}") };
            self.said.push((n, conn.0 as usize, have));
        }
        result
    }

    fn usable(&self, n: usize) -> Vec<Usable> {
        let far = |other: usize| self.site.is_some_and(|(from, _)| (other >= from) != (n >= from));
        let all = (0..self.nodes.len()).filter(|other| *other != n && !self.nodes[*other].gone);
        let known = all.filter(|other| *other == 0 || self.nodes[n].swarm.knows(Self::source(*other)));
        known
            .map(|other| {
                let slow = if far(other) { self.site.map_or(1.0, |(_, every)| f64::from(every)) } else { 1.0 };
                let reach = if self.nodes[n].seen.contains(&other) { LINK / slow } else { 0.0 };
                Usable {
                    id: Self::source(other),
                    via: Via::Conn(ConnId(other as u64)),
                    complete: other == 0 || self.nodes[other].done_at.is_some(),
                    rate: reach / 4.0,
                    reach,
                    seems_far: (self.far_is_known && far(other) && reach == 0.0).then_some(0),
                    bad_chunk: None,
                    failures: 0,
                }
            })
            .collect()
    }

    fn ask(&mut self, n: usize, tick: u32) {
        let usable = self.usable(n);
        let portion = Portion { bytes: CHUNK_SIZE, buffers: 1, avoid: None };
        let asked = self.with(n, |node, cx| {
            let mut asked = Vec::new();
            for limit in 1..=2 {
                for source in &usable {
                    let Via::Conn(ConnId(from)) = source.via else { panic!("{source:?}") };
                    let from = from as usize;
                    let limit = runs_in_flight(source).min(limit);
                    if node.runs.values().filter(|to| **to == from).count() >= limit || !node.planner.has_wanted() {
                        continue;
                    }
                    if waits_for_a_trial(source, &usable, &node.planner.loads()) {
                        continue;
                    }
                    node.swarm.look(&node.planner, &usable, cx.now);
                    let request = cx.ids.request();
                    let (planner, swarm, avoid) = (&node.planner, &node.swarm, portion.avoid);
                    let range = match (Choosing { planner, swarm, usable: &usable, source, avoid }).choose(cx) {
                        Choice::Nothing => None,
                        Choice::Any => node.planner.take(request, source.id, portion),
                        Choice::Within(first, end) => node.planner.take_within(request, source.id, portion, first, end),
                    };
                    if let Some(range) = range {
                        node.runs.insert(request, from);
                        asked.push((from, request, range.first));
                    }
                }
            }
            asked
        });
        for (from, request, chunk) in asked {
            let source = &self.nodes[from];
            let has = source.planner.has(crate::types::ChunkIndex(chunk));
            assert!(has, "node {n} asks node {from} for chunk {chunk}, which it does not have");
            let across = self.site.is_some_and(|(first, _)| (from >= first) != (n >= first));
            self.asked_across_at_first += u32::from(across && tick <= SECOND);
            self.nodes[from].queue.push_back((n, request, chunk));
        }
    }

    fn tick(&mut self, tick: u32) {
        self.now += TICK;
        for (from, to, have) in std::mem::take(&mut self.said) {
            if to != 0 && !self.nodes[to].gone && !self.nodes[from].gone && self.nodes[to].done_at.is_none() {
                self.with(to, |node, cx| {
                    node.swarm.hear(cx, &node.planner, Self::id(from), ConnId(from as u64), &have)
                });
            }
        }
        for n in 1..self.nodes.len() {
            if self.nodes[n].done_at.is_none() && !self.nodes[n].gone {
                self.ask(n, tick);
            }
        }
        let mut busy = BTreeSet::new();
        let mut crossing = [self.site.is_none_or(|(_, every)| tick.is_multiple_of(every)); 2];
        for n in 0..self.nodes.len() {
            // Whoever was served last is behind those that were not.
            let site = self.site;
            let way = |to: usize| site.filter(|(from, _)| (to >= *from) != (n >= *from)).map(|_| usize::from(n < to));
            let free =
                |(to, ..): &(usize, RequestId, u32)| !busy.contains(to) && way(*to).is_none_or(|way| crossing[way]);
            let Some(at) = self.nodes[n].queue.iter().position(free) else { continue };
            let (to, request, chunk) = self.nodes[n].queue.remove(at).unwrap();
            busy.insert(to);
            if let Some(way) = way(to) {
                crossing[way] = false;
                self.crossed += 1;
            }
            self.sent_by_the_source += u32::from(n == 0);
            let node = &mut self.nodes[to];
            node.seen.insert(n);
            let range = ChunkRange { first: chunk, count: 1 };
            if node.runs.remove(&request).is_some() {
                node.planner.landed(request, range).unwrap();
                node.planner.written(request, range, &[], true).unwrap();
                node.swarm.verified(range, &[]);
                if node.planner.is_complete() {
                    node.done_at = Some(tick);
                }
            }
        }
        for n in 1..self.nodes.len() {
            if !self.nodes[n].gone {
                self.with(n, |node, cx| node.swarm.announce(cx, &node.planner));
                if tick.is_multiple_of(16) {
                    self.nodes[n].planner.check_invariants();
                    self.nodes[n].swarm.check_invariants();
                }
            }
        }
    }

    /// A downloader is gone, with all that it had.
    fn leave(&mut self, n: usize) {
        self.nodes[n].gone = true;
        self.nodes[n].queue.clear();
        for (other, node) in self.nodes.iter_mut().enumerate().filter(|(other, _)| *other != n) {
            node.queue.retain(|(to, ..)| *to != n);
            let lost: Vec<_> = node.runs.iter().filter(|(_, from)| **from == n).map(|(run, _)| *run).collect();
            for run in lost {
                node.runs.remove(&run);
                node.planner.lost(run);
            }
            if other != 0 {
                node.planner.forget_source(Self::source(n));
                node.swarm.forget(Self::source(n));
            }
        }
    }

    /// Ticks until everybody has everything.
    fn run(&mut self, mut disturb: impl FnMut(&mut Self, u32)) -> u32 {
        let peers: Vec<_> = (1..self.nodes.len()).map(|n| (Self::id(n), ConnId(n as u64))).collect();
        for n in 1..self.nodes.len() {
            let others: Vec<_> = peers.iter().copied().filter(|(id, _)| *id != Self::id(n)).collect();
            self.with(n, |node, cx| node.swarm.introduce(cx, &node.planner, &others));
        }
        for tick in 1..100_000 {
            disturb(self, tick);
            self.tick(tick);
            if self.nodes.iter().skip(1).all(|node| node.gone || node.done_at.is_some()) {
                return tick;
            }
        }
        panic!("it never comes to an end");
    }
}

#[test]
fn eight_downloaders_take_about_as_long_as_one_and_the_source_sends_each_chunk_about_once() {
    for seed in 0..4 {
        let chunks = 256;
        let mut party = Party::new(seed, chunks, 8);
        let ticks = party.run(|_, _| {});
        assert!(ticks <= chunks * 13 / 10, "seed {seed}: the last one took {ticks} ticks for {chunks} chunks");
        let sent = party.sent_by_the_source;
        assert!(sent <= chunks * 11 / 10, "seed {seed}: the source sent {sent} chunks of {chunks}");
    }
}

#[test]
fn a_game_crosses_a_slow_link_between_two_rooms_about_once() {
    for seed in 0..4 {
        let chunks = 256;
        let mut party = Party::new(seed, chunks, 7);
        party.site = Some((4, 10));
        let ticks = party.run(|_, _| {});
        let crossed = party.crossed;
        assert!(crossed <= chunks * 12 / 10, "seed {seed}: {crossed} of {chunks} chunks crossed");
        assert!(ticks <= chunks * 10 * 13 / 10, "seed {seed}: the last one took {ticks} ticks");
    }
}

#[test]
fn less_is_asked_for_over_a_slow_link_before_anything_is_measured_when_the_other_room_is_known_to_be_farther() {
    let chunks = 256;
    let rooms = |seed, far_is_known| {
        let mut party = Party::new(seed, chunks, 7);
        (party.site, party.far_is_known) = (Some((4, 10)), far_is_known);
        let ticks = party.run(|_, _| {});
        (party.asked_across_at_first, party.crossed, ticks)
    };
    let parties: Vec<_> = (0..4).map(|seed| (rooms(seed, false), rooms(seed, true))).collect();
    for (seed, (blind, knowing)) in parties.into_iter().enumerate() {
        assert!(knowing.0 > 0, "seed {seed}: the far room is not asked at all");
        assert!(2 * knowing.0 <= blind.0, "seed {seed}: {} chunks instead of {}", knowing.0, blind.0);
        assert!(knowing.1 <= chunks * 12 / 10, "seed {seed}: {} of {chunks} chunks crossed", knowing.1);
        assert!(knowing.2 <= chunks * 10 * 13 / 10, "seed {seed}: the last one took {} ticks", knowing.2);
    }
}

#[test]
fn whoever_leaves_and_whatever_was_promised_the_rest_comes_to_its_end() {
    for seed in 0..30 {
        let mut party = Party::new(seed, 64, 6);
        let mut dice = Ids::new(seed);
        party.run(|party, tick| {
            // Never the source: nobody else may have what is missing.
            let n = 1 + dice.random() as usize % 6;
            let left = party.nodes.iter().skip(1).filter(|node| !node.gone).count();
            if dice.random().is_multiple_of(12) && left > 2 && !party.nodes[n].gone {
                party.leave(n);
            }
            if tick.is_multiple_of(10) && !party.nodes[1].gone && dice.random().is_multiple_of(3) {
                // Promises that are never kept.
                let everything = vec![ChunkRange { first: 0, count: 64 }];
                let content_hash = party.nodes[0].planner.plan().content.as_ref().unwrap().hash;
                let coming = HaveChunks {
                    game_id: "doom".parse().unwrap(),
                    content_hash,
                    ranges: Vec::new(),
                    coming: everything,
                    introduce: false,
                };
                party.said.extend((2..=6).map(|to| (1, to, coming.clone())));
            }
        });
        for node in party.nodes.iter().filter(|node| !node.gone) {
            node.swarm.check_invariants();
            assert!(node.runs.is_empty());
        }
    }
}

#[test]
fn announcements_that_are_not_sound_are_ignored() {
    let mut party = Party::new(1, 64, 2);
    let content_hash = party.nodes[0].planner.plan().content.as_ref().unwrap().hash;
    let have = |ranges: &[(u32, u32)], coming: &[(u32, u32)]| {
        let list = |ranges: &[(u32, u32)]| ranges.iter().map(|&(first, count)| ChunkRange { first, count }).collect();
        let game_id = "doom".parse().unwrap();
        HaveChunks { game_id, content_hash, ranges: list(ranges), coming: list(coming), introduce: false }
    };
    let mut hear =
        |have: HaveChunks| party.with(1, |node, cx| node.swarm.hear(cx, &node.planner, peer_id(2), ConnId(2), &have));
    for bad in [&[(0, 0)][..], &[(0, 65)], &[(64, 1)], &[(u32::MAX, 2)], &[(5, 1), (4, 1)], &[(4, 2), (5, 1)]] {
        assert!(!hear(have(bad, &[])) && !hear(have(&[], bad)), "{bad:?}");
    }
    assert!(!hear(HaveChunks { content_hash: crate::types::ContentHash([9; 32]), ..have(&[(0, 1)], &[]) }));
    assert!(hear(have(&[(0, 2), (2, 1), (63, 1)], &[(4, 60)])));
    assert!(hear(have(&[(0, 64)], &[])), "what was said before may be said again");
    party.nodes[1].swarm.check_invariants();
}

#[test]
fn a_far_source_of_everything_is_asked_when_the_near_one_is_not_and_nothing_else_is_under_way() {
    let mut party = Party::new(1, 64, 3);
    let content_hash = party.nodes[0].planner.plan().content.as_ref().unwrap().hash;
    let empty = HaveChunks {
        game_id: "doom".parse().unwrap(),
        content_hash,
        ranges: Vec::new(),
        coming: Vec::new(),
        introduce: false,
    };
    assert!(party.with(1, |node, cx| node.swarm.hear(cx, &node.planner, peer_id(2), ConnId(2), &empty)));
    let source = |n: u8, reach: f64, complete| Usable {
        id: SourceId::Peer(peer_id(n)),
        via: Via::Conn(ConnId(u64::from(n))),
        complete,
        rate: reach,
        reach,
        seems_far: None,
        bad_chunk: None,
        failures: 0,
    };
    // The near one has sent the last chunk wrong and must not be asked for it again.
    let usable = [source(0, LINK, true), source(2, 0.0, false), source(3, LINK / 100.0, true)];
    let far = |party: &mut Party| {
        party.with(1, |node, cx| {
            node.swarm.look(&node.planner, &usable, cx.now);
            let (planner, swarm, source) = (&node.planner, &node.swarm, &usable[2]);
            Choosing { planner, swarm, usable: &usable, source, avoid: None }.choose(cx)
        })
    };
    assert!(matches!(far(&mut party), Choice::Nothing), "the near ones come first");
    let end = party.nodes[1].swarm.patience_ends().unwrap();
    party.now = end;
    assert!(!matches!(far(&mut party), Choice::Nothing), "nobody else brings anything");
}
