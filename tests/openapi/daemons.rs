//! Real daemons, asked over their doors: every answer, every event and every refusal is held against the document.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lanspread_peer::control::ControlFile;
use serde_json::{Value, json};

use crate::document::Document;
use crate::support::{CHUNK, Copycat, Daemon, GameSpec, Home, Offer, Options, available, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// What came back.
struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// The door of a running daemon. What passes through it is checked.
struct Door {
    file: ControlFile,
    document: Arc<Document>,
    /// Statuses and codes that came.
    seen: std::sync::Mutex<BTreeSet<String>>,
}

impl Door {
    fn of(home: &Home, document: &Arc<Document>) -> Self {
        let file = ControlFile::read(&home.state()).unwrap().expect("control.json");
        Self { file, document: Arc::clone(document), seen: Default::default() }
    }

    fn host(&self) -> &str {
        self.file.url.strip_prefix("http://").unwrap()
    }

    fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn headers(&self) -> String {
        format!("Host: {}\r\nAuthorization: Bearer {}\r\n", self.host(), self.file.token)
    }

    /// Sends a request as it is. `operation`: the pointer to the one in the document whose answer this must be.
    fn raw(&self, operation: &str, request: &str) -> Answer {
        let mut stream = self.dial();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap_or_else(|error| panic!("{request:.200}: {error}"));
        self.check_answer(operation, &text)
    }

    fn check_answer(&self, operation: &str, text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{operation}: {text:?}"));
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let answer = Answer { status, head: head.to_lowercase(), body: body.to_owned() };
        let response = match status {
            405 => self.document.at("/components/responses/MethodNotAllowed"),
            _ => self.document.resolve(self.document.at(&format!("{operation}/responses/{status}"))),
        };
        let Some(kinds) = response.get("content") else {
            assert_eq!(answer.body, "", "{operation}: {status} has no body");
            return answer;
        };
        let kind = answer.head.split("content-type: ").nth(1).unwrap().split(['\r', ';']).next().unwrap();
        let schema = kinds.get(kind).unwrap_or_else(|| panic!("{operation}: {status} is no {kind}"));
        if kind == "application/json" {
            let value = answer.json();
            let faults = self.document.faults_by(&schema["schema"], &value);
            assert_eq!(faults, [""; 0], "{operation}: {status}: {value:#}");
            if let Some(code) = value["code"].as_str().filter(|_| status >= 400) {
                self.seen.lock().unwrap().insert(code.to_owned());
            }
        }
        self.seen.lock().unwrap().insert(status.to_string());
        answer
    }

    /// `path`: of the document; `target`: what is asked for.
    fn ask(&self, method: &str, path: &str, target: &str) -> Answer {
        let operation = format!("/paths/{}/{}", path.replace('/', "~1"), method.to_lowercase());
        self.raw(&operation, &format!("{method} {target} HTTP/1.1\r\n{}Content-Length: 0\r\n\r\n", self.headers()))
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    fn post(&self, body: &str) -> Answer {
        let headers = format!("{}Content-Type: application/json\r\nContent-Length: {}", self.headers(), body.len());
        self.raw(COMMAND, &format!("POST /api/v1/command HTTP/1.1\r\n{headers}\r\n\r\n{body}"))
    }

    /// A command that must succeed; its answer is the one that the document promises for it.
    fn command(&self, command: Value) -> Value {
        assert_eq!(self.document.faults("PeerCommand", &command), [""; 0], "{command}");
        let answer = self.post(&command.to_string());
        assert_eq!(answer.status, 200, "{command}: {}", answer.body);
        let tag = command["cmd"].as_str().unwrap();
        let target = self.document.schema("PeerCommand")["discriminator"]["mapping"][tag].as_str().unwrap();
        let schema = self.document.at(target.strip_prefix('#').unwrap())["x-answer"].as_str().unwrap();
        assert_eq!(self.document.faults(schema, &answer.json()), [""; 0], "{command}: {}", answer.body);
        answer.json()
    }

    fn refused(&self, command: Value) -> (u16, String) {
        let answer = self.post(&command.to_string());
        assert!(answer.status >= 400, "{command}: {}", answer.body);
        (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
    }

    /// Reads all events until the daemon stops.
    fn listen(&self) -> JoinHandle<Vec<Value>> {
        let mut stream = self.dial();
        stream.write_all(format!("GET /api/v1/events HTTP/1.1\r\n{}\r\n", self.headers()).as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let head: Vec<String> = lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        assert!(head[0].contains(" 200 ") && head.contains(&"Content-Type: text/event-stream".to_owned()), "{head:?}");
        std::thread::spawn(move || {
            let data = lines.map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned()));
            data.map(|text| serde_json::from_str(&text).unwrap()).collect()
        })
    }
}

const COMMAND: &str = "/paths/~1api~1v1~1command/post";
const STATUS: &str = "/paths/~1api~1v1~1status/get";

/// Checks what a stream said, and that it said at least these.
fn check_events(document: &Document, events: &[Value], expected: &[&str]) {
    assert_eq!(events[0]["event"], "snapshot");
    for event in events {
        assert_eq!(document.faults("StreamEvent", event), [""; 0], "{event:#}");
    }
    let said: BTreeSet<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let lacking: Vec<_> = expected.iter().filter(|name| !said.contains(**name)).collect();
    assert!(lacking.is_empty(), "{lacking:?} did not come, but {said:?}");
}

/// Checks the events of the JSON lines, which say more: what came before anybody listened.
fn check_lines(document: &Document, daemon: &Daemon, expected: &[&str]) {
    let events = daemon.since(0).into_iter().filter(|record| record["type"] == "event");
    let mut said = BTreeSet::new();
    for mut event in events {
        event.as_object_mut().unwrap().remove("type");
        assert_eq!(document.faults("PeerEvent", &event), [""; 0], "{event:#}");
        said.insert(event["event"].as_str().unwrap().to_owned());
    }
    assert!(expected.iter().all(|name| said.contains(*name)), "{expected:?}: {said:?}");
}

fn fast_news() -> Options {
    Options::local().set("timers.progress_every", "1ms")
}

/// Games with two programs, a large file, an archive that is none, and an empty folder.
fn publish(home: &Home) {
    GameSpec::small("quake").write(&home.games());
    GameSpec::small("tetris").write(&home.games());
    GameSpec::new("broken").file("broken.eti", 5000).write(&home.games());
    let root = GameSpec::new("doom").file("doom.wad", 6 * CHUNK + 7).many(20, 5000).write(&home.games());
    fs::create_dir(root.join("saves")).unwrap();
    for name in ["doom.sh", "setup.sh"] {
        use std::os::unix::fs::PermissionsExt;
        fs::write(root.join(name), "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// The terminal event of an operation.
fn finish(daemon: &Daemon, door: &Door, command: &str, game: &str) -> Value {
    let mark = daemon.mark();
    door.command(json!({"cmd": command, "game": game}));
    let (finished, failed) = (format!("{command}-finished"), format!("{command}-failed"));
    daemon.wait_record(mark, command, 60, |record| {
        let event = record["event"].as_str().unwrap_or_default();
        record["game"] == game && (event == finished || event == failed)
    })
}

fn look_at_everything(door: &Door) {
    for path in ["/api/v1/status", "/api/v1/peers", "/api/v1/games", "/api/v1/operations"] {
        door.get(path);
    }
    for (path, target) in [("/api/v1/games/{id}", "/api/v1/games/doom"), ("/metrics", "/metrics"), ("/", "/")] {
        assert_eq!(door.ask("GET", path, target).status, 200, "{path}");
    }
    for cmd in ["status", "metrics", "list-peers", "list-games"] {
        door.command(json!({"cmd": cmd}));
    }
    for cmd in ["get-game", "explain"] {
        door.command(json!({"cmd": cmd, "game": "doom"}));
    }
}

/// Fetches doom slowly enough to be looked at, with a pause.
fn download(daemon: &Daemon, door: &Door) {
    door.command(json!({"cmd": "set-limits", "max_download": 1_500_000, "max_upload": "50MB/s"}));
    let mark = daemon.begin_download("doom");
    daemon.wait_event_since(mark, "download-progress", |event| event["bytes"].as_u64() > Some(0));
    look_at_everything(door);
    assert_eq!(door.get("/api/v1/operations")["operations"][0]["operation"], "downloading");
    assert_eq!(door.refused(json!({"cmd": "install", "game": "doom"})), (409, "operation-in-progress".into()));
    door.command(json!({"cmd": "pause"}));
    door.command(json!({"cmd": "explain", "game": "doom"}));
    door.command(json!({"cmd": "resume"}));
    door.command(json!({"cmd": "set-limits", "max_download": null}));
    assert_eq!(daemon.wait_download("doom", mark)["event"], "download-finished");
    // A second one, which somebody ends.
    door.command(json!({"cmd": "set-limits", "max_download": 1_000_000}));
    let mark = daemon.mark();
    door.command(json!({"cmd": "download", "game": "quake", "install": false}));
    door.command(json!({"cmd": "cancel-download", "game": "quake"}));
    assert_eq!(daemon.wait_download("quake", mark)["code"], "cancelled");
    door.command(json!({"cmd": "set-limits", "max_download": "unlimited", "max_upload": null}));
}

/// Turns over a byte, and gives the file its time back.
fn damage(file: &Path) {
    use std::os::unix::fs::FileExt;
    let opened = fs::File::options().read(true).write(true).open(file).unwrap();
    let modified = opened.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    opened.read_exact_at(&mut byte, 5).unwrap();
    opened.write_all_at(&[byte[0] ^ 1], 5).unwrap();
    opened.set_modified(modified).unwrap();
}

/// What can be done with a game that is here.
fn operate(daemon: &Daemon, door: &Door, home: &Home) {
    let game = |cmd: &str| json!({"cmd": cmd, "game": "doom"});
    assert_eq!(door.refused(game("play")), (409, "not-installed".into()));
    assert_eq!(finish(daemon, door, "verify", "doom")["bad_chunks"], 0);
    damage(&home.game("doom").join("doom.wad"));
    let mark = daemon.mark();
    door.command(json!({"cmd": "verify", "game": "doom", "repair": true}));
    assert_eq!(daemon.wait_event_since(mark, "verify-finished", |_| true)["bad_chunks"], 1);
    assert_eq!(daemon.wait_download("doom", mark)["event"], "download-finished");
    assert_eq!(finish(daemon, door, "install", "doom")["event"], "install-finished");
    assert_eq!(door.refused(game("install")), (409, "already-installed".into()));
    assert_eq!(door.refused(game("remove")), (409, "in-use".into()));
    assert_eq!(door.command(game("list-programs"))["programs"].as_array().unwrap().len(), 2);
    assert_eq!(door.refused(game("play")), (409, "choose-program".into()));
    door.command(json!({"cmd": "choose-program", "game": "doom", "program": "doom.sh"}));
    assert_eq!(door.command(game("list-programs"))["chosen"], "doom.sh");
    assert!(door.command(json!({"cmd": "diagnose"}))["findings"].is_array());
    // With a desktop or without.
    door.post(&game("play").to_string());
    assert_eq!(finish(daemon, door, "uninstall", "doom")["event"], "uninstall-finished");
    let local = home.game("doom").join("local");
    fs::create_dir(&local).unwrap();
    fs::write(local.join("by-hand"), "mine").unwrap();
    eventually("it is seen", 30, || {
        (door.get("/api/v1/games")["games"][1]["installed_by"] == "somebody-else").then_some(())
    });
    let end = finish(daemon, door, "uninstall", "doom");
    assert_eq!((&end["event"], &end["code"]), (&json!("uninstall-failed"), &json!("not-ours")));
    assert_eq!(finish(daemon, door, "adopt", "doom")["event"], "adopt-finished");
    assert_eq!(finish(daemon, door, "uninstall", "doom")["event"], "uninstall-finished");
    assert_eq!(finish(daemon, door, "remove", "doom")["event"], "remove-finished");
    let mark = daemon.mark();
    door.command(json!({"cmd": "download", "game": "broken"}));
    assert_eq!(daemon.wait_event_since(mark, "install-failed", |_| true)["code"], "bad-archive");
}

/// Commands that fail: status and code.
fn fail(daemon: &Daemon, door: &Door, home: &Home) {
    for (command, status, code) in [
        (json!({"cmd": "fly"}), 400, "unknown-command"),
        (json!({"cmd": "status", "x": 1}), 400, "bad-argument"),
        (json!([]), 400, "bad-json"),
        (json!({"cmd": "connect", "addr": daemon.addr.to_string()}), 400, "self-connect"),
        (json!({"cmd": "install", "game": "nobody-has-it"}), 404, "unknown-game"),
        (json!({"cmd": "download", "game": "tetris"}), 404, "not-in-catalog"),
        (json!({"cmd": "install", "game": "quake"}), 409, "not-downloaded"),
        (json!({"cmd": "uninstall", "game": "broken"}), 409, "not-installed"),
        (json!({"cmd": "wait-peers", "count": 9, "timeout_ms": 1}), 504, "timeout"),
        (json!({"cmd": "set-game-dir", "path": home.path().join("lost")}), 500, "io"),
    ] {
        assert_eq!(door.refused(command.clone()), (status, code.to_owned()), "{command}");
    }
    assert_eq!(door.ask("GET", "/api/v1/games/{id}", "/api/v1/games/nobody-has-it").status, 404);
}

/// Requests that never reach the daemon.
fn intrude(door: &Door) {
    let (own, auth) = (format!("Host: {}\r\n", door.host()), format!("Authorization: Bearer {}\r\n", door.file.token));
    let get = |headers: String| format!("GET /api/v1/status HTTP/1.1\r\n{headers}\r\n");
    let post = |headers: &str| format!("POST /api/v1/command HTTP/1.1\r\n{own}{auth}{headers}\r\n\r\n");
    let json = "Content-Type: application/json\r\n";
    for (operation, request, status) in [
        (STATUS, get(auth.clone()), 400),
        (STATUS, get(own.clone()), 401),
        (STATUS, get(format!("Host: a.example\r\n{auth}")), 403),
        (STATUS, get(format!("{own}{auth}Origin: http://a.example\r\n")), 403),
        (STATUS, get(format!("{own}{auth}X: {}\r\n", "x".repeat(17 << 10))), 431),
        (COMMAND, post(json.trim_end()), 411),
        (COMMAND, post(&format!("{json}Content-Length: 65537")), 413),
        (COMMAND, post("Content-Type: text/plain\r\nContent-Length: 0"), 415),
        (COMMAND, post(&format!("{json}Content-Length: 0\r\nExpect: miracles")), 417),
    ] {
        assert_eq!(door.raw(operation, &request).status, status, "{request:.200}");
    }
}

#[test]
fn what_real_daemons_take_and_say_is_as_documented() {
    let document = Arc::new(Document::load());
    let (source, home) = (Home::new(), Home::new());
    publish(&source);
    let catalog = |games: &[(&str, &str)]| home.catalog(games).to_str().unwrap().to_owned();
    let listed = [("doom", "1.0"), ("quake", "1.0"), ("broken", "1.0")];
    let a = Daemon::start(&source, &fast_news());
    a.wait_hashed();
    let b = Daemon::start(&home, &fast_news().arg("--catalog", catalog(&listed)));
    let (door_a, door) = (Door::of(&source, &document), Door::of(&home, &document));
    let (said_a, said) = (door_a.listen(), door.listen());
    // Half a request, which is given up after ten seconds.
    let mut slow = door.dial();
    slow.write_all(format!("GET /api/v1/status HTTP/1.1\r\n{}", door.headers()).as_bytes()).unwrap();

    door.command(json!({"cmd": "connect", "addr": a.addr.to_string()}));
    door.command(json!({"cmd": "wait-peers", "count": 1, "timeout_ms": 30_000}));
    look_at_everything(&door);
    download(&b, &door);
    operate(&b, &door, &home);
    fail(&b, &door, &home);
    intrude(&door);
    // Another catalog, and another game at the source.
    catalog(&listed[..2]);
    let mark = b.mark();
    door.refused(json!({"cmd": "fetch-latest", "game": "broken"}));
    b.wait_event_since(mark, "catalog-changed", |_| true);
    GameSpec::small("unreal").write(&source.games());
    b.wait_event_since(mark, "peer-library-changed", |_| true);
    let gone = json!({"cmd": "block-peer", "peer_id": a.peer_id});
    door.command(gone);
    a.wait_event_since(0, "peer-lost", |event| event["reason"] == "blocked");
    door.command(json!({"cmd": "unblock-peer", "peer_id": a.peer_id}));
    door.command(json!({"cmd": "set-game-dir", "path": home.games()}));

    let mut late = String::new();
    slow.read_to_string(&mut late).unwrap();
    assert_eq!(door.check_answer(STATUS, &late).status, 408);
    let seen = door.seen.lock().unwrap().clone();
    let lacking: Vec<_> = ANSWERED.split(' ').filter(|word| !seen.contains(*word)).collect();
    assert!(lacking.is_empty(), "{lacking:?} were never answered, but {seen:?}");
    for door in [&door, &door_a] {
        door.command(json!({"cmd": "shutdown"}));
    }
    check_events(&document, &said.join().unwrap(), &EXPECTED);
    check_events(
        &document,
        &said_a.join().unwrap(),
        &["peer-connected", "local-library-changed", "peer-lost", "traffic"],
    );
    check_lines(&document, &b, &["local-peer-ready"]);
}

/// Statuses and codes that were answered.
const ANSWERED: &str = "200 400 401 403 404 408 409 411 413 415 417 431 500 504 already-installed bad-argument bad-json bad-request \
                        choose-program forbidden-host forbidden-origin headers-too-large in-use io length-required \
                        not-downloaded not-in-catalog not-installed operation-in-progress request-timeout self-connect \
                        timeout too-large unauthorized unknown-command unknown-game unsupported-media-type";

/// What the daemon that downloads has to say.
const EXPECTED: [&str; 29] = [
    "active-operations-changed",
    "adopt-begin",
    "adopt-finished",
    "catalog-changed",
    "download-begin",
    "download-checking",
    "download-failed",
    "download-finished",
    "download-progress",
    "got-game-files",
    "install-begin",
    "install-failed",
    "install-finished",
    "install-progress",
    "local-library-changed",
    "peer-connected",
    "peer-discovered",
    "peer-library-changed",
    "peer-lost",
    "remove-begin",
    "remove-finished",
    "settings-changed",
    "snapshot",
    "traffic",
    "uninstall-begin",
    "uninstall-failed",
    "uninstall-finished",
    "verify-finished",
    "verify-progress",
];

#[test]
fn a_source_of_wrong_bytes_and_a_peer_without_the_key_are_told_of_as_documented() {
    let document = Arc::new(Document::load());
    let (source, home, keyed) = (Home::new(), Home::new(), Home::new());
    GameSpec::new("doom").file("doom.wad", 3 * CHUNK).write(&source.games());
    let honest = Daemon::start(&source, &Options::local());
    honest.wait_hashed();
    let offer = Arc::new(Offer::of(&honest, &source.game("doom")));
    let b = Daemon::start(&home, &Options::local());
    let door = Door::of(&home, &document);
    let said = door.listen();
    let liar = Copycat::start(&offer, b.addr);
    b.wait_peers(1);
    let mark = b.begin_download("doom");
    assert_eq!(b.wait_download("doom", mark)["event"], "download-failed");
    assert_eq!(door.get("/api/v1/status")["sources_banned"][0]["peer_id"], liar.peer_id.as_str());
    door.get("/api/v1/peers");

    fs::write(keyed.path().join("party.key"), "the key of this party").unwrap();
    let c = Daemon::start(&keyed, &Options::local().arg("--party-key-file", keyed.path().join("party.key")));
    let refused = door.refused(json!({"cmd": "connect", "addr": c.addr.to_string()}));
    assert_eq!(refused, (502, "peer-refused".into()));
    b.wait_event_since(0, "peer-refused", |_| true);
    door.command(json!({"cmd": "shutdown"}));
    check_events(&document, &said.join().unwrap(), &["download-source-banned", "download-failed", "peer-refused"]);
}

#[test]
fn a_game_directory_that_goes_is_told_of_as_documented() {
    if !available("a_game_directory_that_goes_is_told_of_as_documented", &["mount"]) {
        return;
    }
    let document = Arc::new(Document::load());
    let home = Home::new();
    let drive = home.path().join("drive");
    fs::create_dir(&drive).unwrap();
    GameSpec::small("doom").write(&drive);
    let (from, at) = (drive.to_str().unwrap().to_owned(), home.games().to_str().unwrap().to_owned());
    let bind = "mount --bind \"$0\" \"$1\" && shift && exec \"$@\"";
    let b = Daemon::start(&home, &Options::local().under(&["unshare", "-m", "sh", "-c", bind, &from, &at]));
    let door = Door::of(&home, &document);
    let said = door.listen();
    eventually("it is hashed", 60, || door.get("/api/v1/games")["games"][0]["content_hash"].is_string().then_some(()));
    let in_its_mounts = |words: &[&str]| {
        let done = Command::new("nsenter").args(["-m", "-t", &b.pid().to_string()]).args(words).status().unwrap();
        assert!(done.success(), "{words:?}");
    };
    in_its_mounts(&["umount", "-l", &at]);
    b.wait_event_since(0, "game-directory-gone", |_| true);
    assert!(door.get("/api/v1/status")["game_dir_gone"].is_string());
    assert_eq!(door.refused(json!({"cmd": "download", "game": "doom"})), (503, "game-directory-gone".into()));
    in_its_mounts(&["mount", "--bind", &from, &at]);
    b.wait_event_since(0, "game-directory-back", |_| true);
    door.command(json!({"cmd": "shutdown"}));
    check_events(&document, &said.join().unwrap(), &["game-directory-gone", "game-directory-back"]);
}

/// A path with the examples of its parameters.
fn target(path: &str, operations: &Value) -> String {
    let parameters = operations["parameters"].as_array().into_iter().flatten();
    parameters.fold(path.to_owned(), |path, parameter| {
        path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), parameter["example"].as_str().unwrap())
    })
}

#[test]
fn every_path_answers_every_method_that_it_has_and_no_other() {
    let document = Arc::new(Document::load());
    let home = Home::with(&[GameSpec::small("doom")]);
    let daemon = Daemon::start(&home, &Options::local());
    daemon.wait_hashed();
    let door = Door::of(&home, &document);
    for (path, operations) in document.at("/paths").as_object().unwrap() {
        let escaped = path.replace('/', "~1");
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let known = operations.get(method.to_lowercase()).is_some();
            if known && path.ends_with("/events") {
                continue;
            }
            let request = format!("{method} {} HTTP/1.1\r\n{}", target(path, operations), door.headers());
            let body = "Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"cmd\":\"status\"}";
            let answer = if method == "HEAD" {
                let mut stream = door.dial();
                stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                Answer { status: text[9..12].parse().unwrap(), head: text.to_lowercase(), body: String::new() }
            } else {
                let operation = format!("/paths/{escaped}/{}", method.to_lowercase());
                door.raw(&operation, &format!("{request}{body}"))
            };
            assert_eq!(answer.status, if known { 200 } else { 405 }, "{method} {path}");
            if !known {
                let allow = answer.head.split("allow: ").nth(1).unwrap().split('\r').next().unwrap().to_owned();
                let has: BTreeSet<&str> = allow.split(", ").collect();
                let documented = operations.as_object().unwrap().keys().filter(|key| *key != "parameters");
                assert_eq!(has, documented.map(String::as_str).collect(), "{path}");
            }
        }
    }
    // Without a token an address that needs none says so of its methods, others nothing.
    for (target, status) in [("/", 405), ("/page/app.js", 405), ("/page/no.js", 401), ("/api/v1/status", 401)] {
        let request = format!("PUT {target} HTTP/1.1\r\nHost: {}\r\n\r\n", door.host());
        assert_eq!(door.raw(STATUS, &request).status, status, "{target}");
    }
    let key = door.ask("POST", "/api/v1/page", "/api/v1/page").json()["url"].as_str().unwrap().to_owned();
    let entered = door.ask("GET", "/", key.strip_prefix(&door.file.url).unwrap());
    assert!(entered.status == 303 && entered.head.contains("set-cookie: lanspread-"), "{}", entered.head);
    assert_eq!(door.ask("GET", "/page/{file}", "/page/no.js").status, 404);
    daemon.stop();
}
