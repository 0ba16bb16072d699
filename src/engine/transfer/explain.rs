//! Why a download gets what it gets now, in words. Worked out when somebody asks, from what the next decision will be made of.

use std::time::Duration;

use super::download::Download;
use super::planner::Planner;
use super::select::rank;
use super::sources::{Ban, Hindrance, Usable};
use super::swarm::Swarm;
use super::{Place, Transfers};
use crate::api::{DownloadState, Explanation, SourceExplanation, SourceState};
use crate::engine::core::Cx;
use crate::engine::world::World;
use crate::types::GameId;

/// What holds back all sources alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    pub(super) paused: bool,
    pub(super) paced: bool,
    pub(super) starved: bool,
}

impl Transfers {
    /// For `explain`; `None`: no download of the game runs or waits.
    pub(in crate::engine) fn explain(&self, cx: &Cx, world: &dyn World, game: &GameId) -> Option<Explanation> {
        let common = Common { paused: self.paused, paced: self.paced, starved: self.starved };
        match self.places.get(game)? {
            Place::Running(id) => self.running.get(id).map(|running| running.download.explain(cx, world, common)),
            Place::Queued => {
                let before = self.queue.iter().position(|waiting| waiting.game == *game).unwrap_or(0);
                let running = self.running.len();
                let reason = format!("it waits for its turn: {running} running, {before} waiting before it");
                Some(Explanation { game: game.clone(), state: DownloadState::Queued, reason, sources: Vec::new() })
            }
        }
    }
}

impl Download {
    fn explain(&self, cx: &Cx, world: &dyn World, common: Common) -> Explanation {
        let (state, reason) = self.stage(cx, common);
        let mut usable: Vec<_> = self.roster().usable().collect();
        rank::presume(&mut usable, |via| world.way(via));
        let fetching = self.fetching();
        let loads = fetching.map(|(planner, _)| planner.loads()).unwrap_or_default();
        let sources = self.roster().hindrances().map(|(id, hindrance)| {
            let source = usable.iter().find(|source| source.id == id);
            let runs = loads.get(&id).map_or(0, |load| load.runs);
            let (state, reason) = match (hindrance, source) {
                (Some(hindrance), _) => hindered(hindrance, cx),
                (None, _) if runs > 0 => (SourceState::Delivering, "chunks are on their way".to_owned()),
                (None, Some(source)) if rank::waits_for_a_trial(source, &usable, &loads) => {
                    (SourceState::Far, "it seems farther than another source, which is tried first".to_owned())
                }
                (None, source) => idle(common, fetching, source),
            };
            let bytes_per_second = source.map_or(0, |source| source.rate as u64);
            let url = cx.config.mirror(id).cloned();
            SourceExplanation { peer_id: id.told_as(), hostname: None, url, state, reason, runs, bytes_per_second }
        });
        Explanation { game: self.game().clone(), state, reason, sources: sources.collect() }
    }
}

/// Why a source that could be asked has nothing to do.
fn idle(common: Common, fetching: Option<(&Planner, &Swarm)>, source: Option<&Usable>) -> (SourceState, String) {
    let Some((planner, swarm)) = fetching else {
        return (SourceState::Ready, "chunks are not asked for yet".to_owned());
    };
    let is_fresh = |source: &Usable| {
        let mut wanted = planner.wanted().flat_map(|(first, end)| first..end);
        source.complete || wanted.any(|chunk| swarm.holds(source.id, crate::types::ChunkIndex(chunk)))
    };
    let (state, reason) = if !planner.has_wanted() {
        (
            SourceState::NothingWanted,
            "every chunk that is missing is on its way from others; it steps in when that takes too long",
        )
    } else if common.paused {
        (SourceState::Paused, "all transfers are stopped until `resume`")
    } else if source.is_some_and(|source| !is_fresh(source)) {
        (SourceState::NothingFresh, "it is downloading the game itself, and has no chunk that is wanted here")
    } else if common.paced {
        (SourceState::RateLimit, "the limit for what may come in is used up for the moment")
    } else if common.starved {
        (SourceState::NoBuffer, "all landing buffers are in use: the disk or another download is busy")
    } else {
        (SourceState::Ready, "it is the next to be asked")
    };
    (state, reason.to_owned())
}

/// Why a source cannot be asked.
fn hindered(hindrance: Hindrance, cx: &Cx) -> (SourceState, String) {
    let pause = |until: std::time::Instant| seconds(until.saturating_duration_since(cx.now));
    match hindrance {
        Hindrance::Disconnected => (SourceState::Disconnected, "it is not connected".to_owned()),
        Hindrance::NotOffering => {
            (SourceState::NotOffering, "its library does not list the content of this download any more".to_owned())
        }
        Hindrance::BackingOff { until, failures: 0, busy } => (
            SourceState::BackingOff,
            format!("it said {busy} times that it is busy; it is asked again in {}", pause(until)),
        ),
        Hindrance::BackingOff { until, failures, .. } => (
            SourceState::BackingOff,
            format!("it failed {failures} times in a row; it is asked again in {}", pause(until)),
        ),
        Hindrance::Left { until } => {
            let again = pause(until);
            (
                SourceState::Left,
                format!("it did not serve the content, or its files had changed; it is asked again in {again}"),
            )
        }
        Hindrance::Banned(Ban::Poison) => (
            SourceState::Banned,
            "bytes or hashes that it sent were wrong; it is not asked again in this download".to_owned(),
        ),
        Hindrance::Banned(Ban::Useless) => {
            (SourceState::Banned, "it never delivered; it is not asked again in this download".to_owned())
        }
    }
}

/// A pause or a wait, for people.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::sources::{Roster, Trouble};
    use super::*;
    use crate::config::Config;
    use crate::engine::io::ConnId;
    use crate::proto::LibraryState;
    use crate::types::{Epoch, LibraryDigest, PeerId, Revision, SourceId};

    #[test]
    fn each_standing_of_a_source_has_its_words() {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
        let now = Instant::now();
        let me = PeerId::from_spki_sha256(&[9; 32]);
        let (config, catalog) = (Config::new("/games".into(), "/state".into()), crate::catalog::Catalog::open_to_all());
        let announced =
            LibraryState { epoch: Epoch(1), rev: Revision(1), digest: LibraryDigest([0; 16]), game_count: 0 };
        let cx = Cx::new(me, config.into(), catalog.into(), announced, 1, now);
        let mut roster = Roster::default();
        let peer = |n: u8| PeerId::from_spki_sha256(&[n; 32]);
        (1..=6).for_each(|n| assert!(roster.join(peer(n), ConnId(u64::from(n)), now)));
        for (n, trouble) in [(2, Trouble::Busy), (3, Trouble::Failed), (4, Trouble::NotServed)] {
            assert!(!roster.trouble(SourceId::Peer(peer(n)), trouble, now));
        }
        roster.disconnected(SourceId::Peer(peer(5)));
        assert!(roster.ban(SourceId::Peer(peer(6)), Ban::Poison));
        let said = |n: u8| {
            let (_, hindrance) = roster.hindrances().find(|(id, _)| *id == SourceId::Peer(peer(n))).unwrap();
            hindrance.map(|hindrance| hindered(hindrance, &cx))
        };
        assert_eq!(said(1), None);
        let words = |state, words: &str| Some((state, words.to_owned()));
        assert_eq!(
            said(2),
            words(SourceState::BackingOff, "it said 1 times that it is busy; it is asked again in 0.1 s")
        );
        assert_eq!(said(3), words(SourceState::BackingOff, "it failed 1 times in a row; it is asked again in 0.5 s"));
        assert_eq!(said(4).map(|(state, _)| state), Some(SourceState::Left));
        assert_eq!(said(5), words(SourceState::Disconnected, "it is not connected"));
        assert_eq!(said(6).map(|(state, _)| state), Some(SourceState::Banned));
    }
}
