//! A real browser without a window: Chromium, driven over the WebDriver protocol (W3C WebDriver, level 2) by `chromedriver`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use super::eventually;

/// What WebDriver calls an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Patience in seconds with what the page shows.
const PATIENCE: u64 = 30;

/// Keys that have no character, as WebDriver names them.
pub(crate) mod key {
    pub(crate) const TAB: char = '\u{e004}';
    pub(crate) const ENTER: char = '\u{e007}';
    pub(crate) const ESCAPE: char = '\u{e00c}';
    pub(crate) const DOWN: char = '\u{e015}';
    pub(crate) const END: char = '\u{e010}';
}

/// A browser with one window. It ends with this value.
pub(crate) struct Browser {
    driver: Child,
    agent: Agent,
    /// `http://127.0.0.1:PORT/session/ID`.
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver can be run");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        // It must not meet a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let agent = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build()
            .new_agent();
        let driver_url = format!("http://127.0.0.1:{}", port.expect("chromedriver says its port"));
        let mut browser = Self { driver, agent, session: driver_url.clone(), _profile: profile };
        let answer = browser.post("session", capabilities(browser._profile.path()));
        browser.session = format!("{driver_url}/session/{}", answer["sessionId"].as_str().expect("a session"));
        browser
    }

    fn post(&self, what: &str, body: Value) -> Value {
        self.try_post(what, body).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    fn try_post(&self, what: &str, body: Value) -> Result<Value, String> {
        let request = self.agent.post(format!("{}/{what}", self.session)).header("Content-Type", "application/json");
        let mut response = request.send(body.to_string()).map_err(|error| error.to_string())?;
        let text = response.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {text}"));
        if response.status() == 200 { Ok(value["value"].clone()) } else { Err(value["value"]["message"].to_string()) }
    }

    pub(crate) fn go(&self, url: &str) {
        self.post("url", json!({"url": url}));
    }

    pub(crate) fn reload(&self) {
        self.post("refresh", json!({}));
    }

    /// Runs a function body in the page; what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []}))
    }

    /// Runs a script that calls `arguments[0]` with its answer.
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.post("execute/async", json!({"script": script, "args": []}))
    }

    /// Waits until the expression is true in the page.
    pub(crate) fn wait(&self, what: &str, expression: &str) {
        let script = format!("return Boolean({expression})");
        eventually(what, PATIENCE, || (self.run(&script) == true).then_some(()));
    }

    /// Waits until the element is there and shown.
    pub(crate) fn wait_for(&self, css: &str) {
        self.wait(css, &format!("document.querySelector({})?.checkVisibility()", json!(css)));
    }

    fn element(&self, css: &str) -> Result<String, String> {
        let element = self.try_post("element", json!({"using": "css selector", "value": css}))?;
        Ok(element[ELEMENT].as_str().expect("an element").to_owned())
    }

    /// Clicks as a person does: where something covers the element, or it is redrawn meanwhile, that is tried again.
    pub(crate) fn click(&self, css: &str) {
        self.wait_for(css);
        eventually(&format!("{css} can be clicked"), PATIENCE, || {
            let element = self.element(css).ok()?;
            self.try_post(&format!("element/{element}/click"), json!({})).ok()
        });
    }

    /// Types into an element.
    pub(crate) fn type_into(&self, css: &str, text: &str) {
        self.wait_for(css);
        let element = self.element(css).unwrap();
        self.post(&format!("element/{element}/value"), json!({"text": text}));
    }

    /// Presses keys, wherever the focus is.
    pub(crate) fn press(&self, keys: &str) {
        let stroke = |key: char| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let strokes: Vec<Value> = keys.chars().flat_map(stroke).collect();
        self.post("actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]}));
    }

    /// The text of an element as it is shown; empty where there is none.
    pub(crate) fn text(&self, css: &str) -> String {
        let text = self.run(&format!("return document.querySelector({})?.innerText ?? ''", json!(css)));
        text.as_str().expect("a text").to_owned()
    }

    /// A further tab of the same browser, which is driven from now on. The handle of the one before.
    pub(crate) fn new_tab(&self) -> String {
        let mut response = self.agent.get(format!("{}/window", self.session)).call().unwrap();
        let before: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        let tab = self.post("window/new", json!({"type": "tab"}));
        self.switch_to(tab["handle"].as_str().unwrap());
        before["value"].as_str().unwrap().to_owned()
    }

    /// Goes to a tab as somebody does who clicks on it: one that is behind another is not drawn.
    pub(crate) fn switch_to(&self, handle: &str) {
        self.post("window", json!({"handle": handle}));
        self.post("goog/cdp/execute", json!({"cmd": "Page.bringToFront", "params": {}}));
    }

    /// Width and height of the page in CSS pixels, and whether the user likes it dark.
    pub(crate) fn looks(&self, width: u32, height: u32, dark: bool) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.post("goog/cdp/execute", json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}));
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.post("goog/cdp/execute", json!({"cmd": "Emulation.setEmulatedMedia", "params": media}));
    }

    /// The page as a PNG file.
    pub(crate) fn screenshot(&self, file: &Path) {
        let mut response = self.agent.get(format!("{}/screenshot", self.session)).call().unwrap();
        let value: Value = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        std::fs::write(file, base64(value["value"].as_str().unwrap())).unwrap();
    }

    /// What the console complained about since the last call.
    pub(crate) fn console(&self) -> Vec<String> {
        let log = self.post("se/log", json!({"type": "browser"}));
        let severe = log.as_array().expect("a log").iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].to_string()).collect()
    }

    /// The same but for calls that the door refused.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let is_call = |message: &String| message.contains("Failed to load resource") || message.contains("net::ERR_");
        self.console().into_iter().filter(|message| !is_call(message)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is the driver's child, which ends it in order.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn capabilities(profile: &Path) -> Value {
    let args = [
        "--headless=new",
        // The test runs as root, in a container perhaps.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--lang=en",
        // Nobody but this PC is asked for anything.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ];
    let mut args: Vec<Value> = args.into_iter().map(Value::from).collect();
    args.push(json!(format!("--user-data-dir={}", profile.display())));
    json!({"capabilities": {"alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": {"args": args},
        "goog:loggingPrefs": {"browser": "ALL"},
    }}})
}

fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> =
        text.bytes().filter(|byte| *byte != b'=' && !byte.is_ascii_whitespace()).map(value).collect();
    let group = |group: &[u32]| {
        let bits = (0..4).fold(0, |bits, i| bits << 6 | group.get(i).unwrap_or(&0));
        bits.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
