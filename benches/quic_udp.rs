//! Throughput of the transport alone, memory to memory, one connection.
//!
//! ```text
//! cargo bench --bench quic_udp                                  two threads over 127.0.0.1, 1 GiB
//! cargo bench --bench quic_udp -- server 10.77.0.1:4433         answers one client, then ends
//! cargo bench --bench quic_udp -- client 10.77.0.1:4433 4096    fetches 4,096 MiB
//! cargo bench --bench quic_udp -- both 127.0.0.1:0 4096
//! ```
//!
//! `cubic` as a further argument selects CUBIC, `payload=N` sets the UDP payload, `runs=N` the requests kept under way.
//! Prints MB/s (10^6), CPU seconds (user and system, of the process) for each GiB, and packets for each system call.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lanspread_peer::config::{Config, Congestion};
use lanspread_peer::identity::Identity;
use lanspread_peer::quic::{ConnHandle, ConnectionStats, Endpoint, EndpointStats, Event, Recv};
use mio::{Events, Poll};

/// Bytes of one request.
const RUN: u64 = 4 << 20;
const BLOCK: usize = 1 << 20;
const GIB: f64 = (1u64 << 30) as f64;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let mut options = Options { congestion: Congestion::Bbr2, payload: 0, runs: 2 };
    args.retain(|arg| match arg.split_once('=') {
        _ if arg == "cubic" => {
            options.congestion = Congestion::Cubic;
            false
        }
        Some(("payload", n)) => {
            options.payload = n.parse().expect("payload=N");
            false
        }
        Some(("runs", n)) => {
            options.runs = n.parse().expect("runs=N");
            false
        }
        _ => true,
    });
    let addr = |at: usize, default: &str| -> SocketAddr {
        args.get(at).map_or(default, String::as_str).parse().expect("IP:port")
    };
    let bytes = args.get(2).map_or(1024, |mib| mib.parse::<u64>().expect("MiB")) << 20;
    match args.first().map(String::as_str) {
        Some("server") => Server::bind(addr(1, "0.0.0.0:4433"), &options).run(),
        Some("client") => Client::connect(addr(1, "127.0.0.1:4433"), bytes, &options).run(),
        None | Some("both") => {
            let server = Server::bind(addr(1, "127.0.0.1:0"), &options);
            let at = server.node.endpoint.local_addrs()[0];
            let serving = std::thread::spawn(move || server.run());
            Client::connect(at, bytes, &options).run();
            serving.join().unwrap();
        }
        Some(other) => panic!("unknown mode {other}"),
    }
}

struct Options {
    congestion: Congestion,
    payload: usize,
    runs: usize,
}

/// An endpoint and its loop.
struct Node {
    endpoint: Endpoint,
    poll: Poll,
    polled: Events,
    polls: u64,
}

impl Node {
    fn bind(listen: SocketAddr, options: &Options) -> Self {
        let state = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create(state.path()).unwrap();
        let mut config = Config::new("unused".into(), "unused".into());
        config.listen = vec![listen];
        config.transport.congestion = options.congestion;
        config.transport.max_payload = options.payload;
        let poll = Poll::new().unwrap();
        let endpoint = Endpoint::bind(&config, &identity, poll.registry(), 0, Instant::now()).unwrap();
        Self { endpoint, poll, polled: Events::with_capacity(16), polls: 0 }
    }

    fn turn(&mut self) {
        self.endpoint.flush(Instant::now());
        let mut now = Instant::now();
        if let Some(until) = self.endpoint.rests_until(now) {
            let timeout = self.endpoint.next_timeout(now).unwrap_or(until);
            std::thread::sleep(until.min(timeout).saturating_duration_since(now));
            now = Instant::now();
        }
        let wait = match self.endpoint.wants_turn(now) {
            true => Some(Duration::ZERO),
            false => self.endpoint.next_timeout(now).map(|at| at.saturating_duration_since(now)),
        };
        self.polls += 1;
        self.poll.poll(&mut self.polled, wait).unwrap();
        for event in &self.polled {
            self.endpoint.on_ready(event.token().0, event.is_readable(), event.is_writable());
        }
        let now = Instant::now();
        self.endpoint.receive(now);
        self.endpoint.fire_timers(now);
    }
}

struct Server {
    node: Node,
    blocks: Vec<Bytes>,
}

impl Server {
    fn bind(listen: SocketAddr, options: &Options) -> Self {
        let blocks = (0..64u8).map(|seed| Bytes::from(noise(seed))).collect();
        Self { node: Node::bind(listen, options), blocks }
    }

    fn run(mut self) {
        let mut clock = None;
        let mut asked: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut sends: Vec<(u64, u64)> = Vec::new();
        let mut sent = 0;
        let mut last = ConnectionStats::default();
        let mut turns = 0u32;
        loop {
            self.node.turn();
            turns = turns.wrapping_add(1);
            while let Some(event) = self.node.endpoint.poll_event() {
                match event {
                    Event::Up { conn, .. } => clock = Some((conn, Clock::start(&self.node))),
                    Event::Readable { conn, stream } => {
                        let mut part = [0; 64];
                        while let Recv::Data { len, fin } = self.node.endpoint.recv(conn, stream, &mut part) {
                            let request = asked.entry(stream).or_default();
                            request.extend_from_slice(&part[..len]);
                            if fin {
                                let request = asked.remove(&stream).unwrap();
                                sends.push((stream, u64::from_be_bytes(request.try_into().unwrap())));
                                self.node.endpoint.set_priority(conn, stream, 200, false);
                                break;
                            }
                        }
                    }
                    Event::Down { .. } => {
                        let (_, clock) = clock.expect("a connection");
                        clock.report("server", sent, &self.node, &last);
                        return;
                    }
                    Event::Writable { .. } | Event::StreamStopped { .. } | Event::DialFailed { .. } => {}
                }
            }
            let Some((conn, _)) = &clock else {
                continue;
            };
            let conn = *conn;
            if turns.is_multiple_of(1024) {
                last = self.node.endpoint.connection_stats(conn).unwrap_or(last);
            }
            sends.retain_mut(|(stream, left)| {
                while *left > 0 && self.node.endpoint.capacity(conn, *stream) > 0 {
                    let at = (sent as usize / BLOCK) % self.blocks.len();
                    let from = sent as usize % BLOCK;
                    let len = ((BLOCK - from) as u64).min(*left) as usize;
                    let part = self.blocks[at].slice(from..from + len);
                    let rest = self.node.endpoint.send_bytes(conn, *stream, part, len as u64 == *left).unwrap();
                    let taken = (len - rest.as_ref().map_or(0, Bytes::len)) as u64;
                    *left -= taken;
                    sent += taken;
                    if rest.is_some() {
                        break;
                    }
                }
                *left > 0
            });
        }
    }
}

struct Client {
    node: Node,
    bytes: u64,
    runs: usize,
}

impl Client {
    fn connect(server: SocketAddr, bytes: u64, options: &Options) -> Self {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let mut node = Node::bind(any.parse().unwrap(), options);
        node.endpoint.dial(1, server, None, Instant::now());
        Self { node, bytes, runs: options.runs }
    }

    fn run(mut self) {
        let mut clock: Option<(ConnHandle, Clock)> = None;
        let (mut asked, mut received, mut under_way) = (0, 0, 0);
        let mut landing = vec![0; BLOCK];
        while received < self.bytes {
            self.node.turn();
            while let Some(event) = self.node.endpoint.poll_event() {
                match event {
                    Event::Up { conn, .. } => clock = Some((conn, Clock::start(&self.node))),
                    Event::Readable { conn, stream } => loop {
                        match self.node.endpoint.recv(conn, stream, &mut landing) {
                            Recv::Data { len, fin } => {
                                received += len as u64;
                                if fin {
                                    under_way -= 1;
                                    break;
                                }
                            }
                            Recv::Blocked => break,
                            other => panic!("{other:?}"),
                        }
                    },
                    Event::Writable { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            let Some((conn, _)) = &clock else {
                continue;
            };
            while under_way < self.runs && asked < self.bytes {
                let run = RUN.min(self.bytes - asked);
                let Some(stream) = self.node.endpoint.open_bi(*conn) else {
                    break;
                };
                assert_eq!(self.node.endpoint.send(*conn, stream, &run.to_be_bytes(), true), Ok(8));
                asked += run;
                under_way += 1;
            }
        }
        let (conn, clock) = clock.unwrap();
        let stats = self.node.endpoint.connection_stats(conn).unwrap();
        clock.report("client", received, &self.node, &stats);
        self.node.endpoint.close(conn, 0, "done", Instant::now());
    }
}

/// What a side has used since its connection came up.
struct Clock {
    start: Instant,
    cpu: f64,
    stats: EndpointStats,
    polls: u64,
}

impl Clock {
    fn start(node: &Node) -> Self {
        Self { start: Instant::now(), cpu: cpu_seconds(), stats: node.endpoint.stats(), polls: node.polls }
    }

    fn report(&self, side: &str, bytes: u64, node: &Node, conn: &ConnectionStats) {
        let seconds = self.start.elapsed().as_secs_f64();
        let gib = bytes as f64 / GIB;
        let stats = node.endpoint.stats();
        let per = |packets: u64, calls: u64| packets as f64 / calls.max(1) as f64;
        println!(
            "{side}: {:.1} MB/s, {:.3} CPU s/GiB, packets/call sent {:.1} received {:.1}, polls/GiB {:.0}, kept trains {}, \
             trips {}, errors {}, lost {}, rtt {:?}, cwnd {}, payload {}",
            bytes as f64 / 1e6 / seconds,
            (cpu_seconds() - self.cpu) / gib,
            per(stats.packets_sent - self.stats.packets_sent, stats.send_calls - self.stats.send_calls),
            per(stats.packets_received - self.stats.packets_received, stats.receive_calls - self.stats.receive_calls),
            (node.polls - self.polls) as f64 / gib,
            stats.kept_trains,
            stats.offload_trips,
            stats.send_errors,
            conn.packets_lost,
            conn.rtt,
            conn.congestion_window,
            conn.payload,
        );
    }
}

/// Of the calling thread where the system says so: both sides may run in one process.
fn cpu_seconds() -> f64 {
    #[cfg(target_os = "linux")]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    }
    #[cfg(not(target_os = "linux"))]
    f64::NAN
}

/// Bytes that nothing can compress or guess.
fn noise(seed: u8) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ u64::from(seed);
    let mut bytes = vec![0; BLOCK];
    for chunk in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}
