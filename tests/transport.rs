//! The transport over real sockets: content, limits, hostile packets, lost peers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "quic_support/mod.rs"]
mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ::lanspread_peer;
use lanspread_peer::quic::{Event, Recv, SendError};
use support::{Exchange, Node, drive, fresh_identity, quiet_config};

/// A router between two nodes, with a will of its own. The nodes see it as the other one.
struct Relay {
    /// The dialling node sends here.
    front: UdpSocket,
    /// The dialled node sees this.
    back: UdpSocket,
    client: Option<SocketAddr>,
    server: SocketAddr,
    passed: u64,
}

impl Relay {
    fn to(server: SocketAddr) -> Self {
        Self { front: Self::socket(), back: Self::socket(), client: None, server, passed: 0 }
    }

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn addr(&self) -> SocketAddr {
        self.front.local_addr().unwrap()
    }

    /// Passes on what has come, if `pass` (number of the packet, its length) says so.
    fn turn(&mut self, mut pass: impl FnMut(u64, usize) -> bool) {
        let mut buffer = [0; 65_536];
        while let Ok((len, from)) = self.front.recv_from(&mut buffer) {
            self.client = Some(from);
            self.passed += 1;
            if pass(self.passed, len) {
                let _ = self.back.send_to(&buffer[..len], self.server);
            }
        }
        while let Ok((len, _)) = self.back.recv_from(&mut buffer) {
            self.passed += 1;
            if let Some(client) = self.client.filter(|_| pass(self.passed, len)) {
                let _ = self.front.send_to(&buffer[..len], client);
            }
        }
    }
}

/// Connects `a` to `b` through a relay.
fn connect_through(a: &mut Node, b: &mut Node, relay: &mut Relay) -> (support::Up, support::Up) {
    a.dial(1, relay.addr(), Some(b.peer_id()));
    let (mut here, mut there) = (None, None);
    drive("both ends are up", || {
        for (node, up) in [(&mut *a, &mut here), (&mut *b, &mut there)] {
            node.turn();
            relay.turn(|_, _| true);
            for event in node.events() {
                if let Event::Up { conn, peer_id, remote, local, dial } = event {
                    *up = Some(support::Up { conn, peer_id, remote, local, dial });
                }
            }
        }
        here.is_some() && there.is_some()
    });
    (here.unwrap(), there.unwrap())
}

#[test]
fn both_ways_at_once_over_each_family() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let mut config = quiet_config();
        config.listen = vec![listen.parse().unwrap()];
        if UdpSocket::bind(listen).is_err() {
            eprintln!("{listen} is not there: skipped");
            continue;
        }
        let (mut a, mut b) = (Node::with(&config, fresh_identity()), Node::with(&config, fresh_identity()));
        let (at_a, at_b) = a.connect(&mut b, None);
        let mut from_a = Exchange::new(&mut a, at_a.conn, 8 << 20, true);
        let mut from_b = Exchange::new(&mut b, at_b.conn, 8 << 20, true);
        drive("both have received everything", || {
            a.turn();
            from_a.step(&mut a);
            b.turn();
            from_b.step(&mut b);
            from_a.received_all() && from_b.received_all()
        });
    }
}

#[test]
fn both_families_share_one_port() {
    let mut config = quiet_config();
    config.listen = vec!["[::]:0".parse().unwrap(), "0.0.0.0:0".parse().unwrap()];
    let node = Node::with(&config, fresh_identity());
    let addrs = node.endpoint.local_addrs();
    assert!(addrs[0].is_ipv4() && addrs[0].port() != 0);
    assert!(addrs.iter().all(|addr| addr.port() == addrs[0].port()), "{addrs:?}");
}

#[test]
fn on_an_unspecified_address_the_local_address_is_the_one_in_use() {
    let mut config = quiet_config();
    config.listen = vec!["0.0.0.0:0".parse().unwrap()];
    let (mut a, mut b) = (Node::with(&config, fresh_identity()), Node::with(&config, fresh_identity()));
    let port = b.addr().port();
    // Another address than the system would answer from by itself.
    a.dial(1, SocketAddr::from(([127, 0, 0, 5], port)), None);
    let (mut here, mut there) = (None, None);
    drive("both ends are up", || {
        for (node, up) in [(&mut a, &mut here), (&mut b, &mut there)] {
            node.turn();
            for event in node.events() {
                match event {
                    Event::Up { remote, local, .. } => *up = Some((remote, local)),
                    other => panic!("{other:?}"),
                }
            }
        }
        here.is_some() && there.is_some()
    });
    let ((a_remote, a_local), (b_remote, b_local)) = (here.unwrap(), there.unwrap());
    assert_eq!((a_remote, a_local), (b_local, b_remote));
    assert_eq!(b_local, SocketAddr::from(([127, 0, 0, 5], port)));
    assert_eq!(a_local.port(), a.addr().port());
}

#[test]
fn lost_packets_are_repaired() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let mut relay = Relay::to(b.addr());
    let (at_a, at_b) = connect_through(&mut a, &mut b, &mut relay);
    let mut from_a = Exchange::new(&mut a, at_a.conn, 2 << 20, true);
    let mut at_b = Exchange::new(&mut b, at_b.conn, 2 << 20, false);
    drive("everything has arrived", || {
        a.turn();
        from_a.step(&mut a);
        relay.turn(|number, _| number % 23 != 0);
        b.turn();
        at_b.step(&mut b);
        at_b.received_all()
    });
    assert!(a.endpoint.connection_stats(at_a.conn).unwrap().packets_lost > 0);
}

#[test]
fn a_path_that_carries_less_than_the_interface_still_works() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let mut relay = Relay::to(b.addr());
    let (at_a, at_b) = connect_through(&mut a, &mut b, &mut relay);
    let mut from_a = Exchange::new(&mut a, at_a.conn, 8 << 20, true);
    let mut at_b = Exchange::new(&mut b, at_b.conn, 8 << 20, false);
    drive("everything has arrived", || {
        a.turn();
        from_a.step(&mut a);
        relay.turn(|_, len| len <= 1300);
        b.turn();
        at_b.step(&mut b);
        at_b.received_all()
    });
    assert_eq!(a.endpoint.stats().offload_trips, 0);
}

#[test]
fn packets_of_a_connection_from_another_address_are_dropped() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let mut relay = Relay::to(b.addr());
    let (at_a, at_b) = connect_through(&mut a, &mut b, &mut relay);
    relay.back = Relay::socket();
    let stream = a.endpoint.open_bi(at_a.conn).unwrap();
    a.endpoint.send(at_a.conn, stream, b"from elsewhere", true).unwrap();
    drive("the packets are dropped", || {
        a.turn();
        relay.turn(|_, _| true);
        b.turn();
        assert_eq!(b.events(), []);
        b.endpoint.stats().dropped_address >= 3
    });
    assert_eq!(b.endpoint.recv(at_b.conn, stream, &mut [0; 16]), Recv::Gone);
}

#[test]
fn a_vanished_peer_is_noticed_by_the_idle_timeout() {
    let mut config = quiet_config();
    config.timers.stale_after = Duration::from_millis(150);
    let (mut a, mut b) = (Node::with(&config, fresh_identity()), Node::new());
    let (at_a, _) = a.connect(&mut b, None);
    drop(b);
    let (conn, code, reason) = a.wait_for(&mut [], "the connection is down", |event| match event {
        Event::Down { conn, code, reason } => Some((*conn, *code, reason.clone())),
        _ => None,
    });
    assert_eq!((conn, code), (at_a.conn, None));
    assert!(reason.contains("nothing was heard"), "{reason}");
    assert_eq!(a.endpoint.stats().connections, 0);
    assert_eq!(a.endpoint.open_bi(conn), None);
}

#[test]
fn a_close_brings_its_code_and_what_was_sent_before_it() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (at_a, at_b) = a.connect(&mut b, None);
    let stream = a.endpoint.open_uni(at_a.conn).unwrap();
    a.endpoint.send(at_a.conn, stream, b"goodbye", true).unwrap();
    a.endpoint.close(at_a.conn, 2, "duplicate", Instant::now());
    assert_eq!(a.events(), [], "no event follows the own close");
    let mut heard = Vec::new();
    let mut down = None;
    drive("the other side is down", || {
        b.turn();
        while let Some(event) = b.endpoint.poll_event() {
            match event {
                Event::Readable { conn, stream } => {
                    let mut text = [0; 16];
                    if let Recv::Data { len, fin: true } = b.endpoint.recv(conn, stream, &mut text) {
                        heard = text[..len].to_vec();
                    }
                }
                Event::Down { conn, code, reason } => down = Some((conn, code, reason)),
                other => panic!("{other:?}"),
            }
        }
        down.is_some()
    });
    assert_eq!(heard, b"goodbye");
    let (conn, code, reason) = down.unwrap();
    assert_eq!((conn, code), (at_b.conn, Some(2)));
    assert!(reason.contains("duplicate"));
    assert_eq!(b.endpoint.recv(conn, stream, &mut [0; 4]), Recv::Gone);
}

#[test]
fn whoever_is_refused_right_after_the_handshake_hears_the_code() {
    let (mut a, mut b) = (Node::new(), Node::new());
    a.endpoint.dial(7, b.addr(), None, Instant::now());
    let (mut refused, mut code) = (false, None);
    drive("the one who dialled hears why", || {
        a.turn();
        b.turn();
        while let Some(event) = b.endpoint.poll_event() {
            if let Event::Up { conn, .. } = event {
                b.endpoint.close(conn, 13, "blocked", Instant::now());
                refused = true;
            }
        }
        while let Some(event) = a.endpoint.poll_event() {
            match event {
                Event::Up { conn, .. } => {
                    let stream = a.endpoint.open_bi(conn).unwrap();
                    a.endpoint.send(conn, stream, b"hello", true).unwrap();
                }
                Event::Down { code: heard, .. } => code = heard,
                other => panic!("{other:?}"),
            }
        }
        code.is_some()
    });
    assert_eq!((refused, code), (true, Some(13)));
}

#[test]
fn a_lost_close_is_said_again() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let mut relay = Relay::to(b.addr());
    let (at_a, at_b) = connect_through(&mut a, &mut b, &mut relay);
    for _ in 0..20 {
        a.turn();
        relay.turn(|_, _| true);
        b.turn();
    }
    a.endpoint.close(at_a.conn, 9, "overload", Instant::now());
    relay.turn(|_, _| false);
    let stream = b.endpoint.open_bi(at_b.conn).unwrap();
    b.endpoint.send(at_b.conn, stream, b"are you there?", true).unwrap();
    let mut code = None;
    drive("the other side hears of the close", || {
        b.turn();
        relay.turn(|_, _| true);
        a.turn();
        for event in b.events() {
            if let Event::Down { code: found, .. } = event {
                code = found;
            }
        }
        code.is_some()
    });
    assert_eq!(code, Some(9));
}

#[test]
fn a_stopped_stream_is_reported_and_a_reset_one_too() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (at_a, at_b) = a.connect(&mut b, None);
    // A request, answered without end, cancelled; and one that is cancelled before anything was answered.
    let streams = [a.endpoint.open_bi(at_a.conn).unwrap(), a.endpoint.open_bi(at_a.conn).unwrap()];
    for stream in streams {
        a.endpoint.send(at_a.conn, stream, b"give", true).unwrap();
    }
    let mut asked = 0;
    drive("both requests have arrived", || {
        a.turn();
        b.turn();
        asked += b.events().iter().filter(|event| matches!(event, Event::Readable { .. })).count();
        asked == 2
    });
    b.endpoint.send(at_b.conn, streams[0], &[1; 1000], false).unwrap();
    for (stream, code) in streams.into_iter().zip([40, 41]) {
        a.endpoint.stop_sending(at_a.conn, stream, code);
    }
    let mut stopped = Vec::new();
    drive("both are stopped", || {
        a.turn();
        b.turn();
        for event in b.events() {
            if let Event::StreamStopped { conn, stream, code } = event {
                assert_eq!(conn, at_b.conn);
                stopped.push((stream, code));
            }
        }
        stopped.len() == 2
    });
    stopped.sort_unstable();
    assert_eq!(stopped, [(streams[0], 40), (streams[1], 41)]);
    let sent = b.endpoint.send(at_b.conn, streams[0], b"more", false);
    assert!(matches!(sent, Err(SendError::Stopped(40) | SendError::Gone)), "{sent:?}");

    let stream = b.endpoint.open_uni(at_b.conn).unwrap();
    b.endpoint.send(at_b.conn, stream, b"half a mess", false).unwrap();
    b.endpoint.reset(at_b.conn, stream, 3);
    let mut reset = None;
    drive("the reset is seen", || {
        b.turn();
        a.turn();
        for event in a.events() {
            if let Event::Readable { conn, stream: readable } = event
                && readable == stream
            {
                while let Recv::Data { .. } = a.endpoint.recv(conn, stream, &mut [0; 64]) {}
                if let Recv::Reset(code) = a.endpoint.recv(conn, stream, &mut [0; 64]) {
                    reset = Some(code);
                }
            }
        }
        reset.is_some() || a.endpoint.recv(at_a.conn, stream, &mut [0; 64]) == Recv::Gone
    });
    assert!(matches!(reset, Some(3) | None));
}

#[test]
fn streams_are_limited_and_given_back() {
    let (mut a, mut b) = (Node::new(), Node::new());
    let (at_a, at_b) = a.connect(&mut b, None);
    let mut streams = Vec::new();
    while let Some(stream) = a.endpoint.open_uni(at_a.conn) {
        assert!(streams.len() < 1000);
        a.endpoint.send(at_a.conn, stream, b"x", true).unwrap();
        streams.push(stream);
    }
    assert!(!streams.is_empty());
    let mut again = None;
    drive("a stream is to be had again", || {
        a.turn();
        b.turn();
        for event in b.events() {
            if let Event::Readable { stream, .. } = event {
                assert_eq!(b.endpoint.recv(at_b.conn, stream, &mut [0; 4]), Recv::Data { len: 1, fin: true });
            }
        }
        if a.events().contains(&Event::Writable { conn: at_a.conn }) {
            again = a.endpoint.open_uni(at_a.conn);
        }
        again.is_some()
    });
}

#[test]
fn under_load_newcomers_must_show_their_address_and_the_number_of_connections_is_bounded() {
    let mut config = quiet_config();
    config.limits.half_open_before_retry = 3;
    config.limits.connections = 5;
    let mut server = Node::with(&config, fresh_identity());
    // Newcomers that say hello and nothing more: what a client sends first, sent by sockets that never answer.
    let first = first_packet_to(server.addr());
    let silent: Vec<UdpSocket> = (0..20).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for socket in &silent {
        socket.send_to(&first, server.addr()).unwrap();
    }
    drive("all have been heard", || {
        server.turn();
        server.endpoint.stats().packets_received >= 20
    });
    let stats = server.endpoint.stats();
    assert_eq!((stats.half_open, stats.connections, stats.retries_sent), (3, 3, 17), "{stats:?}");
    // Those who answer are let in all the same, until the limit.
    let mut peers: Vec<Node> = (0..3).map(|_| Node::new()).collect();
    for peer in &mut peers[..2] {
        peer.connect(&mut server, None);
    }
    assert_eq!(server.endpoint.stats().retries_sent, 19);
    peers[2].dial(1, server.addr(), None);
    drive("the last one is turned away", || {
        peers[2].turn();
        server.turn();
        assert_eq!(peers[2].events(), []);
        server.endpoint.stats().dropped_full > 0
    });
    assert_eq!(server.endpoint.stats().connections, 5);
}

#[test]
fn garbage_leaves_nothing_behind() {
    let mut server = Node::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let first = first_packet_to(server.addr());
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut sent = 0;
    for round in 0..2000 {
        let mut packet = match round % 3 {
            0 => (0..random() % 1500).map(|_| random() as u8).collect(),
            1 => first[..random() % first.len()].to_vec(),
            _ => first.clone(),
        };
        if round % 3 != 1 && !packet.is_empty() {
            let at = random() % packet.len().min(1 + round);
            packet[at] ^= 1 << (random() % 8);
        }
        // A version that nobody speaks, in a packet large enough to be answered.
        if round % 30 == 2 {
            packet[1..5].copy_from_slice(&[0x1a, 0x2a, 0x3a, 0x4a]);
        }
        socket.send_to(&packet, server.addr()).unwrap();
        sent += 1;
        if round % 20 == 0 {
            server.turn();
            assert_eq!(server.events(), []);
        }
    }
    drive("all has been read", || {
        server.turn();
        assert_eq!(server.events(), []);
        server.endpoint.stats().packets_received == sent
    });
    let stats = server.endpoint.stats();
    assert_eq!(stats.connections, 0, "{stats:?}");
    assert!(stats.dropped_unknown > 1000 && stats.version_negotiations_sent > 10, "{stats:?}");
    Node::new().connect(&mut server, None);
}

/// What a client sends first.
fn first_packet_to(server: SocketAddr) -> Vec<u8> {
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION).unwrap();
    config.set_application_protos(&[b"lanspread/1"]).unwrap();
    let local = "127.0.0.1:9".parse().unwrap();
    let mut client =
        quiche::connect(None, &quiche::ConnectionId::from_ref(&[3; 16]), local, server, &mut config).unwrap();
    let mut packet = vec![0; 1350];
    let (len, _) = client.send(&mut packet).unwrap();
    packet.truncate(len);
    packet
}
