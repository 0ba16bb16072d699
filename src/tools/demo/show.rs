//! What the person in front sees: a bar on a terminal, a few plain lines in a pipe.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use crate::control::human::size;

/// Prints a line on stdout. A reader that went away ends nothing: the clean-up must still run.
pub(super) fn say(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.as_ref());
    let _ = out.flush();
}

/// Progress of one step, counted in bytes.
pub(super) struct Meter {
    label: String,
    total: u64,
    done: u64,
    kind: Kind,
}

enum Kind {
    Bar(ProgressBar),
    /// The next quarter to print.
    Plain {
        next: u64,
    },
}

impl Meter {
    pub(super) fn new(label: &str, total: u64) -> Self {
        let kind = if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total);
            let template = "  {prefix} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(label.to_owned());
            Kind::Bar(bar)
        } else {
            Kind::Plain { next: 1 }
        };
        Self { label: label.to_owned(), total, done: 0, kind }
    }

    pub(super) fn add(&mut self, bytes: u64) {
        self.set(self.done.saturating_add(bytes));
    }

    pub(super) fn set(&mut self, done: u64) {
        self.done = done;
        match &mut self.kind {
            Kind::Bar(bar) => bar.set_position(done),
            Kind::Plain { next } => {
                if let Some(line) = plain_line(&self.label, done, self.total, next) {
                    say(line);
                }
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

/// A line at each quarter, once.
fn plain_line(label: &str, done: u64, total: u64, next: &mut u64) -> Option<String> {
    let quarter = if total == 0 { 4 } else { (u128::from(done) * 4 / u128::from(total)).min(4) as u64 };
    if quarter < *next {
        return None;
    }
    *next = quarter + 1;
    Some(format!("  {label}: {} %, {} of {}", quarter * 25, size(done.min(total)), size(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_progress_prints_each_quarter_once() {
        let mut next = 1;
        let lines: Vec<_> = (0..=100).filter_map(|n| plain_line("x", n << 20, 100 << 20, &mut next)).collect();
        assert_eq!(
            lines,
            [
                "  x: 25 %, 25.0 MiB of 100 MiB",
                "  x: 50 %, 50.0 MiB of 100 MiB",
                "  x: 75 %, 75.0 MiB of 100 MiB",
                "  x: 100 %, 100 MiB of 100 MiB"
            ]
        );
        let mut next = 1;
        assert_eq!(plain_line("x", 90, 100, &mut next).as_deref(), Some("  x: 75 %, 90 B of 100 B"));
        assert_eq!(plain_line("x", 0, 0, &mut 1).as_deref(), Some("  x: 100 %, 0 B of 0 B"));
        assert!(plain_line("x", u64::MAX, u64::MAX, &mut 1).is_some());
    }
}
