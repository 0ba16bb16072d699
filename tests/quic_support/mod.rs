//! Endpoints that a test drives by hand.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::lanspread_peer::config::Config;
use super::lanspread_peer::identity::Identity;
use super::lanspread_peer::quic::{ConnHandle, Endpoint, Event, Recv};
use super::lanspread_peer::types::PeerId;

/// Far longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Loopback, a free port.
pub fn quiet_config() -> Config {
    let mut config = Config::new("unused".into(), "unused".into());
    config.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    config
}

pub fn fresh_identity() -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    identity_with(&key, &certificate)
}

pub fn identity_with(key: &rcgen::KeyPair, certificate: &rcgen::Certificate) -> Identity {
    Identity::from_pem(&format!("{}{}", key.serialize_pem(), certificate.pem())).unwrap()
}

/// An endpoint with a poll of its own.
pub struct Node {
    pub endpoint: Endpoint,
    poll: Poll,
    polled: Events,
    id: PeerId,
}

/// The fields of an `Up`.
#[derive(Clone, Copy, Debug)]
pub struct Up {
    pub conn: ConnHandle,
    pub peer_id: PeerId,
    pub remote: SocketAddr,
    pub local: SocketAddr,
    pub dial: Option<u64>,
}

impl Node {
    pub fn new() -> Self {
        Self::with(&quiet_config(), fresh_identity())
    }

    pub fn with(config: &Config, identity: Identity) -> Self {
        let poll = Poll::new().unwrap();
        let endpoint = Endpoint::bind(config, &identity, poll.registry(), 0, Instant::now()).unwrap();
        Self { endpoint, poll, polled: Events::with_capacity(64), id: identity.peer_id() }
    }

    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addrs()[0]
    }

    pub fn peer_id(&self) -> PeerId {
        self.id
    }

    pub fn dial(&mut self, dial: u64, remote: SocketAddr, expect: Option<PeerId>) {
        self.endpoint.dial(dial, remote, expect, Instant::now());
    }

    /// One turn of a loop that waits a millisecond at most.
    pub fn turn(&mut self) {
        self.turn_for(Duration::from_millis(1));
    }

    pub fn turn_for(&mut self, at_most: Duration) {
        self.endpoint.flush(Instant::now());
        let now = Instant::now();
        let wait = match self.endpoint.wants_turn(now) {
            true => Duration::ZERO,
            false => self.endpoint.next_timeout(now).map_or(at_most, |at| at.saturating_duration_since(now)),
        };
        self.poll.poll(&mut self.polled, Some(wait.min(at_most))).unwrap();
        for event in &self.polled {
            self.endpoint.on_ready(event.token().0, event.is_readable(), event.is_writable());
        }
        let now = Instant::now();
        self.endpoint.receive(now);
        self.endpoint.fire_timers(now);
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    /// Dials `other` (as dial 1) and waits until both are up.
    pub fn connect(&mut self, other: &mut Node, expect: Option<PeerId>) -> (Up, Up) {
        self.dial(1, other.addr(), expect);
        let (mut here, mut there) = (None, None);
        drive("both ends are up", || {
            for (node, up) in [(&mut *self, &mut here), (&mut *other, &mut there)] {
                node.turn();
                for event in node.events() {
                    match event {
                        Event::Up { conn, peer_id, remote, local, dial } => {
                            *up = Some(Up { conn, peer_id, remote, local, dial });
                        }
                        Event::DialFailed { .. } | Event::Down { .. } => panic!("{event:?}"),
                        _ => {}
                    }
                }
            }
            here.is_some() && there.is_some()
        });
        (here.unwrap(), there.unwrap())
    }

    /// Drives this node and others until an event of this one is what is looked for.
    pub fn wait_for<T>(
        &mut self,
        others: &mut [&mut Node],
        what: &str,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        let mut found = None;
        drive(what, || {
            self.turn();
            found = self.events().iter().find_map(&mut pick);
            for other in others.iter_mut() {
                other.turn();
                other.events();
            }
            found.is_some()
        });
        found.unwrap()
    }
}

/// Calls `step` until it returns true.
pub fn drive(what: &str, mut step: impl FnMut() -> bool) {
    let start = Instant::now();
    while !step() {
        assert!(start.elapsed() < PATIENCE, "still waiting: {what}");
    }
}

/// An endless text that is nowhere like itself shifted by less than its period, which divides no power of two.
struct Text(Vec<u8>);

impl Text {
    fn new() -> Self {
        let mut state = 88_172_645_463_325_252u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        Self((0..1_048_573).map(|_| next()).collect())
    }

    /// The parts that make up `len` bytes from `at` on.
    fn parts(&self, at: u64, len: usize) -> impl Iterator<Item = &[u8]> {
        let mut from = (at % self.0.len() as u64) as usize;
        let mut left = len;
        std::iter::from_fn(move || {
            let part = &self.0[from..self.0.len().min(from + left)];
            left -= part.len();
            from = 0;
            (!part.is_empty()).then_some(part)
        })
    }
}

/// Sends one long stream of known content, and checks one.
pub struct Exchange {
    pub conn: ConnHandle,
    total: u64,
    out: Option<(u64, u64)>,
    text: Text,
    received: u64,
    finished: bool,
    block: Vec<u8>,
}

impl Exchange {
    /// `out`: whether this side sends. Everybody receives.
    pub fn new(node: &mut Node, conn: ConnHandle, total: u64, out: bool) -> Self {
        let out = out.then(|| (node.endpoint.open_uni(conn).unwrap(), 0));
        Self { conn, total, out, text: Text::new(), received: 0, finished: false, block: vec![0; 1 << 17] }
    }

    /// Moves on what can move. Every second block goes without copying.
    pub fn step(&mut self, node: &mut Node) {
        while let Some((stream, sent)) = self.out {
            let capacity = node.endpoint.capacity(self.conn, stream);
            let len = (self.total - sent).min(self.block.len() as u64).min(capacity as u64) as usize;
            if len == 0 {
                break;
            }
            let fin = sent + len as u64 == self.total;
            let part = self.text.parts(sent, len).collect::<Vec<_>>().concat();
            let taken = if (sent / 4096) % 2 == 0 {
                node.endpoint.send(self.conn, stream, &part, fin).unwrap()
            } else {
                let bytes = bytes::Bytes::from(part);
                len - node.endpoint.send_bytes(self.conn, stream, bytes, fin).unwrap().map_or(0, |rest| rest.len())
            };
            self.out = (sent + (taken as u64) < self.total).then_some((stream, sent + taken as u64));
            if taken < len {
                break;
            }
        }
        for event in node.events() {
            match event {
                Event::Readable { conn, stream } => self.read(node, conn, stream),
                Event::Writable { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn read(&mut self, node: &mut Node, conn: ConnHandle, stream: u64) {
        loop {
            match node.endpoint.recv(conn, stream, &mut self.block) {
                Recv::Data { len, fin } => {
                    let mut got = &self.block[..len];
                    for part in self.text.parts(self.received, len) {
                        assert!(got.starts_with(part), "wrong content after byte {}", self.received);
                        got = &got[part.len()..];
                    }
                    self.received += len as u64;
                    if fin {
                        assert_eq!(self.received, self.total);
                        self.finished = true;
                        return;
                    }
                }
                Recv::Blocked => return,
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn received_all(&self) -> bool {
        self.finished
    }
}
