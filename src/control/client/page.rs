//! `lanspread open`: the web page in the browser.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::daemon::{Answer, Daemon};
use super::start::Starting;
use super::{ClientError, Output, show};
use crate::api::PageAddress;
use crate::sys;

/// A daemon that is starting is waited for so long.
const STARTING: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(200);

/// What to do where no daemon runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// Say so.
    None,
    /// Wait for one that somebody else starts.
    Wait,
    /// Start one.
    Start,
}

pub(super) fn open(state_dir: &Path, patience: Patience, print: bool, out: Output) -> Result<(), ClientError> {
    let address = address(state_dir, patience)?;
    let url = show::text(address.read()?.url);
    let shown = !print && sys::show_on_desktop(OsStr::new(&url)).unwrap_or(false);
    if out.json {
        return out.json(&if shown { json!({"opened": true}) } else { address.json });
    }
    out.text(&match (shown, print) {
        (true, _) => "the page opens in the browser\n".into(),
        (false, true) => format!("{url}\n"),
        (false, false) => format!("open this address in a browser on this PC within a minute:\n{url}\n"),
    })
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for, which tells nobody that it is ready")]
fn address(state_dir: &Path, patience: Patience) -> Result<Answer<PageAddress>, ClientError> {
    let until = Instant::now() + if patience == Patience::None { Duration::ZERO } else { STARTING };
    let mut starting: Option<Starting> = None;
    loop {
        match Daemon::find(state_dir.to_owned()).and_then(|daemon| daemon.new_page()) {
            Err(ClientError::NotRunning { .. }) if Instant::now() < until => {}
            Err(ClientError::NotRunning { .. }) if starting.is_some() => {
                let message =
                    "it is still starting after 20 seconds; lanspread.log in the state directory says what it does";
                return Err(ClientError::NotStarted(message.into()));
            }
            result => return result,
        }
        match &mut starting {
            Some(starting) => starting.check(state_dir, Instant::now())?,
            None if patience == Patience::Start => starting = Some(Starting::begin(state_dir)?),
            None => {}
        }
        std::thread::sleep(AGAIN);
    }
}
