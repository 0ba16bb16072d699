//! A running daemon behind its HTTP door.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use crate::api::PeerCommand;
use crate::control::ControlFile;

use super::ClientError;

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

    /// `GET /api/v1/{name}`.
    pub(super) fn get(&self, name: &str) -> Result<Value, ClientError> {
        self.answer(self.open(name)?)
    }

    /// `POST /api/v1/command`.
    pub(super) fn send(&self, command: &PeerCommand) -> Result<Value, ClientError> {
        let body = serde_json::to_vec(command).map_err(|error| ClientError::Broken(error.to_string()))?;
        let request = self.agent.post(self.url("command")).header("Authorization", self.bearer());
        let response = request.header("Content-Type", "application/json").send(&body[..]);
        self.answer(response.map_err(|error| self.unreachable(error))?)
    }

    /// `POST /api/v1/page`: an address of the web page that works once.
    pub(super) fn new_page(&self) -> Result<Value, ClientError> {
        let response = self.agent.post(self.url("page")).header("Authorization", self.bearer()).send_empty();
        self.answer(response.map_err(|error| self.unreachable(error))?)
    }

    /// `shutdown`; comes back when the daemon has stopped.
    pub(super) fn stop(&self) -> Result<Value, ClientError> {
        // The stream ends with the daemon.
        let mut events = self.events()?;
        let answer = self.send(&PeerCommand::Shutdown)?;
        while let Ok(Some(_)) = events.next() {}
        Ok(answer)
    }

    /// The event stream: a snapshot first. It ends when the daemon does.
    pub(super) fn events(&self) -> Result<Events, ClientError> {
        let response = self.open("events")?;
        if response.status() != 200 {
            return Err(match self.answer(response) {
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

    fn answer(&self, mut response: Response) -> Result<Value, ClientError> {
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        let body = body.map_err(|error| ClientError::Broken(error.to_string()))?;
        let value = serde_json::from_slice::<Value>(&body).ok();
        match value {
            Some(value) if status == 200 => Ok(value),
            // A daemon that restarted has written a new token: somebody else has the port now.
            _ if status == 401 => Err(self.stale("another program listens at the address in its control.json")),
            Some(value) if value["code"].is_string() && value["message"].is_string() => {
                let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
                Err(ClientError::Refused { code: text("code"), message: super::show::text(&value["message"]) })
            }
            _ => Err(self.stale("another program listens at the address in its control.json")),
        }
    }
}

type Response = ureq::http::Response<ureq::Body>;

/// The events of a stream as JSON objects.
pub(super) struct Events {
    lines: BufReader<ureq::BodyReader<'static>>,
}

impl Events {
    /// The next one; `None` at the end of the stream.
    ///
    /// # Errors
    /// The connection broke, or was silent for too long.
    pub(super) fn next(&mut self) -> Result<Option<Value>, ClientError> {
        let broken = |error: std::io::Error| ClientError::Broken(error.to_string());
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.lines.read_until(b'\n', &mut line).map_err(broken)? == 0 {
                return Ok(None);
            }
            if let Some(data) = line.strip_prefix(b"data: ") {
                let event = serde_json::from_slice(data);
                return event.map(Some).map_err(|error| ClientError::Broken(error.to_string()));
            }
        }
    }
}
