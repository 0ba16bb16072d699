//! `lanspread config`: writes a configuration file to start from, checks one, shows what counts in the end. Needs no daemon.

use std::io;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Subcommand};
use serde_json::json;

use super::{env, say};
use crate::catalog::read_once;
use crate::config::{self, ConfigError, RunArgs, RunSettings};
use crate::identity::PartyKey;
use crate::small_file::create;

/// Sub-commands of `lanspread config`.
#[derive(Subcommand, Clone, Debug)]
pub enum ConfigCommand {
    /// Write a configuration file with every setting, its meaning and its default
    Init {
        /// Where to write it; - is stdout [default: config.toml in the state directory]
        file: Option<PathBuf>,
        /// Directory of the identity [default: the platform's]
        #[arg(long, value_name = "DIR", env = "LANSPREAD_STATE_DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Say whether a configuration file is understood, and what it names is there
    Check {
        /// Configuration file [default: config.toml in the state directory]
        file: Option<PathBuf>,
        /// Directory of the identity [default: the platform's]
        #[arg(long, value_name = "DIR", env = "LANSPREAD_STATE_DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Show every setting as `lanspread run` with the same flags would have it, and who sets it
    Show {
        /// Those of `lanspread run`
        #[command(flatten)]
        run: Box<RunArgs>,
        /// Answer as JSON on stdout
        #[arg(long)]
        json: bool,
    },
}

/// Why a sub-command failed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigToolError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// So many things are wrong, each said already.
    #[error("{}: {} to mend", .1.display(), if *.0 == 1 { "1 thing".into() } else { format!("{} things", .0) })]
    Wrong(usize, PathBuf),
    /// There is no file to check.
    #[error("there is no configuration file {}; `lanspread config init` writes one", .0.display())]
    Missing(PathBuf),
    /// A file is there already.
    #[error("{} is there already and stays as it is; give another name, or - to see on stdout what would be written", .0.display())]
    There(PathBuf),
    /// A file cannot be written.
    #[error("{} cannot be written: {source}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// stdout cannot be written.
    #[error("cannot write to stdout: {0}")]
    Output(#[from] io::Error),
}

impl ConfigToolError {
    /// What the process says to its parent: 2 for what the user can mend in the configuration, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Config(_) | Self::Wrong(..)) { 2 } else { 1 }
    }
}

/// Carries a sub-command out. `matches` are those of `lanspread config`, which tell flags from the environment.
///
/// # Errors
/// [`ConfigToolError`].
pub fn run(command: ConfigCommand, matches: &ArgMatches) -> Result<(), ConfigToolError> {
    match command {
        ConfigCommand::Init { file, state_dir } => init(file, state_dir),
        ConfigCommand::Check { file, state_dir } => check(file, state_dir),
        ConfigCommand::Show { run, json } => show(*run, json, matches.subcommand_matches("show")),
    }
}

fn init(file: Option<PathBuf>, state_dir: Option<PathBuf>) -> Result<(), ConfigToolError> {
    let text = config::commented();
    if file.as_deref() == Some(Path::new("-")) {
        return Ok(say(&text)?);
    }
    let path = place(file, state_dir)?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => ConfigToolError::There(path.clone()),
        _ => ConfigToolError::Write { path: path.clone(), source },
    };
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    create(&path, text.as_bytes()).map_err(failed)?;
    Ok(say(&format!(
        "{} is written: every setting with its meaning and default; what it says counts from the next start\n",
        path.display()
    ))?)
}

fn check(file: Option<PathBuf>, state_dir: Option<PathBuf>) -> Result<(), ConfigToolError> {
    let path = place(file, state_dir.clone())?;
    if !path.exists() {
        return Err(ConfigToolError::Missing(path));
    }
    let args = RunArgs { config: Some(path.clone()), state_dir, ..RunArgs::default() };
    let wrong = match config::load_all(args, env) {
        Ok(settings) => missing(&settings),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    };
    for line in &wrong {
        say(&format!("{line}\n"))?;
    }
    if wrong.is_empty() {
        return Ok(say(&format!("{}: everything in it is understood, and what it names is there\n", path.display()))?);
    }
    Err(ConfigToolError::Wrong(wrong.len(), path))
}

/// The file that is meant.
fn place(file: Option<PathBuf>, state_dir: Option<PathBuf>) -> Result<PathBuf, ConfigToolError> {
    match file.or_else(|| state_dir.or_else(|| config::default_state_dir(env)).map(|dir| config::file_in(&dir))) {
        Some(path) => Ok(path),
        None => Err(ConfigError::NoStateDir.into()),
    }
}

/// What a start would miss: of the directories and files that the configuration names.
fn missing(settings: &RunSettings) -> Vec<String> {
    let config = &settings.config;
    let mut missing = Vec::new();
    if !settings.is_default_game_dir && !config.game_dir.is_dir() {
        missing.push(format!(
            "game_dir: {} is not there, or no directory; `lanspread run --create` makes it",
            config.game_dir.display()
        ));
    }
    if let Some(file) = &config.party_key_file {
        missing.extend(PartyKey::load(file).err().map(|error| format!("party_key_file: {error}")));
    }
    if let Some(catalog) = &config.catalog {
        missing.extend(read_once(catalog, config.catalog_key.as_ref()).err().map(|error| format!("catalog: {error}")));
    }
    missing
}

fn show(args: RunArgs, as_json: bool, matches: Option<&ArgMatches>) -> Result<(), ConfigToolError> {
    let given: Vec<String> = args.set.iter().filter_map(|set| Some(set.split_once('=')?.0.trim().to_owned())).collect();
    let settings = config::load(args, env)?;
    let rows: Vec<_> = config::values(&settings)
        .into_iter()
        .map(|value| {
            let from = from(&value, &settings, &given, matches);
            (value, from)
        })
        .collect();
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(row, from)| json!({"key": row.key, "value": row.value.as_deref().map(as_value), "from": from}))
            .collect();
        return Ok(say(&format!("{}\n", json!({"file": settings.file, "settings": rows})))?);
    }
    let lines: Vec<_> = rows
        .iter()
        .map(|(row, from)| (format!("{} = {}", row.key, row.value.as_deref().unwrap_or("(none)")), from))
        .collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    for (line, from) in &lines {
        say(&format!("{line:width$}  # {from}\n"))?;
    }
    Ok(())
}

/// Who sets a value: the flag, the variable, the file, or nobody.
fn from(value: &config::Value, settings: &RunSettings, given: &[String], matches: Option<&ArgMatches>) -> String {
    if given.iter().any(|key| key == value.key) {
        return "--set".into();
    }
    // A switch that is given as off is as if it was not given.
    let is_off = |flag: &str| {
        matches.is_some_and(|matches| matches.try_get_one::<bool>(flag).is_ok_and(|on| on == Some(&false)))
    };
    let source = |flag: &str| matches.and_then(|matches| matches.value_source(flag)).filter(|_| !is_off(flag));
    // `--no-control` wins over `--control`, whoever says it.
    let deciding = value.flags.iter().rev().find(|flag| is_switch_on(matches, flag));
    let flagged = |wanted| match deciding {
        Some(flag) => (source(flag) == Some(wanted)).then_some(flag),
        None => value.flags.iter().find(|flag| source(flag) == Some(wanted)),
    };
    if let Some(flag) = flagged(ValueSource::CommandLine) {
        return format!("--{}", long(flag));
    }
    if let Some(flag) = flagged(ValueSource::EnvVariable) {
        return variable(flag);
    }
    match &settings.file {
        Some(file) if settings.in_file.contains(value.key) => file.display().to_string(),
        _ => "default".into(),
    }
}

fn is_switch_on(matches: Option<&ArgMatches>, flag: &str) -> bool {
    matches.is_some_and(|matches| matches.try_get_one::<bool>(flag).is_ok_and(|on| on == Some(&true)))
}

fn long(flag: &str) -> String {
    argument(flag).and_then(|arg| arg.get_long().map(str::to_owned)).unwrap_or_else(|| flag.replace('_', "-"))
}

fn variable(flag: &str) -> String {
    argument(flag)
        .and_then(|arg| arg.get_env().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "environment".into())
}

fn argument(flag: &str) -> Option<clap::Arg> {
    let command = <RunArgs as clap::Args>::augment_args(clap::Command::new("run"));
    command.get_arguments().find(|arg| arg.get_id() == flag).cloned()
}

/// A value of the file as JSON.
fn as_value(text: &str) -> serde_json::Value {
    // Numbers, switches, strings and lists of strings are written alike in both.
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}
