//! HTTP on loopback: state, commands and events for the command line, and for whatever a person writes.
//!
//! ```text
//! accept thread ─▶ one thread per connection (at most 32) ─┬─▶ commands ─▶ daemon
//!   (sleeps)          one request, one answer, closed      └─◀ events of the fan-out (at most 16 streams, each with
//!                                                              a thread that sees its reader go)
//! ```
//!
//! Nothing runs while nobody calls. Requests are bounded in size and time, writes in time; a connection too many is told
//! so and closed.

mod guard;
mod page;
mod request;
mod response;
mod routes;
mod session;
mod stream;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};

use super::{Commands, ControlFile, Fanout};
use guard::Guard;
use request::{Connection, Head};
use response::{Refusal, Response};
use routes::Route;
use session::Sessions;

/// Connections at once.
const MAX_CONNECTIONS: usize = 32;
/// Event streams among them.
const MAX_STREAMS: usize = 16;
/// How long a client may leave what is sent unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the system had no connection to give (no more file handles, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of a connection's thread: JSON of any depth that the parser admits (128 levels) fits several times.
const STACK: usize = 512 << 10;

/// The door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Whoever reaches it commands the daemon.
    #[error("--control {0}: only a loopback address is accepted, such as 127.0.0.1:0")]
    NotLoopback(SocketAddr),
    /// The address cannot be used.
    #[error("--control {0}: cannot listen there: {1}")]
    Bind(SocketAddr, io::Error),
    /// No randomness.
    #[error("the system gives no random bytes for the token")]
    NoRandom,
    /// `control.json` cannot be written, or one that a killed daemon left cannot be removed.
    #[error("cannot write or remove {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No thread.
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
}

/// A door that listens, and does not answer yet.
pub struct HttpDoor {
    listener: TcpListener,
    addr: SocketAddr,
    token: String,
}

impl HttpDoor {
    /// Listens on `addr` (port 0: a free one) and makes up a token.
    pub fn bind(addr: SocketAddr) -> Result<Self, HttpError> {
        if !addr.ip().is_loopback() {
            return Err(HttpError::NotLoopback(addr));
        }
        let failed = |error| HttpError::Bind(addr, error);
        let listener = TcpListener::bind(addr).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, addr, token: session::hex(&session::random().map_err(|_| HttpError::NoRandom)?) })
    }

    /// As [`HttpDoor::bind`]; where any free port will do (0), the one that the last door of this state directory had is tried first, so that
    /// addresses that somebody keeps, and pages that are open, stay good.
    pub fn bind_as_before(addr: SocketAddr, state_dir: &Path) -> Result<Self, HttpError> {
        if let (0, Some(port)) = (addr.port(), session::last_port(state_dir))
            && let Ok(door) = Self::bind(SocketAddr::new(addr.ip(), port))
        {
            return Ok(door);
        }
        Self::bind(addr)
    }

    /// `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Starts to answer, and writes address and token to `control.json` in `state_dir`.
    pub fn serve<C: Commands>(self, state_dir: &Path, commands: C, fanout: Fanout) -> Result<HttpServer, HttpError> {
        let file = ControlFile::new(self.url(), self.token.clone());
        let failed = |source| HttpError::File { path: state_dir.to_owned(), source };
        let sessions = Sessions::open(state_dir, self.addr.port()).map_err(failed)?;
        let guard = Guard::new(self.addr, &self.token, sessions);
        let door = Arc::new(Shared { guard, url: self.url(), streams: Slots::new(MAX_STREAMS) });
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let listener = self.listener;
        let accept = move || accept(&listener, &stopped, &door, &commands, &fanout);
        let thread = std::thread::Builder::new().name("http".into()).spawn(accept).map_err(HttpError::Thread)?;
        let server = HttpServer { addr: self.addr, state_dir: state_dir.to_owned(), stop: Some(stop), thread };
        match file.write(state_dir) {
            Ok(()) => Ok(server),
            Err(source) => {
                server.close();
                Err(HttpError::File { path: ControlFile::path(state_dir), source })
            }
        }
    }
}

/// A door that answers.
pub struct HttpServer {
    addr: SocketAddr,
    state_dir: PathBuf,
    stop: Option<Sender<()>>,
    thread: JoinHandle<()>,
}

impl HttpServer {
    /// `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Takes `control.json` away and accepts nothing more. Call it while the state directory is still locked: a daemon
    /// that starts afterwards writes its own file. Connections that are open end by themselves.
    pub fn close(mut self) {
        if let Err(error) = ControlFile::remove(&self.state_dir) {
            tracing::warn!(%error, "control.json cannot be removed");
        }
        self.stop = None;
        // The thread sleeps in `accept`: one more connection wakes it.
        if TcpStream::connect(self.addr).is_ok() {
            let _ = self.thread.join();
        }
    }
}

struct Shared {
    guard: Guard,
    url: String,
    streams: Slots,
}

fn accept<C: Commands>(
    listener: &TcpListener,
    stopped: &Receiver<()>,
    door: &Arc<Shared>,
    commands: &C,
    fanout: &Fanout,
) {
    let connections = Slots::new(MAX_CONNECTIONS);
    loop {
        let accepted = listener.accept();
        if stopped.try_recv() == Err(TryRecvError::Disconnected) {
            return;
        }
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                match stopped.recv_timeout(ACCEPT_PAUSE) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    _ => return,
                }
            }
        };
        let _ = stream.set_nodelay(true);
        if let Err(error) = stream.set_write_timeout(Some(WRITE_TIMEOUT)) {
            tracing::warn!(%error, "a connection without time-outs is not served");
            continue;
        }
        let Some(slot) = connections.take() else {
            let refusal = Refusal::new(503, "too-many-connections", "too many connections; try again");
            // Fits into the empty send buffer: this does not wait.
            let _ = Response::from(refusal).write(&mut &stream, false);
            continue;
        };
        let (door, commands, fanout) = (Arc::clone(door), commands.clone(), fanout.clone());
        let connection = move || {
            answer(Connection::new(stream), &door, &commands, &fanout);
            drop(slot);
        };
        if let Err(error) = std::thread::Builder::new().name("http-conn".into()).stack_size(STACK).spawn(connection) {
            tracing::warn!(%error, "no thread for a connection");
        }
    }
}

/// One request, one answer.
fn answer(mut connection: Connection, door: &Shared, commands: &impl Commands, fanout: &Fanout) {
    let head = match connection.read_head() {
        Ok(Some(head)) => Ok(head),
        Ok(None) => return,
        Err(refusal) => Err(refusal),
    };
    // RFC 9110, section 9.3.2: whatever the answer to a HEAD is, its body stays out.
    let head_only = head.as_ref().is_ok_and(|head| head.method == "HEAD");
    let response = match head.and_then(|head| respond(&mut connection, &head, door, commands, fanout)) {
        Ok(Some(response)) => response,
        Ok(None) => return,
        Err(refusal) => Response::from(refusal),
    };
    if response.write(connection.stream(), head_only).is_ok() {
        connection.close();
    }
}

/// `None`: there is nobody to answer, or everything was said.
fn respond(
    connection: &mut Connection,
    head: &Head,
    door: &Shared,
    commands: &impl Commands,
    fanout: &Fanout,
) -> Result<Option<Response>, Refusal> {
    door.guard.check_place(head)?;
    // Addresses that need a token tell nobody else whether they are there.
    let route = Route::find(head);
    if !Route::is_open(head) {
        door.guard.check_access(head)?;
    }
    match route? {
        Route::Command => {
            Guard::check_json(head)?;
            let Some(body) = connection.read_body(head)? else { return Ok(None) };
            routes::command(commands, &body).map(Some)
        }
        Route::Events => {
            let full = || Refusal::new(503, "too-many-connections", "too many event streams are open");
            let _slot = door.streams.take().ok_or_else(full)?;
            stream::serve(connection.stream(), commands, fanout)?;
            Ok(None)
        }
        Route::Page(asset) => Ok(Some(asset.response())),
        Route::Enter(key) => {
            let page = Response::see_other("/");
            // The page itself says what to do where the key does not count.
            Ok(Some(match door.guard.sessions().redeem(&key) {
                Some(cookie) => page.with("Set-Cookie", cookie),
                None => page,
            }))
        }
        Route::NewAddress => {
            // Whoever came in by such an address cannot make further ones.
            door.guard.check_token(head)?;
            routes::new_address(door.guard.sessions(), &door.url).map(Some)
        }
        Route::Metrics => routes::metrics(commands).map(Some),
        Route::State(state) => routes::state(commands, &state).map(Some),
    }
}

/// A bounded number of something.
struct Slots {
    taken: Arc<AtomicUsize>,
    most: usize,
}

struct Slot(Arc<AtomicUsize>);

impl Slots {
    fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    fn take(&self) -> Option<Slot> {
        let slot = Slot(Arc::clone(&self.taken));
        // One too many gives itself back as it is dropped.
        (self.taken.fetch_add(1, Ordering::AcqRel) < self.most).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
