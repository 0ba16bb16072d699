//! The HTTP door in front of real daemons: who gets in, what every address answers, clients that are slow, readers that
//! do not keep up or go away.

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
use std::path::Path;
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
    _dir: tempfile::TempDir,
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
        config.timers.arriving_quiet = Duration::from_millis(1);
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
        let host = Self { peer, server: Some(server), file, _dir: dir, extra };
        for (id, _) in games {
            // Only hashed games are offered.
            host.until(&format!("{id} is hashed"), || host.get(&format!("games/{id}"))["content_hash"].is_string());
        }
        host
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
    command.args(args).arg("--state-dir").arg(state).stdin(Stdio::null());
    command
}

fn cli(state: &Path, args: &[&str]) -> Output {
    command(state, args).output().unwrap()
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
        (format!("GET /api/v1/status HTTP/1.0\r\n{auth}\r\n"), 400, "bad-request"),
        (get(&format!("Host: {name}@evil.example\r\n{auth}")), 403, "forbidden-host"),
        (get(&format!("Host: \r\n{auth}")), 403, "forbidden-host"),
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
        (post(&format!("{own}{auth}{json}{length}Expect: miracles\r\n")), 417, "bad-request"),
        (get(&format!("{own}{auth}X: {long}\r\n")), 431, "headers-too-large"),
        (get(&format!("{own}{auth}{}", "X: y\r\n".repeat(100))), 431, "headers-too-large"),
        (format!("DELETE /api/v1/status HTTP/1.1\r\n{own}{auth}\r\n"), 405, "method-not-allowed"),
        (format!("GET /api/v1/command HTTP/1.1\r\n{own}{auth}\r\n"), 405, "method-not-allowed"),
        (format!("GET /api/v2/status HTTP/1.1\r\n{own}{auth}\r\n"), 404, "not-found"),
        (format!("GET /../state/control.json HTTP/1.1\r\n{own}{auth}\r\n"), 404, "not-found"),
        (format!("CONNECT example.com:80 HTTP/1.1\r\n{own}{auth}\r\n"), 400, "bad-request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400, "bad-request"),
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
fn metrics_are_text_for_whoever_has_the_token() {
    let host = Host::start(&[]);
    let ask = |request: &str| {
        let mut stream = host.dial();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let answer = ask(&format!("GET /metrics HTTP/1.1\r\n{}\r\n", host.headers()));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("\nlanspread_buffers_limit{pool=\"landing\"} 24\n"), "{body}");
    // Whatever can wait has a name, and so has the time that the disk takes. A daemon that has started has made its state durable.
    for queue in
        ["bulk", "jobs", "commands", "sightings", "events", "file-events", "uploads", "mirror-documents", "mirror-runs"]
    {
        assert!(body.contains(&format!("\nlanspread_queue_waiting{{queue=\"{queue}\"}} ")), "{queue}: {body}");
        assert!(body.contains(&format!("\nlanspread_queue_limit{{queue=\"{queue}\"}} ")), "{queue}: {body}");
    }
    for of in ["file", "directory", "file-system"] {
        for metric in ["fsyncs_total", "fsync_seconds_total", "fsync_longest_seconds"] {
            assert!(body.contains(&format!("\nlanspread_{metric}{{of=\"{of}\"}} ")), "{metric} of {of}: {body}");
        }
    }
    let up = body.lines().find_map(|line| line.strip_prefix("lanspread_uptime_seconds ")).unwrap();
    assert!(up.parse::<f64>().unwrap() > 0.0, "{body}");
    let (status, data) = host.post(r#"{"cmd":"metrics"}"#);
    assert_eq!((status, &data["landing_buffers"]["limit"], &data["bytes_received"]), (200, &json!(24), &json!(0)));

    let stranger = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", host.host());
    assert!(ask(&stranger).starts_with("HTTP/1.1 401 "));
    assert!(ask(&format!("POST /metrics HTTP/1.1\r\n{}\r\n", host.headers())).starts_with("HTTP/1.1 405 "));
}

#[test]
fn every_method_version_and_name_gets_a_plain_answer() {
    let host = Host::start(&[("doom", 1000)]);
    let ask = |request: String| -> (String, String) {
        let mut stream = host.dial();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    };
    let call = |method: &str, name: &str| ask(format!("{method} /api/v1/{name} HTTP/1.1\r\n{}\r\n", host.headers()));

    let (head, body) = call("GET", "games/doom");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Connection: close"), "{head}");
    assert_eq!(call("HEAD", "games/doom"), (head, String::new()), "the same without {body}");
    for (method, name, allow) in [
        ("OPTIONS", "status", "GET, HEAD"),
        ("DELETE", "games/doom", "GET, HEAD"),
        ("get", "status", "GET, HEAD"),
        ("GET", "command", "POST"),
        ("HEAD", "command", "POST"),
        ("HEAD", "events", "GET"),
        ("POST", "events", "GET"),
    ] {
        let (head, body) = call(method, name);
        assert!(head.starts_with("HTTP/1.1 405 "), "{method} {name}: {head}");
        assert!(head.lines().any(|line| line == format!("Allow: {allow}")), "{method} {name}: {head}");
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {name}: {body}");
    }
    // No answer to what follows the first request: the connection is closed after one.
    let one = format!("GET /api/v1/status HTTP/1.1\r\n{}Connection: keep-alive\r\n\r\n", host.headers());
    let (_, body) = ask(one.repeat(3));
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["games"], 1, "one answer: {body}");
    assert!(ask(one.replace("HTTP/1.1", "HTTP/1.0")).0.starts_with("HTTP/1.1 200 "));
    let command = r#"{"cmd":"status"}"#;
    let (head, rest) = ask(format!(
        "POST /api/v1/command HTTP/1.1\r\n{}Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n{command}",
        host.headers(),
        command.len()
    ));
    assert!(head.starts_with("HTTP/1.1 100 ") && rest.starts_with("HTTP/1.1 200 "), "{head} {rest}");

    let long = "x".repeat(5000);
    for id in ["", ".", "..", "../doom", "..%2f..%2fetc%2fpasswd", "doom%00", "doom/", "doom%2Flocal", "DOOM ", &long] {
        let answer =
            host.raw(&format!("GET /api/v1/games/{} HTTP/1.1\r\n{}\r\n", id.replace(' ', "%20"), host.headers()));
        assert_eq!((answer.0, answer.1["code"].as_str()), (404, Some("unknown-game")), "{id:.100}");
    }
    for id in ["%", "%zz", "%ff", "%c3"] {
        assert_eq!(host.get(&format!("games/{id}"))["code"], "not-found", "{id}");
    }
}

#[test]
fn clients_that_do_not_go_on_take_no_place_for_long() {
    let host = Host::start(&[]);
    let mut idle: Vec<TcpStream> = (0..40).map(|_| host.dial()).collect();
    let mut counts = (0, 0);
    // Nothing at all, half a head, a head without the body that it promises.
    let headers = format!("{}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{", host.headers());
    let promise = format!("POST /api/v1/command HTTP/1.1\r\n{headers}");
    for (i, stream) in idle.iter_mut().enumerate() {
        // Those beyond the limit are closed already.
        let _ = match i % 3 {
            0 => stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost"),
            1 => stream.write_all(promise.as_bytes()),
            _ => Ok(()),
        };
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
    // It goes on: what happens now it gets, or, should it lag once more, yet another snapshot.
    let code = lanspread_peer::api::ErrorCode::Io;
    loop {
        host.extra.send(PeerEvent::RuntimeError { code, message: "afterwards".into() }).unwrap();
        let told = std::iter::repeat_with(|| slow.next().expect("it was cut off"));
        let mut told = told.skip_while(|event| event["event"] == "peer-discovered");
        if told.next().unwrap()["event"] == "runtime-error" {
            break;
        }
    }
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
fn a_reader_that_went_away_leaves_its_place_at_once() {
    let host = Host::start(&[]);
    let begun = Instant::now();
    // Nothing happens meanwhile that would have to be written to them.
    for n in 0..40 {
        host.until(&format!("there is room for reader {n}"), || {
            host.events().next().is_some_and(|event| event["event"] == "snapshot")
        });
    }
    assert!(begun.elapsed() < Duration::from_secs(14), "sooner than the next sign of life: {:?}", begun.elapsed());

    // One that only says nothing more is no such reader.
    let mut half = host.events();
    assert_eq!(half.next().unwrap()["event"], "snapshot");
    half.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    let mut comments = 0;
    while comments < 2 {
        let mut line = String::new();
        assert_ne!(half.0.read_line(&mut line).unwrap(), 0, "it was cut off");
        comments += usize::from(line == ":\n");
    }
    let code = lanspread_peer::api::ErrorCode::Io;
    host.extra.send(PeerEvent::RuntimeError { code, message: "afterwards".into() }).unwrap();
    assert_eq!(half.until("runtime-error")["message"], "afterwards");
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
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(ControlFile::path(&state)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    }
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
