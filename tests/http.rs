//! The HTTP door and the command line in front of real daemons: who gets in, what every address answers, readers that do
//! not keep up, exit codes, progress.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use lanspread_peer::Peer;
use lanspread_peer::api::{PeerCommand, PeerEvent};
use lanspread_peer::config::Config;
use lanspread_peer::control::http::{HttpDoor, HttpServer};
use lanspread_peer::control::{self, ControlFile, Reply, Stopped};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const PROGRAM: &str = env!("CARGO_BIN_EXE_lanspread");

/// A daemon in this process with an open door.
struct Host {
    peer: Peer,
    server: Option<HttpServer>,
    file: ControlFile,
    dir: tempfile::TempDir,
    /// Events that the doors see besides the daemon's own.
    extra: Sender<PeerEvent>,
}

impl Host {
    fn start(games: &[(&str, usize)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (id, len) in games {
            write_game(&dir.path().join("games"), id, *len);
        }
        fs::create_dir_all(dir.path().join("games")).unwrap();
        let mut config = Config::new(dir.path().join("games"), dir.path().join("state"));
        config.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        config.mdns = false;
        config.hostname = Some("here".into());
        config.timers.delta_coalesce = Duration::from_millis(20);
        config.timers.fs_coalesce = Duration::from_millis(20);
        config.timers.request_timeout = Duration::from_secs(60);
        let peer = Peer::start(config).unwrap();
        let sender = peer.commands();
        let commands = move |command: PeerCommand, reply: Reply| sender.send(command, reply).map_err(|_| Stopped);
        let (fanout, idle) = control::fan_out();
        let state = dir.path().join("state");
        let server = HttpDoor::bind(([127, 0, 0, 1], 0).into()).unwrap().serve(&state, commands, fanout).unwrap();
        let (extra, merged) = crossbeam_channel::bounded(0);
        let events = peer.events();
        let own = extra.clone();
        std::thread::spawn(move || events.iter().try_for_each(|event| own.send(event)));
        idle.start(merged, Some(server.url())).unwrap();
        let file = ControlFile::read(&state).unwrap().expect("control.json");
        assert_eq!(file.url, server.url());
        let host = Self { peer, server: Some(server), file, dir, extra };
        for (id, _) in games {
            // Only hashed games are offered.
            host.until(&format!("{id} is hashed"), || host.get(&format!("games/{id}"))["content_hash"].is_string());
        }
        host
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn host(&self) -> &str {
        self.file.url.strip_prefix("http://").unwrap()
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes as they are; returns status and body of the answer.
    fn raw(&self, request: &str) -> (u16, Value) {
        let mut stream = self.dial();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{request:.200}: {error}"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request:.200}: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// The headers of a good request.
    fn headers(&self) -> String {
        format!("Host: {}\r\nAuthorization: Bearer {}\r\n", self.host(), self.file.token)
    }

    fn get(&self, name: &str) -> Value {
        self.raw(&format!("GET /api/v1/{name} HTTP/1.1\r\n{}\r\n", self.headers())).1
    }

    fn post(&self, body: &str) -> (u16, Value) {
        let headers = format!("{}Content-Type: application/json\r\nContent-Length: {}", self.headers(), body.len());
        self.raw(&format!("POST /api/v1/command HTTP/1.1\r\n{headers}\r\n\r\n{body}"))
    }

    fn events(&self) -> Stream {
        self.events_on(self.dial())
    }

    fn events_on(&self, mut stream: TcpStream) -> Stream {
        stream.write_all(format!("GET /api/v1/events HTTP/1.1\r\n{}\r\n", self.headers()).as_bytes()).unwrap();
        Stream(BufReader::with_capacity(1024, stream))
    }

    fn until(&self, what: &str, mut check: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !check() {
            assert!(Instant::now() < end, "waited in vain until {what}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Runs a sub-command against this daemon, with pipes instead of a terminal.
    fn cli(&self, args: &[&str]) -> Output {
        cli(&self.state(), args)
    }

    fn shutdown(&self) {
        self.peer.commands().call(PeerCommand::Shutdown).unwrap().unwrap();
        self.peer.join();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.peer.commands().call(PeerCommand::Shutdown);
        self.peer.join();
        if let Some(server) = self.server.take() {
            server.close();
        }
    }
}

/// The reading end of an event stream.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no event");
            line.clear();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    fn until(&mut self, event: &str) -> Value {
        loop {
            let next = self.next().unwrap_or_else(|| panic!("the stream ended before {event}"));
            if next["event"] == event {
                return next;
            }
        }
    }
}

fn write_game(games: &Path, id: &str, len: usize) {
    let root = games.join(id);
    fs::create_dir_all(&root).unwrap();
    let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
    fs::write(root.join("big.eti"), bytes).unwrap();
    fs::write(root.join("version.ini"), "1.9").unwrap();
}

fn command(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("LANSPREAD_")) {
        command.env_remove(key);
    }
    // A proxy would be asked for nothing on this machine.
    command.env("http_proxy", "http://192.0.2.1:1").env("ALL_PROXY", "http://192.0.2.1:1");
    command.args(args).arg("--state-dir").arg(state).stdin(Stdio::null());
    command
}

fn cli(state: &Path, args: &[&str]) -> Output {
    command(state, args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// One JSON value for each line of stdout.
fn json_lines(output: &Output) -> Vec<Value> {
    let lines = text(&output.stdout).lines();
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn every_address_answers() {
    let host = Host::start(&[("doom", 70_000)]);
    let status = host.get("status");
    assert_eq!(status["peer_id"], host.peer.peer_id().to_string());
    assert_eq!(status["games"], 1);
    assert_eq!(host.get("peers"), json!({"peers": []}));
    assert_eq!(host.get("operations"), json!({"operations": []}));
    let game = host.get("games/doom");
    assert_eq!((&game["id"], &game["downloaded"]), (&json!("doom"), &json!(true)));
    assert_eq!(host.get("games")["games"], json!([game]));
    assert_eq!(host.get("games/d%6fom?x=1"), game);
    assert_eq!(host.get("games/quake")["code"], "unknown-game");

    assert_eq!(host.post(r#"{"cmd":"status"}"#).0, 200);
    assert_eq!(host.post(r#"{"cmd":"wait-peers","count":0,"timeout_ms":1}"#), (200, json!({"peers": 0})));
    for (body, status, code) in [
        ("", 400, "bad-json"),
        ("[]", 400, "bad-json"),
        (r#"{"cmd":"fly"}"#, 400, "unknown-command"),
        (r#"{"cmd":"download"}"#, 400, "bad-argument"),
        (r#"{"cmd":"download","game":"../x"}"#, 400, "bad-argument"),
        (r#"{"cmd":"download","game":"quake"}"#, 404, "unknown-game"),
        (r#"{"cmd":"wait-peers","count":1,"timeout_ms":10}"#, 504, "timeout"),
    ] {
        let answer = host.post(body);
        assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{body}");
        assert!(answer.1["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    // The last thing that it is asked is answered, too.
    assert_eq!(host.post(r#"{"cmd":"shutdown"}"#).0, 200);
    host.peer.join();
}

#[test]
fn strangers_are_refused() {
    let host = Host::start(&[]);
    let (name, token) = (host.host().to_owned(), host.file.token.clone());
    let port = name.rsplit(':').next().unwrap();
    let auth = format!("Authorization: Bearer {token}\r\n");
    let json = "Content-Type: application/json\r\n";
    let body = r#"{"cmd":"shutdown"}"#;
    let length = format!("Content-Length: {}\r\n", body.len());
    let post = |headers: &str| format!("POST /api/v1/command HTTP/1.1\r\n{headers}\r\n{body}");
    let get = |headers: &str| format!("GET /api/v1/status HTTP/1.1\r\n{headers}\r\n");
    let own = format!("Host: {name}\r\n");
    let long = "x".repeat(17 << 10);
    for (request, status, code) in [
        // A name that an attacker's DNS leads here.
        (get(&format!("Host: evil.example:{port}\r\n{auth}")), 403, "forbidden-host"),
        (get(&format!("Host: evil.example\r\n{auth}")), 403, "forbidden-host"),
        (get(&format!("Host: 127.0.0.1:1\r\n{auth}")), 403, "forbidden-host"),
        (get(&format!("Host: 127.0.0.1\r\n{auth}")), 403, "forbidden-host"),
        (get(&auth), 400, "bad-request"),
        (get(&format!("{own}Host: evil.example\r\n{auth}")), 400, "bad-request"),
        // A page that the user visits.
        (post(&format!("{own}{auth}{json}{length}Origin: http://evil.example\r\n")), 403, "forbidden-origin"),
        (post(&format!("{own}{auth}{json}{length}Origin: null\r\n")), 403, "forbidden-origin"),
        (post(&format!("{own}{auth}{json}{length}Origin: https://{name}\r\n")), 403, "forbidden-origin"),
        (format!("OPTIONS /api/v1/command HTTP/1.1\r\n{own}Origin: http://a\r\n\r\n"), 403, "forbidden-origin"),
        // Another user of this machine.
        (post(&format!("{own}{json}{length}")), 401, "unauthorized"),
        (post(&format!("{own}{json}{length}Authorization: Bearer \r\n")), 401, "unauthorized"),
        (post(&format!("{own}{json}{length}Authorization: Bearer {}\r\n", &token[1..])), 401, "unauthorized"),
        (post(&format!("{own}{json}{length}Authorization: Basic {token}\r\n")), 401, "unauthorized"),
        (get(&format!("{own}Cookie: token={token}\r\n")), 401, "unauthorized"),
        (format!("GET /api/v1/events HTTP/1.1\r\n{own}\r\n"), 401, "unauthorized"),
        (format!("GET /api/v1/status?token={token} HTTP/1.1\r\n{own}\r\n"), 401, "unauthorized"),
        // A form.
        (post(&format!("{own}{auth}{length}")), 415, "unsupported-media-type"),
        (post(&format!("{own}{auth}{length}Content-Type: text/plain\r\n")), 415, "unsupported-media-type"),
        (
            post(&format!("{own}{auth}{length}Content-Type: application/x-www-form-urlencoded\r\n")),
            415,
            "unsupported-media-type",
        ),
        // Nonsense, and too much.
        (post(&format!("{own}{auth}{json}")), 411, "length-required"),
        (post(&format!("{own}{auth}{json}Transfer-Encoding: chunked\r\n")), 411, "length-required"),
        (post(&format!("{own}{auth}{json}Content-Length: 65537\r\n")), 413, "too-large"),
        (post(&format!("{own}{auth}{json}Content-Length: x\r\n")), 400, "bad-request"),
        (get(&format!("{own}{auth}X: {long}\r\n")), 431, "headers-too-large"),
        (get(&format!("{own}{auth}{}", "X: y\r\n".repeat(100))), 431, "headers-too-large"),
        (format!("DELETE /api/v1/status HTTP/1.1\r\n{own}{auth}\r\n"), 405, "method-not-allowed"),
        (format!("GET /api/v1/command HTTP/1.1\r\n{own}{auth}\r\n"), 405, "method-not-allowed"),
        (format!("GET /api/v2/status HTTP/1.1\r\n{own}{auth}\r\n"), 404, "not-found"),
        (format!("GET /../state/control.json HTTP/1.1\r\n{own}{auth}\r\n"), 404, "not-found"),
        (format!("CONNECT example.com:80 HTTP/1.1\r\n{own}{auth}\r\n"), 400, "bad-request"),
        ("\x16\x03\x01\x02\0\x01\0\x01\n\r\n".into(), 400, "bad-request"),
    ] {
        let answer = host.raw(&request);
        assert_eq!((answer.0, answer.1["code"].as_str()), (status, Some(code)), "{request:.300}");
        assert!(!answer.1.to_string().contains(&token), "{answer:?}");
    }
    // Those who belong here, by every name of this machine.
    for host_name in [format!("127.0.0.1:{port}"), format!("LOCALHOST:{port}"), format!("[::1]:{port}")] {
        let headers = format!("Host: {host_name}\r\n{auth}Origin: http://{name}\r\n");
        assert_eq!(host.raw(&get(&headers)).0, 200, "{host_name}");
    }
}

#[test]
fn clients_that_do_not_go_on_take_no_place_for_long() {
    let host = Host::start(&[]);
    let mut idle: Vec<TcpStream> = (0..40).map(|_| host.dial()).collect();
    let mut counts = (0, 0);
    for (i, stream) in idle.iter_mut().enumerate() {
        if i % 2 == 0 {
            // Those beyond the limit are closed already.
            let _ = stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost");
        }
    }
    for mut stream in idle {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        match answer.get(..12) {
            Some(b"HTTP/1.1 408") => counts.0 += 1,
            // Bytes that it did not wait for can cost a client the answer.
            Some(b"HTTP/1.1 503") | None => counts.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts, (32, 8));
    host.until("there is room again", || host.get("status")["games"] == 0);
}

#[test]
fn a_reader_that_does_not_keep_up_gets_a_new_snapshot() {
    let host = Host::start(&[("doom", 1000)]);
    // The system shall not keep everything for it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(&host.host().parse::<SocketAddr>().unwrap().into()).unwrap();
    let mut slow = host.events_on(socket.into());
    let first = slow.next().unwrap();
    assert_eq!(first["event"], "snapshot");
    assert_eq!((&first["games"][0]["id"], &first["status"]["games"]), (&json!("doom"), &json!(1)));
    assert_eq!(first["peers"], json!([]));
    let mut brisk = host.events();
    brisk.next().unwrap();

    // Far more than the system keeps for a reader that does not read; in portions that one who reads keeps up with.
    const MANY: usize = 30_000;
    for portion in 0..MANY / 100 {
        let addrs: Vec<SocketAddr> = (0..100).map(|n| ([10, 0, portion as u8, n], 1 + portion as u16).into()).collect();
        for addr in &addrs {
            host.extra.send(PeerEvent::PeerDiscovered { peer_id: host.peer.peer_id(), addr: *addr }).unwrap();
        }
        for addr in addrs {
            assert_eq!(brisk.until("peer-discovered")["addr"], addr.to_string(), "who reads gets everything");
        }
    }
    let mut events = 0;
    while slow.next().expect("a snapshot")["event"] != "snapshot" {
        events += 1;
    }
    assert!(events > 0 && events < MANY, "{events} of {MANY}");
    let code = lanspread_peer::api::ErrorCode::Io;
    host.extra.send(PeerEvent::RuntimeError { code, message: "afterwards".into() }).unwrap();
    assert_eq!(slow.until("runtime-error")["message"], "afterwards", "it goes on");
}

#[test]
fn streams_are_few_and_end_with_the_daemon() {
    let mut host = Host::start(&[]);
    let mut streams: Vec<Stream> = (0..16).map(|_| host.events()).collect();
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap()["event"], "snapshot");
    }
    assert_eq!(host.get("events")["code"], "too-many-connections");
    assert_eq!(host.get("status")["games"], 0, "commands have room besides them");
    drop(streams.pop());
    let addr = ([10, 0, 0, 1], 1).into();
    host.until("the place of a reader that went away is free", || {
        // It is noticed when there is something to write.
        host.extra.send(PeerEvent::PeerDiscovered { peer_id: host.peer.peer_id(), addr }).unwrap();
        host.events().next().is_some_and(|event| event["event"] == "snapshot")
    });
    host.shutdown();
    // The daemon's queue has closed; so does the test's own.
    host.extra = crossbeam_channel::bounded(0).0;
    for mut stream in streams {
        while stream.next().is_some() {}
    }
    let answer = host.get("status");
    assert_eq!(answer["code"], "stopping");
}

#[test]
fn control_json_is_there_while_the_daemon_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (games, state) = (dir.path().join("games"), dir.path().join("state"));
    fs::create_dir_all(&games).unwrap();
    let start = |more: &[&str]| {
        let mut args = vec!["run", "--jsonl", "--no-mdns", "--listen", "127.0.0.1:0", "--game-dir"];
        args.push(games.to_str().unwrap());
        args.extend(more);
        let mut command = command(&state, &args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let ready = |child: &mut std::process::Child| -> Value {
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        lines.find_map(|line| Some(serde_json::from_str(&line.unwrap()).unwrap()).filter(is_ready)).unwrap()
    };
    fn is_ready(event: &Value) -> bool {
        event["event"] == "local-peer-ready"
    }

    // Killed: the file stays, and is told from a running daemon.
    let mut child = start(&["--control", "[::1]:0"]);
    let url = ready(&mut child)["control"].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://[::1]:"), "{url}");
    assert_eq!(ControlFile::read(&state).unwrap().unwrap().url, url);
    assert_eq!(cli(&state, &["status"]).status.code(), Some(0));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ControlFile::path(&state).exists());
    assert_eq!(cli(&state, &["status"]).status.code(), Some(4));

    // Another program has the port now, and says nothing of use.
    let other = Host::start(&[]);
    let stale = fs::read_to_string(ControlFile::path(&state)).unwrap().replace(&url, &other.file.url);
    fs::write(ControlFile::path(&state), stale).unwrap();
    assert_eq!(cli(&state, &["status"]).status.code(), Some(4));

    // Without a door: what the killed one left is gone, too.
    let mut child = start(&["--no-control"]);
    assert_eq!(ready(&mut child).get("control"), None);
    assert!(!ControlFile::path(&state).exists());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());

    // A clean stop takes the file away.
    let mut child = start(&[]);
    ready(&mut child);
    assert!(ControlFile::path(&state).exists());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!ControlFile::path(&state).exists());

    // Only this machine.
    for addr in ["0.0.0.0:0", "192.168.0.1:80", "[::]:0"] {
        let mut child = start(&["--control", addr]);
        assert_eq!(child.wait().unwrap().code(), Some(2), "{addr}");
    }
    let taken = other.host().to_owned();
    assert_eq!(start(&["--control", &taken]).wait().unwrap().code(), Some(3));
}

#[test]
fn sub_commands_answer_people_and_programs() {
    let source = Host::start(&[("doom", 70_000)]);
    let host = Host::start(&[("quake", 10)]);
    let addr = source.peer.listen_addrs()[0].to_string();
    let connected = host.cli(&["connect", &addr]);
    assert_eq!(connected.status.code(), Some(0), "{connected:?}");
    assert!(text(&connected.stdout).contains(&source.peer.peer_id().to_string()));
    host.until("the library came", || host.get("games/doom")["peer_count"] == 1);

    for (args, words) in [
        (&["status"][..], "game directory"),
        (&["peers"], "here"),
        (&["games"], "available"),
        (&["get", "doom"], "big.eti"),
    ] {
        let output = host.cli(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown = text(&output.stdout);
        assert!(shown.contains(words) && !shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        let output = host.cli(&[args, &["--json"]].concat());
        assert_eq!((output.status.code(), json_lines(&output).len()), (Some(0), 1), "{output:?}");
    }
    assert_eq!(json_lines(&host.cli(&["games", "--json"]))[0], host.get("games"));

    // Exit codes: 1 refused, 2 usage, 4 not running. stdout is JSON also then.
    for (args, code, exit) in [
        (&["download", "heretic"][..], "unknown-game", 1),
        (&["cancel", "doom"], "", 1),
        (&["get", "heretic"], "unknown-game", 1),
        (&["connect", &host.peer.listen_addrs()[0].to_string()], "self-connect", 1),
        (&["download", "../etc"], "", 2),
        (&["connect", "nowhere"], "", 2),
        (&["download"], "", 2),
    ] {
        let output = host.cli(args);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}: {output:?}");
        if exit == 1 {
            let output = host.cli(&[args, &["--json"]].concat());
            assert_eq!(output.status.code(), Some(1));
            let answer = &json_lines(&output)[0];
            assert!(answer["message"].is_string(), "{answer}");
            assert!(code.is_empty() || answer["code"] == code, "{answer}");
        }
    }
    let nowhere = tempfile::tempdir().unwrap();
    let output = cli(nowhere.path(), &["games", "--json"]);
    assert_eq!((output.status.code(), &json_lines(&output)[0]["code"]), (Some(4), &json!("not-running")));
    let output = cli(nowhere.path(), &["download", "doom"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("lanspread run"), "it says what to do: {output:?}");
}

#[test]
fn a_download_is_shown_in_lines_when_nobody_sits_there() {
    let source = Host::start(&[("doom", 30_000_000), ("quake", 5_000_000), ("hexen", 10)]);
    let host = Host::start(&[]);
    assert!(host.cli(&["connect", &source.peer.listen_addrs()[0].to_string()]).status.success());
    host.until("the library came", || host.get("games/doom")["sources"][0].is_string());

    let output = host.cli(&["download", "doom"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let lines: Vec<&str> = out.lines().collect();
    let [begins, verified, "doom: installed"] = lines[..] else { panic!("{out}") };
    assert_eq!(begins, "doom: the download begins");
    assert!(verified.starts_with("doom: downloaded and verified, 28.6 MiB in"), "{out}");
    assert!(err.contains("28.6 MiB from 1 source(s)"), "{err}");
    assert!(!out.contains('\u{1b}') && !err.contains('\u{1b}') && !err.contains('\r'), "{out}{err}");
    let there = fs::read(host.dir.path().join("games/doom/big.eti")).unwrap();
    assert!(there == fs::read(source.dir.path().join("games/doom/big.eti")).unwrap());

    let output = host.cli(&["download", "quake", "--json", "--no-install"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = json_lines(&output);
    assert_eq!(lines.first().unwrap()["queued"], false);
    assert_eq!(lines.last().unwrap()["event"], "download-finished");
    assert!(lines.iter().skip(1).all(|line| line["game"] == "quake"), "{lines:?}");
    assert!(output.stderr.is_empty(), "{output:?}");

    for (args, last) in [
        (&["verify", "quake"][..], "chunks are good"),
        (&["install", "quake"], "quake: installed"),
        (&["uninstall", "quake"], "quake: uninstalled"),
        (&["remove", "quake"], "quake: the downloaded files are gone"),
    ] {
        let output = host.cli(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(text(&output.stdout).trim_end().ends_with(last), "{output:?}");
    }
    let output = host.cli(&["remove", "doom", "--json"]);
    assert_eq!((output.status.code(), &json_lines(&output)[0]["code"]), (Some(1), &json!("in-use")));

    let output = host.cli(&["download", "hexen", "--no-wait"]);
    assert_eq!(text(&output.stdout), "hexen: the download begins\n");
    host.until("it arrived", || host.get("games/hexen")["downloaded"] == true);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};

    /// A daemon that can be frozen.
    struct Frozen(std::process::Child, #[expect(dead_code, reason = "kept until it ends")] tempfile::TempDir);

    impl Frozen {
        fn start(id: &str, len: usize) -> (Self, String) {
            let dir = tempfile::tempdir().unwrap();
            write_game(&dir.path().join("games"), id, len);
            let games = dir.path().join("games");
            let args =
                ["run", "--jsonl", "--no-mdns", "--listen", "127.0.0.1:0", "--game-dir", games.to_str().unwrap()];
            let mut command = command(&dir.path().join("state"), &args);
            let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut this = Self(child, dir);
            let mut lines = BufReader::new(this.0.stdout.take().unwrap()).lines();
            let mut event = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
            let ready = std::iter::repeat_with(&mut event).find(|event| event["event"] == "local-peer-ready").unwrap();
            // Hashed, and therefore offered: the second revision.
            assert!(std::iter::repeat_with(event).any(|event| event["rev"].as_u64() >= Some(2)));
            std::thread::spawn(move || lines.for_each(drop));
            (this, ready["listen_addr"].as_str().unwrap().to_owned())
        }

        fn signal(&self, signal: Signal) {
            kill_process(Pid::from_child(&self.0), signal).unwrap();
        }
    }

    impl Drop for Frozen {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn ctrl_c_leaves_the_download_running() {
        let (source, addr) = Frozen::start("doom", 3_000_000);
        let host = Host::start(&[]);
        assert!(host.cli(&["connect", &addr]).status.success());
        host.until("the library came", || host.get("games/doom")["sources"][0].is_string());
        source.signal(Signal::STOP);
        let mut child = command(&host.state(), &["download", "doom"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "doom: the download begins\n");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert!(text(&output.stderr).contains("lanspread cancel doom"), "{output:?}");
        assert!(host.get("operations")["operations"][0]["game"] == "doom", "it still runs");

        // Asked for once more, it is followed to its end.
        let mut child = command(&host.state(), &["download", "doom"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        line.clear();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "doom: is being downloaded already\n");
        source.signal(Signal::CONT);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(text(&output.stdout).contains("downloaded and verified"), "{output:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_terminal_shows_a_bar_and_is_left_clean() {
        let source = Host::start(&[("doom", 3_000_000)]);
        let host = Host::start(&[]);
        assert!(host.cli(&["connect", &source.peer.listen_addrs()[0].to_string()]).status.success());
        host.until("the library came", || host.get("games/doom")["sources"][0].is_string());
        // util-linux: runs a command on a terminal of its own.
        let state = host.state();
        let line = format!("{PROGRAM} download doom --state-dir {}", state.display());
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let shown = text(&output.stdout);
        assert!(shown.contains('\u{1b}') && shown.contains(" % "), "a bar: {shown:?}");
        assert!(shown.contains("downloaded and verified"), "{shown:?}");
    }
}
