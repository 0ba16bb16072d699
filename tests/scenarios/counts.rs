//! What a download costs, in counts that do not depend on how busy the machine is: packets a system call, packets a wake-up. Coarse
//! bounds, which only a step back by a factor breaks.

use serde_json::Value;

use crate::support::{CHUNK, Daemon, GameSpec, Home, Host, Lan, Options, assert_same_tree, available};

/// What is downloaded.
fn spec() -> GameSpec {
    GameSpec::new("doom").file("doom.pak", 64 * CHUNK)
}

/// Downloads 64 chunks in packets as they are on a LAN. The options are those of source and target; answers the metrics of both.
fn download(options: [&Options; 2]) -> (Value, Value) {
    let spec = spec();
    let (source, home) = (Home::with(std::slice::from_ref(&spec)), Home::new());
    let [of_source, of_target] = options.map(|options| options.clone().set("transport.max_payload", "1472"));
    let a = Daemon::start(&source, &of_source);
    a.wait_hashed();
    let b = Daemon::start(&home, &of_target);
    b.connect(&a);
    b.download("doom");
    assert_same_tree(&source.game("doom"), &home.game("doom"));
    let metrics = |daemon: &Daemon| daemon.ok(serde_json::json!({"cmd": "metrics"}));
    let (sent, received) = (metrics(&a), metrics(&b));
    assert!(number(&sent, "packets_sent") >= spec.bytes() / 1472, "the game came in small packets: {sent}");
    (sent, received)
}

fn number(metrics: &Value, field: &str) -> u64 {
    metrics["network"][field].as_u64().unwrap_or_else(|| panic!("{field} in {metrics}"))
}

#[test]
fn packets_travel_in_trains_and_acknowledgements_are_few() {
    let (sent, received) = download([&Options::local(), &Options::local()]);
    let (packets, calls) = (number(&sent, "packets_sent"), number(&sent, "send_calls"));
    assert!(packets >= 8 * calls, "{calls} calls sent {packets} packets");
    let (arrived, calls) = (number(&received, "packets_received"), number(&received, "receive_calls"));
    assert!(arrived >= 8 * calls, "{calls} calls received {arrived} packets");
    let acks = number(&received, "packets_sent");
    assert!(arrived >= 8 * acks, "{acks} packets back for {arrived}");
    let wakeups = received["wakeups"].as_u64().unwrap();
    assert!(arrived >= 4 * wakeups, "{wakeups} wake-ups for {arrived} packets");
    // A buffer of a chunk for each batch that is on its way, and no more of them than the pool has.
    let pool = &received["landing_buffers"];
    assert!(pool["peak"].as_u64().unwrap() <= pool["limit"].as_u64().unwrap(), "{pool}");
}

#[test]
fn without_segmentation_offload_every_packet_is_sent_alone() {
    let options = Options::local().set("transport.send_offload", "false");
    let (sent, _) = download([&options, &options]);
    let (packets, calls) = (number(&sent, "packets_sent"), number(&sent, "send_calls"));
    assert!(calls >= packets, "{calls} calls sent {packets} packets");
}

/// On a link on which every packet comes alone, a loop that woke up for each of them found two at a time, and acknowledged each time.
#[test]
fn packets_that_come_one_by_one_are_received_in_bundles() {
    if !available("packets_that_come_one_by_one_are_received_in_bundles", &["netns"]) {
        return;
    }
    let lan = Lan::new();
    let hosts: [Host; 2] = [lan.host("source"), lan.host("target")];
    hosts.iter().for_each(|host| host.wire_mbit(200));
    let (_, received) = download([&Options::on(&hosts[0]), &Options::on(&hosts[1])]);
    let (arrived, calls) = (number(&received, "packets_received"), number(&received, "receive_calls"));
    assert!(arrived >= spec().bytes() / 1472, "the game came in small packets: {received}");
    let wakeups = received["wakeups"].as_u64().unwrap();
    assert!(arrived >= 5 * wakeups, "{wakeups} wake-ups for {arrived} packets");
    assert!(arrived >= 4 * calls, "{calls} calls received {arrived} packets");
    let acks = number(&received, "packets_sent");
    assert!(arrived >= 5 * acks, "{acks} packets back for {arrived}");
}
