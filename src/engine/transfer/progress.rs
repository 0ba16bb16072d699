//! How fast, how far: meters and the figures of the events.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::api::{PeerEvent, SourceBytes};
use crate::types::{GameId, KeptAside, SourceId};

/// The rate that users see is the mean of this time.
const WINDOW: Duration = Duration::from_secs(2);
/// Marks within the window: bounds its memory.
const MARK_EVERY: Duration = Duration::from_millis(100);

/// Bytes per second over the last two seconds.
#[derive(Debug)]
pub(super) struct RateMeter {
    /// When, and how many bytes until then; ascending, at most one for every [`MARK_EVERY`] of [`WINDOW`] and one before.
    marks: VecDeque<(Instant, u64)>,
    total: u64,
}

impl RateMeter {
    pub(super) fn new(now: Instant) -> Self {
        Self { marks: VecDeque::from([(now, 0)]), total: 0 }
    }

    pub(super) fn add(&mut self, bytes: u64, now: Instant) {
        if self.marks.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= MARK_EVERY) {
            self.marks.push_back((now, self.total));
            // One mark may be older than the window: it is where the window begins.
            while self.marks.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
                self.marks.pop_front();
            }
        }
        self.total += bytes;
    }

    /// Bytes per second.
    pub(super) fn rate(&self, now: Instant) -> u64 {
        let begin = self.marks.iter().rev().find(|(at, _)| now.saturating_duration_since(*at) >= WINDOW);
        let Some((at, bytes)) = begin.or(self.marks.front()) else { return 0 };
        let span = now.saturating_duration_since(*at).max(MARK_EVERY);
        per_second(self.total - bytes, span) as u64
    }
}

/// Bytes over a time as bytes per second; 0 for no time.
pub(super) fn per_second(bytes: u64, span: Duration) -> f64 {
    let seconds = span.as_secs_f64();
    if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 }
}

/// The account of one download, from its command on.
#[derive(Debug)]
pub(super) struct Account {
    /// When the command came.
    pub(super) commanded: Instant,
    /// Verified bytes from each source.
    pub(super) verified: BTreeMap<SourceId, u64>,
    /// Bytes that came and were not kept.
    pub(super) refetched: u64,
    /// Files of the user's that had to make way.
    pub(super) kept_aside: Vec<KeptAside>,
    rate: RateMeter,
    reported_bytes: u64,
    reported_at: Option<Instant>,
}

impl Account {
    pub(super) fn new(commanded: Instant, now: Instant) -> Self {
        Self {
            commanded,
            verified: BTreeMap::new(),
            refetched: 0,
            kept_aside: Vec::new(),
            rate: RateMeter::new(now),
            reported_bytes: 0,
            reported_at: None,
        }
    }

    /// Bytes of a source were verified and written.
    pub(super) fn verified(&mut self, source: SourceId, bytes: u64, now: Instant) {
        if bytes > 0 {
            *self.verified.entry(source).or_default() += bytes;
            self.rate.add(bytes, now);
        }
    }

    /// Bytes of a source that counted turned out to be others than those that are wanted.
    pub(super) fn taken_back(&mut self, source: SourceId, bytes: u64) {
        if let Some(verified) = self.verified.get_mut(&source) {
            *verified = verified.saturating_sub(bytes);
        }
        self.refetched += bytes;
    }

    /// When there will be something to report: `None` while no byte moved since the last report.
    pub(super) fn next_report(&self, have: u64, every: Duration) -> Option<Instant> {
        let from = self.reported_at.unwrap_or(self.commanded);
        (have != self.reported_bytes).then(|| from + every)
    }

    /// The next report, if it is due.
    pub(super) fn report(
        &mut self,
        game: &GameId,
        have: u64,
        total: u64,
        sources: usize,
        every: Duration,
        now: Instant,
    ) -> Option<PeerEvent> {
        if self.next_report(have, every).is_none_or(|due| due > now) {
            return None;
        }
        self.reported_at = Some(now);
        self.reported_bytes = have;
        Some(PeerEvent::DownloadProgress {
            game: game.clone(),
            bytes: have,
            total,
            bytes_per_second: self.rate.rate(now),
            sources,
        })
    }

    /// The last word of a download that came to its end: `bytes` and `chunks` of the game, `resumed` bytes of it were here.
    pub(super) fn finished(&self, game: &GameId, bytes: u64, chunks: u32, resumed: u64, now: Instant) -> PeerEvent {
        let duration = now.saturating_duration_since(self.commanded);
        let rate = per_second(bytes.saturating_sub(resumed), duration);
        PeerEvent::DownloadFinished {
            game: game.clone(),
            bytes,
            chunks,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            mib_per_s: rate / (1 << 20) as f64,
            mbit_per_s: rate * 8.0 / 1e6,
            refetched_bytes: self.refetched,
            resumed_bytes: resumed,
            sources: self.verified.iter().map(|(id, &bytes)| SourceBytes { peer_id: id.told_as(), bytes }).collect(),
            kept_aside: self.kept_aside.clone(),
        }
    }
}
