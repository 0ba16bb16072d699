//! Starts an operation and shows how it goes until it ends: a bar on a terminal, lines elsewhere, events with `--json`.

use std::io::{IsTerminal, Write};

use crossbeam_channel::{Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::api::commands::{Call, ListGames};
use crate::api::{Accepted, ErrorCode, Operation, PeerCommand, PeerEvent, Snapshot, SourceBytes, StreamEvent};
use crate::control::Signals;
use crate::control::human::{carried_over, size};
use crate::types::{GameId, InstalledBy, KeptAside};

use super::daemon::{Daemon, Events, Heard};
use super::show::{accepted, ban_reason, duration, text, word};
use super::{ClientError, Output};

/// Without a terminal a line is written for every so many percent.
const STEP: u64 = 10;
/// Most files of the user's that are named.
const MOST_LINES: usize = 10;

enum Message {
    Event(Heard),
    End(Result<(), ClientError>),
    Interrupt,
}

/// What runs on a game.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Download,
    Install,
    Uninstall,
    Adopt,
    Remove,
    Verify,
}

impl Stage {
    /// What a command starts.
    pub(super) fn of(command: &PeerCommand) -> Self {
        match command {
            PeerCommand::Download { .. } => Self::Download,
            PeerCommand::Install { .. } => Self::Install,
            PeerCommand::Uninstall { .. } => Self::Uninstall,
            PeerCommand::Adopt { .. } => Self::Adopt,
            PeerCommand::Remove { .. } => Self::Remove,
            _ => Self::Verify,
        }
    }

    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::Download => "the download",
            Self::Install => "the installation",
            Self::Uninstall => "the removal of the installation",
            Self::Adopt => "the adoption of the installation",
            Self::Remove => "the removal of the files",
            Self::Verify => "the verification",
        }
    }
}

/// What an event says of the stage that it is about.
enum News<'a> {
    Progress(Progress),
    Finished,
    Failed { code: String, message: &'a str, kept_aside: &'a [KeptAside] },
}

/// How far something is. `speed`: bytes per second, and how many sources they come from.
struct Progress {
    bytes: u64,
    total: u64,
    speed: Option<(u64, usize)>,
}

/// What an event says of how a stage goes, if it is about that.
fn news(event: &PeerEvent) -> Option<(Stage, News<'_>)> {
    let progress = |bytes: &u64, total: &u64, speed| News::Progress(Progress { bytes: *bytes, total: *total, speed });
    Some(match event {
        PeerEvent::DownloadProgress { bytes, total, bytes_per_second, sources, .. } => {
            (Stage::Download, progress(bytes, total, Some((*bytes_per_second, *sources))))
        }
        PeerEvent::InstallProgress { bytes, total, .. } => (Stage::Install, progress(bytes, total, None)),
        PeerEvent::VerifyProgress { bytes, total, .. } => (Stage::Verify, progress(bytes, total, None)),
        PeerEvent::DownloadFinished { .. } => (Stage::Download, News::Finished),
        PeerEvent::InstallFinished { .. } => (Stage::Install, News::Finished),
        PeerEvent::UninstallFinished { .. } => (Stage::Uninstall, News::Finished),
        PeerEvent::AdoptFinished { .. } => (Stage::Adopt, News::Finished),
        PeerEvent::RemoveFinished { .. } => (Stage::Remove, News::Finished),
        PeerEvent::VerifyFinished { .. } => (Stage::Verify, News::Finished),
        PeerEvent::DownloadFailed { code, message, kept_aside, .. } => {
            (Stage::Download, News::Failed { code: word(code), message, kept_aside })
        }
        PeerEvent::InstallFailed { code, message, .. } => failed(Stage::Install, code, message),
        PeerEvent::UninstallFailed { code, message, .. } => failed(Stage::Uninstall, code, message),
        PeerEvent::AdoptFailed { code, message, .. } => failed(Stage::Adopt, code, message),
        PeerEvent::RemoveFailed { code, message, .. } => failed(Stage::Remove, code, message),
        PeerEvent::VerifyFailed { code, message, .. } => failed(Stage::Verify, code, message),
        _ => return None,
    })
}

fn failed<'a>(stage: Stage, code: &ErrorCode, message: &'a str) -> (Stage, News<'a>) {
    (stage, News::Failed { code: word(code), message, kept_aside: &[] })
}

/// Sends `command`, which starts something on `game`, and waits for its end.
///
/// # Errors
/// It was refused, or failed, or the user pressed Ctrl-C: then it goes on without us.
pub(super) fn operation<C: Call<Reply = Accepted>>(
    daemon: &Daemon,
    game: &GameId,
    command: &PeerCommand,
    out: Output,
) -> Result<(), ClientError> {
    let (messages, inbox) = bounded(64);
    interrupts(messages.clone())?;
    // Before the command, so that nothing of what it starts is missed.
    let mut events = daemon.events()?;
    events.next()?;
    listen(events, messages)?;
    let stage = Stage::of(command);
    let answer = match daemon.send::<C>(command) {
        Ok(answer) => Some(answer),
        // It was started before, here or elsewhere: showing it is what is wanted.
        Err(ClientError::Refused { code, .. })
            if code == "operation-in-progress" && stage == Stage::Download && downloads(daemon, game)? =>
        {
            None
        }
        Err(error) => return Err(error),
    };
    let mut view = View::new(game, out);
    match answer {
        Some(answer) => {
            let words = if out.json { String::new() } else { accepted(command, &answer.read()?) };
            view.say(&answer.json, || words)?;
        }
        None => view.note(format!("{game}: is being downloaded already"))?,
    }
    let repairs = matches!(command, PeerCommand::Verify { repair: true, .. });
    let mut watch = Watch { game, stage, installs: false, repairs };
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
    let list = daemon.call(ListGames {})?.read()?;
    let row = list.games.iter().find(|row| row.id == *game);
    Ok(row.is_some_and(|row| matches!(row.operation, Some(Operation::Downloading | Operation::Queued))))
}

/// The events of one game, until what was asked for has ended.
struct Watch<'a> {
    game: &'a GameId,
    /// What runs: a download becomes an install.
    stage: Stage,
    /// An installation follows the download: it is said before the download's end is.
    installs: bool,
    /// A download of what is damaged follows the verification.
    repairs: bool,
}

impl Watch<'_> {
    /// Whether this was the end.
    fn handle(&mut self, heard: &Heard, view: &mut View) -> Result<bool, ClientError> {
        let (game, json) = (self.game, &heard.json);
        let event = match &heard.event {
            Some(StreamEvent::Snapshot(snapshot)) => return self.catch_up(snapshot, view),
            Some(StreamEvent::Event(PeerEvent::ActiveOperationsChanged { operations })) => {
                let installs = |operation| matches!(operation, Operation::Installing | Operation::Updating);
                self.installs |= operations.iter().any(|row| row.game == *game && installs(row.operation));
                return Ok(false);
            }
            _ if heard.game.as_ref() != Some(game) => return Ok(false),
            None => return view.detail(json, String::new).map(|()| false),
            Some(StreamEvent::Event(event)) => event,
        };
        let news = news(event).filter(|(stage, _)| *stage == self.stage).map(|(_, news)| news);
        match (news, event) {
            (Some(News::Progress(progress)), _) => view.progress(json, &progress)?,
            (Some(News::Finished), _) => {
                view.clear();
                return self.finished(event, json, view);
            }
            (Some(News::Failed { code, message, kept_aside }), _) => {
                view.clear();
                if view.out.json {
                    view.out.json(json)?;
                }
                let message = format!("{}{} failed: {}", aside(kept_aside), self.what(), text(message));
                return Err(ClientError::Refused { code, message });
            }
            (None, PeerEvent::DownloadChecking { bytes, total, .. }) => view.checking(json, *bytes, *total)?,
            (None, PeerEvent::DownloadBegin { bytes, sources, .. }) => view.begin(json, *bytes, *sources)?,
            (None, PeerEvent::DownloadSourceBanned { peer_id, reason, chunk, .. }) => {
                let reason = ban_reason(reason, *chunk);
                view.detail(json, || format!("{game}: {peer_id} is not asked any more: {reason}"))?;
            }
            (None, _) => view.detail(json, String::new)?,
        }
        Ok(false)
    }

    fn finished(&mut self, event: &PeerEvent, json: &Value, view: &mut View) -> Result<bool, ClientError> {
        view.say(json, || ending(self.game, event))?;
        match event {
            PeerEvent::VerifyFinished { bad_chunks: 0, missing_dirs: 0, .. } => Ok(true),
            PeerEvent::VerifyFinished { bad_chunks, missing_dirs, chunks, .. } => {
                self.damaged(*bad_chunks, *missing_dirs, *chunks, view)
            }
            PeerEvent::DownloadFinished { .. } if self.installs => {
                self.go_on(Stage::Install, view);
                Ok(false)
            }
            _ => Ok(true),
        }
    }

    /// A verification found damage, which is the end unless it is to be repaired.
    fn damaged(&mut self, bad: usize, missing: usize, chunks: u32, view: &mut View) -> Result<bool, ClientError> {
        let game = self.game;
        let damage = match missing {
            0 => format!("{bad} of {chunks} chunks are damaged"),
            _ => format!("{bad} of {chunks} chunks are damaged, {missing} empty folders are missing"),
        };
        if !self.repairs {
            let message = format!("{game}: {damage}; `lanspread verify {game} --repair` fetches them again");
            return Err(ClientError::Refused { code: word(ErrorCode::VerificationFailed), message });
        }
        view.note(match missing {
            0 => format!("{game}: {damage} and are fetched again"),
            _ => format!("{game}: {damage}; that is mended"),
        })?;
        self.go_on(Stage::Download, view);
        Ok(false)
    }

    fn go_on(&mut self, stage: Stage, view: &mut View) {
        self.stage = stage;
        view.next_stage();
    }

    /// Events were lost: what came of it must be seen from the state.
    fn catch_up(&mut self, snapshot: &Snapshot, view: &mut View) -> Result<bool, ClientError> {
        let game = self.game;
        let row = snapshot.games.iter().find(|row| row.id == *game);
        match (self.stage, row.and_then(|row| row.operation)) {
            (Stage::Download, Some(Operation::Installing | Operation::Updating)) => {
                self.installs = true;
                self.go_on(Stage::Install, view);
                return Ok(false);
            }
            (Stage::Verify, Some(Operation::Downloading | Operation::Queued)) => {
                self.go_on(Stage::Download, view);
                return Ok(false);
            }
            (_, Some(_)) => return Ok(false),
            (_, None) => {}
        }
        let (downloaded, installed) = row.map_or((false, false), |row| (row.downloaded, row.installed));
        let good = match self.stage {
            Stage::Download => downloaded && (installed || !self.installs),
            Stage::Install => installed,
            Stage::Uninstall => !installed,
            Stage::Adopt => row.is_some_and(|row| row.installed_by == Some(InstalledBy::Lanspread)),
            Stage::Remove => !downloaded,
            Stage::Verify => downloaded,
        };
        view.clear();
        if good {
            let json = serde_json::to_value(row).unwrap_or_default();
            view.say(&json, || format!("{game}: done\n"))?;
            return Ok(true);
        }
        let message = format!("{} ended otherwise; the daemon's log says why", self.what());
        Err(ClientError::Refused { code: word(ErrorCode::Io), message })
    }

    fn what(&self) -> String {
        format!("{} of {}", self.stage.noun(), self.game)
    }

    fn goes_on(&self) -> String {
        let (what, game) = (self.what(), self.game);
        let look = if self.stage == Stage::Download { format!("download {game}") } else { "games".into() };
        format!("{what} goes on in the daemon; `lanspread {look}` shows it, `lanspread cancel {game}` ends it")
    }
}

/// The end of a stage in words; nothing where damage was found.
fn ending(game: &GameId, event: &PeerEvent) -> String {
    match event {
        PeerEvent::DownloadFinished { bytes, duration_ms, mib_per_s, sources, kept_aside, .. } => {
            let aside = aside(kept_aside);
            format!("{aside}{game}: {}\n", downloaded(*bytes, *duration_ms, *mib_per_s, sources))
        }
        PeerEvent::InstallFinished { carried_over: count, kept_aside, kept_in, .. } => {
            let carried = carried_over(*count as u64).map_or(String::new(), |carried| carried + "\n");
            format!("{carried}{}{}{game}: installed\n", aside(kept_aside), kept(game, kept_in.as_deref()))
        }
        PeerEvent::UninstallFinished { kept_in, .. } => {
            format!("{}{game}: uninstalled\n", kept(game, kept_in.as_deref()))
        }
        PeerEvent::AdoptFinished { .. } => format!("{game}: its installation is lanspread's now\n"),
        PeerEvent::RemoveFinished { .. } => format!("{game}: the downloaded files are gone\n"),
        PeerEvent::VerifyFinished { bad_chunks: 0, missing_dirs: 0, chunks, .. } => {
            format!("{game}: all {chunks} chunks are good\n")
        }
        _ => String::new(),
    }
}

fn downloaded(bytes: u64, duration_ms: u64, mib_per_s: f64, sources: &[SourceBytes]) -> String {
    let (bytes, seconds) = (size(bytes), duration_ms as f64 / 1000.0);
    match sources.len() {
        0 => format!("is here, {bytes}"),
        count => {
            format!("downloaded and verified, {bytes} in {seconds:.1} s ({mib_per_s:.1} MiB/s, {count} source(s))")
        }
    }
}

/// Where files of the user's are that were in an installation: a line.
fn kept(game: &GameId, dir: Option<&str>) -> String {
    match dir {
        Some(dir) => format!("your own files of the old installation are kept in {game}/{}\n", text(dir)),
        None => String::new(),
    }
}

/// Which files of the user's have other names now: a line for each.
fn aside(files: &[KeptAside]) -> String {
    let line = |kept: &KeptAside| format!("your own {} is now {}\n", text(&kept.file), text(&kept.kept_as));
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
struct View {
    game: String,
    out: Output,
    bar: Option<ProgressBar>,
    /// Percent at which the next line is due.
    next: u64,
}

impl View {
    fn new(game: &GameId, out: Output) -> Self {
        let bar = (!out.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(4));
            // A mistake in the template would only cost the looks.
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {percent:>3} % {wide_msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_prefix(text(game))
        });
        Self { game: text(game), out, bar, next: 0 }
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
    fn checking(&mut self, event: &Value, bytes: u64, total: u64) -> Result<(), ClientError> {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(bytes);
            bar.set_message(format!("looked through {} of {} that are here", size(bytes), size(total)));
        }
        self.detail(event, String::new)
    }

    fn begin(&mut self, event: &Value, bytes: u64, sources: usize) -> Result<(), ClientError> {
        if let Some(bar) = &self.bar {
            bar.set_length(bytes);
        }
        let line = format!("{}: {} from {sources} source(s)", self.game, size(bytes));
        self.detail(event, || line)
    }

    fn progress(&mut self, event: &Value, progress: &Progress) -> Result<(), ClientError> {
        if self.out.json {
            return self.out.json(event);
        }
        let Progress { bytes, total, speed } = *progress;
        let percent = bytes.saturating_mul(100).checked_div(total).unwrap_or(0);
        let words = match speed {
            Some((rate, sources)) => progress_words(bytes, total, rate, sources),
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
fn progress_words(bytes: u64, total: u64, rate: u64, sources: usize) -> String {
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
