//! The virtual LAN itself: what the scenarios take for granted.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::{Lan, available};

fn socket(at: (Ipv4Addr, u16)) -> UdpSocket {
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

#[test]
fn hosts_of_a_lan_hear_each_other_and_multicast_and_nobody_else() {
    if !available("hosts_of_a_lan_hear_each_other_and_multicast_and_nobody_else", &["netns"]) {
        return;
    }
    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
    let (lan, other_lan) = (Lan::new(), Lan::new());
    let (a, b, stranger) = (lan.host("a"), lan.host("b"), other_lan.host("b"));
    let (addr_a, addr_b) = (a.addr(), b.addr());
    let listen = |host: &crate::support::Host| {
        let own = host.addr();
        host.enter(move || {
            let socket = socket((Ipv4Addr::UNSPECIFIED, 5353));
            socket.join_multicast_v4(&GROUP, &own).unwrap();
            socket
        })
    };
    let (heard, unheard) = (listen(&b), listen(&stranger));
    a.enter(move || {
        let sender = socket((addr_a, 0));
        sender.send_to(b"to all", (GROUP, 5353)).unwrap();
        sender.send_to(b"to one", (addr_b, 5353)).unwrap();
    });
    let mut buffer = [0; 64];
    for expected in [b"to all", b"to one"] {
        let (len, from) = heard.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.ip()), (expected.as_slice(), addr_a.into()));
    }
    unheard.set_nonblocking(true).unwrap();
    assert!(unheard.recv_from(&mut buffer).is_err(), "another LAN with the same addresses hears nothing");
}

#[test]
fn a_shaped_host_sends_no_faster_than_its_link() {
    if !available("a_shaped_host_sends_no_faster_than_its_link", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let (a, b) = (lan.host("a"), lan.host("b"));
    a.shape_mbit(80);
    let (addr_a, addr_b) = (a.addr(), b.addr());
    let receiver = b.enter(move || socket((addr_b, 9000)));
    let started = Instant::now();
    let sender = std::thread::spawn(move || {
        a.enter(move || {
            let sender = socket((addr_a, 0));
            // 2 MB: at 80 Mbit/s these take 200 ms.
            for _ in 0..2000 {
                let _ = sender.send_to(&[7; 1000], (addr_b, 9000));
            }
            for _ in 0..200 {
                let _ = sender.send_to(b"end", (addr_b, 9000));
            }
        });
    });
    let (mut bytes, mut buffer) = (0usize, [0; 2000]);
    loop {
        let len = receiver.recv(&mut buffer).unwrap();
        if len == 3 {
            break;
        }
        bytes += len;
    }
    let rate = bytes as f64 * 8.0 / started.elapsed().as_secs_f64() / 1e6;
    sender.join().unwrap();
    assert!(bytes > 200_000, "something came through: {bytes}");
    assert!(rate < 120.0, "{rate} Mbit/s came over a link of 80");
}
