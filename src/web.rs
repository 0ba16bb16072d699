//! Fetching over HTTP: bounded in bytes, time and redirects. Blocks, and belongs on threads that nobody waits for.

mod tls;

use std::time::Duration;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, TcpConnector};

use tls::TlsConnector;

/// Time for a connection to stand, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for a whole fetch, redirects included.
const FETCH: Duration = Duration::from_secs(60);
/// Most redirects that are followed.
const MAX_REDIRECTS: u32 = 5;
/// Longest entity tag that is kept, in bytes.
const MAX_ETAG_BYTES: usize = 1_024;

/// What a server answered.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// What it gave last time, by the tag, is still the latest.
    NotModified,
    /// The document, and its tag for the next time.
    Body { bytes: Vec<u8>, etag: Option<String> },
}

/// Why a document was not to be had, in words that do not name the URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// The server answered with another status than 200.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// There is more than was allowed, in MiB.
    #[error("it is larger than {0} MiB")]
    TooLarge(u64),
    /// No server, no answer, or none in time.
    #[error("{0}")]
    Failed(String),
}

/// Fetches a URL. `etag`: of what is here already. `most`: bytes.
pub(crate) fn get(url: &str, etag: Option<&str>, most: u64) -> Result<Fetched, GetError> {
    let agent = agent(url, |config| {
        // The next fetch is minutes away.
        config.max_idle_connections(0).timeout_global(Some(FETCH))
    });
    let mut request = agent.get(url).header("Accept", "application/json, */*");
    if let Some(etag) = etag {
        request = request.header("If-None-Match", etag);
    }
    let mut response = request.call().map_err(|error| GetError::Failed(words(&error)))?;
    let status = response.status().as_u16();
    if status == 304 && etag.is_some() {
        return Ok(Fetched::NotModified);
    }
    if status != 200 {
        return Err(GetError::Status(status));
    }
    let etag = response.headers().get("etag").and_then(|tag| tag.to_str().ok());
    let etag = etag.filter(|tag| tag.len() <= MAX_ETAG_BYTES).map(str::to_owned);
    // One byte more than is allowed tells that there is more.
    let body = response.body_mut().with_config().limit(most + 1).read_to_vec();
    match body {
        Ok(bytes) if bytes.len() as u64 <= most => Ok(Fetched::Body { bytes, etag }),
        Ok(_) | Err(ureq::Error::BodyExceedsLimit(_)) => Err(GetError::TooLarge(most >> 20)),
        Err(error) => Err(GetError::Failed(words(&error))),
    }
}

/// A client for one server, and those that it redirects to: at most five times, and never from `https` to `http`. A status that
/// is an error is an answer like any other. `more`: what else is to hold.
pub(crate) fn agent(url: &str, more: impl FnOnce(ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope>) -> Agent {
    let is_https = url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
    let config = Agent::config_builder()
        // What begins safe stays so, wherever it is redirected to.
        .https_only(is_https)
        // Straight to the server: a LAN party has one on the LAN, or none.
        .proxy(None)
        .max_redirects(MAX_REDIRECTS)
        .http_status_as_error(false)
        .user_agent(concat!("lanspread/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_resolve(Some(CONNECT));
    let connector = ().chain(TcpConnector::default()).chain(TlsConnector);
    Agent::with_parts(more(config).build(), connector, DefaultResolver::default())
}

/// A failure in words that do not name the URL.
pub(crate) fn words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "there is no such host".to_owned(),
        ureq::Error::Timeout(_) => "it does not come in time".to_owned(),
        ureq::Error::TooManyRedirects => format!("it is redirected more than {MAX_REDIRECTS} times"),
        other => other.to_string(),
    }
}
