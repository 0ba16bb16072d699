//! Which sources are presumably far away, before anything has been measured of them in a download.
//!
//! On a LAN the time to a peer and back says little about its rate, but a peer that is markedly farther than another one is
//! behind something: a wireless link, another room. What was measured always wins over what is presumed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::context::SourceDirectory;
use super::planner::Load;
use super::sources::Usable;
use crate::types::PeerId;

/// A round trip so many times as long as the shortest one counts as farther,
const FARTHER_FACTOR: u32 = 2;
/// if it is longer by so much, too: below that it is a matter of how busy the two PCs are.
const FARTHER_BY: Duration = Duration::from_millis(1);

/// Notes of each source that was not measured yet whether it seems far. All are compared with the nearest one, so that the
/// outcome does not depend on their order; one whose round trip is unknown is not presumed to be far.
pub(super) fn presume(usable: &mut [Usable], directory: &dyn SourceDirectory) {
    let trips: Vec<_> = usable.iter().map(|source| directory.round_trip(source.conn)).collect();
    let Some(nearest) = trips.iter().flatten().min().copied() else { return };
    for (source, trip) in usable.iter_mut().zip(trips) {
        source.seems_far = source.rate == 0.0 && trip.is_some_and(|trip| is_farther(trip, nearest));
    }
}

/// Whether a source must wait because another one that seems far is being tried: they are likely behind the same slow link, and
/// what comes of the first one says enough to go on.
pub(super) fn waits_for_a_trial(source: &Usable, usable: &[Usable], loads: &BTreeMap<PeerId, Load>) -> bool {
    let is_tried = |other: &Usable| other.seems_far && loads.get(&other.peer_id).is_some_and(|load| load.runs > 0);
    source.seems_far && usable.iter().any(is_tried)
}

/// Whether a round trip is markedly longer than another one.
pub(super) fn is_farther(trip: Duration, than: Duration) -> bool {
    trip >= than.saturating_mul(FARTHER_FACTOR) && trip.saturating_sub(than) >= FARTHER_BY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn farther_is_twice_as_far_and_a_millisecond_more() {
        let us = Duration::from_micros;
        assert!(is_farther(us(1_300), us(300)));
        assert!(!is_farther(us(1_299), us(300)), "less than a millisecond more");
        assert!(!is_farther(us(7_999), us(4_000)), "less than twice");
        assert!(is_farther(us(8_000), us(4_000)));
        assert!(!is_farther(us(300), us(1_300)));
        assert!(!is_farther(Duration::MAX, Duration::MAX.saturating_sub(us(1))));
    }
}
