//! Real mDNS over the loopback interface, on a port of its own, so that no test meets another or the LAN.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use crossbeam_channel::Receiver;
use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};

use crate::types::{Epoch, LibraryStamp, PeerId, Revision};

use super::{Discovery, DiscoveryConfig, DiscoveryEvent, SERVICE_TYPE, Sighted};

const PATIENCE: Duration = Duration::from_secs(20);

fn free_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port()
}

fn peer(n: u8) -> PeerId {
    PeerId::from_spki_sha256(&[n; 32])
}

fn stamp(rev: u64) -> LibraryStamp {
    LibraryStamp { epoch: Epoch(0xabcd), rev: Revision(rev) }
}

fn config(n: u8, mdns_port: u16) -> DiscoveryConfig {
    let mut config = DiscoveryConfig::new(peer(n), 40_000 + u16::from(n), 1);
    config.listen = vec![Ipv4Addr::LOCALHOST.into()];
    config.mdns_port = mdns_port;
    config.hostname = Some(format!("pc{n}"));
    config.timers.advertise_every = Duration::from_millis(300);
    config.timers.first_window = Duration::from_secs(60);
    config
}

fn start(config: DiscoveryConfig) -> (Discovery, Receiver<DiscoveryEvent>) {
    let (tx, rx) = crossbeam_channel::unbounded();
    let sink = Box::new(move |event| {
        let _ = tx.send(event);
    });
    (Discovery::start(config, sink).unwrap(), rx)
}

/// Events up to and including the first that satisfies `last`.
fn until(events: &Receiver<DiscoveryEvent>, last: impl Fn(&DiscoveryEvent) -> bool) -> Vec<DiscoveryEvent> {
    let mut seen = Vec::new();
    loop {
        let event = events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing more came after {seen:?}"));
        seen.push(event);
        if seen.last().is_some_and(&last) {
            return seen;
        }
    }
}

fn sights(peer_id: PeerId, rev: u64) -> impl Fn(&DiscoveryEvent) -> bool {
    move |event| matches!(event, DiscoveryEvent::Sighted(s) if s.peer_id == peer_id && s.stamp.rev == Revision(rev))
}

#[test]
fn two_daemons_see_each_other_follow_updates_and_hear_the_goodbye() {
    let port = free_port();
    let (a, seen_by_a) = start(config(1, port));
    let (b, seen_by_b) = start(config(2, port));
    a.advertise(stamp(1));
    b.advertise(stamp(1));

    let first = until(&seen_by_a, sights(peer(2), 1));
    let expected = Sighted {
        peer_id: peer(2),
        addrs: vec![(Ipv4Addr::LOCALHOST, 40_002).into()],
        proto_ver: 1,
        stamp: stamp(1),
        hostname: Some("pc2".into()),
    };
    assert_eq!(first, [DiscoveryEvent::Sighted(expected)], "itself, or more than one report");
    until(&seen_by_b, sights(peer(1), 1));

    for rev in 2..=50 {
        b.advertise(stamp(rev));
    }
    let updates = until(&seen_by_a, sights(peer(2), 50));
    assert!(updates.len() <= 3, "49 changes were to be coalesced: {updates:?}");

    b.shutdown();
    until(&seen_by_a, |event| *event == DiscoveryEvent::Gone { peer_id: peer(2) });
    drop(a);
    assert!(seen_by_a.iter().next().is_none(), "the sink outlived the adapter, or something else came");
}

/// A bare mDNS responder and browser.
fn stranger(port: u16) -> ServiceDaemon {
    let daemon = ServiceDaemon::new_with_port(port).unwrap();
    daemon.disable_interface(IfKind::All).unwrap();
    daemon.enable_interface(IfKind::LoopbackV4).unwrap();
    daemon
}

fn register(daemon: &ServiceDaemon, instance: &str, port: u16, txt: &[(&str, &str)]) {
    let host = format!("{instance}.local.");
    let mut info = ServiceInfo::new(SERVICE_TYPE, instance, &host, "127.0.0.1", port, txt).unwrap();
    info.set_requires_probe(false);
    // The command queue is short: a full one empties by itself.
    while let Err(mdns_sd::Error::Again) = daemon.register(info.clone()) {
        std::thread::yield_now();
    }
}

#[test]
fn forged_advertisements_are_ignored_and_cannot_withdraw_a_real_one() {
    let port = free_port();
    let (a, seen_by_a) = start(config(1, port));
    let (b, _) = start(config(2, port));
    b.advertise(stamp(1));
    until(&seen_by_a, sights(peer(2), 1));

    let forger = stranger(port);
    let witness = stranger(port);
    let [one, two, three] = [1, 2, 3].map(|n| peer(n).to_string());
    let good = |id| [("peer_id", id), ("proto_ver", "1"), ("library_epoch", "000000000000abcd"), ("library_rev", "9")];
    register(&forger, "no-txt", 7, &[]);
    register(&forger, "no-id", 7, &[("peer_id", "DROP TABLE"), ("proto_ver", "1")]);
    register(&forger, "no-port", 0, &good(&three));
    register(&forger, "itself", 7, &good(&one));
    register(&forger, "impostor", 7, &good(&two));
    // The impostor's is a well-formed hint, so it is reported; its withdrawal must not take the real one along.
    until(&seen_by_a, sights(peer(2), 9));
    let browse = witness.browse(SERVICE_TYPE).unwrap();
    let mut heard = std::collections::HashSet::new();
    while heard.len() < 6 {
        if let ServiceEvent::ServiceResolved(service) = browse.recv_timeout(PATIENCE).unwrap() {
            heard.insert(service.fullname);
        }
    }
    forger.shutdown().unwrap().recv_timeout(PATIENCE).unwrap();
    while !heard.is_empty() {
        if let ServiceEvent::ServiceRemoved(_, name) = browse.recv_timeout(PATIENCE).unwrap() {
            heard.remove(&name);
            heard.retain(|name| !name.starts_with(&two));
        }
    }
    // A marker after all of that: what came before it is what the forger achieved.
    let (c, _) = start(config(4, port));
    c.advertise(stamp(1));
    let events = until(&seen_by_a, sights(peer(4), 1));
    assert_eq!(events.len(), 1, "{events:?}");
    drop((a, b));
    witness.shutdown().unwrap().recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_flood_of_records_restarts_the_adapter_which_then_finds_peers_again() {
    let port = free_port();
    let forger = stranger(port);
    let mut config = config(1, port);
    config.max_records = 100;
    config.timers.check_every = Duration::from_millis(50);
    config.timers.flood_pause = Duration::from_millis(100);
    let (a, seen_by_a) = start(config);
    for n in 0..60 {
        register(&forger, &format!("junk{n}"), 7, &[("peer_id", "junk")]);
    }
    while a.restarts() == 0 {
        std::thread::yield_now();
    }
    forger.shutdown().unwrap().recv_timeout(PATIENCE).unwrap();
    let (b, _) = start(self::config(2, port));
    b.advertise(stamp(1));
    until(&seen_by_a, sights(peer(2), 1));
}
