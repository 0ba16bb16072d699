//! Catalogs from files and servers: how they come, change and are held against their signatures, with real daemons and a
//! small server of the test's own.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and sets its stage with plain file calls"
)]
#![allow(dead_code, unused_imports, reason = "the support is shared with the scenarios")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boring::pkey::PKey;
use boring::ssl::{SslAcceptor, SslMethod};
use boring::x509::X509;
use serde_json::{Value, json};
use support::{CHUNK, Daemon, GameSpec, Home, MIB, Options, assert_same_tree, eventually};

/// What a server says under one path.
#[derive(Clone)]
enum Page {
    /// With an entity tag that is made of the bytes.
    Text(String),
    Redirect(String),
    /// Bytes without end.
    Endless,
}

#[derive(Default)]
struct Site {
    pages: BTreeMap<String, Page>,
    /// Path and answered status of every request.
    log: Vec<(String, u16)>,
}

/// An HTTP server on 127.0.0.1, one request for each connection.
struct Server {
    addr: SocketAddr,
    site: Arc<Mutex<Site>>,
    scheme: &'static str,
}

impl Server {
    fn start() -> Self {
        Self::with(None)
    }

    fn with(tls: Option<SslAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, site) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Site::default())));
        let (shared, scheme) = (site.clone(), if tls.is_some() { "https" } else { "http" });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (site, tls) = (shared.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    Some(tls) => drop(tls.accept(stream).map(|stream| serve(stream, &site))),
                    None => serve(stream, &site),
                });
            }
        });
        Self { addr, site, scheme }
    }

    fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.addr.port())
    }

    fn put(&self, path: &str, text: impl ToString) {
        self.page(path, Page::Text(text.to_string()));
    }

    fn page(&self, path: &str, page: Page) {
        self.site.lock().unwrap().pages.insert(path.to_owned(), page);
    }

    fn take_away(&self, path: &str) {
        self.site.lock().unwrap().pages.remove(path);
    }

    /// How often a path was answered with this status.
    fn count(&self, path: &str, status: u16) -> usize {
        self.site.lock().unwrap().log.iter().filter(|(at, with)| at == path && *with == status).count()
    }
}

fn serve(mut stream: impl Read + Write, site: &Mutex<Site>) {
    let mut lines = Vec::new();
    let mut reader = BufReader::new(&mut stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    drop(reader);
    let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
    let asked =
        lines.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("if-none-match: ").map(str::to_owned));
    let page = site.lock().unwrap().pages.get(&path).cloned();
    let (status, head, body) = match page {
        None => (404, String::new(), "no".to_owned()),
        Some(Page::Redirect(to)) => (302, format!("Location: {to}\r\n"), String::new()),
        Some(Page::Endless) => (200, String::new(), String::new()),
        Some(Page::Text(text)) => {
            let tag = format!("\"{}\"", &blake3::hash(text.as_bytes()).to_hex()[..16]);
            let status = if asked.as_deref() == Some(tag.as_str()) { 304 } else { 200 };
            (status, format!("ETag: {tag}\r\n"), if status == 304 { String::new() } else { text })
        }
    };
    site.lock().unwrap().log.push((path.clone(), status));
    let endless = matches!(site.lock().unwrap().pages.get(&path), Some(Page::Endless));
    let length = if endless { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("HTTP/1.1 {status} x\r\n{head}{length}Connection: close\r\n\r\n");
    let mut write = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    while endless && write.is_ok() {
        write = stream.write_all(&[b' '; 65_536]);
    }
    let _ = stream.flush();
}

/// A catalog that lists these (id, version) pairs.
fn listing(serial: u64, games: &[(&str, &str)]) -> String {
    let game = |(id, version): &(&str, &str)| json!({"id": id, "name": format!("The {id}"), "version": version});
    json!({"format": 1, "serial": serial, "games": games.iter().map(game).collect::<Vec<_>>()}).to_string()
}

fn lanspread(args: &[&str]) -> Output {
    let binary = support::binary();
    Command::new(binary).args(args).output().unwrap()
}

/// What a sub-command prints with `--json`, and its exit code.
fn catalog_tool(args: &[&str]) -> (Value, Option<i32>) {
    let output = lanspread(&[&["catalog"], args, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?}: {output:?}"));
    (value, output.status.code())
}

/// A key to sign with.
struct Signer {
    dir: tempfile::TempDir,
    public: String,
}

impl Signer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let (made, code) = catalog_tool(&["keygen", "--out", key.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{made}");
        Self { dir, public: made["public_key"].as_str().unwrap().to_owned() }
    }

    fn signature(&self, document: &str) -> String {
        let (key, file) = (self.dir.path().join("key"), self.dir.path().join("catalog.json"));
        fs::write(&file, document).unwrap();
        let (signed, code) = catalog_tool(&["sign", "--key", key.to_str().unwrap(), file.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{signed}");
        fs::read_to_string(self.dir.path().join("catalog.json.sig")).unwrap()
    }

    /// Puts a catalog and its signature on a server. The signature first: nobody may see a catalog without its own.
    fn publish(&self, server: &Server, document: &str) {
        server.put("/c.json.sig", self.signature(document));
        server.put("/c.json", document);
    }
}

fn is_listed(daemon: &Daemon, game: &str) -> bool {
    daemon.games()[game].get("local_only_reason").is_none_or(Value::is_null)
}

/// Makes the daemon look at the catalog now.
fn refresh(daemon: &Daemon) {
    // It answers after the look; that nobody has the game is of no interest.
    let _ = daemon.command(json!({"cmd": "fetch-latest", "game": "nobody-has-it"}));
}

fn troubles(daemon: &Daemon) -> Vec<Value> {
    daemon.events("runtime-error").into_iter().filter(|e| e["message"].to_string().contains("catalog")).collect()
}

/// Waits for so many of them: events and answers come by different ways. There must not be more.
fn wait_troubles(daemon: &Daemon, count: usize) -> Vec<Value> {
    let told = eventually("the trouble is told", 30, || Some(troubles(daemon)).filter(|told| told.len() >= count));
    assert_eq!(told.len(), count, "{told:?}");
    told
}

#[test]
fn a_catalog_comes_from_a_server_changes_with_it_and_outlives_it() {
    let server = Server::start();
    server.put("/c.json", listing(0, &[("doom", "1")]));
    let home = Home::with(&[GameSpec::small("doom"), GameSpec::small("quake")]);
    let options = Options::local().arg("--catalog", server.url("/c.json"));
    let daemon = Daemon::start(&home, &options);
    daemon.wait_event("catalog-changed");
    assert!(is_listed(&daemon, "doom") && !is_listed(&daemon, "quake"));
    assert_eq!(daemon.games()["doom"]["name"], "The doom");

    // Unchanged: the server is asked by the tag, and nothing follows.
    let mark = daemon.mark();
    refresh(&daemon);
    assert!(server.count("/c.json", 304) >= 1, "{:?}", server.site.lock().unwrap().log);
    assert!(daemon.since(mark).iter().all(|record| record["event"] != "catalog-changed"));

    server.put("/c.json", listing(0, &[("quake", "1")]));
    refresh(&daemon);
    assert!(is_listed(&daemon, "quake") && !is_listed(&daemon, "doom"));

    // Not a catalog, then not there: the last good one stays, and that is said once for each trouble.
    for _ in 0..3 {
        server.put("/c.json", r#"{"format":1,"games":[{"id":"quake"}]}"#);
        refresh(&daemon);
    }
    server.take_away("/c.json");
    refresh(&daemon);
    refresh(&daemon);
    // Events keep their order: a repetition of the first would stand before the second.
    let troubles = wait_troubles(&daemon, 2);
    assert!(troubles[1]["message"].as_str().unwrap().contains("status 404"), "{troubles:?}");
    assert!(is_listed(&daemon, "quake") && !is_listed(&daemon, "doom"));
    daemon.stop();

    // The next start does not need the server.
    let daemon = Daemon::start(&home, &options);
    assert!(is_listed(&daemon, "quake") && !is_listed(&daemon, "doom"));
    daemon.stop();

    // Another source is another catalog, and until it comes nothing is admitted.
    let daemon = Daemon::start(&home, &Options::local().arg("--catalog", server.url("/other.json")));
    assert!(!is_listed(&daemon, "quake") && !is_listed(&daemon, "doom"));
    server.put("/other.json", listing(0, &[("doom", "1")]));
    refresh(&daemon);
    assert!(is_listed(&daemon, "doom"));
}

#[test]
fn a_catalog_file_that_changes_is_read_again() {
    let home = Home::with(&[GameSpec::small("doom")]);
    let path = home.catalog(&[("quake", "1")]);
    // Seconds, because a test must not wait for minutes.
    let daemon = Daemon::start(&home, &Options::local().arg("--catalog", &path).set("timers.catalog_refresh", "500ms"));
    assert!(!is_listed(&daemon, "doom"));
    home.catalog(&[("doom", "1")]);
    daemon.wait_event("catalog-changed");
    eventually("the game is offered", 30, || is_listed(&daemon, "doom").then_some(()));
}

#[test]
fn a_server_cannot_make_the_daemon_read_or_wait_for_ever() {
    let server = Server::start();
    server.page("/endless", Page::Endless);
    server.page("/loop", Page::Redirect("/loop".into()));
    server.put("/c.json", listing(0, &[("doom", "1")]));
    for hop in 0..5 {
        let next = if hop == 4 { "/c.json".to_owned() } else { format!("/hop{}", hop + 1) };
        server.page(&format!("/hop{hop}"), Page::Redirect(next));
    }
    let (answer, code) = catalog_tool(&["check", &server.url("/hop0")]);
    assert_eq!((code, &answer["games"]), (Some(0), &json!(1)), "five redirects are followed: {answer}");
    for (path, expected) in
        [("/endless", "larger than 16 MiB"), ("/loop", "redirected more than 5 times"), ("/nowhere", "status 404")]
    {
        let (answer, code) = catalog_tool(&["check", &server.url(path)]);
        assert_eq!((code, answer["code"].as_str()), (Some(1), Some("io")), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{answer}");
    }
    assert_eq!(server.count("/loop", 302), 6);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (answer, code) = catalog_tool(&["check", &format!("http://{nobody}/c.json")]);
    assert_eq!((code, answer["code"].as_str()), (Some(1), Some("io")), "{answer}");
}

#[test]
fn with_a_key_only_its_signature_counts_and_nobody_can_go_back() {
    let (server, signer, stranger) = (Server::start(), Signer::new(), Signer::new());
    let home = Home::with(&[GameSpec::small("doom"), GameSpec::small("quake")]);
    let key_file = home.path().join("catalog.pub");
    fs::write(&key_file, format!("{}\n", signer.public)).unwrap();
    let options = Options::local().arg("--catalog", server.url("/c.json")).arg("--catalog-key", &key_file);
    let (old, new) = (listing(6, &[("quake", "1")]), listing(7, &[("doom", "1")]));

    // Nothing was ever signed: nothing is admitted.
    server.put("/c.json", &new);
    let daemon = Daemon::start(&home, &options);
    let trouble = daemon.wait_event("runtime-error");
    assert_eq!(trouble["code"], "verification-failed", "{trouble}");
    assert!(!is_listed(&daemon, "doom") && !is_listed(&daemon, "quake"));

    signer.publish(&server, &new);
    refresh(&daemon);
    assert_eq!(daemon.wait_event("catalog-changed")["serial"], 7);
    assert!(is_listed(&daemon, "doom"));

    let last_good = |daemon: &Daemon, what: &str, expected: &str| {
        let before = troubles(daemon).len();
        refresh(daemon);
        let troubles = wait_troubles(daemon, before + 1);
        let trouble = troubles.last().unwrap();
        assert_eq!(trouble["code"], "verification-failed", "{what}: {trouble}");
        assert!(trouble["message"].as_str().unwrap().contains(expected), "{what}: {trouble}");
        assert!(is_listed(daemon, "doom") && !is_listed(daemon, "quake"), "{what}");
    };
    server.put("/c.json", new.replace("doom", "quake"));
    last_good(&daemon, "another document", "is not the one of");
    stranger.publish(&server, &listing(8, &[("quake", "1")]));
    server.put("/c.json.sig", "0123");
    last_good(&daemon, "no signature", "128 hexadecimal digits");
    server.take_away("/c.json.sig");
    last_good(&daemon, "no signature file", "status 404");
    stranger.publish(&server, &listing(9, &[("quake", "1")]));
    last_good(&daemon, "another key", "is not the one of");
    signer.publish(&server, &old);
    last_good(&daemon, "an old one, rightly signed", "serial number 6, but 7 was seen");
    daemon.stop();

    // The next start knows of the serial number as well, and does not need the server to be right.
    let daemon = Daemon::start(&home, &options);
    daemon.wait_event_since(0, "runtime-error", |event| event["message"].as_str().unwrap().contains("serial number 6"));
    assert!(is_listed(&daemon, "doom") && !is_listed(&daemon, "quake"));
    signer.publish(&server, &listing(8, &[("quake", "1")]));
    refresh(&daemon);
    assert!(!is_listed(&daemon, "doom") && is_listed(&daemon, "quake"), "a later one is taken");
    daemon.stop();

    // With another key, what the first one signed counts no more.
    let other = Options::local().arg("--catalog", server.url("/c.json")).arg("--catalog-key", &stranger.public);
    let daemon = Daemon::start(&home, &other);
    daemon.wait_event("runtime-error");
    assert!(!is_listed(&daemon, "doom") && !is_listed(&daemon, "quake"));
}

#[test]
fn a_signed_file_that_is_spoilt_stops_the_first_start_and_later_ones_go_on_with_the_last_good() {
    let signer = Signer::new();
    let home = Home::with(&[GameSpec::small("doom")]);
    let file = home.catalog(&[("doom", "1")]);
    let start = || {
        let (games, state) = (home.games(), home.state());
        let args = ["run", "--no-mdns", "--no-control", "--jsonl", "--listen", "127.0.0.1:0", "--catalog-key"];
        let rest = ["--game-dir", games.to_str().unwrap(), "--state-dir", state.to_str().unwrap(), "--catalog"];
        lanspread(&[&args[..], &[&signer.public], &rest, &[file.to_str().unwrap()]].concat())
    };
    let refused = start();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("catalog.json.sig"), "{refused:?}");

    let document = fs::read_to_string(&file).unwrap();
    fs::write(home.path().join("catalog.json.sig"), signer.signature(&document)).unwrap();
    let options = Options::local().arg("--catalog", &file).arg("--catalog-key", &signer.public);
    Daemon::start(&home, &options).stop();
    fs::write(&file, document.replace("doom", "quake")).unwrap();
    let daemon = Daemon::start(&home, &options);
    assert_eq!(daemon.wait_event("runtime-error")["code"], "verification-failed");
    assert!(is_listed(&daemon, "doom"));
}

#[test]
fn of_one_version_only_the_content_that_the_catalog_names_is_fetched_and_offered() {
    // The same names and sizes, other bytes.
    let right = GameSpec::new("doom").version("3").file("data.bin", 3 * CHUNK + 5);
    let wrong = right.clone().seed(99);
    let (right_home, wrong_home, home) = (Home::with(std::slice::from_ref(&right)), Home::with(&[wrong]), Home::new());
    let (good, bad) = (Daemon::start(&right_home, &Options::local()), Daemon::start(&wrong_home, &Options::local()));
    good.wait_hashed();
    bad.wait_hashed();
    let content = |daemon: &Daemon| daemon.games()["doom"]["content_hash"].as_str().unwrap().to_owned();
    assert_ne!(content(&good), content(&bad));
    let catalog = json!({"format": 1, "games": [
        {"id": "doom", "name": "Doom", "version": "3", "content_hash": content(&good)},
    ]});
    let server = Server::start();
    server.put("/c.json", &catalog);
    let options = Options::local().arg("--catalog", server.url("/c.json"));
    let daemon = Daemon::start(&home, &options);
    daemon.wait_event("catalog-changed");

    daemon.connect(&bad);
    assert_eq!(daemon.refused(json!({"cmd": "download", "game": "doom"})), "no-sources");
    daemon.connect(&good);
    daemon.wait_peers(2);
    let finished = daemon.download("doom");
    let sources = finished["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 1, "{finished}");
    assert_eq!(sources[0]["peer_id"], good.peer_id.as_str());
    assert!(finished["bytes"].as_u64().unwrap() > 3 * MIB);
    assert_same_tree(&home.game("doom"), &right_home.game("doom"));

    // An owner of other bytes with the same catalog keeps them to itself.
    bad.stop();
    let bad = Daemon::start(&wrong_home, &options);
    bad.wait_event("catalog-changed");
    bad.wait_hashed();
    eventually("the reason is told", 30, || (!is_listed(&bad, "doom")).then_some(()));
    let reason = bad.games()["doom"]["local_only_reason"].to_string();
    assert!(reason.contains("content"), "{reason}");
    let nobody = Home::new();
    let open = Daemon::start(&nobody, &Options::local());
    open.connect(&bad);
    assert_eq!(open.refused(json!({"cmd": "download", "game": "doom"})), "no-sources");
}

#[test]
fn a_server_behind_tls_must_be_one_that_the_system_trusts() {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    tls.set_private_key(&PKey::private_key_from_pem(own.signing_key.serialize_pem().as_bytes()).unwrap()).unwrap();
    tls.set_certificate(&X509::from_der(own.cert.der()).unwrap()).unwrap();
    let server = Server::with(Some(tls.build()));
    server.put("/c.json", listing(3, &[("doom", "1")]));
    server.page("/down", Page::Redirect(format!("http://127.0.0.1:{}/c.json", server.addr.port())));
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("ca.pem");
    fs::write(&trusted, own.cert.pem()).unwrap();

    let binary = support::binary();
    let check = |url: &str, trusted: Option<&Path>| {
        let mut command = Command::new(&binary);
        command.args(["catalog", "check", "--json", url]).env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        if let Some(trusted) = trusted {
            command.env("SSL_CERT_FILE", trusted);
        }
        let output = command.output().unwrap();
        (serde_json::from_slice::<Value>(&output.stdout).unwrap(), output.status.code())
    };
    let (answer, code) = check(&server.url("/c.json"), Some(&trusted));
    assert_eq!((code, &answer["serial"]), (Some(0), &json!(3)), "{answer}");
    let (answer, code) = check(&server.url("/c.json"), None);
    assert_eq!(code, Some(1));
    assert!(answer["message"].as_str().unwrap().contains("certificate is not accepted"), "{answer}");
    let elsewhere = server.url("/c.json").replace("127.0.0.1", "localhost");
    let (answer, code) = check(&elsewhere, Some(&trusted));
    assert_eq!(code, Some(1), "the certificate is for another name: {answer}");
    let (answer, code) = check(&server.url("/down"), Some(&trusted));
    assert_eq!(code, Some(1), "what began safe stays so: {answer}");
}

#[test]
fn the_command_line_makes_keys_signs_checks_and_shows() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (key, catalog, public) = (path("key"), path("c.json"), path("key.pub"));
    let made = lanspread(&["catalog", "keygen", "--out", &key]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    let printed = String::from_utf8(made.stdout).unwrap();
    assert!(printed.trim().len() == 64 && printed.trim().bytes().all(|b| b.is_ascii_hexdigit()), "{printed}");
    fs::write(&public, &printed).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "the private key is its owner's alone");
    let before = fs::read(&key).unwrap();
    let (again, code) = catalog_tool(&["keygen", "--out", &key]);
    assert_eq!((code, again["code"].as_str()), (Some(1), Some("io")), "a key is not overwritten: {again}");
    assert_eq!(fs::read(&key).unwrap(), before);

    fs::write(&catalog, listing(4, &[("doom", "1.9"), ("quake", "1.06")])).unwrap();
    let (signed, code) = catalog_tool(&["sign", "--key", &key, &catalog]);
    assert_eq!((code, &signed["serial"], &signed["public_key"]), (Some(0), &json!(4), &json!(printed.trim())));
    for key in [printed.trim(), &public] {
        let (checked, code) = catalog_tool(&["check", "--key", key, &catalog]);
        assert_eq!((code, &checked["signed"], &checked["games"]), (Some(0), &json!(true), &json!(2)));
    }
    let (shown, code) = catalog_tool(&["show", &catalog]);
    assert_eq!(
        (code, &shown["games"][1]["id"], &shown["games"][1]["version"]),
        (Some(0), &json!("quake"), &json!("1.06"))
    );
    let text = String::from_utf8(lanspread(&["catalog", "show", &catalog]).stdout).unwrap();
    assert!(text.contains("doom") && text.contains("version 1.9"), "{text}");

    let signature = fs::read_to_string(format!("{catalog}.sig")).unwrap();
    fs::write(&catalog, listing(5, &[("doom", "1.9")])).unwrap();
    let (refused, code) = catalog_tool(&["check", "--key", &public, &catalog]);
    assert_eq!((code, refused["code"].as_str()), (Some(1), Some("verification-failed")), "{refused}");
    fs::write(&catalog, "{").unwrap();
    let (refused, code) = catalog_tool(&["sign", "--key", &key, &catalog]);
    assert_eq!((code, refused["code"].as_str()), (Some(1), Some("bad-catalog")), "{refused}");
    assert_eq!(fs::read_to_string(format!("{catalog}.sig")).unwrap(), signature, "and nothing was signed");
    let (refused, code) = catalog_tool(&["sign", "--key", &public, &catalog]);
    assert_eq!((code, refused["code"].as_str()), (Some(1), Some("bad-argument")), "{refused}");
    for usage in [&["catalog", "check", "--key", "nonsense", "c"][..], &["catalog", "sign", "c"], &["catalog"]] {
        assert_eq!(lanspread(usage).status.code(), Some(2), "{usage:?}");
    }
    // A key without a catalog would admit everything while it looks safe.
    let state = path("state");
    let run = ["run", "--game-dir", &state, "--state-dir", &state, "--catalog-key", printed.trim()];
    let refused = lanspread(&run);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}
