//! What there is to say about a game before it is shared.

use serde::Serialize;

/// Most findings that are kept of one game; the others are counted.
pub(super) const MOST_FINDINGS: usize = 10_000;

/// What kind of thing was found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Code {
    /// The folder's name cannot be that of a game.
    GameId,
    /// It is a link, or has one in it.
    Link,
    /// Neither a file nor a folder.
    Special,
    /// There is no `version.ini`.
    VersionMissing,
    /// There is one that says nothing.
    VersionUnusable,
    /// There is one that says something else than was asked for.
    VersionDiffers,
    /// A name that not every PC can store.
    NameNotPortable,
    /// A name that is the same as another where case does not count.
    NameCollides,
    /// A path that is too long, or too deep.
    PathTooLong,
    /// More files, bytes or names than a game may have.
    TooMuch,
    /// Something cannot be read.
    Unreadable,
    /// It could not be given the name that would help.
    RenameFailed,
    /// An archive cannot be unpacked.
    Archive,
    /// What has the name of installations was not installed.
    LocalForeign,
    /// A download of it has not come to its end.
    Incomplete,
    /// Whatever else keeps others from getting it.
    NotShareable,
    /// Too large for a file on FAT32.
    LargeFile,
    /// Several files have the same bytes.
    Duplicate,
    /// What desktops put there.
    DesktopJunk,
    /// Something else that others do not get.
    LeftOut,
    /// It is installed here.
    Installed,
}

impl Code {
    /// Whether it stands in the way of sharing the game.
    pub(super) fn blocks(self) -> bool {
        use Code::{DesktopJunk, Duplicate, Installed, LargeFile, LeftOut};
        !matches!(self, LargeFile | Duplicate | DesktopJunk | LeftOut | Installed)
    }
}

/// One thing that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) code: Code,
    /// It stands in the way.
    pub(super) blocks: bool,
    /// Where, beneath the game's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    pub(super) message: String,
    pub(super) remedy: String,
    /// The name that would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rename: Option<String>,
}

impl Finding {
    pub(super) fn new(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (message, remedy) = (message.into(), remedy.into());
        Self { code, blocks: code.blocks(), path: None, message, remedy, rename: None }
    }

    /// Where it was found.
    pub(super) fn at(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }
}

/// The first [`MOST_FINDINGS`] of them.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) kept: Vec<Finding>,
    /// How many more there were.
    pub(super) more: u64,
    pub(super) blocking: u64,
}

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        self.blocking += u64::from(finding.blocks);
        if self.kept.len() < MOST_FINDINGS {
            self.kept.push(finding);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn append(&mut self, others: Findings) {
        let (more, blocking) = (others.more, others.blocking);
        let kept = others.kept.iter().filter(|finding| finding.blocks).count() as u64;
        others.kept.into_iter().for_each(|finding| self.push(finding));
        self.more += more;
        self.blocking += blocking - kept;
    }
}
