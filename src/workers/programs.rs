//! Starts installed games. What can be started is looked for in `local/`, never elsewhere; which program is the right one is the user's
//! word, and remembered in the state directory. No peer has a say in it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fs::{Dir, EntryKind};
use crate::small_file::{self, Readers};
use crate::sys;
use crate::types::{
    GameId, JobError, JobErrorKind, Launch, OpenedFolder, ProgramAnswer, ProgramAsk, ProgramList, RelPath,
    StartedProgram,
};

/// Where installations lie in a game's folder.
const LOCAL: &str = "local";
/// Directories of a game are searched so deep.
const SEARCH_DEPTH: usize = 5;
/// Entries that are looked at.
const MAX_LOOKED: usize = 20_000;
/// Programs that are listed.
const MAX_LISTED: usize = 200;
/// What the user chose, in the state directory.
const FILE: &str = "programs.json";
const FORMAT: u32 = 1;
const MAX_CHOICES_BYTES: u64 = 4 << 20;

/// Words in the names of programs that are hardly ever the game.
const SIDE_PROGRAMS: [&str; 14] = [
    "unins", "setup", "install", "redist", "dxweb", "directx", "dotnet", "crash", "report", "config", "settings",
    "server", "update", "patch",
];

/// Does what is asked with the programs of `game`, whose folder is `root`. `launch`: of the catalog.
pub(super) fn answer(
    root: &Dir,
    game: &GameId,
    state_dir: &Path,
    launch: Option<Launch>,
    ask: ProgramAsk,
) -> Result<ProgramAnswer, JobError> {
    let local = root.subdir(LOCAL)?;
    match ask {
        ProgramAsk::List => {
            let programs = find(&local, game);
            let chosen = chosen(state_dir, game).filter(|program| is_there(&local, program));
            let launch = launch.map(|launch| launch.program).filter(|program| is_there(&local, program));
            Ok(ProgramAnswer::Programs(ProgramList { programs, chosen, launch }))
        }
        ProgramAsk::Choose(program) => {
            if !is_there(&local, &program) {
                return Err(nothing_there(game, &program));
            }
            choose(state_dir, game, program)?;
            Ok(ProgramAnswer::Chosen)
        }
        ProgramAsk::Play => {
            let Launch { program, args } = which(&local, game, state_dir, launch)?;
            start(&local, game, &program, &args)?;
            Ok(ProgramAnswer::Started(StartedProgram { game: game.clone(), program }))
        }
        ProgramAsk::OpenFolder => open_folder(local.path()),
    }
}

/// The program that the user chose, else that of the catalog if this system can start it, else the only one that there is.
fn which(local: &Dir, game: &GameId, state_dir: &Path, launch: Option<Launch>) -> Result<Launch, JobError> {
    let alone = |program| Launch { program, args: Vec::new() };
    let launch = launch.filter(|launch| {
        let entry = local.entry_beneath(&launch.program).ok().flatten();
        entry.is_some_and(|entry| {
            entry.kind == EntryKind::File && can_start(local, &launch.program, entry.exec, sys::has_wine())
        })
    });
    if let Some(program) = chosen(state_dir, game).filter(|program| is_there(local, program)) {
        // The catalog's arguments go with its program.
        return Ok(launch.filter(|launch| launch.program == program).unwrap_or_else(|| alone(program)));
    }
    if let Some(launch) = launch {
        return Ok(launch);
    }
    let mut programs = find(local, game);
    match programs.len() {
        0 => {
            let message = format!("nothing in the local/ of {game} can be started here; open its folder and look");
            Err(JobError::new(JobErrorKind::ChooseProgram, message))
        }
        1 => Ok(alone(programs.remove(0))),
        count => {
            let message = format!("{count} programs of {game} can be started: choose one, which is remembered");
            Err(JobError::new(JobErrorKind::ChooseProgram, message))
        }
    }
}

fn nothing_there(game: &GameId, program: &RelPath) -> JobError {
    JobError::new(JobErrorKind::ChooseProgram, format!("there is no file {program} in the local/ of {game}"))
}

fn is_there(local: &Dir, program: &RelPath) -> bool {
    local.entry_beneath(program).is_ok_and(|entry| entry.is_some_and(|entry| entry.kind == EntryKind::File))
}

/// What can be started in `local`, the likeliest first. What cannot be read is left out.
fn find(local: &Dir, game: &GameId) -> Vec<RelPath> {
    let mut found = walk(local);
    found.sort_by_cached_key(|path| rank(path, game));
    found.truncate(MAX_LISTED);
    found
}

/// Breadth first, so that a bound cuts off what is deep.
fn walk(local: &Dir) -> Vec<RelPath> {
    let has_wine = sys::has_wine();
    let (mut found, mut looked) = (Vec::new(), 0);
    let mut waiting: VecDeque<Option<RelPath>> = VecDeque::from([None]);
    while let Some(at) = waiting.pop_front() {
        let dir = at.as_ref().map_or_else(|| Ok(local.clone()), |at| local.open_dir(at));
        for entry in dir.and_then(|dir| dir.entries()).unwrap_or_default() {
            looked += 1;
            if looked > MAX_LOOKED {
                return found;
            }
            let Some(name) = entry.name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let path = at.as_ref().map_or_else(|| name.to_owned(), |at| format!("{at}/{name}"));
            let Ok(path) = RelPath::parse_unreserved(&path) else { continue };
            match entry.kind {
                EntryKind::Dir if path.components().count() < SEARCH_DEPTH => waiting.push_back(Some(path)),
                EntryKind::File if can_start(local, &path, entry.exec, has_wine) => found.push(path),
                _ => {}
            }
        }
    }
    found
}

/// Whether the system starts such a file, by its name or its first bytes.
fn can_start(local: &Dir, path: &RelPath, exec: bool, has_wine: bool) -> bool {
    match sys::starts_by_name(path.file_name(), has_wine) {
        Some(starts) => starts,
        None => exec && is_program(local, path),
    }
}

/// An ELF or Mach-O file, or a script. Where a file system knows no executable bit every file has it.
fn is_program(local: &Dir, path: &RelPath) -> bool {
    let mut start = [0; 4];
    let read = local.open_read(path).and_then(|file| file.read_at(&mut start, 0));
    read.is_ok() && (start == *b"\x7fELF" || start.starts_with(b"#!") || start == [0xcf, 0xfa, 0xed, 0xfe])
}

/// Smaller is likelier: no side program, named like the game, near the top.
fn rank(path: &RelPath, game: &GameId) -> (bool, bool, usize, String) {
    let lower = path.as_str().to_lowercase();
    let name = path.file_name().to_lowercase();
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let game = game.as_str().to_lowercase();
    let is_side = SIDE_PROGRAMS.iter().any(|word| lower.contains(word));
    (is_side, !(game.contains(stem) || stem.contains(&game)), path.components().count(), lower)
}

/// Starts a program in its own directory, and leaves it alone.
fn start(local: &Dir, game: &GameId, program: &RelPath, args: &[String]) -> Result<(), JobError> {
    if sys::runs_as_service() {
        let message = format!("{game} cannot be started: the daemon runs as a service, without a desktop");
        return Err(JobError::new(JobErrorKind::NoDesktop, message));
    }
    if !is_there(local, program) {
        return Err(nothing_there(game, program));
    }
    let file = path_of(local, program);
    let dir = file.parent().unwrap_or(local.path()).to_owned();
    let mut command = sys::command_of(&file);
    sys::on_its_own(command.args(args).current_dir(dir).envs(sys::desktop()));
    let failed = |error: io::Error| {
        let why = if sys::needs_administrator(&error) {
            "it asks for an administrator: open its folder and start it by hand".to_owned()
        } else {
            error.to_string()
        };
        JobError::new(JobErrorKind::Io, format!("cannot start {}: {why}", file.display()))
    };
    let child = command.spawn().map_err(failed)?;
    tracing::info!(%game, %program, pid = child.id(), "started");
    sys::leave_alone(child).map_err(failed)
}

fn path_of(local: &Dir, program: &RelPath) -> PathBuf {
    program.components().fold(local.path().to_owned(), |path, part| path.join(part))
}

fn open_folder(path: &Path) -> Result<ProgramAnswer, JobError> {
    match sys::show_on_desktop(path.as_os_str()) {
        Ok(true) => Ok(ProgramAnswer::Opened(OpenedFolder { path: path.to_owned() })),
        Ok(false) => {
            let message = format!("there is no desktop to show it on; the folder is {}", path.display());
            Err(JobError::new(JobErrorKind::NoDesktop, message))
        }
        Err(error) => Err(JobError::new(JobErrorKind::Io, format!("show {}: {error}", path.display()))),
    }
}

/// What the user chose, by game.
#[derive(Default, Serialize, Deserialize)]
struct Choices {
    format: u32,
    programs: BTreeMap<GameId, String>,
}

fn load(state_dir: &Path) -> Choices {
    let text = small_file::read(&state_dir.join(FILE), MAX_CHOICES_BYTES).ok().flatten();
    let choices = text.and_then(|text| serde_json::from_slice::<Choices>(&text).ok());
    choices.filter(|choices| choices.format == FORMAT).unwrap_or_default()
}

fn chosen(state_dir: &Path, game: &GameId) -> Option<RelPath> {
    RelPath::parse_unreserved(load(state_dir).programs.get(game)?).ok()
}

fn choose(state_dir: &Path, game: &GameId, program: RelPath) -> Result<(), JobError> {
    let mut choices = load(state_dir);
    choices.format = FORMAT;
    choices.programs.insert(game.clone(), program.as_str().to_owned());
    let write = || -> io::Result<()> {
        small_file::replace(&state_dir.join(FILE), &serde_json::to_vec_pretty(&choices)?, Readers::Owner)
    };
    write().map_err(|error| {
        JobError::new(JobErrorKind::Io, format!("remember the program of {game} in {}: {error}", state_dir.display()))
    })
}

#[cfg(test)]
mod tests;
