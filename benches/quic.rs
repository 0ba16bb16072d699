//! What QUIC costs without a network: one quiche connection to another through memory, with the parameters of the daemon, on one
//! thread. Trains of packets are made and read as the daemon does; only the sockets and the system are left out. So a rate of
//! N MiB/s says that both sides together need 1024 / N CPU seconds a GiB for this part.
//!
//! `cargo bench --bench quic` (over sockets: `cargo bench --bench quic_udp`)
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use lanspread_peer::config::Config;
use lanspread_peer::identity::Identity;
use lanspread_peer::quic::{SharedBytes, parameters};

/// Bytes of one run of chunks.
const RUN: usize = 4 << 20;
/// Runs that are fetched by one measured call.
const RUNS: usize = 4;
/// Of them, how many are under way at once.
const AT_ONCE: usize = 2;
const BLOCK: usize = 1 << 20;
/// Bytes of a train at most, and trains between two looks at what comes back.
const TRAIN: usize = 65_507;
const TRAINS: usize = 16;
/// UDP payloads: the least that a path carries, Ethernet, jumbo frames, the largest that quiche makes.
const PAYLOADS: [usize; 4] = [1200, 1472, 8972, 16_376];

fn main() {
    divan::main();
}

/// Requests from one side, runs of 4 MiB from the other.
#[divan::bench(args = PAYLOADS)]
fn pair(bencher: Bencher<'_, '_>, payload: usize) {
    let mut pair = Pair::new(payload);
    // Until the size of packets is found and the windows have grown.
    (0..8).for_each(|_| pair.fetch());
    assert_eq!(pair.server.pmtu(), Some(payload), "the path carries the packets that are measured");
    bencher.counter(BytesCount::new(RUN * RUNS)).bench_local(|| pair.fetch());
}

struct Pair {
    client: quiche::Connection<SharedBytes>,
    server: quiche::Connection<SharedBytes>,
    /// What the server sends in turn, so that the bytes come from memory.
    blocks: Vec<Bytes>,
    next_block: usize,
    next_stream: u64,
    landing: Vec<u8>,
    train: Vec<u8>,
}

impl Pair {
    fn new(payload: usize) -> Self {
        let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let quic = || {
            let state = tempfile::tempdir().unwrap();
            let identity = Identity::load_or_create(state.path()).unwrap();
            let config = Config::new("unused".into(), "unused".into());
            let mut parameters = parameters(&config, &identity, 8 << 20).unwrap();
            parameters.set_max_send_udp_payload_size(payload);
            parameters
        };
        let id = |byte| quiche::ConnectionId::from_vec(vec![byte; 8]);
        let client =
            quiche::connect_with_buffer_factory(None, &id(1), addr(1), addr(2), &mut quic()).expect("a connection");
        let server =
            quiche::accept_with_buf_factory(&id(2), None, addr(2), addr(1), &mut quic()).expect("a connection");
        let blocks = (0..64u8).map(|seed| Bytes::from(vec![seed; BLOCK])).collect();
        let mut pair = Self {
            client,
            server,
            blocks,
            next_block: 0,
            next_stream: 0,
            landing: vec![0; BLOCK],
            train: vec![0; TRAIN + payload],
        };
        while !(pair.client.is_established() && pair.server.is_established()) {
            carry(&mut pair.client, &mut pair.server, &mut pair.train);
            carry(&mut pair.server, &mut pair.client, &mut pair.train);
        }
        pair
    }

    /// Fetches [`RUNS`] runs.
    fn fetch(&mut self) {
        // What is left of each run that goes out, and what has arrived of all of them.
        let mut sends: Vec<(u64, usize)> = Vec::new();
        let (mut asked, mut done) = (0, 0);
        while done < RUNS {
            while asked < RUNS && asked - done < AT_ONCE {
                self.client.stream_send(self.next_stream, b"a run", true).unwrap();
                self.next_stream += 4;
                asked += 1;
            }
            carry(&mut self.client, &mut self.server, &mut self.train);
            self.take_requests(&mut sends);
            self.send(&mut sends);
            carry(&mut self.server, &mut self.client, &mut self.train);
            done += self.land();
        }
    }

    fn take_requests(&mut self, sends: &mut Vec<(u64, usize)>) {
        let mut request = [0; 64];
        for stream in self.server.readable() {
            if let Ok((_, true)) = self.server.stream_recv(stream, &mut request) {
                self.server.stream_priority(stream, 200, false).unwrap();
                sends.push((stream, RUN));
            }
        }
    }

    fn send(&mut self, sends: &mut Vec<(u64, usize)>) {
        sends.retain_mut(|(stream, left)| {
            while *left > 0 && self.server.stream_capacity(*stream).is_ok_and(|capacity| capacity > 0) {
                let from = RUN - *left;
                let block = &self.blocks[(self.next_block + from / BLOCK) % self.blocks.len()];
                let part = block.slice(from % BLOCK..);
                let last = part.len() == *left;
                let Ok((sent, rest)) = self.server.stream_send_zc(*stream, part, last) else { break };
                *left -= sent;
                if rest.is_some_and(|rest| !rest.is_empty()) {
                    break;
                }
            }
            self.next_block += usize::from(*left == 0);
            *left > 0
        });
    }

    /// Reads all that has arrived; how many runs came to their end.
    fn land(&mut self) -> usize {
        let mut ended = 0;
        for stream in self.client.readable() {
            while let Ok((_, fin)) = self.client.stream_recv(stream, &mut self.landing) {
                if fin {
                    ended += 1;
                    break;
                }
            }
        }
        ended
    }
}

/// Carries what one side has to send to the other, train by train. The pacer's times are not waited for: here is no queue that it
/// could spare.
fn carry(from: &mut quiche::Connection<SharedBytes>, to: &mut quiche::Connection<SharedBytes>, train: &mut [u8]) {
    for _ in 0..TRAINS {
        let (mut lens, mut len, mut info) = (Vec::with_capacity(64), 0, None);
        while len < TRAIN {
            let Ok((packet, sent)) = from.send(&mut train[len..]) else { break };
            lens.push(packet);
            len += packet;
            info = Some(sent);
        }
        let Some(sent) = info else { break };
        let mut rest = &mut train[..len];
        for packet in lens {
            let (this, others) = rest.split_at_mut(packet);
            to.recv(this, quiche::RecvInfo { from: sent.from, to: sent.to }).unwrap();
            rest = others;
        }
    }
}
