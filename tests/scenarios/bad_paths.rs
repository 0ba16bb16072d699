//! What a network can do: forged advertisements, floods, losses, packets out of order, a cable that is pulled.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::download::{share_of, wait_bytes};
use crate::support::{
    CHUNK, Daemon, GameSpec, Home, Host, Lan, MIB, Options, RoughPath, assert_same_tree, available, eventually,
};

/// Peers that nobody ever saw, advertised from `host` under addresses at which nobody is.
fn forge(host: &Host, count: u8) -> mdns_sd::ServiceDaemon {
    host.enter(move || {
        let responder = mdns_sd::ServiceDaemon::new().unwrap();
        for n in 0..count {
            let id = format!("0a0b0c0d-0e0f-8a0b-8c0d-0e0f0a0b0c{n:02x}");
            let rev = n.to_string();
            let txt = [("peer_id", id.as_str()), ("proto_ver", "1"), ("library_epoch", "00000000000000ff")];
            let txt: HashMap<String, String> = txt
                .into_iter()
                .chain([("library_rev", rev.as_str()), ("hostname", "forged")])
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect();
            let (name, ip) = (format!("{id}.local."), Ipv4Addr::new(10, 77, 0, 100 + n).to_string());
            let port = 4000 + u16::from(n);
            let info = mdns_sd::ServiceInfo::new("_lanspread._udp.local.", &id, &name, ip.as_str(), port, txt).unwrap();
            responder.register(info).unwrap();
        }
        responder
    })
}

/// Garbage and first packets of connections that never go on, until it is stopped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Flooded>,
}

/// What was sent, and what came back.
#[derive(Default)]
struct Flooded {
    garbage: u64,
    first_packets: u64,
    /// Newcomers that were told to show their address.
    retries: u64,
    /// Connections that the daemon took up at once.
    taken_up: BTreeSet<Vec<u8>>,
}

impl Flood {
    fn start(host: &Host, target: SocketAddr) -> Self {
        let from = SocketAddr::from((host.addr(), 0));
        let sockets = host.enter(move || {
            let sockets: Vec<UdpSocket> = (0..8).map(|_| UdpSocket::bind(from).unwrap()).collect();
            sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
            sockets
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || flood(&sockets, target, &stopped)) }
    }

    fn stop(self) -> Flooded {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn flood(sockets: &[UdpSocket], target: SocketAddr, stop: &AtomicBool) -> Flooded {
    let mut seen = Flooded::default();
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut config = quiche::Config::new(quiche::PROTOCOL_VERSION).unwrap();
    config.set_application_protos(&[b"lanspread/1"]).unwrap();
    config.verify_peer(false);
    let (mut packet, mut buffer) = ([0; 1350], [0; 2000]);
    while !stop.load(Ordering::Relaxed) {
        for socket in sockets {
            let mut scid = [0; 16];
            noise.fill(&mut scid);
            let (id, local) = (quiche::ConnectionId::from_ref(&scid), socket.local_addr().unwrap());
            let mut client = quiche::connect(None, &id, local, target, &mut config).unwrap();
            let (len, _) = client.send(&mut packet).unwrap();
            seen.first_packets += u64::from(socket.send_to(&packet[..len], target).is_ok());
            for _ in 0..4 {
                noise.fill(&mut packet);
                let len = 1 + usize::from(packet[0]) * 5;
                seen.garbage += u64::from(socket.send_to(&packet[..len], target).is_ok());
            }
            while let Ok(len) = socket.recv(&mut buffer) {
                seen.note(&buffer[..len]);
            }
        }
        // Else it would take a whole core from those whom it is to disturb.
        std::thread::park_timeout(Duration::from_millis(4));
    }
    seen
}

impl Flooded {
    /// A packet of the daemon's, by its long header (RFC 9000, section 17.2).
    fn note(&mut self, packet: &[u8]) {
        let [first, 0, 0, 0, 1, id_len, rest @ ..] = packet else { return };
        match (first & 0x80 != 0, (first & 0x30) >> 4) {
            (true, 3) => self.retries += 1,
            (true, _) => {
                self.taken_up.insert(rest.get(..usize::from(*id_len)).unwrap_or_default().to_vec());
            }
            (false, _) => {}
        }
    }
}

/// Resident memory in bytes, of the daemon that listens there.
fn memory(daemon: &Daemon) -> u64 {
    // `ip netns exec` becomes the daemon: it runs it in its own place.
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    assert!(status.starts_with("Name:\tlanspread"), "{status}");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn forged_advertisements_and_a_flood_keep_nobody_from_finding_and_fetching() {
    let name = "forged_advertisements_and_a_flood_keep_nobody_from_finding_and_fetching";
    if !available(name, &["netns"]) {
        return;
    }
    const FORGED: u8 = 50;
    let lan = Lan::new();
    let (host, attacker) = (lan.host("a"), lan.host("b"));
    let home = Home::new();
    let daemon = Daemon::start(&home, &Options::on(&host));
    let responder = forge(&attacker, FORGED);
    eventually("every forged peer was heard of", 60, || {
        let seen = daemon.events("peer-discovered");
        let ids: BTreeSet<String> = seen.iter().map(|event| event["peer_id"].to_string()).collect();
        (ids.len() >= usize::from(FORGED)).then_some(())
    });
    let before = memory(&daemon);
    let began = Instant::now();
    let flood = Flood::start(&attacker, daemon.addr);

    // In the midst of it an honest peer comes.
    let spec = GameSpec::new("doom").file("doom.pak", 12 * CHUNK + 3);
    let source = Home::with(std::slice::from_ref(&spec));
    let honest = Daemon::start(&source, &Options::on(&lan.host("c")));
    honest.wait_hashed();
    daemon.wait_peers(1);
    let most_memory = memory(&daemon);
    let finished = daemon.download("doom");
    assert_eq!(share_of(&finished, &honest), spec.bytes(), "{finished}");
    assert_same_tree(&source.game("doom"), &home.game("doom"));
    let (status, peers) = (daemon.status(), daemon.peers());
    assert_eq!(status["peers_connected"], 1, "{peers:?}");
    assert!(peers.iter().all(|peer| (peer["connected"] == true) == (peer["peer_id"] == honest.peer_id.as_str())));
    eventually("the flood had its time", 30, || (began.elapsed() > Duration::from_secs(1)).then_some(()));
    let most_memory = most_memory.max(memory(&daemon));
    let flooded = flood.stop();
    let lasted = began.elapsed();
    let Flooded { garbage, first_packets, retries, taken_up } = flooded;
    println!(
        "{garbage} of garbage, {first_packets} first packets, {retries} retries, {} taken up, in {lasted:?}; {} KiB more",
        taken_up.len(),
        most_memory.saturating_sub(before) >> 10
    );
    assert!(first_packets > 200 && garbage > 800, "that was no flood");
    // Those that the table had no place for were told to show their address, which costs the daemon nothing. A place is
    // free again when its handshake has taken too long.
    assert!(retries > first_packets / 10, "{retries} retries to {first_packets} newcomers");
    let defaults = lanspread_peer::config::Config::new("unused".into(), "unused".into());
    let turns = 1 + lasted.as_millis().div_ceil(defaults.timers.dial_timeout.as_millis()) as usize;
    let places = defaults.limits.half_open_before_retry;
    assert!(taken_up.len() <= places * turns, "{} were taken up", taken_up.len());
    // The landing buffers of the download, and as much again.
    let most = 2 * defaults.limits.landing_buffers as u64 * CHUNK;
    assert!(most_memory < before + most, "{before} bytes before, {most_memory} in the flood");
    let _ = responder.shutdown();
}

/// Waits until both have lost each other, by their own word.
fn wait_lost(daemon: &Daemon, mark: usize, other: &Daemon) {
    let lost = |record: &Value| record["event"] == "peer-lost" && record["peer_id"] == other.peer_id.as_str();
    daemon.wait_record(mark, "the loss of the peer", 60, lost);
}

#[test]
fn a_download_survives_losses_and_a_cable_that_is_pulled_for_longer_than_any_silence_is_borne() {
    let name = "a_download_survives_losses_and_a_cable_that_is_pulled_for_longer_than_any_silence_is_borne";
    if !available(name, &["netns", "nft"]) {
        return;
    }
    const LOSS: u32 = 5;
    let lan = Lan::new();
    let spec = GameSpec::new("doom").file("doom.pak", 24 * CHUNK + 5).many(40, 20_000);
    let (source, home) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let hosts = [lan.host("a"), lan.host("b")];
    let options = |host: &Host| {
        let options = Options::on(host).short_liveness().set("timers.run_stall", "2s");
        options.set("timers.redial_min", "200ms").set("timers.redial_max", "1s").set("timers.source_wait", "100s")
    };
    let a = Daemon::start(&source, &options(&hosts[0]).arg("--max-upload", "6MB/s"));
    a.wait_hashed();
    let b = Daemon::start(&home, &options(&hosts[1]));
    b.wait_peers(1);
    hosts.iter().for_each(|host| host.lose_percent(LOSS));
    let mark = b.begin_download("doom");
    wait_bytes(&b, mark, 6 * MIB);
    let lost_packets = hosts.each_ref().map(Host::lost_packets);
    assert!(lost_packets.iter().all(|lost| *lost > 0), "{lost_packets:?}");

    // The cable is pulled until either side has given the other one up.
    let marks = [a.mark(), b.mark()];
    hosts.iter().for_each(|host| host.lose_percent(100));
    wait_lost(&b, marks[1], &a);
    wait_lost(&a, marks[0], &b);
    assert_eq!(b.games()["doom"]["operation"], "downloading", "it waits for them");
    assert!(!home.game("doom").join("version.ini").exists());
    hosts.iter().for_each(|host| host.lose_percent(LOSS));
    let finished = b.wait_download("doom", mark);
    assert_eq!(finished["event"], "download-finished", "{finished}");
    assert_eq!(share_of(&finished, &a), spec.bytes(), "{finished}");
    assert_same_tree(&source.game("doom"), &home.game("doom"));
    b.wait_record(marks[1], "the return of the peer", 30, |record| record["event"] == "peer-connected");
}

#[test]
fn packets_that_are_late_lost_repeated_or_out_of_order_change_nothing_but_the_time() {
    let spec = GameSpec::new("doom").file("doom.pak", 8 * CHUNK + 5).many(20, 20_000);
    let (source, home) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    // Packets as they are on a LAN, not as large as loopback takes them: many.
    let options = Options::local().set("transport.max_payload", "1350");
    let a = Daemon::start(&source, &options);
    a.wait_hashed();
    let path = RoughPath::to(a.addr, 50, 0x5eed);
    let b = Daemon::start(&home, &options);
    b.ok(json!({"cmd": "connect", "addr": path.addr.to_string()}));
    b.wait_peers(1);
    let finished = b.download("doom");
    assert_same_tree(&source.game("doom"), &home.game("doom"));
    assert_eq!(share_of(&finished, &a), spec.bytes());
    assert!(path.bytes() > spec.bytes(), "the game came this way: {} bytes", path.bytes());
    let mischief = path.mischief();
    assert!(mischief.iter().all(|count| *count > 10), "lost, overtaken, repeated: {mischief:?}");
    assert_eq!((&a.status()["peers_connected"], &b.status()["peers_connected"]), (&json!(1), &json!(1)));
}
