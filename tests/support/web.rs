//! A static web server on 127.0.0.1, with range requests and with faults.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use boring::pkey::PKey;
use boring::ssl::{SslAcceptor, SslMethod};
use boring::x509::X509;

/// What is wrong with the files of games; documents (`*.json`) come as they are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Fault {
    None,
    /// 200 and all of the file, whatever was asked for.
    NoRanges,
    /// Every chunk has another first byte.
    WrongBytes,
    /// The connection ends half-way.
    Truncated,
    /// Another range than was asked for.
    WrongRange,
    /// Around and around.
    RedirectLoop,
    /// So many bytes a second on each connection.
    Slow(u64),
    /// Nothing after the head.
    Silent,
}

/// What the server did.
#[derive(Default)]
struct State {
    fault: Option<Fault>,
    /// Path, answered status.
    log: Vec<(String, u16)>,
    /// Bytes of games that were sent.
    sent: u64,
    /// Everything is redirected to this server.
    elsewhere: Option<String>,
    stopped: bool,
}

/// Serves a directory until it is dropped.
pub(crate) struct Web {
    pub(crate) addr: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
    scheme: &'static str,
}

/// A certificate for 127.0.0.1 that no system trusts, as PEM, and a server with it.
pub(crate) fn tls() -> (String, SslAcceptor) {
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    tls.set_private_key(&PKey::private_key_from_pem(own.signing_key.serialize_pem().as_bytes()).unwrap()).unwrap();
    tls.set_certificate(&X509::from_der(own.cert.der()).unwrap()).unwrap();
    (own.cert.pem(), tls.build())
}

impl Web {
    pub(crate) fn serve(dir: &Path) -> Self {
        Self::with(dir, "127.0.0.1:0".parse().unwrap(), None)
    }

    pub(crate) fn with(dir: &Path, at: SocketAddr, tls: Option<SslAcceptor>) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let (shared, dir, scheme) = (state.clone(), dir.to_owned(), if tls.is_some() { "https" } else { "http" });
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.0.lock().unwrap().stopped {
                    return;
                }
                let (state, dir, tls) = (shared.clone(), dir.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    Some(tls) => drop(tls.accept(stream).map(|stream| connection(stream, &dir, &state))),
                    None => connection(stream, &dir, &state),
                });
            }
        });
        Self { addr, state, scheme }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.addr)
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.state.0.lock().unwrap().fault = Some(fault);
        self.state.1.notify_all();
    }

    pub(crate) fn redirect_to(&self, url: &str) {
        self.state.0.lock().unwrap().elsewhere = Some(url.to_owned());
    }

    /// Bytes of games that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.state.0.lock().unwrap().sent
    }

    /// How often a path was answered with this status.
    pub(crate) fn count(&self, path: &str, status: u16) -> usize {
        self.state.0.lock().unwrap().log.iter().filter(|(at, with)| at == path && *with == status).count()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.state.0.lock().unwrap().stopped = true;
        self.state.1.notify_all();
        let _ = TcpStream::connect(self.addr);
    }
}

fn connection(mut stream: impl Read + Write, dir: &Path, state: &(Mutex<State>, Condvar)) {
    // One request after the other, until one is answered without a next.
    while request(&mut stream, dir, state).is_some() {}
}

fn request(stream: &mut (impl Read + Write), dir: &Path, state: &(Mutex<State>, Condvar)) -> Option<()> {
    let mut lines = Vec::new();
    // Requests have no bodies, and the next one comes after the answer: nothing is lost with the reader.
    let mut reader = BufReader::new(&mut *stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    drop(reader);
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let header = |name: &str| {
        lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let file = file_of(dir, &path);
    let is_document = path.ends_with(".json");
    let (fault, elsewhere, stopped) = {
        let state = state.0.lock().unwrap();
        (state.fault.filter(|_| !is_document).unwrap_or(Fault::None), state.elsewhere.clone(), state.stopped)
    };
    if stopped {
        return None;
    }
    let log = |status: u16| state.0.lock().unwrap().log.push((path.clone(), status));
    if let Some(to) = elsewhere.map(|to| to + &path).or((fault == Fault::RedirectLoop).then(|| path.clone())) {
        log(302);
        let head = format!("HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
        return stream.write_all(head.as_bytes()).and_then(|()| stream.flush()).ok();
    }
    let Some(mut file) = file else {
        log(404);
        return stream.write_all(b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n").and_then(|()| stream.flush()).ok();
    };
    let size = file.metadata().ok()?.len();
    let range = header("Range").filter(|_| fault != Fault::NoRanges).map(|range| {
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        (first.parse::<u64>().unwrap(), last.parse::<u64>().unwrap().min(size.saturating_sub(1)))
    });
    if range.is_some_and(|(first, _)| first >= size) {
        log(416);
        let head = format!("HTTP/1.1 416 x\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n\r\n");
        return stream.write_all(head.as_bytes()).and_then(|()| stream.flush()).ok();
    }
    let (first, end) = range.map_or((0, size), |(first, last)| (first, last + 1));
    file.seek(SeekFrom::Start(first)).ok()?;
    let mut body = vec![0; (end - first) as usize];
    file.read_exact(&mut body).ok()?;
    let tag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..16]);
    if is_document && header("If-None-Match").as_deref() == Some(&tag) {
        log(304);
        return stream.write_all(b"HTTP/1.1 304 x\r\n\r\n").and_then(|()| stream.flush()).ok();
    }
    if fault == Fault::WrongBytes {
        body.chunks_mut(lanspread_peer::types::CHUNK_SIZE as usize).for_each(|chunk| chunk[0] ^= 1);
    }
    let stated = if fault == Fault::WrongRange { first + 1 } else { first };
    let status = if range.is_some() { 206 } else { 200 };
    let content_range =
        if range.is_some() { format!("Content-Range: bytes {stated}-{}/{size}\r\n", end - 1) } else { String::new() };
    let head = format!("HTTP/1.1 {status} x\r\nETag: {tag}\r\n{content_range}Content-Length: {}\r\n\r\n", body.len());
    log(status);
    stream.write_all(head.as_bytes()).ok()?;
    let whole = if fault == Fault::Truncated { body.len() / 2 } else { body.len() };
    let begun = Instant::now();
    let mut at = 0;
    while at < whole {
        // A fault may come in the middle.
        let now = if is_document { Fault::None } else { state.0.lock().unwrap().fault.unwrap_or(Fault::None) };
        let part = match now {
            Fault::Silent => {
                let held =
                    state.1.wait_while(state.0.lock().unwrap(), |s| s.fault == Some(Fault::Silent) && !s.stopped);
                if held.unwrap().stopped {
                    return None;
                }
                continue;
            }
            Fault::Slow(rate) => {
                let due = Duration::from_secs_f64(at as f64 / rate as f64);
                std::thread::park_timeout(due.saturating_sub(begun.elapsed()));
                (rate as usize / 20).max(1)
            }
            _ => 256 << 10,
        };
        let end = (at + part).min(whole);
        stream.write_all(&body[at..end]).ok()?;
        if !is_document {
            state.0.lock().unwrap().sent += (end - at) as u64;
        }
        at = end;
    }
    stream.flush().ok()?;
    (whole == body.len()).then_some(())
}

/// The file that a path names; `None`: there is none beneath `dir`.
fn file_of(dir: &Path, path: &str) -> Option<std::fs::File> {
    let mut file = PathBuf::from(dir);
    for component in path.split('?').next()?.split('/').filter(|component| !component.is_empty()) {
        let decoded = decode(component)?;
        assert!(decoded != ".." && !decoded.contains('/'), "a client asks for {path}");
        file.push(decoded);
    }
    file.is_file().then(|| std::fs::File::open(&file).ok()).flatten()
}

fn decode(component: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = component.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}
