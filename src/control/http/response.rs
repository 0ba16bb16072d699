//! What goes back: JSON with a status, or a refusal.

use std::io::{self, Write};

use serde::Serialize;

use crate::api::{CommandError, ErrorCode};

/// Why a request is not carried out. Its `code` is stable; the message is for people.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    #[serde(skip)]
    pub(super) status: u16,
    /// The methods that the address takes, where it does not take this one.
    #[serde(skip)]
    allow: Option<&'static str>,
    code: Code,
    message: String,
}

/// A code of the door itself, or of the daemon.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Code {
    Door(&'static str),
    Daemon(ErrorCode),
}

impl Refusal {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, allow: None, code: Code::Door(code), message: message.into() }
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let message = format!("this address takes {allow}");
        Self { allow: Some(allow), ..Self::new(405, "method-not-allowed", message) }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "bad-request", message)
    }

    /// The daemon has stopped before it answered.
    pub(super) fn stopping() -> Self {
        Self::new(503, "stopping", "the daemon stopped before it could answer")
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Self {
        let CommandError { code, message } = error;
        Self { status: status_of(code), allow: None, code: Code::Daemon(code), message }
    }
}

/// RFC 9110, section 15; 507 is RFC 4918's.
fn status_of(code: ErrorCode) -> u16 {
    match code {
        ErrorCode::BadJson | ErrorCode::UnknownCommand | ErrorCode::BadArgument | ErrorCode::SelfConnect => 400,
        ErrorCode::NotInCatalog | ErrorCode::UnknownGame => 404,
        ErrorCode::NoSources
        | ErrorCode::OperationInProgress
        | ErrorCode::NotDownloaded
        | ErrorCode::NotInstalled
        | ErrorCode::AlreadyInstalled
        | ErrorCode::OwnContent
        | ErrorCode::Cancelled
        | ErrorCode::InUse
        | ErrorCode::NotOurs
        | ErrorCode::ChooseProgram
        | ErrorCode::NoDesktop
        | ErrorCode::SourceChanged => 409,
        ErrorCode::BadArchive | ErrorCode::UnsafePath | ErrorCode::VerificationFailed => 422,
        ErrorCode::PeerRefused => 502,
        ErrorCode::GameDirectoryGone => 503,
        ErrorCode::Timeout => 504,
        ErrorCode::DiskFull => 507,
        ErrorCode::Io | ErrorCode::Later => 500,
    }
}

const JSON: &str = "application/json";

/// A complete answer.
pub(super) struct Response {
    status: u16,
    /// Beside those that every answer has.
    headers: Vec<(&'static str, String)>,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Response {
    pub(super) fn json(value: &impl Serialize) -> Result<Self, Refusal> {
        // A path that is not Unicode, for one.
        let body = serde_json::to_vec(value).map_err(|error| {
            let message = format!("the answer cannot be written as JSON: {error}");
            Refusal::from(CommandError::new(ErrorCode::Io, message))
        })?;
        Ok(Self::bytes(JSON, body))
    }

    /// A body as it is.
    pub(super) fn bytes(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), content_type, body }
    }

    /// To another address of this door, which is asked for with GET.
    pub(super) fn see_other(address: &str) -> Self {
        Self { status: 303, ..Self::bytes("text/plain", Vec::new()) }.with("Location", address)
    }

    /// With one more header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Metrics, in version 0.0.4 of the text format of Prometheus.
    pub(super) fn text(text: String) -> Self {
        Self::bytes("text/plain; version=0.0.4; charset=utf-8", text.into())
    }

    /// `head_only`: as to a HEAD, without the body.
    pub(super) fn write(&self, stream: &mut impl Write, head_only: bool) -> io::Result<()> {
        let Self { status, headers, content_type, body } = self;
        let mut answer = head(*status, content_type);
        for (name, value) in headers {
            answer.push_str(&format!("{name}: {value}\r\n"));
        }
        answer.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut answer = answer.into_bytes();
        if !head_only {
            answer.extend_from_slice(body);
        }
        stream.write_all(&answer)
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let body = serde_json::to_vec(&refusal).unwrap_or_default();
        let response = Self { status: refusal.status, ..Self::bytes(JSON, body) };
        match (refusal.status, refusal.allow) {
            (401, _) => response.with("WWW-Authenticate", "Bearer"),
            (_, Some(allow)) => response.with("Allow", allow),
            _ => response,
        }
    }
}

/// Status line and the headers of every answer, without the empty line. One request for each connection.
pub(super) fn head(status: u16, content_type: &str) -> String {
    let reason = match status {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        507 => "Insufficient Storage",
        _ => "Internal Server Error",
    };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n"
    )
}
