//! The child process that unpacks: a hostile archive may end it, and finds nothing in it to take.
//!
//! The parent writes one [request](Request) as a JSON line to the child's standard input and holds it open: its end
//! tells the child that the parent is gone. The child answers with [reports](Report) as JSON lines. To cancel, the
//! parent kills it. A child that ends without a last report was ended by the archive that it named last.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde::{Deserialize, Serialize};

use super::context::CANCEL_POLL;
use super::{ArchiveLimits, Checked, Unpacked, check_all_here, declared_bytes_here, unpack_all_here};
use crate::fs::Dir;
use crate::sys;
pub use crate::sys::Confinement;
use crate::types::{JobError, JobErrorKind};

/// The sub-command by which a program runs [`serve`].
pub const SUBCOMMAND: &str = "unpack-helper";

/// Longest line between parent and child, in bytes.
const MAX_REPORT: u64 = 64 << 10;
/// Longest message that the child is believed, in characters.
const MAX_MESSAGE: usize = 1000;

/// Most archives of one game that are told to be bad.
const MAX_BAD: usize = 1000;

/// A program that offers [`SUBCOMMAND`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Helper {
    program: PathBuf,
}

/// What a child that tried to write outside met.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Probed {
    /// What confines it here.
    pub confinement: Confinement,
    /// It could write there.
    pub wrote_outside: bool,
    /// It could write into the staging directory.
    pub wrote_inside: bool,
}

impl Helper {
    /// The program that runs.
    ///
    /// # Errors
    /// When the system does not tell which it is.
    pub fn of_this_program() -> Result<Self, JobError> {
        sys::this_program().map(Self::new).map_err(|e| io_error("find this program's file", &e))
    }

    /// Another program.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// See [`unpack_all`](super::unpack_all).
    ///
    /// # Errors
    /// As there; [`BadArchive`](JobErrorKind::BadArchive) also when the child ends abnormally.
    pub fn unpack_all(
        &self,
        root: &Dir,
        staging: &Dir,
        limits: &ArchiveLimits,
        progress: &dyn Fn(u64, u64),
        cancel: &AtomicBool,
    ) -> Result<Unpacked, JobError> {
        let request = Request::new(root, Some(staging), limits, Action::Unpack)?;
        match self.ask(&request, progress, &mut Vec::new(), cancel)? {
            Report::Unpacked(unpacked) => Ok(unpacked),
            _ => Err(nonsense()),
        }
    }

    /// See [`check_all`](super::check_all).
    ///
    /// # Errors
    /// As there; [`BadArchive`](JobErrorKind::BadArchive) also when the child ends abnormally.
    pub fn check_all(
        &self,
        root: &Dir,
        limits: &ArchiveLimits,
        progress: &dyn Fn(u64, u64),
        cancel: &AtomicBool,
    ) -> Result<Checked, JobError> {
        let request = Request::new(root, None, limits, Action::Check)?;
        let mut bad = Vec::new();
        match self.ask(&request, progress, &mut bad, cancel)? {
            Report::Unpacked(unpacked) => Ok(Checked { unpacked, bad }),
            _ => Err(nonsense()),
        }
    }

    /// See [`declared_bytes`](super::declared_bytes).
    ///
    /// # Errors
    /// As there; [`BadArchive`](JobErrorKind::BadArchive) also when the child ends abnormally.
    pub fn declared_bytes(
        &self,
        root: &Dir,
        limits: &ArchiveLimits,
        cancel: &AtomicBool,
    ) -> Result<Option<u64>, JobError> {
        let request = Request::new(root, None, limits, Action::Measure)?;
        match self.ask(&request, &|_, _| {}, &mut Vec::new(), cancel)? {
            Report::Measured { bytes } => Ok(bytes),
            _ => Err(nonsense()),
        }
    }

    /// Has a child try to make the file `outside` and a file in `staging`: shows whether it is confined on this PC.
    /// Files that it could make it removes.
    ///
    /// # Errors
    /// When the child could not be asked.
    pub fn probe(&self, root: &Dir, staging: &Dir, limits: &ArchiveLimits, outside: &Path) -> Result<Probed, JobError> {
        let outside = absolute(outside)?;
        let request = Request::new(root, Some(staging), limits, Action::Probe { outside })?;
        match self.ask(&request, &|_, _| {}, &mut Vec::new(), &AtomicBool::new(false))? {
            Report::Probed(probed) => Ok(probed),
            _ => Err(nonsense()),
        }
    }

    /// Starts a child and waits for its last report. `bad` gets the archives that it could not unpack.
    fn ask(
        &self,
        request: &Request,
        progress: &dyn Fn(u64, u64),
        bad: &mut Vec<(String, JobError)>,
        cancel: &AtomicBool,
    ) -> Result<Report, JobError> {
        let mut running = Running::start(&self.program, request)?;
        let mut archive = String::new();
        loop {
            match running.reports.recv_timeout(CANCEL_POLL) {
                Ok(Report::Archive { name }) => archive = shorten(&name),
                Ok(Report::Progress { done, total }) => progress(done.min(total), total),
                Ok(Report::Bad { name, kind, message }) if bad.len() < MAX_BAD => {
                    bad.push((shorten(&name), JobError::new(kind.into(), shorten(&message))));
                }
                // So many are told that nobody reads the rest.
                Ok(Report::Bad { .. }) => {}
                Ok(Report::Failed { kind, message }) => return Err(JobError::new(kind.into(), shorten(&message))),
                Ok(last) => return Ok(last),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let how = running.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                    let on = if archive.is_empty() { String::new() } else { format!(" on {archive}") };
                    let message = format!("the unpacker ended abnormally{on} ({how})");
                    return Err(JobError::new(JobErrorKind::BadArchive, message));
                }
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(JobError::new(JobErrorKind::Cancelled, "the unpacking was cancelled"));
            }
        }
    }
}

/// A child at work; killed and reaped when dropped.
struct Running {
    child: Child,
    reports: Receiver<Report>,
    /// Its end tells the child to end.
    _stdin: ChildStdin,
}

impl Running {
    fn start(program: &Path, request: &Request) -> Result<Self, JobError> {
        let failed = |e: io::Error| io_error(&format!("start the unpacker {}", program.display()), &e);
        let mut command = Command::new(program);
        command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Dying of Ctrl-C would look like a fault of the archive.
        sys::in_own_group(&mut command);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::arg0(command.env_clear(), "lanspread");
        let mut child = Reaped(Some(command.spawn().map_err(failed)?));
        let pipes = child.0.as_mut().and_then(|child| Some((child.stdin.take()?, child.stdout.take()?)));
        let (mut stdin, stdout) = pipes.ok_or_else(|| failed(io::ErrorKind::BrokenPipe.into()))?;
        let mut line = serde_json::to_vec(request).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        stdin.write_all(&line).and_then(|()| stdin.flush()).map_err(failed)?;
        let reports = listen(stdout).map_err(failed)?;
        let child = child.0.take().ok_or_else(nonsense)?;
        Ok(Self { child, reports, _stdin: stdin })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a child that never came to be a [`Running`].
struct Reaped(Option<Child>);

impl Drop for Reaped {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads reports on a thread, which ends with the child or with the receiver.
fn listen(stdout: ChildStdout) -> io::Result<Receiver<Report>> {
    let (sender, receiver) = crossbeam_channel::bounded(16);
    std::thread::Builder::new().name("unpack-reports".to_owned()).spawn(move || {
        let mut stdout = BufReader::new(stdout);
        while let Ok(Some(line)) = read_line(&mut stdout) {
            let Ok(report) = serde_json::from_slice(&line) else { break };
            if sender.send(report).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// What the child is to do.
#[derive(Serialize, Deserialize)]
struct Request {
    /// Absolute.
    root: PathBuf,
    staging: Option<PathBuf>,
    limits: ArchiveLimits,
    action: Action,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    Unpack,
    Check,
    Measure,
    Probe { outside: PathBuf },
}

impl Request {
    fn new(root: &Dir, staging: Option<&Dir>, limits: &ArchiveLimits, action: Action) -> Result<Self, JobError> {
        let staging = staging.map(|dir| absolute(dir.path())).transpose()?;
        Ok(Self { root: absolute(root.path())?, staging, limits: limits.clone(), action })
    }
}

/// What the child says. All but the first three are its last words.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Report {
    /// It begins with this archive.
    Archive {
        name: String,
    },
    Progress {
        done: u64,
        total: u64,
    },
    /// This archive cannot be unpacked; the next one is tried.
    Bad {
        name: String,
        kind: Kind,
        message: String,
    },
    Unpacked(Unpacked),
    Measured {
        bytes: Option<u64>,
    },
    Probed(Probed),
    Failed {
        kind: Kind,
        message: String,
    },
}

/// [`JobErrorKind`] as the two tell it each other.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    DiskFull,
    InUse,
    UnsafePath,
    Cancelled,
    BadArchive,
    Io,
}

impl From<JobErrorKind> for Kind {
    fn from(kind: JobErrorKind) -> Self {
        match kind {
            JobErrorKind::DiskFull => Self::DiskFull,
            JobErrorKind::InUse => Self::InUse,
            JobErrorKind::UnsafePath => Self::UnsafePath,
            JobErrorKind::Cancelled => Self::Cancelled,
            JobErrorKind::BadArchive => Self::BadArchive,
            // An unpacker knows nothing of these.
            JobErrorKind::Changed
            | JobErrorKind::Verification
            | JobErrorKind::NotOurs
            | JobErrorKind::DirectoryGone
            | JobErrorKind::ChooseProgram
            | JobErrorKind::NoDesktop
            | JobErrorKind::Exhausted
            | JobErrorKind::Io => Self::Io,
        }
    }
}

impl From<Kind> for JobErrorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::DiskFull => Self::DiskFull,
            Kind::InUse => Self::InUse,
            Kind::UnsafePath => Self::UnsafePath,
            Kind::Cancelled => Self::Cancelled,
            Kind::BadArchive => Self::BadArchive,
            Kind::Io => Self::Io,
        }
    }
}

/// The child's side: reads one request from standard input, gives up every right that it does not need, and answers on
/// standard output. The process must not do anything else.
///
/// # Errors
/// In words, when there is no sensible request or nobody listens; what the request leads to is reported.
pub fn serve() -> Result<(), String> {
    let mut stdin = BufReader::new(io::stdin());
    let line = read_line(&mut stdin).map_err(|e| e.to_string())?.ok_or("there is no request on standard input")?;
    let request: Request = serde_json::from_slice(&line).map_err(|e| format!("the request is not understood: {e}"))?;
    // Before the first further thread: those that exist are not confined.
    let last = match confine(&request) {
        Err(error) => Err(error),
        Ok(confinement) => {
            std::thread::Builder::new()
                .name("parent-watch".to_owned())
                .spawn(move || end_with_parent(stdin))
                .map_err(|e| e.to_string())?;
            answer(&request, confinement)
        }
    };
    let last = last.unwrap_or_else(|error| Report::Failed { kind: error.kind.into(), message: error.message });
    tell(&last).map_err(|e| e.to_string())
}

fn confine(request: &Request) -> Result<Confinement, JobError> {
    let staging = request.staging.as_deref();
    sys::confine(&request.root, staging, request.limits.max_memory).map_err(|e| io_error("confine the unpacker", &e))
}

fn end_with_parent(mut stdin: BufReader<io::Stdin>) {
    // The parent writes nothing more.
    let _ = stdin.read(&mut [0]);
    std::process::exit(1);
}

fn answer(request: &Request, confinement: Confinement) -> Result<Report, JobError> {
    let never = AtomicBool::new(false);
    let root = Dir::open(&request.root)?;
    let staging = request.staging.as_deref().map(Dir::open).transpose()?;
    // Whoever does not listen any more ends this process.
    let progress = |done, total| drop(tell(&Report::Progress { done, total }));
    let archive = |name: &str| drop(tell(&Report::Archive { name: name.to_owned() }));
    match (&request.action, staging) {
        (Action::Measure, _) => {
            declared_bytes_here(&root, &request.limits, &never).map(|bytes| Report::Measured { bytes })
        }
        (Action::Check, _) => {
            let bad = |name: &str, JobError { kind, message }| {
                drop(tell(&Report::Bad { name: name.to_owned(), kind: Kind::from(kind), message }));
            };
            check_all_here(&root, &request.limits, &progress, &archive, &bad, &never).map(Report::Unpacked)
        }
        (Action::Unpack, Some(staging)) => {
            unpack_all_here(&root, &staging, &request.limits, &progress, &archive, &never).map(Report::Unpacked)
        }
        (Action::Probe { outside }, Some(staging)) => Ok(Report::Probed(Probed {
            confinement,
            wrote_outside: can_make(outside),
            wrote_inside: can_make(&staging.path().join(".lanspread_probe")),
        })),
        (Action::Unpack | Action::Probe { .. }, None) => {
            Err(JobError::new(JobErrorKind::Io, "the request names no staging directory"))
        }
    }
}

fn can_make(path: &Path) -> bool {
    let made = std::fs::File::options().write(true).create_new(true).open(path).is_ok();
    if made {
        // A leftover of a probe harms nobody.
        let _ = std::fs::remove_file(path);
    }
    made
}

fn tell(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// A line without its end; `None`: there is no more.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(MAX_REPORT).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, JobError> {
    let absolute = std::path::absolute(path).map_err(|e| io_error(&format!("find {}", path.display()), &e))?;
    match OsString::from(absolute).into_string() {
        Ok(path) => Ok(path.into()),
        Err(path) => Err(JobError::new(JobErrorKind::Io, format!("{} is not Unicode", path.display()))),
    }
}

fn io_error(what: &str, error: &io::Error) -> JobError {
    JobError::new(JobErrorKind::Io, format!("cannot {what}: {error}"))
}

fn nonsense() -> JobError {
    JobError::new(JobErrorKind::Io, "the unpacker answered what was not asked")
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}
