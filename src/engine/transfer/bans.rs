//! Which sources were given up for good: kept when their download has ended, so that the user finds who spreads damage.

use std::collections::VecDeque;
use std::time::Instant;

use crate::api::BannedSource;
use crate::types::{ChunkIndex, GameId, PeerId};

/// Bans that are remembered: anybody who can join the party can earn one again and again with new keys.
const MAX_BANS: usize = 64;

/// One ban.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Banned {
    pub(super) game: GameId,
    pub(super) peer_id: PeerId,
    pub(super) reason: String,
    /// The chunk that did not match its hash, if that was it.
    pub(super) chunk: Option<ChunkIndex>,
    pub(super) at: Instant,
}

/// The last [`MAX_BANS`], oldest first.
#[derive(Debug, Default)]
pub(super) struct Bans {
    last: VecDeque<Banned>,
}

impl Bans {
    /// Notes more of them; the oldest give way.
    pub(super) fn extend(&mut self, bans: impl IntoIterator<Item = Banned>) {
        for ban in bans {
            if self.last.len() == MAX_BANS {
                self.last.pop_front();
            }
            self.last.push_back(ban);
        }
    }

    /// As the status tells them.
    pub(super) fn rows(&self, now: Instant) -> Vec<BannedSource> {
        let row = |ban: &Banned| BannedSource {
            game: ban.game.clone(),
            peer_id: ban.peer_id,
            reason: ban.reason.clone(),
            chunk: ban.chunk,
            when_ms: u64::try_from(now.saturating_duration_since(ban.at).as_millis()).unwrap_or(u64::MAX),
        };
        self.last.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn the_newest_bans_are_kept_with_their_age() {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let ban = |n: u64| Banned {
            game: "doom".parse().unwrap(),
            peer_id: PeerId::from_spki_sha256(&[n as u8; 32]),
            reason: "bad".into(),
            chunk: Some(ChunkIndex(n as u32)),
            at: at(n),
        };
        let mut bans = Bans::default();
        bans.extend((0..MAX_BANS as u64 + 3).map(ban));
        let rows = bans.rows(at(100));
        assert_eq!(rows.len(), MAX_BANS);
        assert_eq!(rows.first().and_then(|row| row.chunk), Some(ChunkIndex(3)));
        assert_eq!((rows[0].when_ms, rows[MAX_BANS - 1].when_ms), (97_000, 34_000));
        assert_eq!(bans.rows(start)[0].when_ms, 0, "a clock that is asked late does not count below zero");
    }
}
