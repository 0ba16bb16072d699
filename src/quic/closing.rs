//! Connections that this side closed: their last packet is repeated when the peer goes on as if it had not heard
//! (RFC 9000, section 10.2.1). Everything else of the connection is freed at once.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::socket::Route;

/// How long a closed connection is remembered.
const REMEMBERED: Duration = Duration::from_secs(3);
/// How many are remembered at once.
const LIMIT: usize = 1024;

/// The farewell of one connection.
pub(super) struct Farewell {
    pub(super) packet: Box<[u8]>,
    pub(super) route: Route,
    pub(super) socket: usize,
    remote: SocketAddr,
    heard: u32,
}

impl Farewell {
    pub(super) fn new(packet: &[u8], route: Route, socket: usize, remote: SocketAddr) -> Self {
        Self { packet: packet.into(), route, socket, remote, heard: 0 }
    }
}

/// By connection id.
#[derive(Default)]
pub(super) struct Farewells {
    by_cid: HashMap<u64, Farewell>,
    oldest: VecDeque<(Instant, u64)>,
}

impl Farewells {
    pub(super) fn add(&mut self, cid: u64, farewell: Farewell, now: Instant) {
        self.expire(now);
        if let Some(known) = self.by_cid.get_mut(&cid) {
            *known = farewell;
            return;
        }
        if self.by_cid.len() >= LIMIT
            && let Some((_, oldest)) = self.oldest.pop_front()
        {
            self.by_cid.remove(&oldest);
        }
        self.by_cid.insert(cid, farewell);
        self.oldest.push_back((now + REMEMBERED, cid));
    }

    /// A packet came for a connection that may be closed: what to answer. Ever more rarely, so that two closed ends
    /// cannot keep each other awake.
    pub(super) fn answer(&mut self, cid: u64, from: SocketAddr, now: Instant) -> Option<&Farewell> {
        self.expire(now);
        let farewell = self.by_cid.get_mut(&cid).filter(|farewell| farewell.remote == from)?;
        farewell.heard = farewell.heard.saturating_add(1);
        farewell.heard.is_power_of_two().then_some(farewell)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(until, cid)) = self.oldest.front()
            && until <= now
        {
            self.oldest.pop_front();
            self.by_cid.remove(&cid);
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_is_repeated_ever_more_rarely_to_its_peer_only_and_then_forgotten() {
        let now = Instant::now();
        let peer: SocketAddr = "10.0.0.1:1".parse().unwrap();
        let route = Route { to: peer, from: None };
        let mut farewells = Farewells::default();
        farewells.add(7, Farewell::new(b"bye", route, 0, peer), now);
        assert!(farewells.answer(7, "10.0.0.2:1".parse().unwrap(), now).is_none());
        assert!(farewells.answer(8, peer, now).is_none());
        let answers = (0..100).filter(|_| farewells.answer(7, peer, now).is_some()).count();
        assert_eq!(answers, 7);
        assert!(farewells.answer(7, peer, now + REMEMBERED).is_none());
        for cid in 0..2 * LIMIT as u64 {
            farewells.add(cid, Farewell::new(b"bye", route, 0, peer), now);
        }
        assert_eq!((farewells.by_cid.len(), farewells.oldest.len()), (LIMIT, LIMIT));
    }
}
