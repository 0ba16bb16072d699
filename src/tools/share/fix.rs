//! Gives names that every PC can store to what has none: after asking, and never over something that is there.

use std::cmp::Reverse;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use super::ShareError;
use super::walk::{Rename, open};
use crate::control::human::printable;
use crate::fs::{Dir, FsError};

/// So many of one kind are shown to people.
pub(super) const MOST_SHOWN: usize = 20;

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Renamed {
    /// The old path, beneath the game's folder, if it is not that itself.
    pub(super) from: String,
    /// The new name.
    pub(super) to: String,
}

impl Renamed {
    pub(super) fn of(rename: &Rename) -> Self {
        Self { from: rename.dir.join(&rename.from).to_string_lossy().into_owned(), to: rename.to.clone() }
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        format!("{} -> {}", printable(&self.from), printable(&self.to))
    }
}

/// Whether the user wants these renamed.
///
/// # Errors
/// [`ShareError::NoTerminal`].
pub(super) fn ask(renames: &[Renamed]) -> Result<bool, ShareError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(ShareError::NoTerminal);
    }
    let mut stderr = io::stderr().lock();
    for rename in renames.iter().take(MOST_SHOWN) {
        writeln!(stderr, "  {}", rename.words())?;
    }
    if renames.len() > MOST_SHOWN {
        writeln!(stderr, "  … and {} more", renames.len() - MOST_SHOWN)?;
    }
    write!(
        stderr,
        "Rename {}? [y/N] ",
        if renames.len() == 1 { "this".to_owned() } else { format!("these {}", renames.len()) }
    )?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Renames them, the deepest first, durably, up to the first that the system, or something of the new name, does not allow: that is
/// answered. `done` is told each.
///
/// # Errors
/// Those of `done`.
pub(super) fn rename_all(
    root: &Dir,
    mut renames: Vec<Rename>,
    mut done: impl FnMut(Renamed) -> Result<(), ShareError>,
) -> Result<Option<FsError>, ShareError> {
    renames.sort_by(|a, b| {
        let depth = |rename: &Rename| Reverse(rename.dir.iter().count());
        (depth(a), &a.dir).cmp(&(depth(b), &b.dir))
    });
    for in_one in renames.chunk_by(|a, b| a.dir == b.dir) {
        let dir = match open(root, in_one.first().map_or(Path::new(""), |rename| &rename.dir)) {
            Ok(dir) => dir,
            Err(error) => return Ok(Some(error)),
        };
        let mut failed = None;
        for rename in in_one {
            if let Err(error) = dir.rename_child(&rename.from, &rename.to) {
                failed = Some(error);
                break;
            }
            done(Renamed::of(rename))?;
        }
        // What was renamed stays so, whatever the next one said.
        if let Some(error) = failed.or(dir.sync().err()) {
            return Ok(Some(error));
        }
    }
    Ok(None)
}
