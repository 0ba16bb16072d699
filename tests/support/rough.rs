//! A path between two daemons that loses, delays, repeats and reorders packets: a router in between, with a will of its own.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest time that a packet is held back. Ten thousand packets a second pass each other then.
const MOST_DELAY: Duration = Duration::from_millis(12);

/// Whoever dials `addr` reaches the daemon behind it. Gone when dropped.
pub(crate) struct RoughPath {
    pub(crate) addr: SocketAddr,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

/// What became of the packets.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    bytes: AtomicU64,
    lost: AtomicU64,
    overtaken: AtomicU64,
    repeated: AtomicU64,
}

/// A packet that waits for its time; which way it goes; the number in which it came.
type Held = Reverse<(Instant, u64, bool, Vec<u8>)>;

impl RoughPath {
    /// To a daemon on this machine. One packet in `lose_one_of` is lost; `seed` rolls the dice.
    pub(crate) fn to(server: SocketAddr, lose_one_of: u64, seed: u64) -> Self {
        let socket = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (front, back) = (socket(), socket());
        let (addr, seen) = (front.local_addr().unwrap(), Arc::new(Seen::default()));
        let thread = std::thread::spawn({
            let seen = Arc::clone(&seen);
            move || route(&front, &back, server, lose_one_of, seed, &seen)
        });
        Self { addr, seen, thread: Some(thread) }
    }

    /// Bytes of UDP payload that were passed on.
    pub(crate) fn bytes(&self) -> u64 {
        self.seen.bytes.load(Ordering::Relaxed)
    }

    /// Packets that were lost; that others overtook; that came twice.
    pub(crate) fn mischief(&self) -> [u64; 3] {
        [&self.seen.lost, &self.seen.overtaken, &self.seen.repeated].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for RoughPath {
    fn drop(&mut self) {
        self.seen.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn route(front: &UdpSocket, back: &UdpSocket, server: SocketAddr, lose_one_of: u64, seed: u64, seen: &Seen) {
    front.set_nonblocking(true).unwrap();
    back.set_nonblocking(true).unwrap();
    let mut state = seed | 1;
    let mut roll = move |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let (mut client, mut number, mut newest) = (None, 0, [0; 2]);
    let mut held: BinaryHeap<Held> = BinaryHeap::new();
    let mut buffer = vec![0; 65_536];
    while !seen.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let mut idle = true;
        for (from, to_server) in [(front, true), (back, false)] {
            while let Ok((len, sender)) = from.recv_from(&mut buffer) {
                idle = false;
                if to_server {
                    client = Some(sender);
                }
                if roll(lose_one_of) == 0 {
                    seen.lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let copies = if roll(200) == 0 { 2 } else { 1 };
                seen.repeated.fetch_add(copies - 1, Ordering::Relaxed);
                for _ in 0..copies {
                    number += 1;
                    // Most keep their order; one in eight takes a detour.
                    let detour =
                        if roll(8) == 0 { MOST_DELAY.mul_f64(roll(1000) as f64 / 1000.0) } else { Duration::ZERO };
                    held.push(Reverse((
                        now + Duration::from_millis(1) + detour,
                        number,
                        to_server,
                        buffer[..len].to_vec(),
                    )));
                }
            }
        }
        while held.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((_, number, to_server, packet))) = held.pop() else { break };
            let newest = &mut newest[usize::from(to_server)];
            seen.overtaken.fetch_add(u64::from(number < *newest), Ordering::Relaxed);
            *newest = number.max(*newest);
            let (socket, to) = if to_server { (back, Some(server)) } else { (front, client) };
            // A full buffer is one more loss.
            if to.is_some_and(|to| socket.send_to(&packet, to).is_ok()) {
                seen.bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
            }
        }
        if idle {
            std::thread::park_timeout(Duration::from_micros(500));
        }
    }
}
