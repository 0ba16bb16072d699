//! Which address means what, and the calls that are answered at once.

use crossbeam_channel::bounded;
use serde::Serialize;

use crate::api::{
    CommandData, CommandError, ErrorCode, GameRow, OperationRow, PageAddress, PeerCommand, Snapshot, Status,
};
use crate::control::Commands;
use crate::control::parse::json_object;

use super::page::{self, Asset};
use super::request::Head;
use super::response::{Refusal, Response};
use super::session::Sessions;

/// Where everything is.
const BASE: &str = "/api/v1/";
/// Where programs that gather metrics look by themselves.
const METRICS: &str = "/metrics";

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Route {
    State(State),
    /// Counters in the text format of Prometheus.
    Metrics,
    Command,
    Events,
    /// A file of the web page, which needs no token: it shows nothing by itself.
    Page(&'static Asset),
    /// A one-time address of the page; its key.
    Enter(String),
    /// Makes such an address.
    NewAddress,
}

/// Something to look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    Status,
    Peers,
    Games,
    /// The game with this id, should there be one.
    Game(String),
    Operations,
}

impl Route {
    pub(super) fn find(head: &Head) -> Result<Self, Refusal> {
        let lost = || Refusal::new(404, "not-found", "there is nothing at this address");
        if let Some(route) = Self::of_page(head) {
            return route.for_method(head);
        }
        let name = if head.path == METRICS { METRICS } else { head.path.strip_prefix(BASE).ok_or_else(lost)? };
        let route = match name {
            METRICS => Self::Metrics,
            "status" => Self::State(State::Status),
            "peers" => Self::State(State::Peers),
            "games" => Self::State(State::Games),
            "operations" => Self::State(State::Operations),
            "command" => Self::Command,
            "events" => Self::Events,
            "page" => Self::NewAddress,
            _ => Self::State(State::Game(name.strip_prefix("games/").and_then(percent_decode).ok_or_else(lost)?)),
        };
        route.for_method(head)
    }

    fn of_page(head: &Head) -> Option<Self> {
        let key = head.query.as_deref().filter(|_| head.path == "/").and_then(|query| query.strip_prefix("key="));
        key.map(|key| Self::Enter(key.to_owned())).or_else(|| page::find(&head.path).map(Self::Page))
    }

    fn for_method(self, head: &Head) -> Result<Self, Refusal> {
        let allowed = self.methods();
        if !allowed.split(", ").any(|method| method == head.method) {
            return Err(Refusal::method_not_allowed(allowed));
        }
        Ok(self)
    }

    /// Whether anybody on this PC may ask for what is at this address, and may know that it is there.
    pub(super) fn is_open(head: &Head) -> bool {
        Self::of_page(head).is_some()
    }

    /// What it takes, as the header Allow lists it. HEAD of an event stream would never end.
    fn methods(&self) -> &'static str {
        match self {
            Self::Command | Self::NewAddress => "POST",
            Self::Events | Self::Enter(_) => "GET",
            Self::State(_) | Self::Metrics | Self::Page(_) => "GET, HEAD",
        }
    }
}

/// RFC 3986, section 2.1. `None`: not an encoding of Unicode.
fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high << 4 | low).ok()?);
    }
    String::from_utf8(out).ok()
}

/// Carries a command out and waits for its answer.
pub(super) fn call(commands: &impl Commands, command: PeerCommand) -> Result<CommandData, Refusal> {
    let (answer, answered) = bounded(1);
    // Dropped without a call when the daemon stops, which closes the channel.
    let reply = Box::new(move |result| drop(answer.send(result)));
    commands.send(command, reply).map_err(|_| Refusal::stopping())?;
    let result = answered.recv().map_err(|_| Refusal::stopping())?;
    result.map_err(Refusal::from)
}

/// The answer to the body of a `POST …/command`.
pub(super) fn command(commands: &impl Commands, body: &[u8]) -> Result<Response, Refusal> {
    let object = json_object(body)
        .map_err(|why| Refusal::from(CommandError::new(ErrorCode::BadJson, format!("the body {why}"))))?;
    let command = PeerCommand::parse(&object).map_err(Refusal::from)?;
    Response::json(&call(commands, command)?)
}

/// The answer to a `GET` of state.
pub(super) fn state(commands: &impl Commands, state: &State) -> Result<Response, Refusal> {
    #[derive(Serialize)]
    struct Operations {
        operations: Vec<OperationRow>,
    }
    match state {
        State::Status => Response::json(&call(commands, PeerCommand::Status)?),
        State::Peers => Response::json(&call(commands, PeerCommand::ListPeers)?),
        State::Games => Response::json(&call(commands, PeerCommand::ListGames)?),
        State::Game(id) => {
            let row = games(commands)?.into_iter().find(|row| row.id.as_str() == id);
            let unknown = || CommandError::new(ErrorCode::UnknownGame, "neither here nor at any peer is such a game");
            Response::json(&row.ok_or_else(unknown)?)
        }
        State::Operations => Response::json(&Operations { operations: status(commands)?.operations }),
    }
}

/// The answer to `POST /api/v1/page`: an address of the page that lets one browser in.
pub(super) fn new_address(sessions: &Sessions, url: &str) -> Result<Response, Refusal> {
    let key = sessions.new_key().map_err(|error| CommandError::new(ErrorCode::Io, error.to_string()))?;
    Response::json(&PageAddress { url: format!("{url}/?key={key}") })
}

/// The answer to `GET /metrics`.
pub(super) fn metrics(commands: &impl Commands) -> Result<Response, Refusal> {
    match call(commands, PeerCommand::Metrics)? {
        CommandData::Metrics(metrics) => Ok(Response::text(crate::control::metrics::prometheus(&metrics))),
        _ => Err(odd()),
    }
}

/// What an event stream begins with.
pub(super) fn snapshot(commands: &impl Commands) -> Result<Snapshot, Refusal> {
    let peers = match call(commands, PeerCommand::ListPeers)? {
        CommandData::Peers(list) => list.peers,
        _ => return Err(odd()),
    };
    Ok(Snapshot { status: status(commands)?, peers, games: games(commands)? })
}

fn status(commands: &impl Commands) -> Result<Box<Status>, Refusal> {
    match call(commands, PeerCommand::Status)? {
        CommandData::Status(status) => Ok(status),
        _ => Err(odd()),
    }
}

fn games(commands: &impl Commands) -> Result<Vec<GameRow>, Refusal> {
    match call(commands, PeerCommand::ListGames)? {
        CommandData::Games(list) => Ok(list.games),
        _ => Err(odd()),
    }
}

/// The answer belongs to another command: a mistake of this program.
fn odd() -> Refusal {
    debug_assert!(false, "an answer of another kind");
    CommandError::new(ErrorCode::Io, "the daemon gave an answer of another kind").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_once() {
        assert_eq!(percent_decode("a%20%2542").as_deref(), Some("a %42"));
        assert_eq!(percent_decode("%c3%A4").as_deref(), Some("ä"));
        for bad in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(percent_decode(bad), None, "{bad}");
        }
    }
}
