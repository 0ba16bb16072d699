//! Which content a download is of: files of the same names with other bytes are another one.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use crate::api::{CommandError, ErrorCode};
use crate::engine::core::Cx;
use crate::engine::effect::Only;
use crate::engine::world::Source;
use crate::types::{ContentHash, GameId, GameSummary, ManifestHash, ScannedGame, SourceId, superseded};

/// The one content that a download is of.
#[derive(Clone, PartialEq, Debug)]
pub(in super::super) struct Pin {
    pub(in super::super) version: String,
    pub(in super::super) manifest_hash: ManifestHash,
    pub(in super::super) content: Content,
}

/// How the bytes are told from other bytes in files of the same names and sizes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in super::super) enum Content {
    /// By their hash: every source that states it counts.
    Known(ContentHash),
    /// By their owner, who has not hashed them: it counts alone.
    Unhashed(SourceId),
}

impl Pin {
    /// The hash to ask for.
    pub(in super::super) fn content_hash(&self) -> Option<ContentHash> {
        match self.content {
            Content::Known(hash) => Some(hash),
            Content::Unhashed(_) => None,
        }
    }

    pub(in super::super) fn matches(&self, source: &Source) -> bool {
        source.summary.manifest_hash == self.manifest_hash
            && match self.content {
                Content::Known(hash) => source.summary.content_hash == Some(hash),
                Content::Unhashed(owner) => source.id == owner && version_of(source) == self.version,
            }
    }
}

impl Only {
    /// What to ask for, if anybody has it.
    pub(in super::super) fn find(self, sources: &[Source]) -> Option<Pin> {
        let pin = |source: &Source| Pin {
            version: version_of(source).to_owned(),
            manifest_hash: self.manifest_hash,
            content: Content::Known(self.content_hash),
        };
        sources.iter().map(|source| (source, pin(source))).find(|(source, pin)| pin.matches(source)).map(|(_, pin)| pin)
    }
}

/// Chooses what to fetch among the sources of a game: the catalog's version, else the newest; of that version the content
/// that the catalog demands, else the one that most sources are known to have, else what a single source has. What one source says
/// that it had before does not count at the others, unless what that one has now is said to be old likewise.
pub(in super::super) fn choose(cx: &Cx, game: &GameId, sources: &[Source]) -> Option<Pin> {
    let version = cx.expected_version(game).or_else(|| {
        let versions = sources.iter().map(version_of);
        versions.max_by(|a, b| cx.catalog.compare_versions(game, a, b).then_with(|| a.cmp(b)))
    })?;
    let sources: Vec<_> = sources.iter().filter(|source| version_of(source) == version).collect();
    let demanded = cx.expected_content(game);
    let sources = if demanded.is_some() { sources } else { current(sources) };
    let mut groups: BTreeMap<(ContentHash, ManifestHash), usize> = BTreeMap::new();
    for source in &sources {
        let content = source.summary.content_hash.filter(|hash| demanded.is_none_or(|demanded| demanded == *hash));
        if let Some(content) = content {
            *groups.entry((content, source.summary.manifest_hash)).or_default() += 1;
        }
    }
    if let Some((&(hash, manifest_hash), _)) = groups.iter().min_by_key(|(key, count)| (Reverse(**count), **key)) {
        return Some(Pin { version: version.to_owned(), manifest_hash, content: Content::Known(hash) });
    }
    if demanded.is_some() {
        return None;
    }
    let single = sources.iter().min_by_key(|source| source.id)?;
    let content = Content::Unhashed(single.id);
    Some(Pin { version: version.to_owned(), manifest_hash: single.summary.manifest_hash, content })
}

/// Without the sources whose list of files another one has superseded.
fn current(sources: Vec<&Source>) -> Vec<&Source> {
    let supersedes = |newer: &Source, older: &Source| newer.summary.supersedes.contains(&older.summary.manifest_hash);
    let is_old = |older: &&Source| {
        sources.iter().any(|newer| {
            let taken_back = || sources.iter().any(|other| is_same(other, older) && supersedes(other, newer));
            supersedes(newer, older) && !taken_back()
        })
    };
    let (old, current): (Vec<_>, Vec<_>) = sources.iter().copied().partition(is_old);
    // Statements in a circle say nothing.
    if current.is_empty() { old } else { current }
}

fn is_same(a: &Source, b: &Source) -> bool {
    a.summary.manifest_hash == b.summary.manifest_hash
}

/// What the sources of the pinned content had before, for whoever fetches it from them to tell it on.
pub(in super::super) fn superseded_by(sources: &[Source], pin: &Pin) -> Vec<ManifestHash> {
    let of_it = sources.iter().filter(|source| pin.matches(source));
    superseded(of_it.flat_map(|source| source.summary.supersedes.iter().copied()))
}

/// Whether the copy here is a later state of the pinned content, as whoever it came from has said.
pub(in super::super) fn is_later(cx: &Cx, game: &GameId, pin: &Pin) -> bool {
    cx.expected_content(game).is_none()
        && cx.disk.get(game).is_some_and(|here| {
            here.downloaded
                && here.eti_version.as_deref().unwrap_or_default() == pin.version
                && here.supersedes.contains(&pin.manifest_hash)
        })
}

/// Whether nothing better than what lies here can be fetched: the same version without a known difference, or a newer one.
pub(in super::super) fn is_here(cx: &Cx, game: &GameId, pin: Option<&Pin>) -> bool {
    let Some(here) = cx.disk.get(game).filter(|scanned| scanned.downloaded) else { return false };
    let version = here.eti_version.as_deref().unwrap_or_default();
    if let Some(demanded) = cx.expected_content(game)
        && here.content_hash != Some(demanded)
    {
        return false;
    }
    match (cx.expected_version(game), pin) {
        (Some(expected), _) if expected != version => return false,
        (_, None) => return true,
        (None, Some(pin)) if cx.catalog.compare_versions(game, version, &pin.version) == Ordering::Greater => {
            return true;
        }
        (_, Some(pin)) if pin.version != version => return false,
        (_, Some(_)) => {}
    }
    pin.is_some_and(|pin| {
        let differs = match (here.content_hash, pin.content) {
            (Some(here), Content::Known(there)) => here != there,
            _ => false,
        };
        here.manifest_hash == pin.manifest_hash && !differs
    })
}

/// Whether a peer's ready game is another content than the complete one here, in the same version.
pub(in crate::engine) fn is_other_content(here: &ScannedGame, there: &GameSummary) -> bool {
    let known_to_differ = matches!((here.content_hash, there.content_hash), (Some(a), Some(b)) if a != b);
    here.downloaded
        && here.eti_version == there.eti_version
        && (here.manifest_hash != there.manifest_hash || known_to_differ)
}

/// Whether what lies here may be replaced by the pinned content, which is another one. A copy that a download brought is what its
/// source had then: whoever asks for the game gets what the sources have now. Anything else is the user's own, and of the same
/// version there is no telling which is the better one; unless the catalog does. Nothing is ever replaced without a command.
pub(in super::super) fn may_replace(cx: &Cx, game: &GameId, pin: &Pin, again: bool) -> Result<(), CommandError> {
    let here = cx.disk.get(game).filter(|here| here.downloaded);
    let Some(here) = here.filter(|here| here.eti_version.as_deref().unwrap_or_default() == pin.version) else {
        return Ok(());
    };
    if here.arriving {
        let message =
            format!("the files of {game} are still changing here; try again when they have kept still for a while");
        return Err(CommandError::new(ErrorCode::InUse, message));
    }
    if here.brought.is_some() || again || cx.expected_content(game).is_some() {
        return Ok(());
    }
    let message = format!(
        "{game} is here in version {:?} with another content than the other PCs have, and no download brought it; \
         download it with --again to have it replaced by theirs",
        pin.version
    );
    Err(CommandError::new(ErrorCode::OwnContent, message))
}

fn version_of(source: &Source) -> &str {
    source.summary.eti_version.as_deref().unwrap_or_default()
}
