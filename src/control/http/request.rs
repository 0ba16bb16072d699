//! One request, read from a socket within limits of size and time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::response::Refusal;

/// Longest request line and headers together, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Most headers.
const MAX_HEADERS: usize = 64;
/// Longest body in bytes: the same as a JSON line.
pub(super) const MAX_BODY: usize = 64 << 10;
/// From the accepted connection to the last byte of the request.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Request line and headers.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    /// What follows the first `?`.
    pub(super) query: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The value of a header that may occur at most once; its name in lower case.
    ///
    /// # Errors
    /// It occurs more than once, or is not ASCII.
    pub(super) fn header(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value);
        let Some(value) = values.next() else { return Ok(None) };
        match std::str::from_utf8(value) {
            Ok(text) if text.is_ascii() && values.next().is_none() => Ok(Some(text.trim())),
            _ => Err(Refusal::bad_request(format!("the header {name} is not ASCII, or is there twice"))),
        }
    }
}

/// A connection on which one request arrives.
pub(super) struct Connection {
    stream: TcpStream,
    /// What was read beyond the head.
    ahead: Vec<u8>,
    deadline: Instant,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: Vec::new(), deadline: now() + MAX_TIME }
    }

    /// The socket, to answer on.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Reads up to the empty line. `None`: the client went away, or the socket broke; there is nobody to answer.
    pub(super) fn read_head(&mut self) -> Result<Option<Head>, Refusal> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            let before = bytes.len();
            match self.read_some(&mut bytes, MAX_HEAD)? {
                Some(0) | None => return Ok(None),
                Some(_) => {}
            }
            // Only a line's end can complete the head; a client that sends single bytes costs no more than that.
            if !bytes.iter().skip(before).any(|byte| *byte == b'\n') {
                continue;
            }
            if let Some((head, length)) = parse(&bytes)? {
                self.ahead = bytes.split_off(length);
                return Ok(Some(head));
            }
        }
    }

    /// Reads the body, of which `head` says the length. `None` as above.
    pub(super) fn read_body(&mut self, head: &Head) -> Result<Option<Vec<u8>>, Refusal> {
        let length = body_length(head)?;
        if let Some(what) = head.header("expect")? {
            if !what.eq_ignore_ascii_case("100-continue") {
                return Err(Refusal::new(417, "bad-request", "only 100-continue can be expected"));
            }
            if self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
                return Ok(None);
            }
        }
        let mut body = std::mem::take(&mut self.ahead);
        while body.len() < length {
            match self.read_some(&mut body, length)? {
                Some(0) | None => return Ok(None),
                Some(_) => {}
            }
        }
        body.truncate(length);
        Ok(Some(body))
    }

    /// Appends what is there, at most up to `most` bytes in all, within the time of the request.
    fn read_some(&mut self, bytes: &mut Vec<u8>, most: usize) -> Result<Option<usize>, Refusal> {
        let room = most.saturating_sub(bytes.len()).min(4096);
        if room == 0 {
            return Err(Refusal::new(
                431,
                "headers-too-large",
                format!("the headers are longer than {MAX_HEAD} bytes"),
            ));
        }
        let late = || Refusal::new(408, "request-timeout", format!("the request took longer than {MAX_TIME:?}"));
        let mut part = [0; 4096];
        loop {
            let left = self.deadline.saturating_duration_since(now());
            if left.is_zero() {
                return Err(late());
            }
            // Zero would mean no limit, and was handled.
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return Ok(None);
            }
            match part.get_mut(..room).map(|part| self.stream.read(part)) {
                Some(Ok(count)) => {
                    bytes.extend(part.iter().take(count));
                    return Ok(Some(count));
                }
                Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Err(error)) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(late());
                }
                _ => return Ok(None),
            }
        }
    }

    /// Takes the rest of what the client sends, for a moment: closing with unread bytes would reset the connection,
    /// and the client might never see the answer.
    pub(super) fn close(mut self) {
        const PATIENCE: Duration = Duration::from_millis(500);
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        let deadline = now() + PATIENCE;
        let mut rest = [0; 4096];
        while now() < deadline && self.stream.read(&mut rest).is_ok_and(|count| count > 0) {}
    }
}

/// Head and its length in bytes; `None` when it is not complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(431, "headers-too-large", format!("there are more than {MAX_HEADERS} headers")));
        }
        Err(error) => return Err(Refusal::bad_request(format!("this is not HTTP/1.1: {error}"))),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(Refusal::bad_request("this is not HTTP/1.1"));
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    if !path.starts_with('/') {
        return Err(Refusal::bad_request("the request's target is not a path"));
    }
    let headers = request.headers.iter().map(|h| (h.name.to_ascii_lowercase(), h.value.to_vec())).collect();
    Ok(Some((Head { method: method.to_owned(), path: path.to_owned(), query, headers }, length)))
}

fn body_length(head: &Head) -> Result<usize, Refusal> {
    let needed = || Refusal::new(411, "length-required", "the body needs a Content-Length, and no transfer encoding");
    if head.header("transfer-encoding")?.is_some() {
        return Err(needed());
    }
    let text = head.header("content-length")?.ok_or_else(needed)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::bad_request("the Content-Length is not a number"));
    }
    match text.parse() {
        Ok(length) if length <= MAX_BODY => Ok(length),
        _ => Err(Refusal::new(413, "too-large", format!("the body is longer than {MAX_BODY} bytes"))),
    }
}

#[expect(clippy::disallowed_methods, reason = "a slow client is cut off by the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_head_is_cut_out_and_its_query_left_out() {
        let text = "POST /api/v1/command?x=1 HTTP/1.1\r\nHOST: a\r\nContent-Length: 2\r\n\r\n{}";
        let (head, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.path.as_str()), ("POST", "/api/v1/command"));
        assert_eq!(head.header("host").unwrap(), Some("a"));
        assert_eq!(&text[length..], "{}");
        assert_eq!(body_length(&head).unwrap(), 2);
        for end in 0..length {
            assert!(parse(&text.as_bytes()[..end]).unwrap().is_none(), "a part of it is no request");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let twice = head("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        assert_eq!(twice.header("host").unwrap_err().status, 400);
        for (headers, status) in [
            ("", 411),
            ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", 411),
            ("Content-Length: 2\r\nContent-Length: 3\r\n", 400),
            ("Content-Length: +2\r\n", 400),
            ("Content-Length: -2\r\n", 400),
            ("Content-Length: 65537\r\n", 413),
            ("Content-Length: 99999999999999999999999\r\n", 413),
        ] {
            let head = head(&format!("POST / HTTP/1.1\r\n{headers}\r\n"));
            assert_eq!(body_length(&head).unwrap_err().status, status, "{headers}");
        }
        for target in ["http://127.0.0.1/", "example.com:80", "*"] {
            let text = format!("GET {target} HTTP/1.1\r\n\r\n");
            assert_eq!(parse(text.as_bytes()).unwrap_err().status, 400, "{target}");
        }
    }
}
