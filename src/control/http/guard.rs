//! Who may come in. A web page that the user visits can make the browser send requests to this machine: its Host or
//! Origin gives it away, it cannot know the token, and it cannot send JSON without asking first.

use std::net::SocketAddr;

use super::request::Head;
use super::response::Refusal;
use super::session::Sessions;

/// What a request must show.
pub(super) struct Guard {
    /// `host:port` in lower case.
    hosts: Vec<String>,
    token: blake3::Hash,
    sessions: Sessions,
}

impl Guard {
    pub(super) fn new(addr: SocketAddr, token: &str, sessions: Sessions) -> Self {
        let port = addr.port();
        let mut hosts = vec![format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")];
        if !hosts.contains(&addr.to_string()) {
            hosts.push(addr.to_string());
        }
        // The default port goes unsaid.
        if port == 80 {
            hosts.extend(hosts.clone().iter().filter_map(|host| Some(host.strip_suffix(":80")?.to_owned())));
        }
        Self { hosts, token: blake3::hash(token.as_bytes()), sessions }
    }

    /// Keys and cookies of browsers.
    pub(super) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Host and Origin, which every request is held against, whatever it asks for. A name that an attacker's DNS leads
    /// to this machine is no name of ours.
    pub(super) fn check_place(&self, head: &Head) -> Result<(), Refusal> {
        let Some(host) = head.header("host")? else { return Err(Refusal::bad_request("the Host is missing")) };
        if !self.hosts.contains(&host.to_ascii_lowercase()) {
            let message = format!("the Host is none of {}", self.hosts.join(", "));
            return Err(Refusal::new(403, "forbidden-host", message));
        }
        match head.header("origin")? {
            None => Ok(()),
            Some(origin) if self.is_ours(origin) => Ok(()),
            Some(_) => Err(Refusal::new(403, "forbidden-origin", "pages of other origins have no access")),
        }
    }

    fn is_ours(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        origin.strip_prefix("http://").is_some_and(|host| self.hosts.iter().any(|ours| ours == host))
    }

    /// The bearer token, or the cookie of a page that this door served.
    pub(super) fn check_access(&self, head: &Head) -> Result<(), Refusal> {
        if head.header("authorization")?.is_none() && self.sessions.admits(head)? {
            return Ok(());
        }
        self.check_token(head)
    }

    /// The bearer token (RFC 6750, section 2.1).
    pub(super) fn check_token(&self, head: &Head) -> Result<(), Refusal> {
        let given = head.header("authorization")?.and_then(|value| value.split_once(' '));
        let token = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        // Hashes compare in constant time.
        if token.is_some_and(|token| blake3::hash(token.as_bytes()) == self.token) {
            return Ok(());
        }
        let message = "the bearer token is missing or wrong; it is in control.json in the state directory";
        Err(Refusal::new(401, "unauthorized", message))
    }

    /// A form cannot send this type.
    pub(super) fn check_json(head: &Head) -> Result<(), Refusal> {
        let kind = head.header("content-type")?.unwrap_or_default();
        if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        Err(Refusal::new(415, "unsupported-media-type", "the Content-Type must be application/json"))
    }
}
