//! A running daemon behind its HTTP door.

use std::io::{BufRead, BufReader};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;

use crate::api::commands::{Call, Shutdown};
use crate::api::{Done, PageAddress, PeerCommand, StreamEvent};
use crate::control::ControlFile;
use crate::types::GameId;

use super::ClientError;
use super::show::text;

/// Most bytes of one answer: the list of some 20,000 games fits several times.
const MAX_ANSWER: u64 = 64 << 20;
const CONNECT: Duration = Duration::from_secs(2);
/// The longest command waits for other PCs.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest silence of an event stream: three of the door's signs of life.
const SILENCE: Duration = Duration::from_secs(45);

pub(super) struct Daemon {
    file: ControlFile,
    state_dir: PathBuf,
    agent: Agent,
}

impl Daemon {
    /// The daemon that wrote its address into `state_dir`. It is not spoken to yet.
    pub(super) fn find(state_dir: PathBuf) -> Result<Self, ClientError> {
        let not_running = |why| ClientError::NotRunning { state_dir: state_dir.clone(), why };
        let file = match ControlFile::read(&state_dir) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(not_running("it has no control.json")),
            Err(error) => return Err(ClientError::Unreadable { path: ControlFile::path(&state_dir), error }),
        };
        let agent = Agent::config_builder()
            // Straight to this machine, whatever proxy the environment names: the token is for nobody else.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(SILENCE.max(ANSWER)))
            .build()
            .new_agent();
        Ok(Self { file, state_dir, agent })
    }

    /// `POST /api/v1/command`.
    pub(super) fn call<C: Call>(&self, call: C) -> Result<Answer<C::Reply>, ClientError> {
        self.send::<C>(&call.into())
    }

    /// The same, for whoever still needs the command.
    pub(super) fn send<C: Call>(&self, command: &PeerCommand) -> Result<Answer<C::Reply>, ClientError> {
        let body = serde_json::to_vec(command).map_err(|error| ClientError::Broken(error.to_string()))?;
        let request = self.agent.post(self.url("command")).header("Authorization", self.bearer());
        let response = request.header("Content-Type", "application/json").send(&body[..]);
        self.answer(response.map_err(|error| self.unreachable(error))?).map_err(|error| error.with_advice(command))
    }

    /// `POST /api/v1/page`: an address of the web page that works once.
    pub(super) fn new_page(&self) -> Result<Answer<PageAddress>, ClientError> {
        let response = self.agent.post(self.url("page")).header("Authorization", self.bearer()).send_empty();
        self.answer(response.map_err(|error| self.unreachable(error))?)
    }

    /// `shutdown`; comes back when the daemon has stopped.
    pub(super) fn stop(&self) -> Result<Answer<Done>, ClientError> {
        // The stream ends with the daemon.
        let mut events = self.events()?;
        let answer = self.call(Shutdown {})?;
        while let Ok(Some(_)) = events.next() {}
        Ok(answer)
    }

    /// The event stream: a snapshot first. It ends when the daemon does.
    pub(super) fn events(&self) -> Result<Events, ClientError> {
        let response = self.open("events")?;
        if response.status() != 200 {
            return Err(match self.answer::<Done>(response) {
                Err(error) => error,
                Ok(_) => ClientError::Broken("no event stream".into()),
            });
        }
        Ok(Events { lines: BufReader::new(response.into_body().into_reader()) })
    }

    fn open(&self, name: &str) -> Result<Response, ClientError> {
        let request = self.agent.get(self.url(name)).header("Authorization", self.bearer());
        request.call().map_err(|error| self.unreachable(error))
    }

    fn url(&self, name: &str) -> String {
        format!("{}/api/v1/{name}", self.file.url)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.file.token)
    }

    fn unreachable(&self, error: ureq::Error) -> ClientError {
        let refused = match &error {
            ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            ureq::Error::ConnectionFailed | ureq::Error::Timeout(ureq::Timeout::Connect) => true,
            _ => false,
        };
        if refused {
            return self.stale("nobody listens at the address in its control.json");
        }
        ClientError::Broken(error.to_string())
    }

    fn stale(&self, why: &'static str) -> ClientError {
        ClientError::NotRunning { state_dir: self.state_dir.clone(), why }
    }

    fn answer<T>(&self, mut response: Response) -> Result<Answer<T>, ClientError> {
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|error| ClientError::Broken(error.to_string()))?;
        // A daemon that restarted has written a new token: somebody else has the port now.
        let stranger = || self.stale("another program listens at the address in its control.json");
        if status == 200 {
            let json = serde_json::from_slice(&body).map_err(|_| stranger())?;
            return Ok(Answer { json, of: PhantomData });
        }
        match serde_json::from_slice(&body) {
            Ok(Refusal { code, message }) if status != 401 => {
                Err(ClientError::Refused { code, message: text(message) })
            }
            _ => Err(stranger()),
        }
    }
}

/// Why the door refuses: with a code of the daemon, or of its own.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

/// What the daemon answered, as it came: one of a later version may say more than a `T` holds.
pub(super) struct Answer<T> {
    pub(super) json: Value,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Answer<T> {
    /// # Errors
    /// The daemon is of another version, and says it in words that this one does not know.
    pub(super) fn read(&self) -> Result<T, ClientError> {
        T::deserialize(&self.json).map_err(|error| ClientError::OtherVersion(error.to_string()))
    }
}

type Response = ureq::http::Response<ureq::Body>;

/// An event, as it came and as it is understood.
pub(super) struct Heard {
    pub(super) json: Value,
    /// Which game it is about.
    pub(super) game: Option<GameId>,
    /// `None`: only a later version knows it.
    pub(super) event: Option<StreamEvent>,
}

impl From<Value> for Heard {
    fn from(json: Value) -> Self {
        Self { game: game_of(&json), event: StreamEvent::deserialize(&json).ok(), json }
    }
}

/// The game that a command or an event is about.
pub(super) fn game_of(json: &Value) -> Option<GameId> {
    #[derive(Deserialize)]
    struct About {
        game: GameId,
    }
    About::deserialize(json).ok().map(|about| about.game)
}

/// The events of a stream.
pub(super) struct Events {
    lines: BufReader<ureq::BodyReader<'static>>,
}

impl Events {
    /// The next one; `None` at the end of the stream.
    ///
    /// # Errors
    /// The connection broke, or was silent for too long.
    pub(super) fn next(&mut self) -> Result<Option<Heard>, ClientError> {
        let broken = |error: std::io::Error| ClientError::Broken(error.to_string());
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.lines.read_until(b'\n', &mut line).map_err(broken)? == 0 {
                return Ok(None);
            }
            if let Some(data) = line.strip_prefix(b"data: ") {
                let event = serde_json::from_slice::<Value>(data);
                return event.map(|json| Some(json.into())).map_err(|error| ClientError::Broken(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{ErrorCode, PeerEvent, PeerList};

    #[test]
    fn what_a_later_version_adds_to_events_is_no_trouble() {
        let unknown = Heard::from(json!({"event": "download-admired", "game": "doom", "by": [1]}));
        assert_eq!((unknown.event, unknown.game), (None, Some("doom".parse().unwrap())));
        let failed =
            Heard::from(json!({"event": "download-failed", "game": "doom", "code": "too-fast", "message": "it is"}));
        let Some(StreamEvent::Event(PeerEvent::DownloadFailed { code, message, .. })) = failed.event else { panic!() };
        assert_eq!((code, &*message), (ErrorCode::Later, "it is"));
        let operations = json!([{"game": "doom", "operation": "polishing"}]);
        let heard = Heard::from(json!({"event": "active-operations-changed", "operations": operations}));
        assert!(matches!(heard.event, Some(StreamEvent::Event(_))) && heard.game.is_none());
    }

    #[test]
    fn files_in_an_installation_are_named() {
        let aside = json!([{"file": "local/a.cfg", "kept_as": "local/a.cfg.mine"}]);
        let heard = Heard::from(json!({"event": "install-finished", "game": "doom", "kept_aside": aside}));
        let Some(StreamEvent::Event(PeerEvent::InstallFinished { kept_aside, .. })) = heard.event else { panic!() };
        assert_eq!(kept_aside[0].file.as_str(), "local/a.cfg");
    }

    #[test]
    fn an_answer_of_another_version_is_told_from_one_that_is_known() {
        let answer = Answer::<PeerList> { json: json!({"peers": "many"}), of: PhantomData };
        assert!(matches!(answer.read(), Err(ClientError::OtherVersion(_))));
    }
}
