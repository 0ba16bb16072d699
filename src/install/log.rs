//! The intent log `.lanspread.json`: what is being done to `local/`, written durably before anything is touched; and
//! which version lies there.
//!
//! One JSON object on one line, its last member a checksum (XXH3-128) of all bytes before that member:
//!
//! ```text
//! {"format":1,"op_id":"16 hex digits","intent":"updating","swapped":false,"set_aside":false,"installed_version":"1.0",
//!  "installed_by":"16 hex digits","next_version":"1.1","kept_as":".local.mine","checksum":"…"}\n
//! ```
//!
//! `intent` is `installing`, `updating`, `uninstalling`, `adopting`, `removing` or `none`. `installed_by` is the number that also lies
//! in `local/` (owner.rs); logs of older versions have none. A log that cannot be read is left as it is, and so is
//! the game: nobody knows any more what is whose.

use serde::{Deserialize, Serialize};

use crate::fs::{Dir, FsError, is_sealed, seal};

/// The log's name in a game's root.
pub(crate) const LOG: &str = ".lanspread.json";
/// What an interrupted write of it leaves; never read.
pub(crate) const LOG_TMP: &str = ".lanspread.json.tmp";
/// Longest log that is read, in bytes; a version has at most 128 bytes.
const MAX_LOG_BYTES: usize = 4 << 10;
const FORMAT: u32 = 1;

/// Number of one operation, random, to tell whose traces are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpId(pub u64);

/// What is under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Intent {
    /// Nothing.
    None,
    /// `local/` is made; there was none.
    Installing,
    /// `local/` is replaced.
    Updating {
        /// The new one is durably in its place: all that is left is to delete the old one.
        swapped: bool,
    },
    /// `local/` is removed.
    Uninstalling {
        /// It was looked at under its name for deletion, and is durably there: all that is left is to delete it.
        set_aside: bool,
    },
    /// A `local/` that somebody else made becomes lanspread's.
    Adopting,
    /// The downloaded files are removed; there is no `local/`.
    Removing,
}

/// What the log says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IntentLog {
    /// Of the last operation.
    pub op_id: OpId,
    /// What is under way.
    pub intent: Intent,
    /// The version in `local/` before the operation, or now if there is none; `None`: not known.
    pub installed_version: Option<String>,
    /// The operation that made that `local/`; `None`: nobody knows.
    pub installed_by: Option<OpId>,
    /// The version that is being installed.
    pub next_version: Option<String>,
    /// The name that the old `local/` gets with what is the user's in it; `None`: nothing is, and all of it is deleted.
    pub kept_as: Option<String>,
}

/// Why bytes are not a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Cut off, or changed by somebody else.
    #[error("its checksum does not match: it was cut off or edited")]
    Checksum,
    /// Not the members that it should have.
    #[error("{0}")]
    Syntax(#[from] serde_json::Error),
    /// Written by another version of this program.
    #[error("it has format {0}, this program reads format {FORMAT}")]
    Format(u32),
    /// An operation number that is none.
    #[error("it names no operation")]
    Operation,
    /// Longer than any log, not a file, or refused by the system.
    #[error("{0}")]
    File(String),
}

impl IntentLog {
    /// Reads the log of the game whose root this is. `Ok(None)`: there is none, and nothing is under way.
    ///
    /// # Errors
    /// Outside: the system is short of something. Inside: there is a log that cannot be read.
    pub fn read(root: &Dir) -> Result<Result<Option<Self>, LogError>, FsError> {
        match root.read_small(LOG, MAX_LOG_BYTES) {
            Ok(None) => Ok(Ok(None)),
            Ok(Some(bytes)) => Ok(Self::decode(&bytes).map(Some)),
            Err(e) if e.is_exhaustion() => Err(e),
            Err(e) => Ok(Err(LogError::File(e.source.to_string()))),
        }
    }

    /// Puts the log in its place, atomically and durably.
    pub fn write(&self, root: &Dir) -> Result<(), FsError> {
        root.replace_file(LOG, &self.encode())
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let file = LogFile {
            format: FORMAT,
            op_id: format!("{:016x}", self.op_id.0),
            intent: match self.intent {
                Intent::None => Kind::None,
                Intent::Installing => Kind::Installing,
                Intent::Updating { .. } => Kind::Updating,
                Intent::Uninstalling { .. } => Kind::Uninstalling,
                Intent::Adopting => Kind::Adopting,
                Intent::Removing => Kind::Removing,
            },
            swapped: matches!(self.intent, Intent::Updating { swapped: true }),
            set_aside: matches!(self.intent, Intent::Uninstalling { set_aside: true }),
            installed_version: self.installed_version.clone(),
            installed_by: self.installed_by.map(|op| format!("{:016x}", op.0)),
            next_version: self.next_version.clone(),
            kept_as: self.kept_as.clone(),
        };
        // Numbers, texts and names of variants always are JSON; an empty log would be unreadable, and so harmless.
        seal(serde_json::to_vec(&file).unwrap_or_default())
    }

    /// Reads what [`encode`](Self::encode) made.
    pub fn decode(bytes: &[u8]) -> Result<Self, LogError> {
        if !is_sealed(bytes) {
            return Err(LogError::Checksum);
        }
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(LogError::Format(format));
        }
        let file: LogFile = serde_json::from_slice(bytes)?;
        let number = |text: &str| u64::from_str_radix(text, 16).map(OpId).map_err(|_| LogError::Operation);
        Ok(Self {
            op_id: number(&file.op_id)?,
            intent: match file.intent {
                Kind::None => Intent::None,
                Kind::Installing => Intent::Installing,
                Kind::Updating => Intent::Updating { swapped: file.swapped },
                Kind::Uninstalling => Intent::Uninstalling { set_aside: file.set_aside },
                Kind::Adopting => Intent::Adopting,
                Kind::Removing => Intent::Removing,
            },
            installed_version: file.installed_version,
            installed_by: file.installed_by.as_deref().map(number).transpose()?,
            next_version: file.next_version,
            kept_as: file.kept_as,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct LogFile {
    format: u32,
    op_id: String,
    intent: Kind,
    #[serde(default)]
    swapped: bool,
    #[serde(default)]
    set_aside: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    installed_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    installed_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept_as: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    None,
    Installing,
    Updating,
    Uninstalling,
    Adopting,
    Removing,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> IntentLog {
        IntentLog {
            op_id: OpId(0x0123_4567_89ab_cdef),
            intent: Intent::Updating { swapped: true },
            installed_version: Some("1 \"\\é".to_owned()),
            installed_by: Some(OpId(0xfedc_ba98)),
            next_version: Some("2".to_owned()),
            kept_as: Some(".local.mine.2".to_owned()),
        }
    }

    #[test]
    fn a_log_comes_back_as_it_was() {
        let bare =
            IntentLog { installed_version: None, installed_by: None, next_version: None, kept_as: None, ..log() };
        let updating = Intent::Updating { swapped: false };
        let uninstalling = [false, true].map(|set_aside| Intent::Uninstalling { set_aside });
        let intents = [Intent::None, Intent::Installing, updating, Intent::Adopting, Intent::Removing];
        let intents = intents.into_iter().chain(uninstalling);
        for log in intents.map(|intent| IntentLog { intent, ..bare.clone() }).chain([log(), bare.clone()]) {
            assert_eq!(IntentLog::decode(&log.encode()).unwrap(), log);
        }
        let longest = IntentLog { installed_version: Some("\u{1f600}".repeat(32)), ..log() };
        assert!(longest.encode().len() <= MAX_LOG_BYTES);
    }

    #[test]
    fn every_truncation_every_extension_and_every_flipped_bit_is_seen() {
        let bytes = log().encode();
        for len in 0..bytes.len() {
            assert!(IntentLog::decode(&bytes[..len]).is_err(), "{len}");
        }
        assert!(IntentLog::decode(&[bytes.as_slice(), b" "].concat()).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A letter of another case in the checksum is the only change that could pass, and does not.
            assert!(IntentLog::decode(&flipped).is_err(), "{bit}");
        }
    }
}
