//! Starts an operation and shows how it goes until it ends: a bar on a terminal, lines elsewhere, events with `--json`.

use std::io::{IsTerminal, Write};

use crossbeam_channel::{Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::api::PeerCommand;
use crate::control::Signals;
use crate::control::human::{carried_over, printable, size};
use crate::types::GameId;

use super::daemon::{Daemon, Events};
use super::show::{accepted, ban_reason, duration, noun, number, text};
use super::{ClientError, Output};

/// Without a terminal a line is written for every so many percent.
const STEP: u64 = 10;
/// Most files of the user's that are named.
const MOST_LINES: usize = 10;

enum Message {
    Event(Value),
    End(Result<(), ClientError>),
    Interrupt,
}

/// Sends `command`, which starts something on `game`, and waits for its end.
///
/// # Errors
/// It was refused, or failed, or the user pressed Ctrl-C: then it goes on without us.
pub(super) fn operation(
    daemon: &Daemon,
    game: &GameId,
    command: &PeerCommand,
    out: &mut Output,
) -> Result<(), ClientError> {
    let (messages, inbox) = bounded(64);
    interrupts(messages.clone())?;
    // Before the command, so that nothing of what it starts is missed.
    let mut events = daemon.events()?;
    events.next()?;
    listen(events, messages)?;
    let answer = match daemon.send(command) {
        Ok(answer) => Some(answer),
        // It was started before, here or elsewhere: showing it is what is wanted.
        Err(ClientError::Refused { code, .. })
            if code == "operation-in-progress" && command.name() == "download" && downloads(daemon, game)? =>
        {
            None
        }
        Err(error) => return Err(error.with_advice(command, game)),
    };
    let mut view = View::new(game, out);
    match answer {
        Some(answer) => view.say(&answer, || accepted(command.name(), &answer))?,
        None => view.note(format!("{game}: is being downloaded already"))?,
    }
    let repairs = matches!(command, PeerCommand::Verify { repair: true, .. });
    let mut watch = Watch { game, stage: command.name(), installs: false, repairs };
    let end = loop {
        let done = match inbox.recv() {
            Ok(Message::Event(event)) => watch.handle(&event, &mut view),
            Ok(Message::Interrupt) => Err(ClientError::Interrupted(watch.goes_on())),
            Ok(Message::End(Err(error))) => Err(error),
            Ok(Message::End(Ok(()))) | Err(_) => Err(ClientError::Broken(format!("it stopped before {game} was done"))),
        };
        match done {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    view.clear();
    end
}

/// Whether a download of the game runs or waits its turn.
fn downloads(daemon: &Daemon, game: &GameId) -> Result<bool, ClientError> {
    let games = daemon.get("games")?;
    let operation = row(&games, game).and_then(|row| row["operation"].as_str());
    Ok(matches!(operation, Some("downloading" | "queued")))
}

/// The game's row in a list of games or of operations.
fn row<'a>(list: &'a Value, game: &GameId) -> Option<&'a Value> {
    let mut rows = ["games", "operations"].iter().filter_map(|name| list[name].as_array()).flatten();
    rows.find(|row| row["id"] == game.as_str() || row["game"] == game.as_str())
}

/// The events of one game, until what was asked for has ended.
struct Watch<'a> {
    game: &'a GameId,
    /// The name of the command that runs: a download becomes an install.
    stage: &'static str,
    /// An installation follows the download: it is said before the download's end is.
    installs: bool,
    /// A download of what is damaged follows the verification.
    repairs: bool,
}

impl Watch<'_> {
    /// Whether this was the end.
    fn handle(&mut self, event: &Value, view: &mut View) -> Result<bool, ClientError> {
        let game = self.game;
        match event["event"].as_str().unwrap_or_default() {
            "snapshot" => return self.catch_up(event, view),
            "active-operations-changed" => {
                let operation = row(event, game).and_then(|row| row["operation"].as_str());
                self.installs |= matches!(operation, Some("installing" | "updating"));
            }
            _ if event["game"] != game.as_str() => {}
            "download-checking" => view.checking(event)?,
            "download-begin" => view.begin(event)?,
            "download-source-banned" => {
                view.detail(event, || {
                    format!("{game}: {} is not asked any more: {}", text(&event["peer_id"]), ban_reason(event))
                })?;
            }
            name => match name.strip_prefix(self.stage) {
                Some("-progress") => view.progress(event)?,
                Some("-finished") => {
                    view.clear();
                    return self.finished(event, view);
                }
                Some("-failed") => {
                    view.clear();
                    if view.out.json {
                        view.out.json(event)?;
                    }
                    let aside = kept_aside(event);
                    let message = format!("{aside}{} failed: {}", self.what(), text(&event["message"]));
                    return Err(ClientError::Refused { code: text(&event["code"]), message });
                }
                _ => view.detail(event, String::new)?,
            },
        }
        Ok(false)
    }

    fn finished(&mut self, event: &Value, view: &mut View) -> Result<bool, ClientError> {
        let game = self.game;
        let (bad, chunks) = (number(&event["bad_chunks"]), number(&event["chunks"]));
        let missing = number(&event["missing_dirs"]);
        let is_damaged = bad > 0 || missing > 0;
        let damage = match missing {
            0 => format!("{bad} of {chunks} chunks are damaged"),
            _ => format!("{bad} of {chunks} chunks are damaged, {missing} empty folders are missing"),
        };
        view.say(event, || match self.stage {
            "download" => downloaded(game, event),
            "install" => installed(game, event),
            "uninstall" => format!("{}{game}: uninstalled\n", kept_in(game, event)),
            "adopt" => format!("{game}: its installation is lanspread's now\n"),
            "remove" => format!("{game}: the downloaded files are gone\n"),
            _ if !is_damaged => format!("{game}: all {chunks} chunks are good\n"),
            _ => String::new(),
        })?;
        if self.stage == "verify" && is_damaged && self.repairs {
            view.note(match missing {
                0 => format!("{game}: {damage} and are fetched again"),
                _ => format!("{game}: {damage}; that is mended"),
            })?;
            self.stage = "download";
            view.next_stage();
            return Ok(false);
        }
        if self.stage == "verify" && is_damaged {
            let message = format!("{game}: {damage}; `lanspread verify {game} --repair` fetches them again");
            return Err(ClientError::Refused { code: "verification-failed".into(), message });
        }
        if self.stage == "download" && self.installs {
            self.stage = "install";
            view.next_stage();
            return Ok(false);
        }
        Ok(true)
    }

    /// Events were lost: what came of it must be seen from the state.
    fn catch_up(&mut self, snapshot: &Value, view: &mut View) -> Result<bool, ClientError> {
        let game = self.game;
        let row = row(snapshot, game).cloned().unwrap_or_default();
        match (self.stage, row["operation"].as_str()) {
            ("download", Some("installing" | "updating")) => {
                (self.stage, self.installs) = ("install", true);
                view.next_stage();
                return Ok(false);
            }
            ("verify", Some("downloading" | "queued")) => {
                self.stage = "download";
                view.next_stage();
                return Ok(false);
            }
            (_, Some(_)) => return Ok(false),
            (_, None) => {}
        }
        let (downloaded, installed) = (row["downloaded"] == true, row["installed"] == true);
        let good = match self.stage {
            "download" => downloaded && (installed || !self.installs),
            "install" => installed,
            "uninstall" => !installed,
            "adopt" => row["installed_by"] == "lanspread",
            "remove" => !downloaded,
            _ => downloaded,
        };
        view.clear();
        if good {
            view.say(&row, || format!("{game}: done\n"))?;
            return Ok(true);
        }
        let message = format!("{} ended otherwise; the daemon's log says why", self.what());
        Err(ClientError::Refused { code: "io".into(), message })
    }

    fn what(&self) -> String {
        format!("{} of {}", noun(self.stage), self.game)
    }

    fn goes_on(&self) -> String {
        let (what, game) = (self.what(), self.game);
        let look = if self.stage == "download" { format!("download {game}") } else { "games".into() };
        format!("{what} goes on in the daemon; `lanspread {look}` shows it, `lanspread cancel {game}` ends it")
    }
}

fn downloaded(game: &GameId, event: &Value) -> String {
    let seconds = number(&event["duration_ms"]) as f64 / 1000.0;
    let rate = event["mib_per_s"].as_f64().unwrap_or_default();
    let sources = event["sources"].as_array().map_or(0, Vec::len);
    let bytes = size(number(&event["bytes"]));
    let aside = kept_aside(event);
    if sources == 0 {
        return format!("{aside}{game}: is here, {bytes}\n");
    }
    format!(
        "{aside}{game}: downloaded and verified, {bytes} in {seconds:.1} s ({rate:.1} MiB/s, {sources} source(s))\n"
    )
}

fn installed(game: &GameId, event: &Value) -> String {
    let carried = carried_over(number(&event["carried_over"])).map_or(String::new(), |carried| carried + "\n");
    format!("{carried}{}{}{game}: installed\n", kept_aside(event), kept_in(game, event))
}

/// Where files of the user's are that were in an installation: a line.
fn kept_in(game: &GameId, event: &Value) -> String {
    match event["kept_in"].as_str() {
        Some(dir) => format!("your own files of the old installation are kept in {game}/{}\n", printable(dir)),
        None => String::new(),
    }
}

/// Which files of the user's have other names now: a line for each.
fn kept_aside(event: &Value) -> String {
    let files = event["kept_aside"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |kept: &Value| format!("your own {} is now {}\n", text(&kept["file"]), text(&kept["kept_as"]));
    let mut lines: String = files.iter().take(MOST_LINES).map(line).collect();
    if let Some(more @ 1..) = files.len().checked_sub(MOST_LINES) {
        lines += &format!("{more} more files of yours are kept as NAME.mine\n");
    }
    lines
}

/// Ctrl-C arrives as a message; a second one ends the process.
fn interrupts(messages: Sender<Message>) -> Result<(), ClientError> {
    let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
    let signals = Signals::catch().map_err(|error| broken(&error))?;
    signals.forward(move || drop(messages.send(Message::Interrupt))).map_err(|error| broken(&error))
}

fn listen(mut events: Events, messages: Sender<Message>) -> Result<(), ClientError> {
    let reader = move || {
        let end = loop {
            match events.next() {
                Ok(Some(event)) => {
                    if messages.send(Message::Event(event)).is_err() {
                        return;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let _ = messages.send(Message::End(end));
    };
    let thread = std::thread::Builder::new().name("events".into()).spawn(reader);
    thread.map(drop).map_err(|error| ClientError::Broken(error.to_string()))
}

/// What the user sees meanwhile: on stderr, so that stdout has the outcome alone. With `--json` all is on stdout.
struct View<'a> {
    game: String,
    out: &'a mut Output,
    bar: Option<ProgressBar>,
    /// Percent at which the next line is due.
    next: u64,
}

impl<'a> View<'a> {
    fn new(game: &GameId, out: &'a mut Output) -> Self {
        let bar = (!out.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(4));
            // A mistake in the template would only cost the looks.
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {percent:>3} % {wide_msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_prefix(text(&Value::from(game.as_str())))
        });
        Self { game: text(&Value::from(game.as_str())), out, bar, next: 0 }
    }

    /// The outcome, or the answer to the command.
    fn say(&mut self, value: &Value, words: impl FnOnce() -> String) -> Result<(), ClientError> {
        if self.out.json {
            return self.out.json(value);
        }
        match &self.bar {
            Some(bar) if !bar.is_finished() => bar.suspend(|| self.out.text(&words())),
            _ => self.out.text(&words()),
        }
    }

    /// Something by the way.
    fn note(&mut self, line: String) -> Result<(), ClientError> {
        match &self.bar {
            _ if self.out.json => {}
            Some(bar) => bar.println(line),
            None => to_stderr(&line),
        }
        Ok(())
    }

    fn detail(&mut self, event: &Value, line: impl FnOnce() -> String) -> Result<(), ClientError> {
        if self.out.json {
            return self.out.json(event);
        }
        match line() {
            line if line.is_empty() => Ok(()),
            line => self.note(line),
        }
    }

    /// What is here already is looked for: on the bar alone, since it is mostly over in a moment.
    fn checking(&mut self, event: &Value) -> Result<(), ClientError> {
        let (bytes, total) = (number(&event["bytes"]), number(&event["total"]));
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(bytes);
            bar.set_message(format!("looked through {} of {} that are here", size(bytes), size(total)));
        }
        self.detail(event, String::new)
    }

    fn begin(&mut self, event: &Value) -> Result<(), ClientError> {
        if let Some(bar) = &self.bar {
            bar.set_length(number(&event["bytes"]));
        }
        let (bytes, sources) = (size(number(&event["bytes"])), number(&event["sources"]));
        let line = format!("{}: {bytes} from {sources} source(s)", self.game);
        self.detail(event, || line)
    }

    fn progress(&mut self, event: &Value) -> Result<(), ClientError> {
        if self.out.json {
            return self.out.json(event);
        }
        let (bytes, total) = (number(&event["bytes"]), number(&event["total"]));
        let percent = bytes.saturating_mul(100).checked_div(total).unwrap_or(0);
        let words = match event["bytes_per_second"].as_u64() {
            Some(rate) => progress_words(bytes, total, rate, number(&event["sources"])),
            None => format!("{} of {}", size(bytes), size(total)),
        };
        match &self.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(bytes);
                bar.set_message(words);
            }
            None if percent >= self.next => {
                self.next = percent - percent % STEP + STEP;
                to_stderr(&format!("{}: {percent} %, {words}", self.game));
            }
            None => {}
        }
        Ok(())
    }

    fn next_stage(&mut self) {
        self.next = 0;
        if let Some(bar) = &self.bar {
            bar.reset();
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A stderr that went away is no reason to stop.
fn to_stderr(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Amount, rate, time that is left, sources.
fn progress_words(bytes: u64, total: u64, rate: u64, sources: u64) -> String {
    let left = match total.saturating_sub(bytes).checked_div(rate) {
        Some(seconds) => format!("{} left", duration(seconds)),
        None => "waiting".into(),
    };
    format!("{} of {}, {}/s, {left}, {sources} source(s)", size(bytes), size(total), size(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_rate_time_left_and_sources() {
        let mib = 1 << 20;
        assert_eq!(
            progress_words(30 * mib, 130 * mib, 10 * mib, 3),
            "30.0 MiB of 130 MiB, 10.0 MiB/s, 10 s left, 3 source(s)"
        );
        assert!(progress_words(1, 2, 0, 0).contains("waiting"));
    }
}
