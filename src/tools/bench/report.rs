//! What the counters of both sides say together: costs, waits, and what holds it back, in words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::cores;

const GIB: f64 = (1u64 << 30) as f64;

/// A thread, or all cores together, that is busy for so much of the time leaves nothing to gain elsewhere.
const BUSY: f64 = 0.85;
/// Waiting for a disk so much of the time is what holds it back.
const WAITS: f64 = 0.3;
/// Waiting for the network is part of every transfer; so much of it is not.
const WAITS_FOR_NETWORK: f64 = 0.6;
/// More packets than this lost slow a sender down.
const LOSSY: f64 = 0.01;

/// Counters of one side: at an instant, or between two.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    cpu: Option<f64>,
    reactor: Option<f64>,
    wakeups: f64,
    packets_sent: f64,
    send_calls: f64,
    packets_received: f64,
    receive_calls: f64,
    packets_lost: f64,
    retransmitted: f64,
    /// Seconds by cause.
    stalls: BTreeMap<String, f64>,
    /// Of the peer that it is connected with; not a total.
    rtt: Option<f64>,
    congestion_window: Option<f64>,
}

impl Side {
    /// From the JSON of `metrics`.
    pub(super) fn read(metrics: &Value) -> Self {
        let number = |value: &Value| value.as_f64().unwrap_or(0.0);
        let network = |name: &str| number(&metrics["network"][name]);
        let stalls = metrics["stalls"].as_array().into_iter().flatten();
        Self {
            cpu: metrics["cpu_seconds"].as_f64(),
            reactor: metrics["reactor_cpu_seconds"].as_f64(),
            wakeups: number(&metrics["wakeups"]),
            packets_sent: network("packets_sent"),
            send_calls: network("send_calls"),
            packets_received: network("packets_received"),
            receive_calls: network("receive_calls"),
            packets_lost: network("packets_lost"),
            retransmitted: network("retransmitted_bytes"),
            stalls: stalls
                .map(|stall| (stall["cause"].as_str().unwrap_or_default().to_owned(), number(&stall["seconds"])))
                .collect(),
            rtt: metrics["peers"][0]["rtt_seconds"].as_f64(),
            congestion_window: metrics["peers"][0]["congestion_window_bytes"].as_f64(),
        }
    }

    /// Adds what was counted between two looks.
    fn add(&mut self, before: &Self, after: &Self) {
        let since = |total: &mut Option<f64>, before: Option<f64>, after: Option<f64>| {
            *total = before.zip(after).map(|(before, after)| total.unwrap_or(0.0) + after - before);
        };
        since(&mut self.cpu, before.cpu, after.cpu);
        since(&mut self.reactor, before.reactor, after.reactor);
        self.wakeups += after.wakeups - before.wakeups;
        self.packets_sent += after.packets_sent - before.packets_sent;
        self.send_calls += after.send_calls - before.send_calls;
        self.packets_received += after.packets_received - before.packets_received;
        self.receive_calls += after.receive_calls - before.receive_calls;
        self.packets_lost += after.packets_lost - before.packets_lost;
        self.retransmitted += after.retransmitted - before.retransmitted;
        for (cause, seconds) in &after.stalls {
            *self.stalls.entry(cause.clone()).or_default() += seconds - before.stalls.get(cause).unwrap_or(&0.0);
        }
        self.rtt = after.rtt.or(self.rtt);
        self.congestion_window = after.congestion_window.or(self.congestion_window);
    }

    fn json(&self, bytes: f64, seconds: f64, causes: &[&str]) -> Value {
        let per = |count: f64, calls: f64| if calls > 0.0 { json!(count / calls) } else { Value::Null };
        let stalls: BTreeMap<&str, f64> = causes.iter().map(|cause| (*cause, self.stall(cause))).collect();
        json!({
            "cpu_seconds_per_gib": self.cpu.map(|cpu| cpu / (bytes / GIB)),
            "reactor_busy": self.reactor.map(|reactor| reactor / seconds),
            "wakeups": self.wakeups,
            "packets_sent": self.packets_sent,
            "packets_received": self.packets_received,
            "packets_per_send_call": per(self.packets_sent, self.send_calls),
            "packets_per_receive_call": per(self.packets_received, self.receive_calls),
            "stalled_seconds": stalls,
        })
    }

    fn stall(&self, cause: &str) -> f64 {
        self.stalls.get(cause).copied().unwrap_or(0.0)
    }
}

/// All rounds of one measurement.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    bytes: f64,
    seconds: f64,
    receiver: Side,
    sender: Option<Side>,
}

impl Account {
    /// One more round: what was counted before and after it, here and at the sending side.
    pub(super) fn add(
        &mut self,
        bytes: u64,
        seconds: f64,
        before: &(Side, Option<Side>),
        after: &(Side, Option<Side>),
    ) {
        self.bytes += bytes as f64;
        self.seconds += seconds;
        self.receiver.add(&before.0, &after.0);
        if let (Some(before), Some(after)) = (&before.1, &after.1) {
            self.sender.get_or_insert_default().add(before, after);
        }
    }
}

/// Adds to the result what the account says. `local`: both sides share this machine.
pub(super) fn fill(found: &mut Value, account: &Account, local: bool) {
    let Account { bytes, seconds, receiver, sender } = account;
    let (what, reason) = bottleneck(account, local.then(cores));
    let receiving = ["landing-buffers", "disk-write", "source", "download-limit"];
    let sending = ["source-read", "read-buffers", "network", "upload-limit"];
    found["seconds"] = json!(seconds);
    found["receiver"] = receiver.json(*bytes, *seconds, &receiving);
    found["sender"] = sender.as_ref().map_or(Value::Null, |sender| sender.json(*bytes, *seconds, &sending));
    // The receiving side says nothing else while it receives, but for a request now and then.
    found["ack_packets"] = json!(receiver.packets_sent);
    found["packets_lost"] = json!(sender.as_ref().map(|sender| sender.packets_lost));
    found["retransmitted_bytes"] = json!(sender.as_ref().map(|sender| sender.retransmitted));
    // The sender measures it all the time, the receiver only when it asks for something.
    let path = sender.as_ref().unwrap_or(receiver);
    found["rtt_ms"] = json!(path.rtt.map(|rtt| rtt * 1e3));
    found["congestion_window_bytes"] = json!(sender.as_ref().and_then(|sender| sender.congestion_window));
    found["bottleneck"] = json!({"what": what, "reason": reason});
}

/// What holds it back, and why that is thought. `cores`: those that both sides share.
fn bottleneck(account: &Account, cores: Option<usize>) -> (&'static str, String) {
    let Account { seconds, receiver, sender, .. } = account;
    let part = |of: f64| of / seconds.max(1e-9);
    let percent = |part: f64| format!("{:.0} %", part * 100.0);
    let sender_cpu = sender.as_ref().and_then(|sender| sender.cpu);
    // First of all: on a machine that is busy everything waits, and what it waits for says little.
    if let (Some(cores), Some(receiving), Some(sending)) = (cores, receiver.cpu, sender_cpu) {
        let busy = part(receiving + sending) / cores as f64;
        if busy >= BUSY {
            let reason = format!("both sides together kept {cores} cores busy for {} of the time", percent(busy));
            return ("processor", reason);
        }
    }
    let busy = [
        ("receiver-reactor", "receiving", receiver.reactor),
        ("sender-reactor", "sending", sender.as_ref().and_then(|sender| sender.reactor)),
    ];
    let busiest = busy.iter().max_by(|a, b| a.2.unwrap_or(0.0).total_cmp(&b.2.unwrap_or(0.0)));
    if let Some((what, side, Some(reactor))) = busiest
        && part(*reactor) >= BUSY
    {
        let busy = percent(part(*reactor));
        return (what, format!("the network thread of the {side} side was busy for {busy} of the time"));
    }
    let disk = part(receiver.stall("disk-write"));
    if disk >= WAITS {
        let reason = format!("for {} of the time what had landed waited for the disk or the workers", percent(disk));
        return ("disk-write", reason);
    }
    if let Some(sender) = sender {
        let reads = part(sender.stall("source-read").max(sender.stall("read-buffers")));
        if reads >= WAITS {
            let reason = format!("for {} of the time the sending side waited for its files to be read", percent(reads));
            return ("source-read", reason);
        }
        let lost = sender.packets_lost / sender.packets_sent.max(1.0);
        if lost >= LOSSY {
            return ("packet-loss", format!("{} of the packets were lost", percent(lost)));
        }
        let network = part(sender.stall("network"));
        if network >= WAITS_FOR_NETWORK {
            let reason = format!(
                "for {} of the time the sending side had data, and the network took no more (congestion window, pacing)",
                percent(network)
            );
            return ("network", reason);
        }
    }
    let source = part(receiver.stall("source"));
    if source >= WAITS_FOR_NETWORK {
        let reason =
            format!("for {} of the time the receiving side waited for the network or the source", percent(source));
        return ("network-or-source", reason);
    }
    ("mixed", "nothing was busy, or waited for, most of the time: starts and ends of the rounds weigh most".into())
}

/// A transfer, for people.
pub(super) fn transfer_text(name: &str, found: &Value) -> String {
    let what = match (name, found["in_memory"] == true) {
        ("net", true) => "memory to memory, through the whole protocol",
        ("net", false) => "through the whole protocol; the files lie on a disk, as there is no memory for them",
        (_, true) => "file to file; the directory is in memory: name a disk with --dir",
        _ => "file to verified, durable file",
    };
    let mut out = format!("{name}: {what}\n  {}\n", rate(found));
    for side in ["sender", "receiver"] {
        let of = &found[side];
        if of.is_null() {
            out.push_str(&format!("  {side}: see what it says itself when it ends\n"));
            continue;
        }
        let stalls = of["stalled_seconds"].as_object().into_iter().flatten();
        let stalls: Vec<String> = stalls
            .filter(|(_, seconds)| seconds.as_f64().is_some_and(|seconds| seconds >= 0.005))
            .map(|(cause, seconds)| format!("{cause} {} s", number(seconds, 2)))
            .collect();
        out.push_str(&format!(
            "  {side}: {} CPU s/GiB, network thread busy {}, packets a call: sent {}, received {}; waited for {}\n",
            number(&of["cpu_seconds_per_gib"], 2),
            of["reactor_busy"].as_f64().map_or("?".into(), |busy| format!("{:.0} %", busy * 100.0)),
            number(&of["packets_per_send_call"], 1),
            number(&of["packets_per_receive_call"], 1),
            if stalls.is_empty() { "nothing".to_owned() } else { stalls.join(", ") },
        ));
    }
    out.push_str(&format!(
        "  packets: {} acknowledging, {} lost, {} bytes sent again; round trip {} ms\n",
        number(&found["ack_packets"], 0),
        number(&found["packets_lost"], 0),
        number(&found["retransmitted_bytes"], 0),
        number(&found["rtt_ms"], 3),
    ));
    let bottleneck = &found["bottleneck"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    out.push_str(&format!("  bottleneck: {}: {}\n", text(&bottleneck["what"]), text(&bottleneck["reason"])));
    out
}

/// The hashes, for people.
pub(super) fn hash_text(name: &str, found: &Value) -> String {
    let mut out = format!("{name}: in chunks of 1 MiB\n");
    for row in found["results"].as_array().into_iter().flatten() {
        let threads = row["threads"].as_u64().unwrap_or(1);
        let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        out.push_str(&format!("  {:<9} {threads:<10} {}\n", row["hash"].as_str().unwrap_or_default(), rate(row)));
    }
    out
}

fn rate(found: &Value) -> String {
    let of = |name: &str| number(&found["mib_per_s"][name], 0);
    format!("{} MiB/s ({} to {}, {} rounds)", of("median"), of("min"), of("max"), number(&found["rounds"], 0))
}

fn number(value: &Value, decimals: usize) -> String {
    value.as_f64().map_or_else(|| "?".to_owned(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds in which each side used so much CPU, and these waits.
    fn account(receiver: (f64, f64), sender: (f64, f64), stalls: [(&str, f64); 2]) -> Account {
        let side = |(cpu, reactor): (f64, f64), stall: (&str, f64)| Side {
            cpu: Some(cpu),
            reactor: Some(reactor),
            packets_sent: 1000.0,
            stalls: BTreeMap::from([(stall.0.to_owned(), stall.1)]),
            ..Side::default()
        };
        let [here, there] = stalls;
        Account { bytes: GIB, seconds: 10.0, receiver: side(receiver, here), sender: Some(side(sender, there)) }
    }

    #[test]
    fn the_bottleneck_is_named_with_its_reason() {
        let none = [("source", 0.0), ("network", 0.0)];
        let name = |account: &Account| bottleneck(account, Some(2)).0;
        assert_eq!(name(&account((9.0, 5.0), (9.0, 5.0), none)), "processor");
        assert_eq!(name(&account((9.5, 9.0), (4.0, 4.0), none)), "receiver-reactor");
        assert_eq!(name(&account((4.0, 4.0), (9.5, 9.0), none)), "sender-reactor");
        assert_eq!(name(&account((1.0, 1.0), (1.0, 1.0), [("disk-write", 5.0), ("network", 9.0)])), "disk-write");
        assert_eq!(name(&account((1.0, 1.0), (1.0, 1.0), [("source", 9.0), ("source-read", 5.0)])), "source-read");
        assert_eq!(name(&account((1.0, 1.0), (1.0, 1.0), [("source", 9.0), ("network", 8.0)])), "network");
        assert_eq!(name(&account((1.0, 1.0), (1.0, 1.0), none)), "mixed");
        let mut lossy = account((1.0, 1.0), (1.0, 1.0), [("source", 9.0), ("network", 8.0)]);
        lossy.sender.as_mut().unwrap().packets_lost = 50.0;
        assert_eq!(name(&lossy), "packet-loss");
        let (_, reason) = bottleneck(&lossy, Some(2));
        assert_eq!(reason, "5 % of the packets were lost");
        // From another PC nothing is known but what was waited for here.
        let mut remote = account((1.0, 1.0), (1.0, 1.0), [("source", 9.0), ("network", 8.0)]);
        remote.sender = None;
        assert_eq!(bottleneck(&remote, None).0, "network-or-source");
    }

    #[test]
    fn only_what_was_counted_between_two_looks_counts() {
        let look = |cpu: f64, sent: u64, waited: f64| {
            Side::read(&json!({
                "cpu_seconds": cpu, "network": {"packets_sent": sent, "send_calls": sent / 10},
                "stalls": [{"cause": "source", "seconds": waited}],
            }))
        };
        let mut account = Account::default();
        account.add(1 << 30, 2.0, &(look(1.0, 100, 1.0), None), &(look(3.0, 300, 1.5), None));
        account.add(1 << 30, 2.0, &(look(4.0, 400, 9.0), None), &(look(6.0, 600, 9.5), None));
        let found = account.receiver.json(account.bytes, account.seconds, &["source"]);
        assert_eq!(found["cpu_seconds_per_gib"], 2.0);
        assert_eq!(found["packets_per_send_call"], 10.0);
        assert_eq!(found["stalled_seconds"], json!({"source": 1.0}));
        assert_eq!(found["reactor_busy"], Value::Null);
    }
}
