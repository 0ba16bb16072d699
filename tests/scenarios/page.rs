//! The web page in a real browser, in front of real daemons: by mouse, by keyboard, by a screen reader's rules, against pages that
//! mean harm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Browser, CHUNK, Daemon, GameSpec, Home, Options, available, eventually, key};

/// A game that writes a file where it is started.
const PROGRAM: &str = "#!/bin/sh\necho played > played.part && mv played.part played\n";

fn here(test: &str) -> bool {
    available(test, &["browser"])
}

/// A game in several chunks with one program.
fn game(home: &Home, id: &str, chunks: u64) {
    let root = GameSpec::new(id).file("data/game.pak", chunks * CHUNK + 99).without_sentinel().write(&home.games());
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/play.sh"), PROGRAM).unwrap();
    fs::write(root.join("version.ini"), "1.0\n").unwrap();
}

/// An address of the page that works once.
fn address(home: &Home) -> String {
    let binary = crate::support::binary();
    let output = Command::new(binary).args(["open", "--print", "--state-dir"]).arg(home.state()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A PC that has games, and one that shows its page.
struct Evening {
    host: Daemon,
    guest: Daemon,
    guest_home: Home,
    browser: Browser,
    _host_home: Home,
}

impl Evening {
    fn with(games: &[(&str, u64)], guest: &Options) -> Self {
        let (host_home, guest_home) = (Home::new(), Home::new());
        games.iter().for_each(|(id, chunks)| game(&host_home, id, *chunks));
        let host = Daemon::start(&host_home, &Options::local().arg("--hostname", "host"));
        host.wait_hashed();
        let guest = Daemon::start(&guest_home, guest);
        guest.connect(&host);
        let browser = Browser::start();
        browser.go(&address(&guest_home));
        browser.wait("the page is live", "document.documentElement.dataset.state === 'live'");
        Self { host, guest, guest_home, browser, _host_home: host_home }
    }

    fn state_is(&self, game: &str, state: &str) {
        let row = format!("[data-game={game}]");
        self.browser.wait(
            &format!("{game} is {state}"),
            &format!("document.querySelector({})?.dataset.state === {}", json!(row), json!(state)),
        );
    }

    fn press_button(&self, game: &str, action: &str) {
        self.browser.click(&format!("[data-game={game}] [data-action={action}]"));
    }

    /// An action of the menu behind the three dots.
    fn menu(&self, game: &str, action: &str) {
        self.press_button(game, "more");
        self.browser.click(&format!("#menu [data-action={action}]"));
    }

    fn confirm(&self) {
        self.browser.click("dialog[open] [data-action=dialog-confirm]");
    }

    fn path(&self, rel: &str) -> PathBuf {
        self.guest_home.path().join(rel)
    }

    fn played(&self, game: &str) {
        let file = self.path(&format!("games/{game}/local/bin/played"));
        eventually("the game runs", 30, || file.exists().then_some(()));
    }

    fn is_quiet(&self) {
        assert_eq!(self.browser.complaints(), Vec::<String>::new());
    }
}

#[test]
fn a_guest_gets_plays_uninstalls_and_removes_a_game_with_the_mouse() {
    if !here("a guest and the page") {
        return;
    }
    let evening = Evening::with(&[("doom", 8), ("quake", 1)], &Options::local().arg("--max-download", "2MB/s"));
    let browser = &evening.browser;
    browser.type_into("#search", "doo");
    browser.wait("the others are filtered out", "!document.querySelector('[data-game=quake]')");
    evening.state_is("doom", "available");
    evening.press_button("doom", "get");
    let mut seen = std::collections::BTreeSet::new();
    let bar = "return document.querySelector('[data-game=doom] [role=progressbar]:not([hidden])')?.ariaValueNow ?? ''";
    eventually("the bar moves", 60, || {
        seen.insert(browser.run(bar).as_str().unwrap().to_owned());
        (seen.len() >= 4).then_some(())
    });
    evening.state_is("doom", "installed");
    browser.wait("the rates are back at zero", "/^0 /.test(document.querySelector('#rate-down').innerText)");
    evening.press_button("doom", "play");
    evening.played("doom");
    evening.menu("doom", "uninstall");
    evening.confirm();
    evening.state_is("doom", "downloaded");
    // What the game wrote is the user's.
    assert!(evening.path("games/doom/.local.mine/bin/played").exists());
    evening.menu("doom", "remove");
    browser.click("dialog[open] [data-action=dialog-cancel]");
    evening.menu("doom", "remove");
    evening.confirm();
    evening.state_is("doom", "available");
    evening.press_button("doom", "get");
    evening.press_button("doom", "cancel");
    evening.state_is("doom", "available");
    evening.is_quiet();
}

#[test]
fn the_page_goes_on_after_a_restart_and_tells_who_left() {
    if !here("a restart behind the page") {
        return;
    }
    let evening = Evening::with(&[("doom", 1)], &Options::local());
    let Evening { host, guest, guest_home, browser, _host_home } = evening;
    let page_is = |state: &str| {
        browser.wait(
            &format!("the page is {state}"),
            &format!("document.documentElement.dataset.state === {}", json!(state)),
        );
    };
    browser.click("[data-tab=peers]");
    browser.wait_for("[data-peer][data-state=connected]");
    let first = browser.new_tab();
    let used = address(&guest_home);
    browser.go(&used);
    page_is("live");
    browser.switch_to(&first);
    guest.ok(json!({"cmd": "pause"}));
    browser.wait("what others set is seen", "document.querySelector('#playing').ariaChecked === 'true'");
    host.stop();
    browser.wait("the peer left", "!document.querySelector('[data-peer][data-state=connected]')");
    browser.click("[data-tab=problems]");
    browser.wait_for("[data-finding=nobody-found]");
    browser.reload();
    browser.wait_for("[data-finding=nobody-found]");
    guest.kill();
    page_is("offline");
    let guest = Daemon::start(&guest_home, &Options::local());
    page_is("live");
    // Without its secret the daemon knows no cookie any more.
    guest.kill();
    fs::remove_file(guest_home.state().join("page.json")).unwrap();
    let port = used.split(['/', ':']).nth(4).unwrap();
    let _guest = Daemon::start(&guest_home, &Options::local().arg("--control", format!("127.0.0.1:{port}")));
    browser.reload();
    page_is("locked");
    assert!(browser.text("#locked").contains("lanspread open"));
    browser.go(&used);
    page_is("locked");
    browser.go(&address(&guest_home));
    page_is("live");
}

#[test]
fn everything_works_by_keyboard_alone() {
    if !here("the page by keyboard") {
        return;
    }
    let evening = Evening::with(&[("doom", 1), ("quake", 1)], &Options::local());
    let browser = &evening.browser;
    let focus = |css: &str| {
        let found = format!("document.activeElement?.matches({})", json!(css));
        eventually(&format!("Tab reaches {css}"), 30, || {
            let here = browser.run(&format!("return Boolean({found})")) == true;
            if !here {
                browser.press(&key::TAB.to_string());
            }
            here.then_some(())
        });
    };
    focus("#search");
    browser.press("quake");
    browser.wait("the others are filtered out", "!document.querySelector('[data-game=doom]')");
    evening.state_is("quake", "available");
    focus("[data-game=quake] [data-action=get]");
    browser.press(&key::ENTER.to_string());
    evening.state_is("quake", "installed");
    focus("[data-game=quake] [data-action=play]");
    browser.press(&key::ENTER.to_string());
    evening.played("quake");
    focus("[data-game=quake] [data-action=more]");
    browser.press(&key::ENTER.to_string());
    browser.wait_for("#menu [role=menuitem]");
    let item = |action: &str| format!("document.activeElement?.dataset.action === {}", json!(action));
    eventually("the arrows reach the last but one", 30, || {
        let here = browser.run(&format!("return Boolean({})", item("uninstall"))) == true;
        if !here {
            browser.press(&key::DOWN.to_string());
        }
        here.then_some(())
    });
    browser.press(&key::ENTER.to_string());
    browser.wait_for("dialog[open]");
    browser.press(&key::ESCAPE.to_string());
    browser.wait("Escape closes it", "!document.querySelector('dialog[open]')");
    evening.state_is("quake", "installed");
    evening.is_quiet();
}

#[test]
fn names_that_are_markup_are_text_and_other_pages_get_nothing() {
    if !here("hostile pages") {
        return;
    }
    let (home, host_home) = (Home::new(), Home::new());
    game(&host_home, "doom", 1);
    let name = "<img src=x onerror=window.hit=1><script>window.hit=1</script>";
    let catalog = json!({"format": 1, "games": [
        {"id": "doom", "name": name, "version": "1.0", "description": name, "genre": name, "players": "2-4"}]});
    let path = home.path().join("catalog.json");
    fs::write(&path, catalog.to_string()).unwrap();
    let host = Daemon::start(&host_home, &Options::local().arg("--hostname", "<b>host</b>"));
    let guest = Daemon::start(&home, &Options::local().arg("--catalog", &path));
    guest.connect(&host);
    let browser = Browser::start();
    browser.go(&address(&home));
    browser.wait_for("[data-game=doom]");
    assert!(browser.text("[data-game=doom]").contains("<img src=x"), "it is shown as it is");
    browser.click("[data-game=doom] [data-action=more]");
    browser.click("#menu [data-action=details]");
    browser.wait_for("dialog[open]");
    assert_eq!(browser.run("return window.hit ?? null"), Value::Null);

    // Another page of this PC: same site, other port, so that the cookie goes along.
    let door = browser.run("return location.origin").as_str().unwrap().to_owned();
    let attack = format!(
        "<form method=post action='{door}/api/v1/command' enctype='text/plain' target=out><input name='{{\"cmd\":\"pause\",\"x\":\"' value='\"}}'></form>\
         <iframe name=out></iframe><script>
         document.forms[0].submit();
         const call = (type) => fetch('{door}/api/v1/command', {{method: 'POST', credentials: 'include', mode: 'no-cors',
             headers: {{'Content-Type': type}}, body: '{{\"cmd\":\"pause\"}}'}}).catch(() => 0);
         const look = fetch('{door}/api/v1/status', {{credentials: 'include'}}).then((a) => a.text()).catch(() => 'nothing');
         Promise.all([call('text/plain'), call('application/json'), look]).then((all) => document.title = 'done ' + all[2]);
         </script>"
    );
    let (url, asked) = serve_once_more(attack);
    browser.go(&url);
    browser.wait("the attack was carried out", "document.title.startsWith('done')");
    assert_eq!(browser.run("return document.title"), "done nothing");
    assert!(asked.load(std::sync::atomic::Ordering::Relaxed) > 0);
    assert_eq!(guest.status()["paused"], false);
    assert!(!shows_in_a_frame(&browser, &door), "the page shows itself in nobody's frame");
}

/// Whether a frame of another page shows the door's page; the browser's console says why not.
fn shows_in_a_frame(browser: &Browser, door: &str) -> bool {
    browser.run_async(&format!(
        "const done = arguments[0]; const frame = document.createElement('iframe'); frame.src = '{door}/'; frame.onload = () => done(0);
         document.body.append(frame); setTimeout(() => done(0), 5000);"
    ));
    !browser.console().iter().any(|line| line.contains("frame-ancestors"))
}

/// A web server on this PC that answers everything with this page, for as long as the test runs.
fn serve_once_more(page: String) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 8192]);
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                page.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(page.as_bytes()));
        }
    });
    (url, asked)
}

#[test]
fn a_full_disk_is_a_problem_in_words() {
    if !here("a full disk behind the page") || !available("a full disk behind the page", &["mount"]) {
        return;
    }
    let script = r#"mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@""#;
    let (host_home, home) = (Home::new(), Home::new());
    game(&host_home, "doom", 16);
    let host = Daemon::start(&host_home, &Options::local());
    let games = home.games();
    let small = Options::local().under(&["unshare", "-m", "sh", "-c", script, games.to_str().unwrap()]);
    let guest = Daemon::start(&home, &small);
    guest.connect(&host);
    let browser = Browser::start();
    browser.go(&address(&home));
    browser.click("[data-game=doom] [data-action=get]");
    browser.wait_for("#badge");
    browser.click("[data-tab=problems]");
    browser.wait("it is told in words", "/space/i.test(document.querySelector('#view-problems').innerText)");
    assert!(browser.text("#view-problems").contains("doom"));
}

#[test]
fn ten_thousand_games_are_a_list_of_some_rows() {
    if !here("a long list") {
        return;
    }
    const GAMES: usize = 10_000;
    let home = Home::new();
    for number in 0..GAMES {
        let root = home.games().join(format!("game-{number:05}"));
        fs::create_dir(&root).unwrap();
        fs::write(root.join("version.ini"), "1\n").unwrap();
    }
    let daemon = Daemon::start(&home, &Options::local());
    let browser = Browser::start();
    browser.go(&address(&home));
    browser.wait("all are listed", &format!("/10,000/.test(document.querySelector('#tally').innerText) && {GAMES}"));
    let rows = || browser.run("return document.querySelectorAll('[data-game]').length").as_u64().unwrap();
    assert!((1..100).contains(&rows()), "{} rows are in the document", rows());
    browser.type_into("#search", "game-09999");
    browser.wait("the last one is found", "document.querySelectorAll('[data-game]').length === 1");
    browser.run(
        "const search = document.querySelector('#search'); search.value = ''; search.dispatchEvent(new Event('input'))",
    );
    browser.wait_for("[data-game=game-00000]");
    browser.click("[data-game=game-00000] [data-action=more]");
    browser.press(&key::ESCAPE.to_string());
    browser.press(&key::END.to_string());
    browser.wait_for("[data-game=game-09999]");
    assert!((1..100).contains(&rows()), "{} rows are in the document", rows());
    assert_eq!(daemon.status()["games"], GAMES);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// The rules of axe-core for people who cannot see, or cannot use a mouse; and the pictures of the documents.
#[test]
fn every_view_is_accessible_by_day_and_by_night_on_a_phone_and_on_a_desk() {
    if !here("accessibility") || !available("accessibility", &["axe"]) {
        return;
    }
    let axe = fs::read_to_string(std::env::var("LANSPREAD_AXE").unwrap()).unwrap();
    let evening = Evening::with(
        &[("age-of-barrels", 3), ("doom", 2), ("quake", 1), ("sauerbraten", 2), ("tux-racer", 1)],
        &Options::local().arg("--max-download", "1MB/s").arg("--hostname", "guest"),
    );
    let browser = &evening.browser;
    evening.press_button("doom", "get");
    evening.state_is("doom", "installed");
    evening.press_button("age-of-barrels", "get");
    evening.state_is("age-of-barrels", "downloading");
    for (looks, name) in
        [((1280, 800, false), "page-light"), ((1280, 800, true), "page-dark"), ((360, 740, false), "page-phone")]
    {
        browser.looks(looks.0, looks.1, looks.2);
        for tab in ["peers", "network", "problems", "games"] {
            browser.run(&format!("location.hash = {}", json!(tab)));
            browser.wait_for(&format!("#view-{tab}"));
            assert_eq!(faults(browser, &axe), Vec::<String>::new(), "{tab}, {name}");
            let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth");
            assert!(overflow.as_i64().unwrap() <= 0, "{tab} is wider than the window at {name}");
        }
        if let Ok(dir) = std::env::var("LANSPREAD_SCREENSHOTS") {
            browser.screenshot(&Path::new(&dir).join(format!("{name}.png")));
        }
    }
    evening.is_quiet();
}

fn faults(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(&format!("if (!window.axe) {{ {axe} }}"));
    let found = browser.run_async(
        "const done = arguments[0];
         axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations.map((fault) =>
             `${fault.impact} ${fault.id}: ${fault.nodes.map((node) => node.html).join(' ').slice(0, 300)}`)), (error) => done([String(error)]));",
    );
    found.as_array().expect("a list").iter().map(|fault| fault.as_str().unwrap().to_owned()).collect()
}

#[test]
fn both_languages_have_every_word_that_the_page_uses() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/page");
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let keys = |name: &str| -> std::collections::BTreeSet<String> {
        let text = read(name);
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix('"')?.split_once('"'));
        lines.filter(|(_, rest)| rest.starts_with(':')).map(|(key, _)| key.to_owned()).collect()
    };
    let (en, de) = (keys("words-en.js"), keys("words-de.js"));
    assert!(en.len() > 100, "{}", en.len());
    assert_eq!(en, de);
    let mut used = std::collections::BTreeSet::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        // t("key") and data-t="key"; keys that are put together (`state.${…}`) are not seen here.
        for start in ["t(\"", "data-t=\"", "data-t-label=\"", "data-t-title=\"", "data-t-hint=\""] {
            used.extend(
                text.split(start).skip(1).filter_map(|rest| rest.split_once('"')).map(|(key, _)| key.to_owned()),
            );
        }
    }
    let is_known = |key: &&String| en.contains(*key) || en.contains(&format!("{key}.one"));
    // What has no dot may be a word of another call that ends in t.
    let missing: Vec<_> =
        used.iter().filter(|key| !key.starts_with('.') && key.contains('.') && !is_known(key)).collect();
    assert!(used.iter().filter(is_known).count() > 50);
    assert!(missing.is_empty(), "{missing:?}");
}
