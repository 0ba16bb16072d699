//! What is known of another peer's library, and how its snapshots and deltas are taken in. Pure data.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::faults::{self, Bug};
use crate::proto::{Delta, Snapshot};
use crate::types::{
    GameId, GameSummary, LibraryDigest, LibraryStamp, MAX_NAME_BYTES, MAX_REASON_BYTES, MAX_SUPERSEDED,
    MAX_VERSION_BYTES, library_digest,
};

/// One accepted state of a library.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct RemoteLibrary {
    stamp: LibraryStamp,
    digest: LibraryDigest,
    /// Ascending by id, each id once. A sorted list and not a map: with 200 peers × 1,000 games the nodes of maps
    /// would weigh more than all else the engine holds.
    games: Vec<Arc<GameSummary>>,
}

/// Why a snapshot or a delta was not taken in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// It breaks the specification.
    Malformed(&'static str),
    /// The delta belongs to another state than the known one.
    OtherBase,
    /// The delta leads to a state that is known already, or older.
    Old,
    /// The digest of the outcome is not the stated one.
    Digest,
}

impl RemoteLibrary {
    /// Takes in a snapshot of at most `limit` games.
    pub(super) fn from_snapshot(snapshot: Snapshot, limit: usize, interner: &mut Interner) -> Result<Self, Flaw> {
        if snapshot.games.len() > limit {
            return Err(Flaw::Malformed("a library has more games than allowed"));
        }
        if !snapshot.games.is_sorted_by(|a, b| a.id < b.id) {
            return Err(Flaw::Malformed("the games of a snapshot are not in ascending order, each once"));
        }
        snapshot.games.iter().try_for_each(|game| check(game))?;
        let games: Vec<_> = snapshot.games.into_iter().map(|game| interner.intern(game)).collect();
        let digest = digest_of(&games);
        Ok(Self { stamp: LibraryStamp { epoch: snapshot.epoch, rev: snapshot.rev }, digest, games })
    }

    /// The library after a delta. The known state stays as it is, so that a delta that does not fit changes nothing.
    pub(super) fn after(&self, delta: &Delta, limit: usize, interner: &mut Interner) -> Result<Self, Flaw> {
        if delta.to_rev < delta.from_rev {
            return Err(Flaw::Malformed("a delta leads back"));
        }
        if delta.epoch != self.stamp.epoch {
            return Err(Flaw::OtherBase);
        }
        if delta.to_rev < self.stamp.rev || (delta.to_rev == self.stamp.rev && delta.from_rev != self.stamp.rev) {
            return Err(Flaw::Old);
        }
        if delta.from_rev != self.stamp.rev {
            return Err(Flaw::OtherBase);
        }
        let mut changes: BTreeMap<&GameId, Option<&Arc<GameSummary>>> = BTreeMap::new();
        for game in delta.added.iter().chain(&delta.updated) {
            check(game)?;
            changes.insert(&game.id, Some(game));
        }
        changes.extend(delta.removed.iter().map(|id| (id, None)));
        if delta.to_rev == delta.from_rev && !changes.is_empty() {
            return Err(Flaw::Malformed("a delta has changes but no revision"));
        }
        let mut games = Vec::with_capacity(self.games.len() + delta.added.len());
        let mut old = self.games.iter().peekable();
        for (id, change) in changes {
            while let Some(game) = old.next_if(|game| game.id < *id) {
                games.push(game.clone());
            }
            old.next_if(|game| game.id == *id);
            games.extend(change.map(|game| interner.intern(game.clone())));
        }
        games.extend(old.cloned());
        if games.len() > limit {
            return Err(Flaw::Malformed("a library has more games than allowed"));
        }
        let digest = digest_of(&games);
        if digest != delta.to_digest && !faults::is(Bug::MisfitApplied) {
            return Err(Flaw::Digest);
        }
        Ok(Self { stamp: LibraryStamp { epoch: delta.epoch, rev: delta.to_rev }, digest, games })
    }

    /// Epoch and revision.
    pub(super) fn stamp(&self) -> LibraryStamp {
        self.stamp
    }

    /// Digest of [`RemoteLibrary::games`].
    pub(super) fn digest(&self) -> LibraryDigest {
        self.digest
    }

    /// Bytes of the list of its games, without what they say.
    pub(super) fn list_bytes(&self) -> usize {
        self.games.capacity() * size_of::<Arc<GameSummary>>()
    }

    /// The bytes that it costs: its list, and its part of each summary, which all libraries that have it share.
    pub(super) fn charge(&self) -> usize {
        // One holder is the interner.
        let part = |game: &Arc<GameSummary>| bytes_of(game) / (Arc::strong_count(game) - 1).max(1);
        self.list_bytes() + self.games.iter().map(part).sum::<usize>()
    }

    /// Every game, ascending by id.
    pub(super) fn games(&self) -> &[Arc<GameSummary>] {
        &self.games
    }

    /// One game.
    pub(super) fn get(&self, id: &GameId) -> Option<&Arc<GameSummary>> {
        let at = self.games.binary_search_by(|game| game.id.cmp(id)).ok()?;
        self.games.get(at)
    }
}

fn digest_of(games: &[Arc<GameSummary>]) -> LibraryDigest {
    library_digest(games.iter().map(|game| &**game))
}

/// What a summary takes in memory, with its place among the known ones and what the allocator adds to each of its parts.
fn bytes_of(game: &GameSummary) -> usize {
    const COUNTS: usize = 2 * size_of::<usize>();
    const PLACE: usize = 2 * size_of::<usize>();
    const ALLOCATOR: usize = 16;
    let texts = [Some(game.id.as_str()), Some(&game.name), game.eti_version.as_deref(), game.not_shared.as_deref()];
    let texts: usize = texts.into_iter().flatten().map(|text| text.len() + ALLOCATOR).sum();
    let supersedes = size_of_val(&game.supersedes[..]) + ALLOCATOR * usize::from(!game.supersedes.is_empty());
    size_of::<GameSummary>() + COUNTS + PLACE + ALLOCATOR + texts + supersedes
}

fn check(game: &GameSummary) -> Result<(), Flaw> {
    if game.name.len() > MAX_NAME_BYTES {
        return Err(Flaw::Malformed("the name of a game is longer than 256 bytes"));
    }
    if game.eti_version.as_ref().is_some_and(|version| version.len() > MAX_VERSION_BYTES) {
        return Err(Flaw::Malformed("the version of a game is longer than 128 bytes"));
    }
    if game.supersedes.len() > MAX_SUPERSEDED {
        return Err(Flaw::Malformed("a game supersedes more than 4 lists of files"));
    }
    if game.not_shared.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
        return Err(Flaw::Malformed("the reason why a game is not shared is longer than 256 bytes"));
    }
    Ok(())
}

/// Keeps each distinct summary once: most peers of a party have the same games, and 50 peers × 1,000 games would
/// otherwise cost 20 MB. What nobody holds any more is swept out when the set has doubled.
#[derive(Debug, Default)]
pub(super) struct Interner {
    /// Only looked up and filtered, never walked in an order that anything depends on.
    known: HashSet<Arc<GameSummary>>,
    /// What they take.
    bytes: usize,
    sweep_at: usize,
}

impl Interner {
    /// Below this size sweeping is not worth its time.
    const SMALLEST_SWEEP: usize = 1_024;

    /// The one shared copy of this value.
    pub(super) fn intern(&mut self, game: Arc<GameSummary>) -> Arc<GameSummary> {
        if let Some(known) = self.known.get(&game) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at.max(Self::SMALLEST_SWEEP) {
            self.sweep();
        }
        self.bytes += bytes_of(&game);
        self.known.insert(game.clone());
        game
    }

    /// Lets go of what nobody holds any more.
    pub(super) fn sweep(&mut self) {
        self.known.retain(|game| Arc::strong_count(game) > 1);
        self.bytes = self.known.iter().map(|game| bytes_of(game)).sum();
        self.sweep_at = self.known.len() * 2;
        // A set that was large once would keep its room for ever.
        self.known.shrink_to(self.sweep_at.max(Self::SMALLEST_SWEEP));
    }

    /// Bytes that the summaries take, each once.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Availability, Epoch, ManifestHash, Revision};

    fn game(id: &str, size: u64) -> Arc<GameSummary> {
        Arc::new(GameSummary {
            id: id.parse().unwrap(),
            name: id.to_owned(),
            eti_version: None,
            size,
            downloaded: true,
            installed: false,
            manifest_hash: ManifestHash([1; 16]),
            content_hash: None,
            availability: Availability::Ready,
            changed: false,
            supersedes: Vec::new(),
            not_shared: None,
        })
    }

    fn snapshot(games: Vec<Arc<GameSummary>>) -> Snapshot {
        Snapshot { epoch: Epoch(1), rev: Revision(5), games }
    }

    fn delta_to(games: &[Arc<GameSummary>]) -> Delta {
        Delta {
            epoch: Epoch(1),
            from_rev: Revision(5),
            to_rev: Revision(6),
            to_digest: digest_of(games),
            added: Vec::new(),
            updated: Vec::new(),
            removed: Vec::new(),
        }
    }

    #[test]
    fn snapshots_that_break_the_rules_are_refused() {
        let mut interner = Interner::default();
        let mut take = |games| RemoteLibrary::from_snapshot(snapshot(games), 3, &mut interner);
        assert!(take(vec![game("a", 1), game("b", 1)]).is_ok());
        assert!(take(vec![game("b", 1), game("a", 1)]).is_err());
        assert!(take(vec![game("a", 1), game("a", 1)]).is_err());
        assert!(take(vec![game("a", 1), game("b", 1), game("c", 1), game("d", 1)]).is_err());
        let long = |name: usize, version: usize| {
            let game = GameSummary {
                name: "x".repeat(name),
                eti_version: Some("1".repeat(version)),
                ..(*game("a", 1)).clone()
            };
            vec![Arc::new(game)]
        };
        assert!(take(long(256, 128)).is_ok());
        assert!(take(long(257, 1)).is_err());
        assert!(take(long(1, 129)).is_err());
    }

    #[test]
    fn a_delta_merges_and_must_meet_its_digest() {
        let mut interner = Interner::default();
        let base = vec![game("b", 1), game("d", 1), game("f", 1)];
        let library = RemoteLibrary::from_snapshot(snapshot(base), 4, &mut interner).unwrap();
        let after = vec![game("a", 1), game("b", 1), game("d", 2), game("g", 1)];
        let good = Delta {
            added: vec![game("g", 1), game("a", 1)],
            updated: vec![game("d", 2)],
            removed: vec!["f".parse().unwrap(), "not-there".parse().unwrap()],
            ..delta_to(&after)
        };
        assert_eq!(library.after(&good, 4, &mut interner).unwrap().games(), after);
        assert_eq!(
            library.after(&good, 3, &mut interner).unwrap_err(),
            Flaw::Malformed("a library has more games than allowed")
        );
        let bad = Delta { updated: Vec::new(), ..good.clone() };
        assert_eq!(library.after(&bad, 4, &mut interner).unwrap_err(), Flaw::Digest);
        let other = Delta { epoch: Epoch(2), ..good.clone() };
        assert_eq!(library.after(&other, 4, &mut interner).unwrap_err(), Flaw::OtherBase);
        let gap = Delta { from_rev: Revision(7), to_rev: Revision(8), ..good.clone() };
        assert_eq!(library.after(&gap, 4, &mut interner).unwrap_err(), Flaw::OtherBase);
        let old = Delta { from_rev: Revision(3), to_rev: Revision(5), ..good.clone() };
        assert_eq!(library.after(&old, 4, &mut interner).unwrap_err(), Flaw::Old);
        let back = Delta { to_rev: Revision(1), ..good.clone() };
        assert!(matches!(library.after(&back, 4, &mut interner), Err(Flaw::Malformed(_))));
        let free = Delta { to_rev: Revision(5), ..good };
        assert!(matches!(library.after(&free, 4, &mut interner), Err(Flaw::Malformed(_))));
    }

    #[test]
    fn equal_summaries_are_kept_once_and_let_go() {
        let mut interner = Interner::default();
        let mut take = |games| RemoteLibrary::from_snapshot(snapshot(games), 20_000, &mut interner).unwrap();
        let games = |from: u64| (0..1_000).map(|n| game(&format!("game-{n:04}"), from)).collect::<Vec<_>>();
        let libraries: Vec<_> = (0..50).map(|_| take(games(1))).collect();
        for pair in libraries.windows(2) {
            assert!(pair[0].games().iter().zip(pair[1].games()).all(|(a, b)| Arc::ptr_eq(a, b)));
        }
        for n in 0..50 {
            take(games(n + 2));
        }
        assert!(interner.len() < 5_000, "{} summaries are kept", interner.len());
    }
}
