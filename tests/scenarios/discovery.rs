//! Finding each other, keeping each other, losing each other.

use std::collections::HashMap;
use std::process::{Child, Stdio};

use serde_json::json;

use crate::support::{CHUNK, Daemon, GameSpec, Home, Host, Lan, Options, assert_same_tree, available, eventually};

/// The one remote peer of a daemon, connected.
fn only_peer(daemon: &Daemon) -> serde_json::Value {
    let peers = daemon.peers();
    assert_eq!(peers.len(), 1, "{peers:?}");
    assert_eq!(peers[0]["connected"], true, "{peers:?}");
    peers[0].clone()
}

fn assert_both_listed(a: &Daemon, b: &Daemon) {
    assert_eq!(only_peer(a)["peer_id"], b.peer_id.as_str());
    assert_eq!(only_peer(b)["peer_id"], a.peer_id.as_str());
    for (daemon, own, other) in [(a, "alpha", "beta"), (b, "beta", "alpha")] {
        let rows = daemon.games();
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["alpha", "beta"]);
        assert_eq!((&rows[own]["downloaded"], &rows[own]["peer_count"]), (&json!(true), &json!(0)));
        assert_eq!((&rows[other]["downloaded"], &rows[other]["peer_count"]), (&json!(false), &json!(1)));
    }
}

/// How a daemon reaches its one remote peer.
fn assert_reached_over(daemon: &Daemon, interface: &str) {
    assert_eq!(only_peer(daemon)["interface"], interface);
    let trip = eventually("the round trip is measured", 30, || only_peer(daemon)["rtt_ms"].as_f64());
    assert!(trip > 0.0 && trip < 1000.0, "{trip} ms");
}

fn homes() -> (Home, Home) {
    (Home::with(&[GameSpec::small("alpha")]), Home::with(&[GameSpec::small("beta")]))
}

#[test]
fn two_daemons_find_each_other_by_mdns() {
    if !available("two_daemons_find_each_other_by_mdns", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let (home_a, home_b) = homes();
    let a = Daemon::start(&home_a, &Options::on(&lan.host("a")));
    let b = Daemon::start(&home_b, &Options::on(&lan.host("b")).arg("--hostname", "the-second"));
    a.wait_peers(1);
    b.wait_peers(1);
    assert_both_listed(&a, &b);
    assert_eq!(only_peer(&a)["hostname"], "the-second");
    assert_eq!(only_peer(&a)["addr"], b.addr.to_string());
    assert_reached_over(&a, "wired");
    assert_reached_over(&b, "wired");
    assert!(a.events("peer-discovered").iter().all(|event| event["peer_id"] == b.peer_id.as_str()));
    a.stop();
    b.stop();
}

#[test]
fn two_daemons_on_one_machine_without_a_network_find_each_other() {
    if !available("two_daemons_on_one_machine_without_a_network_find_each_other", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let host = lan.lonely_host("alone");
    let (home_a, home_b) = homes();
    let a = Daemon::start(&home_a, &Options::on(&host));
    let b = Daemon::start(&home_b, &Options::on(&host));
    a.wait_peers(1);
    b.wait_peers(1);
    assert_both_listed(&a, &b);
    assert_reached_over(&a, "loopback");
    assert_reached_over(&b, "loopback");
}

#[test]
fn two_daemons_connect_without_multicast() {
    let (home_a, home_b) = homes();
    let a = Daemon::start(&home_a, &Options::local());
    let b = Daemon::start(&home_b, &Options::local());
    let answer = a.ok(json!({"cmd": "connect", "addr": b.addr.to_string()}));
    assert_eq!(answer["peer_id"], b.peer_id.as_str());
    a.wait_peers(1);
    b.wait_peers(1);
    assert_both_listed(&a, &b);
    // Again: it stands already.
    a.ok(json!({"cmd": "connect", "addr": b.addr.to_string()}));
    assert_both_listed(&a, &b);
}

#[test]
fn a_static_peer_is_found_again_and_again() {
    let (home_a, home_b) = homes();
    let a = Daemon::start(&home_a, &Options::local().short_liveness());
    let b = Daemon::start(&home_b, &Options::local().short_liveness().arg("--peer", a.addr.to_string()));
    a.wait_peers(1);
    let listen = a.addr.to_string();
    a.kill();
    let a = Daemon::start(&home_a, &Options::local().short_liveness().arg("--listen", listen));
    a.wait_peers(1);
    eventually("the static peer is back", 30, || {
        (b.peers().len() == 1 && b.peers()[0]["connected"] == true).then_some(())
    });
    assert_both_listed(&a, &b);
}

/// A bus and an avahi-daemon on one host; both end when this is dropped.
struct Avahi {
    host: Host,
    dir: tempfile::TempDir,
    children: Vec<Child>,
}

impl Avahi {
    fn start(host: &Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let file = |name: &str| root.join(name).to_str().unwrap().to_owned();
        let bus = format!(
            r#"<busconfig><type>system</type><listen>unix:path={}</listen><policy context="default">
            <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
            </policy></busconfig>"#,
            file("bus")
        );
        std::fs::write(file("bus.conf"), bus).unwrap();
        std::fs::write(
            file("avahi.conf"),
            "[server]\nuse-ipv6=no\nenable-dbus=yes\n[publish]\ndisable-publishing=yes\n",
        )
        .unwrap();
        let mut avahi = Self { host: host.clone(), dir, children: Vec::new() };
        let dbus =
            avahi.command("dbus-daemon").args(["--nofork", "--nopidfile", "--config-file", &file("bus.conf")]).spawn();
        avahi.children.push(dbus.unwrap());
        eventually("the bus listens", 10, || std::path::Path::new(&file("bus")).exists().then_some(()));
        // Its pid file has a fixed place: give it a /run of its own.
        let script = format!(
            "mkdir -p /run/avahi-daemon && mount -t tmpfs none /run/avahi-daemon && \
             exec avahi-daemon --no-drop-root --no-chroot --no-rlimits --file {}",
            file("avahi.conf")
        );
        let daemon = avahi.command("unshare").args(["-m", "sh", "-c", &script]).spawn();
        avahi.children.push(daemon.unwrap());
        avahi
    }

    fn command(&self, program: &str) -> std::process::Command {
        let mut command = self.host.command(program);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}/bus", self.dir.path().display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Resolved services as `avahi-browse -rtp` prints them.
    fn browse(&self) -> String {
        let output = self.command("avahi-browse").args(["-rtp", "_lanspread._udp"]).stdout(Stdio::piped()).output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }
}

impl Drop for Avahi {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn an_avahi_client_sees_the_service_and_its_txt_record() {
    if !available("an_avahi_client_sees_the_service_and_its_txt_record", &["netns", "avahi"]) {
        return;
    }
    let lan = Lan::new();
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    let home = Home::with(&[GameSpec::small("alpha")]);
    let daemon = Daemon::start(&home, &Options::on(&host_a).arg("--hostname", "the-first"));
    daemon.wait_hashed();
    let status = daemon.status();
    let avahi = Avahi::start(&host_b);
    let mut last = String::new();
    // The advertisement follows the library within ten seconds.
    let line = eventually("avahi resolves the service with its newest TXT", 40, || {
        last = avahi.browse();
        let rev = format!("\"library_rev={}\"", status["library_rev"]);
        last.lines().find(|line| line.starts_with('=') && line.contains(&rev)).map(str::to_owned)
    });
    let fields: Vec<&str> = line.split(';').collect();
    assert_eq!(fields[3], daemon.peer_id, "the instance is named after the peer: {line}");
    assert_eq!(fields[6], format!("{}.local", daemon.peer_id), "{line}");
    assert_eq!(fields[7], host_a.addr().to_string(), "{line}");
    assert_eq!(fields[8], daemon.addr.port().to_string(), "{line}");
    for entry in [
        format!("\"peer_id={}\"", daemon.peer_id),
        "\"proto_ver=1\"".to_owned(),
        format!("\"library_epoch={}\"", status["library_epoch"].as_str().unwrap()),
        "\"hostname=the-first\"".to_owned(),
    ] {
        assert!(line.contains(&entry), "{entry} is missing in {line}");
    }
}

#[test]
fn three_daemons_list_each_remote_game_once() {
    if !available("three_daemons_list_each_remote_game_once", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let shared = GameSpec::small("shared");
    let homes = [
        Home::with(&[shared.clone(), GameSpec::small("only-a")]),
        Home::with(&[shared.clone(), GameSpec::small("only-b")]),
        Home::new(),
    ];
    let daemons: Vec<Daemon> = ["a", "b", "c"]
        .iter()
        .zip(&homes)
        .map(|(name, home)| Daemon::start(home, &Options::on(&lan.host(name))))
        .collect();
    for daemon in &daemons {
        daemon.wait_peers(2);
    }
    let rows = daemons[2].games();
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["only-a", "only-b", "shared"]);
    assert_eq!(rows["shared"]["peer_count"], 2);
    assert_eq!(rows["shared"]["sources"].as_array().unwrap().len(), 2);
    assert_eq!(rows["only-a"]["peer_count"], 1);
    assert_eq!(daemons[0].games()["shared"]["peer_count"], 1, "the own copy is not a peer's");
    assert_eq!(daemons[0].peers().len(), 2);
}

#[test]
fn a_peer_that_comes_back_elsewhere_is_the_same_peer() {
    if !available("a_peer_that_comes_back_elsewhere_is_the_same_peer", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    let (home_a, home_b) = homes();
    let a = Daemon::start(&home_a, &Options::on(&host_a).short_liveness());
    let b = Daemon::start(&home_b, &Options::on(&host_b).short_liveness());
    a.wait_peers(1);
    let (id, old) = (b.peer_id.clone(), b.addr);
    b.kill();
    let host_b = host_b.move_to(99);
    let b = Daemon::start(&home_b, &Options::on(&host_b).short_liveness().arg("--listen", "0.0.0.0:47123"));
    assert_eq!(b.peer_id, id);
    assert_ne!(b.addr, old);
    let row = eventually("the peer is back under its new address", 30, || {
        let peers = a.peers();
        assert!(peers.len() <= 1, "no duplicate, at no time: {peers:?}");
        peers.into_iter().find(|peer| peer["connected"] == true && peer["addr"] == b.addr.to_string())
    });
    assert_eq!(row["peer_id"], id.as_str());
    b.wait_peers(1);
    eventually("the library is there once", 10, || {
        let rows = a.games();
        (rows.contains_key("beta") && rows["beta"]["peer_count"] == 1 && rows["beta"]["sources"] == json!([id]))
            .then_some(())
    });
}

#[test]
fn a_killed_peer_is_gone_after_the_stale_timeout() {
    let (home_a, home_b) = homes();
    let a = Daemon::start(&home_a, &Options::local().short_liveness());
    let b = Daemon::start(&home_b, &Options::local().short_liveness());
    a.connect(&b);
    assert!(a.games().contains_key("beta"));
    let (mark, id) = (a.mark(), b.peer_id.clone());
    b.kill();
    let lost = a.wait_record(mark, "the loss of the peer", 20, |record| record["event"] == "peer-lost");
    assert_eq!(lost["peer_id"], id.as_str());
    assert_ne!(lost["reason"], "goodbye");
    assert!(a.peers().is_empty(), "{:?}", a.peers());
    assert!(!a.games().contains_key("beta"), "its games went with it");
}

#[test]
fn a_silent_pair_stays_connected_past_the_stale_timeout() {
    let (home_a, home_b) = homes();
    let a = Daemon::start(&home_a, &Options::local().short_liveness());
    let b = Daemon::start(&home_b, &Options::local().short_liveness());
    a.connect(&b);
    let mark = a.mark();
    // Twice the stale timeout of two seconds passes: pings must have kept it.
    assert_eq!(b.refused(json!({"cmd": "wait-peers", "count": 2, "timeout_ms": 4500})), "timeout");
    only_peer(&a);
    assert!(a.since(mark).iter().all(|record| record["event"] != "peer-lost"), "{:?}", a.since(mark));
}

#[test]
fn a_goodbye_is_heard_at_once() {
    let (home_a, home_b) = homes();
    // Default liveness: only the goodbye can be so quick.
    let a = Daemon::start(&home_a, &Options::local());
    let b = Daemon::start(&home_b, &Options::local());
    a.connect(&b);
    let mark = a.mark();
    b.stop();
    let lost = a.wait_record(mark, "the goodbye", 5, |record| record["event"] == "peer-lost");
    assert_eq!(lost["reason"], "goodbye");
    assert!(a.peers().is_empty());
    assert!(!a.games().contains_key("beta"));
}

#[test]
fn a_peer_of_another_protocol_version_is_ignored_but_seen() {
    if !available("a_peer_of_another_protocol_version_is_ignored_but_seen", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    let home = Home::with(&[GameSpec::small("alpha")]);
    let daemon = Daemon::start(&home, &Options::on(&host_a));
    let forged = "0a0b0c0d-0e0f-8a0b-8c0d-0e0f0a0b0c0d";
    let addr = host_b.addr();
    let responder = host_b.enter(move || {
        let responder = mdns_sd::ServiceDaemon::new().unwrap();
        let txt = HashMap::from(
            [("peer_id", forged), ("proto_ver", "2"), ("library_epoch", "00000000000000ff"), ("library_rev", "3")]
                .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        let host = format!("{forged}.local.");
        let ip = addr.to_string();
        let info = mdns_sd::ServiceInfo::new("_lanspread._udp.local.", forged, &host, ip.as_str(), 4242, txt).unwrap();
        responder.register(info).unwrap();
        responder
    });
    let seen = eventually("the status shows the incompatible peer", 30, || {
        daemon.status()["peers_incompatible"].as_array().unwrap().first().cloned()
    });
    assert_eq!(seen, json!({"peer_id": forged, "proto_ver": 2}));
    assert!(daemon.peers().is_empty(), "{:?}", daemon.peers());
    assert!(daemon.events("peer-discovered").is_empty());
    let _ = responder.shutdown();
}

#[test]
fn an_address_that_comes_later_is_one_to_listen_on() {
    if !available("an_address_that_comes_later_is_one_to_listen_on", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let host = lan.host("a");
    let daemon = Daemon::start(&Home::new(), &Options::on(&host).set("timers.interface_check", "1s"));
    let listens_on = |addr: &str| {
        let status = daemon.status();
        status["listen_addrs"]
            .as_array()
            .unwrap()
            .iter()
            .any(|own| own.as_str().unwrap().starts_with(&format!("{addr}:")))
    };
    assert!(listens_on(&host.addr().to_string()) && !listens_on("10.77.200.1"));
    let added = host.command("ip").args(["addr", "add", "10.77.200.1/24", "dev", "eth0"]).status().unwrap();
    assert!(added.success());
    eventually("the status names the new address", 30, || listens_on("10.77.200.1").then_some(()));
}

#[test]
fn a_download_goes_on_under_another_address_of_its_pc() {
    if !available("a_download_goes_on_under_another_address_of_its_pc", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let (host_a, host_b) = (lan.host("a"), lan.host("b"));
    host_a.shape_mbit(80);
    let spec = GameSpec::new("doom").file("doom.pak", 60 * CHUNK);
    let (home_a, home_b) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    // Without IPv6, whose link-local addresses stay: a connection over one of those would notice nothing of the move.
    let options = |host| Options::on(host).arg("--listen", "0.0.0.0:0");
    let a = Daemon::start(&home_a, &options(&host_a));
    a.wait_hashed();
    // Whoever has not noticed within a minute would be found stale.
    let b = Daemon::start(&home_b, &options(&host_b).set("timers.interface_check", "1s"));
    b.wait_peers(1);
    let mark = b.begin_download("doom");
    b.wait_record(mark, "the first bytes", 30, |record| record["event"] == "download-progress");
    let _moved = host_b.move_to(200);
    let end = b.wait_download("doom", mark);
    assert_eq!(end["event"], "download-finished", "{end}");
    assert_same_tree(&home_a.game("doom"), &home_b.game("doom"));
    let stale = |daemon: &Daemon| daemon.events("peer-lost").iter().any(|lost| lost["reason"] == "stale");
    assert!(!stale(&a) && !stale(&b), "the old connection was waited for");
    let known = a.peers();
    assert_eq!(known.len(), 1);
    assert!(known[0]["addr"].as_str().unwrap().starts_with("10.77.0.200:"), "{known:?}");
}
