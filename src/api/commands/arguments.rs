//! The fields of commands as JSON has them: what each kind may be, and what is said when it is something else.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::api::{CommandError, ErrorCode};
use crate::config::{Rates, is_host_port};
use crate::types::{GameId, PeerId, RelPath};

/// Most peers and longest time that `wait-peers` takes; a day in milliseconds.
const MAX_COUNT: u64 = 1_000_000;
const MAX_TIMEOUT_MS: u64 = 86_400_000;
/// Highest limit of a rate, as one in words: above it a decimal number, which is all that JavaScript has, is no longer exact.
pub(super) const MAX_RATE: u64 = 1 << 53;

/// A kind of field.
pub(super) struct Argument<T> {
    read: fn(&Field) -> Result<T, CommandError>,
    /// What a command means that does not have the field; `None`: it must have it.
    default: Option<fn() -> T>,
}

pub(super) const GAME: Argument<GameId> = Argument { read: game, default: None };
pub(super) const PEER: Argument<PeerId> = Argument { read: peer, default: None };
pub(super) const HOST_PORT: Argument<String> = Argument { read: host_port, default: None };
pub(super) const DIRECTORY: Argument<PathBuf> = Argument { read: directory, default: None };
pub(super) const PROGRAM: Argument<RelPath> = Argument { read: program, default: None };
pub(super) const ON: Argument<bool> = Argument { read: switch, default: Some(|| true) };
pub(super) const OFF: Argument<bool> = Argument { read: switch, default: Some(|| false) };
/// Bytes per second as a number, a rate as people write it, or none as `null`.
pub(super) const RATE: Argument<Option<Option<u64>>> = Argument { read: rate, default: Some(|| None) };
pub(super) const COUNT: Argument<usize> =
    Argument { read: |field| Ok(number(field, MAX_COUNT)? as usize), default: None };
pub(super) const TIMEOUT_MS: Argument<u64> = Argument { read: |field| number(field, MAX_TIMEOUT_MS), default: None };

impl<T> Argument<T> {
    pub(super) const fn is_optional(&self) -> bool {
        self.default.is_some()
    }

    /// The field of this name, or what it means that there is none.
    pub(super) fn of(&self, fields: &Fields, name: &'static str) -> Result<T, CommandError> {
        let value = fields.object.get(name);
        match self.default {
            Some(default) if value.is_none() => Ok(default()),
            _ => (self.read)(&Field { command: fields.command, name, value }),
        }
    }
}

/// The members of the JSON object that a command is.
pub(super) struct Fields<'a> {
    pub(super) command: &'static str,
    pub(super) object: &'a Map<String, Value>,
}

impl Fields<'_> {
    /// Refuses what is wrong with any of the fields that the command has, or a member beyond them. That the game is wrong is said
    /// after what is wrong with the rest.
    pub(super) fn check(&self, fields: &[(&str, Option<&CommandError>)]) -> Result<(), CommandError> {
        let is_wrong = |about_game: bool| {
            let mut fields = fields.iter().filter(move |(name, _)| (*name == "game") == about_game);
            fields.find_map(|(_, error)| *error)
        };
        if let Some(error) = is_wrong(false).or_else(|| is_wrong(true)) {
            return Err(error.clone());
        }
        let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
        let is_strange = |key: &&String| !matches!(key.as_str(), "id" | "cmd") && !names.contains(&key.as_str());
        let Some(key) = self.object.keys().find(is_strange) else { return Ok(()) };
        let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(bad(self.command, &shorten(key), &format!("no such field; the command has {has}")))
    }
}

/// Enough of a caller's text to recognise it.
pub(super) fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

fn bad(command: &str, field: &str, what: &str) -> CommandError {
    CommandError::new(ErrorCode::BadArgument, format!("{command}: {field}: {what}"))
}

/// One field of one command.
struct Field<'a> {
    command: &'static str,
    name: &'static str,
    value: Option<&'a Value>,
}

impl Field<'_> {
    fn bad(&self, error: impl std::error::Error) -> CommandError {
        bad(self.command, self.name, &error.to_string())
    }

    fn expected(&self, form: &str) -> CommandError {
        let missing = if self.value.is_none() { "missing; " } else { "" };
        bad(self.command, self.name, &format!("{missing}expected {form}"))
    }

    fn text(&self, form: &str) -> Result<&str, CommandError> {
        self.value.and_then(Value::as_str).ok_or_else(|| self.expected(form))
    }
}

fn game(field: &Field) -> Result<GameId, CommandError> {
    field.text("the id of a game, a string")?.parse().map_err(|error: crate::types::GameIdError| field.bad(error))
}

fn peer(field: &Field) -> Result<PeerId, CommandError> {
    field.text("the id of a peer, a string")?.parse().map_err(|error: crate::types::PeerIdError| field.bad(error))
}

fn program(field: &Field) -> Result<RelPath, CommandError> {
    RelPath::parse_unreserved(field.text("a path in local/, a string")?).map_err(|error| field.bad(error))
}

fn host_port(field: &Field) -> Result<String, CommandError> {
    let form = "HOST:PORT or [IPV6]:PORT, a string";
    let text = field.text(form)?;
    if is_host_port(text) { Ok(text.to_owned()) } else { Err(field.expected(form)) }
}

fn directory(field: &Field) -> Result<PathBuf, CommandError> {
    let form = "the path of a directory, a string";
    let text = field.text(form)?;
    if text.is_empty() || text.contains('\0') { Err(field.expected(form)) } else { Ok(PathBuf::from(text)) }
}

fn switch(field: &Field) -> Result<bool, CommandError> {
    field.value.and_then(Value::as_bool).ok_or_else(|| field.expected("true or false"))
}

fn rate(field: &Field) -> Result<Option<Option<u64>>, CommandError> {
    let rate = match field.value {
        Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Rates::parse(text),
        value => value.and_then(whole).filter(|rate| (Rates::LEAST..=MAX_RATE).contains(rate)).map(Some),
    };
    let form = || format!("bytes per second from {}, null, {}", Rates::LEAST, Rates::FORM);
    rate.map(Some).ok_or_else(|| field.expected(&form()))
}

fn number(field: &Field, most: u64) -> Result<u64, CommandError> {
    let number = field.value.and_then(whole).filter(|number| *number <= most);
    number.ok_or_else(|| field.expected(&format!("a whole number from 0 to {most}")))
}

/// A whole number, also where it is written with a point or an exponent: to JSON that is the same.
fn whole(value: &Value) -> Option<u64> {
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=MAX_RATE as f64).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(exact).map(|number| number as u64))
}
