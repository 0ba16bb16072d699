//! `control.json` in the state directory: where the HTTP door of a running daemon is, and the token that opens it.
//! Only the user that runs the daemon may read it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::small_file;

const NAME: &str = "control.json";
const FORMAT: u32 = 1;
/// Larger files are not ours.
const MAX_BYTES: u64 = 16 << 10;

/// The content of the file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlFile {
    format: u32,
    /// `http://ADDRESS:PORT`.
    pub url: String,
    /// What every call must carry as its bearer token.
    pub token: String,
    /// The daemon's process.
    pub pid: u32,
}

impl ControlFile {
    /// For this process.
    pub(super) fn new(url: String, token: String) -> Self {
        Self { format: FORMAT, url, token, pid: std::process::id() }
    }

    /// Where it is.
    pub fn path(state_dir: &Path) -> PathBuf {
        state_dir.join(NAME)
    }

    /// Writes it, atomically and for the user alone (mode 0600), in place of one that a daemon left behind.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn write(&self, state_dir: &Path) -> io::Result<()> {
        small_file::replace_passing(&Self::path(state_dir), &serde_json::to_vec_pretty(self)?)
    }

    /// Reads it; `None` when there is none, which means that no daemon runs.
    ///
    /// # Errors
    /// It cannot be read, or is not such a file.
    pub fn read(state_dir: &Path) -> io::Result<Option<Self>> {
        let Some(text) = small_file::read(&Self::path(state_dir), MAX_BYTES)? else { return Ok(None) };
        let file: Self = serde_json::from_slice(&text)?;
        if file.format != FORMAT || !file.is_plain() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not the control file of this version"));
        }
        Ok(Some(file))
    }

    /// Takes the file of a daemon that has stopped away. One that is not there is fine.
    pub fn remove(state_dir: &Path) -> io::Result<()> {
        match std::fs::remove_file(Self::path(state_dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The token goes nowhere but to this machine, and both fit into a request as they are.
    fn is_plain(&self) -> bool {
        let addr = self.url.strip_prefix("http://").and_then(|addr| addr.parse::<std::net::SocketAddr>().ok());
        addr.is_some_and(|addr| addr.ip().is_loopback()) && self.token.bytes().all(|b| b.is_ascii_alphanumeric())
    }
}

impl std::fmt::Debug for ControlFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_struct("ControlFile").field("url", &self.url).field("pid", &self.pid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_the_user_alone_and_replaces_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ControlFile::read(dir.path()).unwrap(), None);
        ControlFile::new("http://127.0.0.1:1".into(), "old".into()).write(dir.path()).unwrap();
        let file = ControlFile::new("http://[::1]:4711".into(), "abc123".into());
        file.write(dir.path()).unwrap();
        assert_eq!(ControlFile::read(dir.path()).unwrap(), Some(file));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(ControlFile::path(dir.path())).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        ControlFile::remove(dir.path()).unwrap();
        ControlFile::remove(dir.path()).unwrap();
        assert_eq!(ControlFile::read(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_file_that_leads_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (url, token) in [
            ("http://192.168.0.1:80", "a"),
            ("http://127.0.0.1:80/x", "a"),
            ("https://127.0.0.1:80", "a"),
            ("http://127.0.0.1:80", "a\r\nb"),
        ] {
            ControlFile::new(url.into(), token.into()).write(dir.path()).unwrap();
            assert!(ControlFile::read(dir.path()).is_err(), "{url} {token:?}");
        }
    }
}
