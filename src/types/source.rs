//! Who hands a game out: [`SourceId`].

use std::cmp::Ordering;
use std::fmt;

use super::{MirrorUrl, PeerId};

/// A configured mirror. Cheap to copy, unlike its URL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MirrorId {
    told_as: PeerId,
    place: usize,
}

impl MirrorId {
    /// The mirror at this place of the configuration.
    pub fn new(place: usize, url: &MirrorUrl) -> Self {
        Self { told_as: url.told_as(), place }
    }

    /// Its place in the configuration.
    pub fn place(self) -> usize {
        self.place
    }

    /// The id under which users are told of it.
    pub fn told_as(self) -> PeerId {
        self.told_as
    }
}

/// A source of a game. Ordered by the id under which users are told of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceId {
    /// Another PC.
    Peer(PeerId),
    /// A web server.
    Mirror(MirrorId),
}

impl SourceId {
    /// The id under which users are told of it.
    pub fn told_as(self) -> PeerId {
        match self {
            Self::Peer(peer) => peer,
            Self::Mirror(mirror) => mirror.told_as,
        }
    }

    /// The peer that it is.
    pub fn peer(self) -> Option<PeerId> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Mirror(_) => None,
        }
    }

    /// The mirror that it is.
    pub fn mirror(self) -> Option<MirrorId> {
        match self {
            Self::Peer(_) => None,
            Self::Mirror(mirror) => Some(mirror),
        }
    }
}

impl Ord for SourceId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.told_as().cmp(&other.told_as()).then_with(|| self.mirror().cmp(&other.mirror()))
    }
}

impl PartialOrd for SourceId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.told_as(), f)
    }
}

impl fmt::Debug for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
