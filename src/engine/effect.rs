//! What one part of the engine asks of the others. The engine carries it, in order, when the part that says it has come to its
//! end (see `Engine::carry`).

use std::sync::Arc;

use super::io::{CommandId, ConnId};
use crate::api::{Operation, PeerEvent};
use crate::proto::{Delta, LibraryState};
use crate::types::{ContentHash, GameId, JobError, LibraryStamp, ManifestHash, PeerId, ScannedGame};

/// A consequence.
#[derive(PartialEq, Debug)]
pub(super) enum Effect {
    /// A connection is not used any more; it is gone or was closed.
    Disconnected(ConnId),
    /// What some peer offers, or whether it can be reached, changed.
    SourcesChanged,
    /// A peer's library is in step, or cannot be brought in step for now.
    Settled(PeerId),
    /// The first state of a newly opened directory is durable.
    LibraryOpened(Announcement),
    /// A new revision is durable.
    LibraryRevised(Announcement),
    /// The index could not be made durable; it is tried again.
    LibraryNotSaved {
        /// What the system said.
        error: JobError,
        /// So it was the last time.
        again: bool,
    },
    /// The game is under this operation from now on. Comes again when `Queued` becomes `Downloading`.
    OperationStarted {
        /// On which game.
        game: GameId,
        /// Which.
        operation: Operation,
    },
    /// The operation is over.
    OperationEnded {
        /// On which game.
        game: GameId,
        /// What lies on disk now (`Some(None)`: nothing). `None`: as before, unless a [`Effect::Rescan`] follows.
        scanned: Option<Option<Arc<ScannedGame>>>,
    },
    /// A download is complete and its installation follows: the game passes from one to the other without being free.
    HandOver {
        /// Which.
        game: GameId,
        /// What lies on disk now.
        scanned: Arc<ScannedGame>,
        /// The terminal event of the download.
        event: Box<PeerEvent>,
    },
    /// A verification found damage: the game passes on to a download of the same content.
    Repair {
        /// Which.
        game: GameId,
        /// What lies on disk now, if that is known.
        scanned: Option<Option<Arc<ScannedGame>>>,
        /// What is to lie there.
        only: Only,
    },
    /// A game that was to be downloaded and installed is here already: install it if it is not.
    Install {
        /// Which.
        game: GameId,
    },
    /// Scan the game.
    Rescan {
        /// Which.
        game: GameId,
    },
    /// Scan what an operation left before it ends.
    LookAfter {
        /// On which game.
        game: GameId,
    },
    /// That scan is done; a failed one is repeated.
    LookedAfter {
        /// Which.
        game: GameId,
        /// What it found.
        result: Result<Option<Arc<ScannedGame>>, JobError>,
    },
    /// Nothing is waited for any more: carry out the command for this game.
    CarryOut {
        /// Which command.
        command: CommandId,
        /// For which game.
        game: GameId,
        /// What it asks for.
        then: Then,
    },
    /// An operation begins: tell everybody, after what must be told before.
    Begin(Box<PeerEvent>),
    /// An operation is over: tell everybody once its revision is durable, so that the next command finds every listing true.
    End(Box<PeerEvent>),
}

/// What others are to be told.
#[derive(PartialEq, Debug)]
pub(super) struct Announcement {
    /// The state before it; a peer that was told another one gets the summary.
    pub(super) from: LibraryStamp,
    /// The state now.
    pub(super) state: LibraryState,
    /// What changed, when it is short enough to be pushed.
    pub(super) delta: Option<Delta>,
}

/// The one content that will do, whatever the catalog says or others have newer: the game is to become again what it was.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Only {
    /// Exactly these files.
    pub(super) manifest_hash: ManifestHash,
    /// Exactly these bytes.
    pub(super) content_hash: ContentHash,
}

/// What a download is asked for besides its game.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    /// Install it afterwards.
    pub(super) install: bool,
    /// Fetch it also over a copy of the same version that is the user's own.
    pub(super) again: bool,
}

/// What follows once everybody who was asked has answered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Then {
    /// `download`.
    Download(Wish),
    /// `get-game`.
    GetGame,
}
