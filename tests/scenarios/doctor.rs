//! `lanspread doctor`: each fault gives its own code and no other, a healthy LAN gives none.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Daemon, GameSpec, Home, Host, Lan, Options, available, eventually};

/// The codes of what is found now.
fn codes(daemon: &Daemon) -> Vec<String> {
    let findings = daemon.ok(json!({"cmd": "diagnose"}))["findings"].as_array().unwrap().clone();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    for finding in &findings {
        assert!(!text(finding, "message").is_empty() && !text(finding, "remedy").is_empty(), "{finding}");
    }
    findings.iter().map(|finding| text(finding, "code")).collect()
}

/// Waits until exactly these are found.
fn finds(daemon: &Daemon, expected: &[&str]) {
    let mut last = None;
    eventually(&format!("exactly {expected:?} is found"), 30, || {
        let found = codes(daemon);
        let is_it = found == expected;
        if last.as_ref() != Some(&found) {
            // Shown when the time runs out.
            println!("found {found:?}");
            last = Some(found);
        }
        is_it.then_some(())
    });
}

fn pair(options: &Options, other: &Options) -> (Daemon, Daemon, [Home; 2]) {
    let homes = [Home::with(&[GameSpec::small("doom")]), Home::new()];
    let (a, b) = (Daemon::start(&homes[0], options), Daemon::start(&homes[1], other));
    (a, b, homes)
}

fn on_a_lan(test: &str) -> Option<(Lan, Host, Host)> {
    if !available(test, &["netns", "nft"]) {
        return None;
    }
    let lan = Lan::new();
    let (a, b) = (lan.host("a"), lan.host("b"));
    Some((lan, a, b))
}

fn ip(host: &Host, args: &str) {
    let output = host.command("ip").args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_healthy_lan_has_no_findings_and_somebody_alone_has_one() {
    let Some((_lan, host, other)) = on_a_lan("a healthy LAN") else { return };
    let (homes, options) = ([Home::new(), Home::new()], Options::on(&host));
    let a = Daemon::start(&homes[0], &options);
    finds(&a, &["nobody-found"]);
    let b = Daemon::start(&homes[1], &Options::on(&other));
    a.wait_peers(1);
    finds(&a, &[]);
    finds(&b, &[]);
    let binary = crate::support::binary();
    let doctor = || {
        let state = homes[0].state();
        let words = [&binary, "doctor", "--state-dir", state.to_str().unwrap()];
        host.command(words[0]).args(&words[1..]).output().unwrap()
    };
    assert_eq!(doctor().status.code(), Some(0));
    a.ok(json!({"cmd": "pause"}));
    finds(&a, &["paused"]);
    let output = doctor();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("paused: ") && text.contains("lanspread resume"), "{text}");
}

#[test]
fn a_pc_that_is_seen_and_does_not_answer_is_found() {
    let Some((_lan, host, other)) = on_a_lan("a firewall") else { return };
    // The other one's firewall lets mDNS in, and nothing else.
    let rules = "table inet wall { chain in { type filter hook input priority 0; iifname lo accept; udp dport 5353 accept; drop; }; }";
    let output = other.command("nft").arg(rules).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fast = |host: &Host| Options::on(host).set("timers.dial_timeout", "1s");
    let (a, b, _homes) = pair(&fast(&host), &fast(&other).arg("--hostname", "walled"));
    finds(&a, &["unreachable"]);
    assert!(a.ok(json!({"cmd": "diagnose"}))["findings"][0]["message"].as_str().unwrap().contains("walled"));
    drop(b);
}

#[test]
fn two_adapters_in_one_subnet_and_a_vpn_that_takes_the_route_are_found() {
    let Some((_lan, host, other)) = on_a_lan("adapters") else { return };
    let (a, _b, _homes) = pair(&Options::on(&host), &Options::on(&other));
    a.wait_peers(1);
    ip(&host, "link add wired2 type veth peer name wired3");
    let [a0, b0, c0, _] = host.addr().octets();
    ip(&host, &format!("addr add {a0}.{b0}.{c0}.250/24 dev wired2"));
    ip(&host, "link set wired3 up");
    ip(&host, "link set wired2 up");
    finds(&a, &["same-subnet-twice"]);
    ip(&host, "link del wired2");
    finds(&a, &[]);
    ip(&host, "link add tun7 type veth peer name tun8");
    ip(&host, "addr add 172.31.7.2/24 dev tun7");
    ip(&host, "link set tun8 up");
    ip(&host, "link set tun7 up");
    finds(&a, &[]);
    ip(&host, "route add default dev tun7");
    finds(&a, &["vpn-route"]);
}

#[test]
fn another_party_key_is_found_on_both_sides() {
    let Some((_lan, host, other)) = on_a_lan("party keys") else { return };
    let keys = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let file = keys.path().join(name);
        fs::write(&file, format!("the secret of the party {name}")).unwrap();
        file
    };
    let with = |host: &Host, name: &str| Options::on(host).arg("--party-key-file", key(name));
    let (a, b, _homes) = pair(&with(&host, "one"), &with(&other, "two"));
    eventually("one of them is refused", 30, || {
        let refused = [&a, &b].iter().any(|daemon| !daemon.events("peer-refused").is_empty());
        refused.then_some(())
    });
    finds(&a, &["other-party-key"]);
    finds(&b, &["other-party-key"]);
}

#[test]
fn faults_of_the_disk_and_of_the_system_are_found() {
    let other_home = Home::new();
    let other = Daemon::start(&other_home, &Options::local());
    let try_with = |options: &Options, expected: &[&str]| {
        let home = Home::with(&[GameSpec::small("doom"), GameSpec::small("quake")]);
        let options = options.clone().under_with(&home.games());
        let daemon = Daemon::start(&home, &options);
        daemon.connect(&other);
        finds(&daemon, expected);
    };
    try_with(&Options::local(), &[]);
    try_with(&Options::local().arg("--max-watches", "1"), &["no-watches"]);
    try_with(&Options::local().under(&["sh", "-c", r#"ulimit -n 600 && exec "$@""#, "sh"]), &["few-handles"]);
    if available("a full disk", &["mount"]) {
        let script = r#"mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@""#;
        try_with(&Options::local().under(&["unshare", "-m", "sh", "-c", script, "GAMES"]), &["disk-nearly-full"]);
    }
    if available("large files on FAT", &["mount", "vfat"]) {
        let image = other_home.path().join("image");
        fs::File::create(&image).and_then(|file| file.set_len(3 << 30)).unwrap();
        assert!(Command::new("mkfs.vfat").args(["-F", "32"]).arg(&image).output().unwrap().status.success());
        let script = r#"mount -t vfat -o loop "$1" "$0" && shift && exec "$@""#;
        let under = ["unshare", "-m", "sh", "-c", script, "GAMES", image.to_str().unwrap()];
        try_with(&Options::local().under(&under), &["large-files-refused"]);
    }
}
