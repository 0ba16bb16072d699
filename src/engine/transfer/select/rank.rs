//! Which source is asked first: [`SourceRank`]. And which are presumably far away, before anything has been measured of them
//! in a download.
//!
//! On a LAN the time to a peer and back says little about its rate, but a peer that is markedly farther than another one is
//! behind something: a wireless link, another room. One that is reached over Wi-Fi is presumably slower than one at the
//! end of a cable, and what a tunnel leads to may be anywhere. What was measured always wins over what is presumed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::transfer::planner::Load;
use crate::engine::transfer::sources::Usable;
use crate::engine::world::{Via, Way};
use crate::types::{InterfaceKind, SourceId};

/// A round trip so many times as long as the shortest one counts as farther,
const FARTHER_FACTOR: u32 = 2;
/// if it is longer by so much, too: below that it is a matter of how busy the two PCs are.
const FARTHER_BY: Duration = Duration::from_millis(1);

/// A source that is so many times slower than the best one counts as far away.
const FAR_FACTOR: f64 = 6.0;

/// Whose turn it is: the least is asked first. The fields are the criteria, compared from first to last; one that does not
/// count for what is asked is the same for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in super::super) struct SourceRank {
    /// Fewest failures since it delivered last.
    failures: u32,
    /// A peer before a mirror: a server may be far away.
    is_mirror: bool,
    /// Fewest runs in flight.
    runs: usize,
    /// What is near before what only seems far; of that, cable before Wi-Fi before tunnels ([`InterfaceKind::tier`]).
    seems_far: Option<u8>,
    /// What was not tried yet before what was measured.
    is_measured: bool,
    /// The fastest; as bits, which are ordered as the rates are.
    rate: Reverse<u64>,
    /// The least id, so that no two are equal.
    id: SourceId,
}

impl SourceRank {
    /// For `get-game`: nothing but its library is known of a source.
    pub(in super::super) fn for_look_up(id: SourceId) -> Self {
        Self { failures: 0, is_mirror: false, runs: 0, seems_far: None, is_measured: false, rate: Reverse(0), id }
    }

    /// For the list of files of a download.
    pub(in super::super) fn for_manifest(source: &Usable) -> Self {
        let is_mirror = source.id.mirror().is_some();
        Self { failures: source.failures, is_mirror, ..Self::for_look_up(source.id) }
    }

    /// For a run of chunks; the source has so many in flight.
    pub(in super::super) fn for_run(source: &Usable, runs: usize) -> Self {
        let (seems_far, rate) = (source.seems_far, Reverse(source.rate.to_bits()));
        Self { runs, seems_far, is_measured: source.rate > 0.0, rate, ..Self::for_look_up(source.id) }
    }
}

/// Notes of each source that was not measured yet whether it seems far: by its round trip, or by the kind of interface
/// that leads to it. All are compared with the best of each, so that the outcome does not depend on their order; what is
/// unknown of a source counts for nothing.
pub(in super::super) fn presume(usable: &mut [Usable], way: impl Fn(Via) -> Way) {
    let ways: Vec<_> = usable.iter().map(|source| way(source.via)).collect();
    let tier = |way: &Way| way.interface.map(InterfaceKind::tier);
    let nearest = ways.iter().filter_map(|way| way.round_trip).min();
    let best = ways.iter().filter_map(tier).min();
    for (source, way) in usable.iter_mut().zip(&ways) {
        let is_farther = way.round_trip.zip(nearest).is_some_and(|(trip, nearest)| is_farther(trip, nearest));
        let is_worse = tier(way) > best;
        let seems_far = source.rate == 0.0 && (is_farther || is_worse);
        source.seems_far = seems_far.then(|| tier(way).unwrap_or_default());
    }
}

/// Whether a source must wait because another one that seems far is being tried: they are likely behind the same slow link, and
/// what comes of the first one says enough to go on.
pub(in super::super) fn waits_for_a_trial(
    source: &Usable,
    usable: &[Usable],
    loads: &BTreeMap<SourceId, Load>,
) -> bool {
    let is_tried = |other: &Usable| other.seems_far.is_some() && loads.get(&other.id).is_some_and(|load| load.runs > 0);
    source.seems_far.is_some() && usable.iter().any(is_tried)
}

/// Whether a round trip is markedly longer than another one.
pub(in super::super) fn is_farther(trip: Duration, than: Duration) -> bool {
    trip >= than.saturating_mul(FARTHER_FACTOR) && trip.saturating_sub(than) >= FARTHER_BY
}

/// The best rate that any source has shown.
pub(in super::super) fn best_reach(usable: &[Usable]) -> f64 {
    usable.iter().map(|source| source.reach).fold(0.0, f64::max)
}

/// Whether a source is presumably, or was measured to be, far away; `best`: of all.
pub(in super::super) fn is_far(source: &Usable, best: f64) -> bool {
    source.seems_far.is_some() || (source.reach > 0.0 && source.reach * FAR_FACTOR < best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::io::ConnId;
    use crate::types::{MirrorId, MirrorUrl, PeerId};

    #[test]
    fn each_criterion_decides_when_those_before_it_are_equal() {
        let peer = |n: u8| SourceId::Peer(PeerId::from_spki_sha256(&[n; 32]));
        let url = |n: u8| MirrorUrl::parse(&format!("http://mirror{n}.lan")).unwrap();
        let mirrors: Vec<_> = (0..20).map(|n| SourceId::Mirror(MirrorId::new(0, &url(n)))).collect();
        let (low, high) = (*mirrors.iter().min().unwrap(), peer(0xff));
        assert!(low < high, "ids of mirrors and peers are mixed");
        let source = |id| Usable {
            id,
            via: Via::Conn(ConnId(1)),
            complete: true,
            rate: 0.0,
            reach: 0.0,
            seems_far: None,
            bad_chunk: None,
            failures: 0,
        };
        let (a, b) = (source(peer(1)), source(peer(2)));
        let rated = |rate| Usable { rate, ..b };
        let [near, cable, wireless, tunnel] =
            [None, Some(InterfaceKind::Wired), Some(InterfaceKind::Wireless), Some(InterfaceKind::Vpn)]
                .map(|kind| Usable { seems_far: kind.map(InterfaceKind::tier), ..b });
        let run = SourceRank::for_run;
        let list = SourceRank::for_manifest;
        let rows = [
            ("fewer failures", list(&source(high)), list(&Usable { failures: 1, ..a })),
            ("a mirror that never failed", list(&source(low)), list(&Usable { failures: 1, ..a })),
            ("a peer before a mirror", list(&source(high)), list(&source(low))),
            ("the least id, for a list", list(&a), list(&b)),
            ("fewer runs", run(&tunnel, 0), run(&Usable { rate: 9e9, ..a }, 1)),
            ("near before far", run(&rated(1.0), 1), run(&Usable { seems_far: Some(0), ..a }, 1)),
            ("cable before Wi-Fi", run(&cable, 0), run(&Usable { id: a.id, ..wireless }, 0)),
            ("Wi-Fi before a tunnel", run(&wireless, 0), run(&Usable { id: a.id, ..tunnel }, 0)),
            ("untried before measured", run(&near, 0), run(&Usable { rate: 9e9, ..a }, 0)),
            ("the faster", run(&rated(2.5e6), 0), run(&Usable { rate: 2.4e6, ..a }, 0)),
            ("a mirror is as good as a peer for a run", run(&source(low), 0), run(&source(high), 0)),
            ("failures do not count for a run", run(&Usable { failures: 7, ..a }, 0), run(&b, 0)),
            ("the least id, for a run", run(&a, 0), run(&b, 0)),
            ("the least id, for a look-up", SourceRank::for_look_up(low), SourceRank::for_look_up(high)),
        ];
        for (why, first, second) in rows {
            assert!(first < second, "{why}: {first:?} {second:?}");
        }
    }

    /// What is presumed of sources that are reached so, with this rate each.
    fn presumed(ways: &[(Option<InterfaceKind>, Option<u64>)], rates: &[f64]) -> Vec<Option<u8>> {
        let mut usable: Vec<_> = (rates.iter().zip(0..))
            .map(|(&rate, n)| Usable {
                id: SourceId::Peer(PeerId::from_spki_sha256(&[n as u8; 32])),
                via: Via::Conn(ConnId(n)),
                complete: true,
                rate,
                reach: rate,
                seems_far: None,
                bad_chunk: None,
                failures: 0,
            })
            .collect();
        let way = |&(interface, ms): &(_, Option<u64>)| Way { interface, round_trip: ms.map(Duration::from_millis) };
        presume(&mut usable, |via| match via {
            Via::Conn(conn) => way(&ways[conn.0 as usize]),
            Via::Mirror(_) => Way::default(),
        });
        usable.iter().map(|source| source.seems_far).collect()
    }

    #[test]
    fn a_worse_kind_of_interface_seems_far_and_the_worst_are_tried_last() {
        use InterfaceKind::{Loopback, Virtual, Vpn, Wired, Wireless};
        let of = |kinds: &[InterfaceKind]| {
            let ways: Vec<_> = kinds.iter().map(|kind| (Some(*kind), None)).collect();
            let seems_far = presumed(&ways, &vec![0.0; kinds.len()]);
            let mut backwards = ways;
            backwards.reverse();
            let mut again = presumed(&backwards, &vec![0.0; kinds.len()]);
            again.reverse();
            assert_eq!(seems_far, again, "whatever their order");
            seems_far
        };
        for kind in [Loopback, Wired, Wireless, Vpn, Virtual] {
            assert_eq!(of(&[kind, kind]), [None, None], "{kind:?}");
        }
        assert_eq!(of(&[Vpn, Virtual]), [None, None], "of neither is known what is behind it");
        let [far_wired, far_wireless, far_vpn] = [[Loopback, Wired], [Wired, Wireless], [Wireless, Vpn]].map(|kinds| {
            let [near, far] = of(&kinds)[..] else { panic!() };
            assert!(near.is_none() && far.is_some(), "{kinds:?}");
            far
        });
        assert!(far_wired < far_wireless && far_wireless < far_vpn, "the order in which they are tried");
        assert_eq!(of(&[Virtual, Loopback, Wireless, Wired]), [far_vpn, None, far_wireless, far_wired]);
    }

    #[test]
    fn what_is_unknown_or_measured_of_a_source_presumes_nothing() {
        use InterfaceKind::{Wired, Wireless};
        let (wired, wireless) = ((Some(Wired), None), (Some(Wireless), None));
        assert_eq!(presumed(&[wired, (None, None)], &[0.0, 0.0]), [None, None]);
        assert_eq!(presumed(&[wireless, (None, None)], &[0.0, 0.0]), [None, None]);
        assert_eq!(presumed(&[wired, wireless], &[0.0, 1.0]), [None, None]);
        let [None, Some(_)] = presumed(&[wired, wireless], &[1.0, 0.0])[..] else { panic!() };
        let [Some(_), None] = presumed(&[(Some(Wired), Some(9)), (Some(Wired), Some(1))], &[0.0, 0.0])[..] else {
            panic!("the round trip counts between equal kinds")
        };
        let [Some(_), None] = presumed(&[(None, Some(9)), (None, Some(1))], &[0.0, 0.0])[..] else { panic!() };
    }

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
