//! The standing of each source of a download, and what was measured of it.
//!
//! ```text
//!             busy, failed                refused: not served, changed
//!   Good ◀──────────────▶ BackingOff    Good ──────────────▶ Left
//!     ▲   the time is up                  ▲   its library changed, it connected again,
//!     │                                   │   or some time passed
//!     └── connected and listed            └──────────────────────────────────
//!   any ──two bad chunks, a lie, nothing but failures──▶ Banned (for this download)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::progress::per_second;
use super::select::content::Pin;
use super::select::endgame::silence;
use crate::engine::io::ConnId;
use crate::engine::world::{Source, Via};
use crate::faults::{self, Bug};
use crate::types::{ChunkIndex, GameSummary, PeerId, SourceId};

/// First pause after `busy`; doubles up to [`BACK_OFF_MAX`].
const BUSY_BACK_OFF: Duration = Duration::from_millis(100);
/// First pause after a failure; doubles up to [`BACK_OFF_MAX`].
const FAILURE_BACK_OFF: Duration = Duration::from_millis(500);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// A source that does not serve the game any more is asked again after this time, if its library says that it does.
const NOT_SERVED_PAUSE: Duration = Duration::from_secs(2);
/// The same for one whose files had changed: they may have changed back before its library told anybody. Less than
/// [`Timers::source_wait`](crate::config::Timers::source_wait).
const CHANGED_PAUSE: Duration = Duration::from_secs(5);
/// Failures in a row, without one verified byte between them, after which a source is given up.
const MAX_FAILURES: u32 = 8;
/// The same for `busy`.
const MAX_BUSY: u32 = 64;
/// Bad chunks after which a source is banned.
const MAX_BAD_CHUNKS: u32 = 2;
/// Sources that one download remembers; more than there can be connections, so that those that are gone can be forgotten.
const MAX_MEMBERS: usize = 1024;
/// Shortest time over which a rate is measured: landings come in bursts.
const PACE_SAMPLE: Duration = Duration::from_millis(20);
/// Fewest bytes of which a rate is measured: those of less took a round trip, whatever the way can carry.
const PACE_SAMPLE_BYTES: u64 = 64 << 10;
/// Longest factor by which a source that stalled before is given more time.
const MAX_PATIENCE: u32 = 16;

/// Why a source is not asked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ban {
    /// Its bytes or hashes were wrong.
    Poison,
    /// It never delivers.
    Useless,
}

#[derive(Clone, PartialEq, Debug)]
enum Standing {
    Good,
    BackingOff { until: Instant },
    Left { until: Instant },
    Banned(Ban),
}

/// What happened with a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// A limit is reached there.
    Busy,
    /// It did not answer, or failed itself.
    Failed,
    /// It does not serve the game at the moment.
    NotServed,
    /// It has other files or bytes by now.
    Changed,
}

/// How fast a source is.
#[derive(Clone, Debug)]
struct Pace {
    /// Bytes per second, smoothed; 0: not known yet.
    rate: f64,
    /// The same at its best, forgotten slowly: what the way to it can carry.
    reach: f64,
    since: Instant,
    bytes: u64,
    /// When something landed last, or when it was asked after a pause.
    last_sign: Instant,
}

#[derive(Clone, Debug)]
struct Member {
    /// What its library says of the game, once it says that it has it.
    summary: Option<Arc<GameSummary>>,
    /// `None`: not connected.
    via: Option<Via>,
    /// Its library lists exactly the pinned content.
    listed: bool,
    /// It did so at some time.
    was_listed: bool,
    /// It is downloading the pinned content itself, and serves what it has of it.
    partial: bool,
    standing: Standing,
    failures: u32,
    busy: u32,
    bad_chunks: u32,
    /// The bad chunk that it sent.
    bad_chunk: Option<ChunkIndex>,
    patience: u32,
    pace: Pace,
}

impl Member {
    fn new(via: Via, now: Instant) -> Self {
        Self {
            summary: None,
            via: Some(via),
            listed: false,
            was_listed: false,
            partial: false,
            standing: Standing::Good,
            failures: 0,
            busy: 0,
            bad_chunks: 0,
            bad_chunk: None,
            patience: 1,
            pace: Pace { rate: 0.0, reach: 0.0, since: now, bytes: 0, last_sign: now },
        }
    }

    fn usable(&self) -> Option<Via> {
        self.via.filter(|_| (self.listed || self.partial) && self.standing == Standing::Good)
    }

    fn hindrance(&self) -> Option<Hindrance> {
        match self.standing {
            Standing::Banned(why) => Some(Hindrance::Banned(why)),
            _ if self.via.is_none() => Some(Hindrance::Disconnected),
            Standing::Left { until } => Some(Hindrance::Left { until }),
            Standing::BackingOff { until } => {
                Some(Hindrance::BackingOff { until, failures: self.failures, busy: self.busy })
            }
            Standing::Good if !self.listed && !self.partial => Some(Hindrance::NotOffering),
            Standing::Good => None,
        }
    }

    fn present(&self) -> bool {
        self.via.is_some()
            && (self.listed || self.partial)
            && matches!(self.standing, Standing::Good | Standing::BackingOff { .. })
    }
}

/// Why a source cannot be asked now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Hindrance {
    Disconnected,
    NotOffering,
    BackingOff { until: Instant, failures: u32, busy: u32 },
    Left { until: Instant },
    Banned(Ban),
}

/// A source that can be asked now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Usable {
    pub(super) id: SourceId,
    pub(super) via: Via,
    /// It has every chunk; otherwise what it said that it has.
    pub(super) complete: bool,
    /// Bytes per second; 0: not known yet.
    pub(super) rate: f64,
    /// The same at its best; 0: not known yet.
    pub(super) reach: f64,
    /// Nothing was measured of it yet, and it seems farther than the nearest source: the greater, the later it is tried.
    pub(super) seems_far: Option<u8>,
    /// A chunk that it sent wrong.
    pub(super) bad_chunk: Option<ChunkIndex>,
    /// Failures since it delivered last.
    pub(super) failures: u32,
}

/// Every source that a download has met.
#[derive(Debug, Default)]
pub(super) struct Roster {
    members: BTreeMap<SourceId, Member>,
    /// A source of the pinned content was seen to have another one.
    content_changed: bool,
}

impl Roster {
    /// Whether a source may be part of a choice.
    pub(super) fn eligible(&self, source: &Source) -> bool {
        self.members.get(&source.id).is_none_or(|member| match member.standing {
            Standing::Good | Standing::BackingOff { .. } => true,
            Standing::Left { .. } => member.summary.as_ref() != Some(&source.summary),
            Standing::Banned(_) => false,
        })
    }

    /// Another content is pinned: what the sources had of the old one says nothing.
    pub(super) fn repin(&mut self) {
        self.content_changed = false;
        for member in self.members.values_mut() {
            member.was_listed = false;
            member.partial = false;
        }
    }

    /// Takes over what the libraries say now. Answers the sources whose runs must be given up: they have another
    /// connection or other content.
    pub(super) fn refresh(&mut self, sources: &[Source], pin: &Pin, now: Instant) -> Vec<SourceId> {
        let mut given_up = Vec::new();
        for member in self.members.values_mut() {
            member.listed = false;
        }
        for source in sources {
            let matches = pin.matches(source);
            if !self.members.contains_key(&source.id) {
                if self.members.len() >= MAX_MEMBERS {
                    self.members.retain(|_, member| member.via.is_some());
                }
                if !matches || self.members.len() >= MAX_MEMBERS {
                    continue;
                }
            }
            let member = self.members.entry(source.id).or_insert_with(|| Member::new(source.via, now));
            let reconnected = member.via != Some(source.via);
            if reconnected || !matches {
                given_up.push(source.id);
                member.partial = false;
            }
            let news = member.summary.as_ref() != Some(&source.summary);
            let banned = matches!(member.standing, Standing::Banned(_)) && !faults::is(Bug::BanForgotten);
            if (reconnected || news) && !banned {
                member.standing = Standing::Good;
            }
            self.content_changed |= !matches && member.was_listed;
            member.was_listed |= matches;
            member.summary = Some(source.summary.clone());
            member.via = Some(source.via);
            member.listed = matches;
        }
        // One that is not listed at all comes back with a new word of its library.
        for (id, member) in &mut self.members {
            let left = matches!(member.standing, Standing::Left { .. });
            if left && !sources.iter().any(|source| source.id == *id) {
                member.standing = Standing::Good;
            }
        }
        given_up
    }

    /// A peer that is downloading the pinned content itself says what it has. False: it is no source.
    pub(super) fn join(&mut self, peer: PeerId, conn: ConnId, now: Instant) -> bool {
        let (id, via) = (SourceId::Peer(peer), Via::Conn(conn));
        if !self.members.contains_key(&id) && self.members.len() >= MAX_MEMBERS {
            return false;
        }
        let member = self.members.entry(id).or_insert_with(|| Member::new(via, now));
        if matches!(member.standing, Standing::Banned(_)) || (member.listed && member.via != Some(via)) {
            return false;
        }
        if member.via != Some(via) || matches!(member.standing, Standing::Left { .. }) {
            member.standing = Standing::Good;
        }
        member.via = Some(via);
        member.partial = true;
        true
    }

    /// What a peer said that it has is no longer to be had. True: it is no source any more.
    pub(super) fn part(&mut self, id: SourceId) -> bool {
        self.members.get_mut(&id).is_some_and(|member| {
            member.partial = false;
            !member.listed
        })
    }

    /// Whether a source is there, be it that it is given a pause.
    pub(super) fn is_present(&self, id: SourceId) -> bool {
        self.members.get(&id).is_some_and(Member::present)
    }

    /// Whether a source has every chunk.
    pub(super) fn is_complete(&self, id: SourceId) -> bool {
        self.members.get(&id).is_some_and(|member| member.listed)
    }

    /// Whether a source of everything is there, be it that it is given a pause.
    pub(super) fn any_complete(&self) -> bool {
        self.members.values().any(|member| member.listed && member.present())
    }

    /// The sources that were reached over a connection that is gone.
    pub(super) fn connection_down(&mut self, conn: ConnId) -> Vec<SourceId> {
        let mut gone = Vec::new();
        for (id, member) in &mut self.members {
            if member.via == Some(Via::Conn(conn)) {
                member.via = None;
                member.partial = false;
                gone.push(*id);
            }
        }
        gone
    }

    /// The time until now says nothing about any source.
    pub(super) fn woke(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            (member.pace.since, member.pace.bytes, member.pace.last_sign) = (now, 0, now);
        }
    }

    /// Ends the pauses that are over. Answers whether there was one.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        let mut woken = false;
        for member in self.members.values_mut() {
            match member.standing {
                Standing::BackingOff { until } | Standing::Left { until } if until <= now => {
                    member.standing = Standing::Good;
                    woken = true;
                }
                _ => {}
            }
        }
        woken
    }

    /// When the next pause is over.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let until = |member: &Member| match member.standing {
            Standing::BackingOff { until } | Standing::Left { until } => Some(until),
            Standing::Good | Standing::Banned(_) => None,
        };
        self.members.values().filter_map(until).min()
    }

    /// The sources that can be asked now, ascending by id.
    pub(super) fn usable(&self) -> impl Iterator<Item = Usable> + '_ {
        self.members.iter().filter_map(|(id, member)| {
            member.usable().map(|via| Usable {
                id: *id,
                via,
                complete: member.listed,
                rate: member.pace.rate,
                reach: member.pace.reach,
                seems_far: None,
                bad_chunk: member.bad_chunk,
                failures: member.failures,
            })
        })
    }

    /// Every source that was met, ascending by id, and why it cannot be asked, if so.
    pub(super) fn hindrances(&self) -> impl Iterator<Item = (SourceId, Option<Hindrance>)> + '_ {
        self.members.iter().map(|(id, member)| (*id, member.hindrance()))
    }

    /// How many sources there are, those included that are given a pause.
    pub(super) fn present(&self) -> usize {
        self.members.values().filter(|member| member.present()).count()
    }

    /// Whether a chunk that a source sent wrong can be asked of another one, which did not send it wrong as well; `holds`: of
    /// a source that does not have everything, whether it has the chunk.
    pub(super) fn another_for(&self, id: SourceId, chunk: ChunkIndex, holds: impl Fn(SourceId) -> bool) -> bool {
        self.members
            .iter()
            .filter(|(other, member)| **other != id && member.present() && member.bad_chunk != Some(chunk))
            .any(|(other, member)| member.listed || holds(*other))
    }

    /// Whether there were sources and every one of them is banned; then, whether for poison.
    pub(super) fn all_banned(&self) -> Option<Ban> {
        let mut worst = None;
        for member in self.members.values() {
            match member.standing {
                Standing::Banned(Ban::Poison) => worst = Some(Ban::Poison),
                Standing::Banned(Ban::Useless) => worst = worst.or(Some(Ban::Useless)),
                _ => return None,
            }
        }
        worst
    }

    /// Whether a source was banned for poison.
    pub(super) fn any_poison(&self) -> bool {
        self.members.values().any(|member| member.standing == Standing::Banned(Ban::Poison))
    }

    /// Whether a source of the pinned content was seen to have another one.
    pub(super) fn content_changed(&self) -> bool {
        self.content_changed
    }

    /// Something went wrong with a source. True: that was once too often, ban it.
    #[must_use]
    pub(super) fn trouble(&mut self, id: SourceId, trouble: Trouble, now: Instant) -> bool {
        self.content_changed |= trouble == Trouble::Changed;
        let Some(member) = self.members.get_mut(&id) else { return false };
        // Several runs fail of one cause: that counts once.
        if member.standing != Standing::Good {
            return false;
        }
        let back_off = |first: Duration, times: u32| {
            let pause = first.saturating_mul(1 << times.saturating_sub(1).min(10)).min(BACK_OFF_MAX);
            Standing::BackingOff { until: now + pause }
        };
        match trouble {
            Trouble::Busy => {
                member.busy += 1;
                member.standing = back_off(BUSY_BACK_OFF, member.busy);
            }
            Trouble::Failed => {
                member.failures += 1;
                member.standing = back_off(FAILURE_BACK_OFF, member.failures);
            }
            Trouble::NotServed => {
                member.failures += 1;
                member.standing = Standing::Left { until: now + NOT_SERVED_PAUSE };
            }
            Trouble::Changed => {
                member.failures += 1;
                member.standing = Standing::Left { until: now + CHANGED_PAUSE };
            }
        }
        member.failures >= MAX_FAILURES || member.busy >= MAX_BUSY
    }

    /// The connection of a source turned out to be gone.
    pub(super) fn disconnected(&mut self, id: SourceId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.via = None;
            member.partial = false;
        }
    }

    /// The connection to a peer that is known to have everything and has sent no bad chunk before.
    pub(super) fn first_bad_chunks(&self, id: SourceId) -> Option<ConnId> {
        match self.members.get(&id).filter(|member| member.listed && member.bad_chunks == 0)?.via? {
            Via::Conn(conn) => Some(conn),
            Via::Mirror(_) => None,
        }
    }

    /// Chunks of a source did not match. True: that was once too often, ban it.
    #[must_use]
    pub(super) fn bad_chunks(&mut self, id: SourceId, bad: &[ChunkIndex]) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        member.bad_chunks = member.bad_chunks.saturating_add(u32::try_from(bad.len()).unwrap_or(u32::MAX));
        member.bad_chunk = bad.first().copied().or(member.bad_chunk);
        member.bad_chunks >= MAX_BAD_CHUNKS && !matches!(member.standing, Standing::Banned(_))
    }

    /// Bans a source. False: it was banned before.
    pub(super) fn ban(&mut self, id: SourceId, why: Ban) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        let news = !matches!(member.standing, Standing::Banned(_));
        if news {
            member.standing = Standing::Banned(why);
        }
        news
    }

    /// A source is asked for a run; `idle`: it had none.
    pub(super) fn asked(&mut self, id: SourceId, idle: bool, now: Instant) {
        if let Some(member) = self.members.get_mut(&id)
            && idle
        {
            member.pace.since = now;
            member.pace.bytes = 0;
            member.pace.last_sign = now;
        }
    }

    /// Bytes of a source landed.
    pub(super) fn landed(&mut self, id: SourceId, bytes: u64, now: Instant) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let pace = &mut member.pace;
        pace.bytes += bytes;
        pace.last_sign = now;
        let span = now.saturating_duration_since(pace.since);
        if span >= PACE_SAMPLE && pace.bytes >= PACE_SAMPLE_BYTES {
            let sample = per_second(pace.bytes, span);
            pace.rate = if pace.rate > 0.0 { 0.7 * pace.rate + 0.3 * sample } else { sample };
            pace.reach = sample.max(0.9 * pace.reach + 0.1 * sample);
            pace.since = now;
            pace.bytes = 0;
        }
    }

    /// Bytes of a source were verified: it is of use.
    pub(super) fn delivered(&mut self, id: SourceId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.failures = 0;
            member.busy = 0;
        }
    }

    /// When a source that has runs counts as stalled, if nothing lands until then.
    pub(super) fn stalls_at(&self, id: SourceId, run_stall: Duration) -> Option<Instant> {
        let member = self.members.get(&id)?;
        let silence = silence(member.pace.rate, self.present() <= 1, run_stall);
        Some(member.pace.last_sign + silence.saturating_mul(member.patience))
    }

    /// A source stalled: next time it is given twice the time, so that a slow one gets something done in the end.
    pub(super) fn stalled(&mut self, id: SourceId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.patience = (member.patience * 2).min(MAX_PATIENCE);
        }
    }

    /// Bytes per second that a source can be relied on for: less than its rate if nothing landed for a while.
    pub(super) fn reliable_rate(&self, id: SourceId, now: Instant) -> f64 {
        let Some(member) = self.members.get(&id) else { return 0.0 };
        let silence = now.saturating_duration_since(member.pace.last_sign).max(Duration::from_millis(1));
        let bound = per_second(crate::types::CHUNK_SIZE, silence);
        if member.pace.rate > 0.0 { member.pace.rate.min(bound) } else { bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bytes_say_nothing_about_a_rate() {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to begin somewhere")]
        let now = Instant::now();
        let peer = PeerId::from_spki_sha256(&[1; 32]);
        let id = SourceId::Peer(peer);
        let mut roster = Roster::default();
        assert!(roster.join(peer, ConnId(1), now));
        roster.asked(id, true, now);
        // A sentinel of two bytes alone.
        let now = now + PACE_SAMPLE;
        roster.landed(id, 2, now);
        assert_eq!(roster.usable().next().unwrap().rate, 0.0);
        let now = now + PACE_SAMPLE;
        roster.landed(id, PACE_SAMPLE_BYTES, now);
        assert!(roster.usable().next().unwrap().rate > 1e6);
    }
}
