//! `lanspread open`: the web page in the browser.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::daemon::Daemon;
use super::{ClientError, Output, show};
use crate::sys;

/// A daemon that is starting is waited for so long.
const STARTING: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(200);

pub(super) fn open(state_dir: PathBuf, wait: bool, print: bool, out: &mut Output) -> Result<(), ClientError> {
    let address = address(state_dir, wait)?;
    let url = show::text(&address["url"]);
    let shown = !print && sys::show_on_desktop(OsStr::new(&url)).unwrap_or(false);
    let answer = if shown { json!({"opened": true}) } else { address };
    out.show(&answer, |_| match (shown, print) {
        (true, _) => "the page opens in the browser\n".into(),
        (false, true) => format!("{url}\n"),
        (false, false) => format!("open this address in a browser on this PC within a minute:\n{url}\n"),
    })
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, which tells nobody that it is ready")]
fn address(state_dir: PathBuf, wait: bool) -> Result<Value, ClientError> {
    let until = Instant::now() + if wait { STARTING } else { Duration::ZERO };
    loop {
        match Daemon::find(state_dir.clone()).and_then(|daemon| daemon.new_page()) {
            Err(ClientError::NotRunning { .. }) if Instant::now() < until => std::thread::sleep(AGAIN),
            result => return result,
        }
    }
}
