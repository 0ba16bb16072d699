//! What needs a fault inside the sockets. Everything else is tested from outside, in `tests/transport.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

#[path = "../../tests/quic_support/mod.rs"]
mod support;

use std::time::Duration;

use support::{Exchange, Node, drive};

use crate as lanspread_peer;

fn exchange(a: &mut Node, b: &mut Node, bytes: u64, mut between: impl FnMut(&mut Node)) {
    let (at_a, at_b) = a.connect(b, None);
    let mut from_a = Exchange::new(a, at_a.conn, bytes, true);
    let mut from_b = Exchange::new(b, at_b.conn, bytes, true);
    drive("both have received everything", || {
        for (node, exchange) in [(&mut *a, &mut from_a), (&mut *b, &mut from_b)] {
            node.turn_for(Duration::from_millis(1));
            exchange.step(node);
            between(node);
        }
        from_a.received_all() && from_b.received_all()
    });
}

#[test]
fn a_full_socket_keeps_its_train_and_nothing_is_lost_or_doubled() {
    let (mut a, mut b) = (Node::new(), Node::new());
    for node in [&mut a, &mut b] {
        node.endpoint.sockets[0].faults.full_every = Some(3);
    }
    exchange(&mut a, &mut b, 64 << 20, |node| {
        // No real buffer is full, so no real event will come.
        node.endpoint.on_ready(0, false, true);
    });
    for node in [&a, &b] {
        assert!(node.endpoint.stats().kept_trains > 10, "{:?}", node.endpoint.stats());
    }
}

#[test]
fn an_interface_without_offload_costs_speed_and_no_packet() {
    let (mut a, mut b) = (Node::new(), Node::new());
    a.endpoint.sockets[0].faults.no_offload = true;
    let (at_a, at_b) = a.connect(&mut b, None);
    let mut sending = Exchange::new(&mut a, at_a.conn, 4 << 20, true);
    let mut receiving = Exchange::new(&mut b, at_b.conn, 4 << 20, false);
    drive("everything has arrived", || {
        a.turn();
        sending.step(&mut a);
        b.turn();
        receiving.step(&mut b);
        receiving.received_all()
    });
    let stats = a.endpoint.stats();
    assert_eq!((stats.offload_trips, stats.send_errors), (1, 0), "{stats:?}");
    // quiche loses a packet that shares a datagram with the last one of the handshake, now and then.
    assert!(a.endpoint.connection_stats(at_a.conn).unwrap().packets_lost <= 2);
}
