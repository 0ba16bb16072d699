//! How a check is told: a few aligned lines for each game, or JSON; and on a terminal what takes long.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::ShareError;
use super::check::Checked;
use super::finding::{Code, Finding};
use super::fix::{MOST_SHOWN, Renamed};
use crate::control::human::{printable, size};
use crate::tools::say;
use crate::types::Packing;

/// How often the bar is drawn.
const STEADY: Duration = Duration::from_millis(250);

/// Where it is told.
pub(super) struct Show {
    json: bool,
    bar: Option<ProgressBar>,
    /// Something was written, so that a game needs an empty line before it.
    is_first: bool,
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        let bar = std::io::stderr()
            .is_terminal()
            .then(|| ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(4)));
        Self { json, bar, is_first: true }
    }

    pub(super) fn begin(&mut self, dir: &Path) -> Result<(), ShareError> {
        self.clear();
        if !self.json {
            let before = if std::mem::take(&mut self.is_first) { "" } else { "\n" };
            say(&format!("{before}{}\n", printable(&dir.display().to_string())))?;
        }
        Ok(())
    }

    /// Something of which nobody knows how long it takes.
    pub(super) fn spin(&self, what: &str) {
        self.draw("{spinner} {msg}, {pos} folders", what);
    }

    pub(super) fn tick(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    pub(super) fn bytes(&self, what: &str, done: u64, total: u64) {
        let Some(bar) = &self.bar else { return };
        if bar.length() != Some(total) || bar.message() != what {
            self.draw("[{bar:24}] {percent:>3} % {msg}", what);
            bar.set_length(total);
        }
        bar.set_position(done);
    }

    fn draw(&self, template: &str, what: &str) {
        let Some(bar) = &self.bar else { return };
        // A mistake in the template would only cost the looks.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.reset();
        bar.set_message(what.to_owned());
        // It ends when the bar does.
        bar.enable_steady_tick(STEADY);
    }

    /// Before anything is written.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("");
            bar.finish_and_clear();
        }
    }

    pub(super) fn renamed(&self, renamed: &Renamed) -> Result<(), ShareError> {
        if !self.json {
            say(&format!("  renamed   {}\n", renamed.words()))?;
        }
        Ok(())
    }

    pub(super) fn game(&self, game: &Checked) -> Result<(), ShareError> {
        self.clear();
        if self.json {
            return Ok(());
        }
        let mut text = String::new();
        let mut line = |label: &str, value: String| text += &format!("  {label:8}  {}\n", printable(&value));
        line("id", game.id.clone());
        let written = if game.version_written { " (written now)" } else { "" };
        line("version", format!("{}{written}", game.version.as_deref().unwrap_or("-")));
        let files = if game.files == 1 { "1 file".to_owned() } else { format!("{} files", game.files) };
        line("size", format!("{} in {files}", size(game.size)));
        line("install", installation(game));
        for code in kinds(&game.findings) {
            let of_it: Vec<_> = game.findings.iter().filter(|finding| finding.code == code).collect();
            of_it.iter().take(MOST_SHOWN).for_each(|finding| text += &words(finding));
            if of_it.len() > MOST_SHOWN {
                text += &format!("            … and {} more like that (--json has all)\n", of_it.len() - MOST_SHOWN);
            }
        }
        if game.blocking == 0 {
            text += &format!("  {}\n", printable(&game.verdict()));
        }
        Ok(say(&text)?)
    }

    /// After the last game.
    pub(super) fn end(&self, games: &[Checked]) -> Result<(), ShareError> {
        if self.json {
            let all = games.iter().all(|game| game.can_be_shared);
            say(&format!("{}\n", json!({"can_be_shared": all, "games": games})))?;
        }
        Ok(())
    }
}

/// The kinds of findings, in the order in which they come.
fn kinds(findings: &[Finding]) -> Vec<Code> {
    let mut kinds = Vec::new();
    for finding in findings {
        if !kinds.contains(&finding.code) {
            kinds.push(finding.code);
        }
    }
    kinds
}

fn installation(game: &Checked) -> String {
    let how = match game.installs_by {
        None => return "nothing to install".to_owned(),
        Some(Packing::Unpack) => "its archives are unpacked",
        Some(Packing::Copy) => "its files are copied",
        Some(Packing::CopyAndUnpack) => "its files are copied, and what is called .eti unpacked",
    };
    match game.installed_bytes {
        Some(bytes) => format!("{how}; takes {}", size(bytes)),
        None if game.blocking > 0 => format!("{how}, if what is said below is put right"),
        None => how.to_owned(),
    }
}

fn words(finding: &Finding) -> String {
    let label = if finding.blocks { "PROBLEM" } else { "note" };
    let at = finding.path.as_deref().map_or(String::new(), |path| format!("{path}: "));
    let mut text = format!("  {label:8}  {}\n", printable(&format!("{at}{}", finding.message)));
    if !finding.remedy.is_empty() {
        text += &format!("            → {}\n", printable(&finding.remedy));
    }
    text
}
