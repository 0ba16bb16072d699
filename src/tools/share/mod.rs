//! `lanspread share`: says whether a game can be shared as it is, and what stands in the way; or makes a folder of games into a mirror.
//! Needs no daemon.

mod check;
mod contents;
mod finding;
mod fix;
mod mirror;
mod names;
mod show;
mod walk;

use std::io;
use std::path::{Path, PathBuf};

use crate::config::home;
use crate::fs::{Dir, Entry, EntryKind, FsError};
use crate::index::{Holds, absolute, may_be_game, parse_version, what_it_holds};
use crate::mirror::DocumentError;
use crate::tools::env;
use crate::types::JobError;
use check::{Checked, Place};
use finding::{Code, Finding};
use show::Show;

/// Flags of `lanspread share`.
#[derive(clap::Args, Clone, Debug)]
pub struct ShareArgs {
    /// A game's folder, or a folder of games: say what keeps others from getting and installing it
    #[arg(required_unless_present = "mirror_manifest")]
    dir: Option<PathBuf>,
    /// Write a version.ini that says so, if there is none and nothing else stands in the way
    #[arg(long, value_name = "VERSION", requires = "dir")]
    version: Option<String>,
    /// Rename what has a name that not every PC can store, after asking
    #[arg(long, requires = "dir")]
    fix: bool,
    /// Do not ask
    #[arg(long, requires = "fix")]
    yes: bool,
    /// Folder of games: hash each, and write its manifest.json, and index.json for all
    #[arg(long, value_name = "DIR", conflicts_with = "dir")]
    mirror_manifest: Option<PathBuf>,
    /// Answer as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// Why a folder was not made a mirror, or a game cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The folder cannot be used.
    #[error("{0}")]
    Folder(#[from] JobError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FsError),
    /// The list of games would break a rule.
    #[error("the list of games: {0}")]
    Index(DocumentError),
    /// Something else lies where the list of games belongs.
    #[error("{} is there already, and is no list of a mirror: take it away first", .0.display())]
    Foreign(PathBuf),
    /// No game can have this version.
    #[error("{0:?} cannot be a version: at most 128 bytes on one line, without spaces around it")]
    Version(String),
    /// Each game has a version of its own.
    #[error("{} is a folder of games, and each has a version of its own: give --version with the folder of one", .0.display())]
    ManyGames(PathBuf),
    /// Whether it is a game only its owner knows, and nothing in it is changed on a guess.
    #[error(
        "{} may be a folder of games, so nothing in it is renamed or written: name the folder of one game; if it is one, put its version.ini there first",
        .0.display()
    )]
    Unclear(PathBuf),
    /// There is nothing to check.
    #[error("{} is no folder of a game, nor of games", .0.display())]
    NoGame(PathBuf),
    /// Nobody can be asked.
    #[error("nothing was renamed: there is no terminal to ask on; --yes renames without asking")]
    NoTerminal,
    /// So many things stand in the way, each said already.
    #[error("{0}")]
    Blocked(String),
    /// stdout or the terminal cannot be used.
    #[error("cannot write to stdout: {0}")]
    Output(#[from] io::Error),
}

/// Checks one game after the other, or makes a mirror.
///
/// # Errors
/// [`ShareError`], also when a game cannot be shared as it is.
pub fn run(args: &ShareArgs) -> Result<(), ShareError> {
    match (&args.mirror_manifest, &args.dir) {
        (Some(dir), _) => mirror::run(dir, args.json),
        (None, Some(dir)) => check_all(dir, args),
        // The command line asks for one of them.
        (None, None) => Err(ShareError::NoGame(PathBuf::new())),
    }
}

fn check_all(dir: &Path, args: &ShareArgs) -> Result<(), ShareError> {
    if let Some(version) = &args.version
        && (version.is_empty() || parse_version(check::sentinel(version).as_bytes()).as_deref() != Ok(version))
    {
        return Err(ShareError::Version(version.clone()));
    }
    let path = absolute(dir).map_err(FsError::at("open directory", dir))?;
    let places = places(&path, args)?;
    if places.is_empty() {
        return Err(ShareError::NoGame(path));
    }
    if args.version.is_some() && places.len() > 1 {
        return Err(ShareError::ManyGames(path));
    }
    let mut show = Show::new(args.json);
    let (mut blocked, mut first, mut games) = (0, String::new(), Vec::new());
    for place in places {
        let checked = match check::check(place.clone(), args, &mut show) {
            Err(error @ (ShareError::NoTerminal | ShareError::Output(_))) => return Err(error),
            Err(error) => Checked::of_fault(&place, Finding::new(Code::Unreadable, error.to_string(), "")),
            Ok(checked) => checked,
        };
        show.game(&checked)?;
        if !checked.can_be_shared {
            blocked += 1;
            first = checked.verdict();
        }
        if args.json {
            games.push(checked);
        }
    }
    show.end(&games)?;
    match blocked {
        0 => Ok(()),
        1 => Err(ShareError::Blocked(first)),
        more => Err(ShareError::Blocked(format!("{more} games cannot be shared as they are"))),
    }
}

/// The user's home, and what it lies in, are nobody's game.
fn is_home(path: &Path) -> bool {
    home(env).is_some_and(|home| home.starts_with(path))
}

/// The game of this folder, or the games in it.
fn places(path: &Path, args: &ShareArgs) -> Result<Vec<Place>, ShareError> {
    let dir = Dir::open(path)?;
    let holds = what_it_holds(&dir)?;
    if holds != Holds::Games {
        if (args.fix || args.version.is_some()) && (holds == Holds::Unclear || is_home(path)) {
            return Err(ShareError::Unclear(path.to_owned()));
        }
        let name = path.file_name().ok_or_else(|| ShareError::NoGame(path.to_owned()))?;
        // Where it cannot be read, it cannot tell what a download brought, either.
        let games = path.parent().and_then(|parent| Dir::open(parent).ok());
        return Ok(vec![Place { path: path.to_owned(), name: name.to_owned(), is_link: false, games }]);
    }
    let mut entries = dir.entries()?;
    entries.retain(|entry| matches!(entry.kind, EntryKind::Dir | EntryKind::Symlink) && may_be_game(&entry.name));
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let place = |entry: Entry| Place {
        path: path.join(&entry.name),
        is_link: entry.kind == EntryKind::Symlink,
        name: entry.name,
        games: Some(dir.clone()),
    };
    Ok(entries.into_iter().map(place).collect())
}
