//! Mirrors: what each is known to have, and when it is asked.
//!
//! ```text
//!   start, every `mirror_refresh` ──▶ index.json ──▶ every game of it; none there: those of the catalog, one by one
//!   a command for a game ──▶ manifest.json of the game: it has it, or (for a while) it does not
//! ```
//!
//! A mirror that does not answer is asked again after a pause that doubles, and is no source until it does; a command asks it at
//! once all the same. For a command nobody waits if a peer can hand the game out: a mirror joins when it has answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Cx;
use super::io::Output;
use super::world::{Source, Via};
use crate::api::{ErrorCode, MirrorRow, PeerEvent};
use crate::config::Config;
use crate::types::{GameId, GameSummary, MirrorAsk, MirrorFault, MirrorId, MirrorNews, MirrorUrl, PeerId, SourceId};

/// First pause after a mirror did not answer; doubles up to `mirror_refresh`.
const RETRY: Duration = Duration::from_secs(5);
/// What a mirror said of a game is known for so long; then a command asks again.
const KNOWN: Duration = Duration::from_secs(60);
/// Most games of one mirror of which is remembered what it said when it was asked for them alone.
const MAX_ASKED: usize = 4_096;
/// Most games of the catalog that a mirror without a list is asked for.
const MAX_FROM_CATALOG: usize = 1_024;

/// Every mirror.
#[derive(Debug)]
pub(super) struct Mirrors(Vec<Mirror>);

#[derive(Debug)]
struct Mirror {
    url: MirrorUrl,
    id: MirrorId,
    /// By its list.
    listed: BTreeMap<GameId, Arc<GameSummary>>,
    /// What it said of single games since; later than the list.
    asked: BTreeMap<GameId, Word>,
    /// Asked and not answered.
    pending: BTreeSet<MirrorAsk>,
    /// To be asked for one after the other: it has no list.
    waiting: VecDeque<GameId>,
    reach: Reach,
    /// When its list is looked at next; `None`: that is under way.
    due: Option<Instant>,
    /// What was wrong the last time: said once, not every few minutes.
    trouble: Option<String>,
}

/// What a mirror said of a game.
#[derive(Debug)]
struct Word {
    /// `None`: it does not have it, or describes it wrongly.
    summary: Option<Arc<GameSummary>>,
    at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    Unknown,
    Up,
    /// It did not answer, so many times in a row.
    Down(u32),
}

impl Mirror {
    fn summary(&self, game: &GameId) -> Option<&Arc<GameSummary>> {
        match self.asked.get(game) {
            Some(word) => word.summary.as_ref(),
            None => self.listed.get(game),
        }
    }

    /// What can be had of it, ascending by id.
    fn games(&self) -> impl Iterator<Item = &Arc<GameSummary>> {
        let listed = self.listed.values().filter(|game| !self.asked.contains_key(&game.id));
        let alone = self.asked.values().filter_map(|word| word.summary.as_ref());
        listed.chain(alone).filter(|_| !matches!(self.reach, Reach::Down(_)))
    }

    fn learn(&mut self, game: GameId, summary: Option<Arc<GameSummary>>, now: Instant) {
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&game) {
            let oldest = self.asked.iter().min_by_key(|(_, word)| word.at).map(|(game, _)| game.clone());
            oldest.map(|game| self.asked.remove(&game));
        }
        self.asked.insert(game, Word { summary, at: now });
    }

    fn ask(&mut self, cx: &mut Cx, mirror: usize, ask: MirrorAsk) {
        if self.pending.insert(ask.clone()) {
            cx.emit(Output::AskMirror { mirror, ask });
        }
    }
}

impl Mirrors {
    pub(super) fn new(config: &Config) -> Self {
        let mirror = |(place, url): (usize, &MirrorUrl)| Mirror {
            id: MirrorId::new(place, url),
            url: url.clone(),
            listed: BTreeMap::new(),
            asked: BTreeMap::new(),
            pending: BTreeSet::new(),
            waiting: VecDeque::new(),
            reach: Reach::Unknown,
            due: None,
            trouble: None,
        };
        Self(config.mirrors.iter().enumerate().map(mirror).collect())
    }

    /// Looks at every list for the first time.
    pub(super) fn start(&mut self, cx: &mut Cx) {
        for (place, mirror) in self.0.iter_mut().enumerate() {
            mirror.ask(cx, place, MirrorAsk::Index);
        }
    }

    /// When a list is to be looked at.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.0.iter().filter_map(|mirror| mirror.due).min()
    }

    /// Looks at the lists for which it is time.
    pub(super) fn timeout(&mut self, cx: &mut Cx) {
        for (place, mirror) in self.0.iter_mut().enumerate() {
            if mirror.due.is_some_and(|due| due <= cx.now) {
                mirror.due = None;
                mirror.ask(cx, place, MirrorAsk::Index);
            }
        }
    }

    /// Asks every mirror for a game, unless it said something lately; `anew`: also then. Answers who has not answered yet.
    pub(super) fn look_for(&mut self, cx: &mut Cx, game: &GameId, anew: bool) -> BTreeSet<usize> {
        let ask = MirrorAsk::Game(game.clone());
        let mut pending = BTreeSet::new();
        for (place, mirror) in self.0.iter_mut().enumerate() {
            let is_up = mirror.reach == Reach::Up;
            let lately = |at: Instant| cx.now.saturating_duration_since(at) < KNOWN;
            let known = match mirror.asked.get(game) {
                Some(word) => lately(word.at),
                None => mirror.listed.contains_key(game),
            };
            if anew || !known || !is_up {
                mirror.ask(cx, place, ask.clone());
            }
            if mirror.pending.contains(&ask) {
                pending.insert(place);
            }
        }
        pending
    }

    /// Whether any mirror has the game.
    pub(super) fn lists(&self, game: &GameId) -> bool {
        self.0.iter().any(|mirror| mirror.summary(game).is_some())
    }

    /// Those that can be reached and have the game.
    pub(super) fn sources(&self, game: &GameId) -> impl Iterator<Item = Source> {
        self.0.iter().filter(|mirror| !matches!(mirror.reach, Reach::Down(_))).filter_map(|mirror| {
            let summary = mirror.summary(game)?.clone();
            Some(Source { id: SourceId::Mirror(mirror.id), via: Via::Mirror(mirror.id), summary })
        })
    }

    /// Every game of every mirror that can be reached.
    pub(super) fn games(&self) -> impl Iterator<Item = (MirrorId, &Arc<GameSummary>)> {
        self.0.iter().flat_map(|mirror| mirror.games().map(|game| (mirror.id, game)))
    }

    /// Whether users are told of a mirror under this id.
    pub(super) fn has(&self, told_as: PeerId) -> bool {
        self.0.iter().any(|mirror| mirror.id.told_as() == told_as)
    }

    /// For `status`.
    pub(super) fn rows(&self) -> Vec<MirrorRow> {
        let row = |mirror: &Mirror| MirrorRow {
            peer_id: mirror.id.told_as(),
            url: mirror.url.clone(),
            reachable: mirror.reach == Reach::Up,
            games: mirror.games().count(),
        };
        self.0.iter().map(row).collect()
    }

    /// Takes in what a mirror said. Answers whether it may have become another source than it was.
    pub(super) fn answered(
        &mut self,
        cx: &mut Cx,
        place: usize,
        ask: MirrorAsk,
        result: Result<MirrorNews, MirrorFault>,
    ) -> bool {
        let Some(mirror) = self.0.get_mut(place) else { return false };
        if !mirror.pending.remove(&ask) {
            return false;
        }
        let reach = mirror.reach;
        let refresh = cx.config.timers.mirror_refresh;
        mirror.reach = match (&result, reach) {
            (Err(MirrorFault::Down(_)), Reach::Down(times)) => Reach::Down(times.saturating_add(1)),
            (Err(MirrorFault::Down(_)), _) => Reach::Down(1),
            _ => Reach::Up,
        };
        if let Reach::Down(times) = mirror.reach {
            let pause = RETRY.saturating_mul(1 << times.saturating_sub(1).min(10)).min(refresh);
            mirror.due = Some(cx.now + pause);
            mirror.waiting.clear();
        } else if ask == MirrorAsk::Index || matches!(reach, Reach::Down(_)) {
            // One that is back may have another list.
            let later = if ask == MirrorAsk::Index { refresh } else { Duration::ZERO };
            mirror.due = Some(cx.now + later);
        }
        let mut changed = matches!(reach, Reach::Down(_)) != matches!(mirror.reach, Reach::Down(_));
        match (ask, result) {
            (_, Ok(MirrorNews::IndexUnchanged)) => mirror.trouble = None,
            (_, Ok(MirrorNews::Index(games))) => {
                mirror.trouble = None;
                if games.is_none() {
                    mirror.waiting =
                        cx.catalog.entries().map(|entry| entry.id.clone()).take(MAX_FROM_CATALOG).collect();
                }
                let games = games.unwrap_or_default().into_iter().take(cx.config.limits.games_per_library);
                let listed: BTreeMap<_, _> = games.map(|game| (game.id.clone(), game)).collect();
                if listed != mirror.listed {
                    mirror.listed = listed;
                    mirror.asked.clear();
                    changed = true;
                }
            }
            (MirrorAsk::Game(game), Ok(MirrorNews::Game(summary))) => {
                changed |= mirror.summary(&game) != summary.as_ref();
                mirror.learn(game, summary, cx.now);
            }
            // Cannot happen: every question has its kind of answer.
            (MirrorAsk::Index, Ok(MirrorNews::Game(_))) => {}
            (ask, Err(fault)) => {
                let (code, end) = match &fault {
                    MirrorFault::Down(_) => (ErrorCode::Io, "; it is tried again"),
                    MirrorFault::Invalid(_) => (ErrorCode::VerificationFailed, ""),
                };
                if let (MirrorAsk::Game(game), MirrorFault::Invalid(_)) = (ask, &fault) {
                    changed |= mirror.summary(&game).is_some();
                    mirror.learn(game, None, cx.now);
                }
                // While it is down, every URL of it fails: that is one trouble.
                let is_news = match fault {
                    MirrorFault::Down(_) => !matches!(reach, Reach::Down(_)),
                    MirrorFault::Invalid(_) => mirror.trouble.as_ref() != Some(&fault.to_string()),
                };
                if is_news {
                    let message = format!("the mirror {} is of no use: {fault}{end}", mirror.url);
                    cx.event(PeerEvent::RuntimeError { code, message });
                }
                mirror.trouble = Some(fault.to_string());
            }
        }
        if mirror.pending.is_empty()
            && let Some(game) = mirror.waiting.pop_front()
        {
            mirror.ask(cx, place, MirrorAsk::Game(game));
        }
        changed
    }
}
