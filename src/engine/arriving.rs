//! Games that were written a moment ago: not offered while they change, and looked at again for a while afterwards.
//!
//! ```text
//!            it is new, or changed by somebody else        two looks, `arriving_quiet` apart, saw the same
//!   (known) ─────────────────────────────────▶ arriving ───────────────────────────────────────▶ young
//!                                                 ▲                                                │ ten minutes
//!                                                 └──────────────── a look saw another ◀───────────┤
//!                                                                                                  ▼
//!                                                                                               (known)
//! ```
//!
//! Whoever copies a game may begin with `version.ini`: others would fetch half of it. What decides is that two listings of all its
//! files differ, in names, sizes or times; the times alone say too little, since programs that copy may preserve old ones, and
//! may come from a clock that is ahead. They count only at the start, when there is no earlier look.
//!
//! File events tell of the root of a game only. So a young game is listed again by the clock, more and more rarely. What an
//! operation of this daemon left is no arrival.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Cx;
use crate::faults::{self, Bug};
use crate::types::{Fingerprint, GameId, ManifestHash, OpenedLibrary, ScannedGame, Seen, superseded};

/// How long after its last change a game is listed again by the clock.
const YOUNG: Duration = Duration::from_secs(600);
/// Longest pause between two such looks; the shortest is a second, or `arriving_quiet` when that is longer.
const MAX_PAUSE: Duration = Duration::from_secs(60);
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The same while it is arriving: some games write into their own folder for hours.
const MAX_ARRIVING_PAUSE: Duration = Duration::from_secs(20);
/// A game that has been arriving for so many times the pause is looked at more rarely.
const ARRIVING_PAUSES: u32 = 8;
/// Games that are looked at again though they keep still; with more, those that did so for longest are left to the file events.
pub(super) const MAX_YOUNG: usize = 64;

/// The games that were written a moment ago.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    games: BTreeMap<GameId, Young>,
}

#[derive(Debug)]
struct Young {
    /// As its files were listed last; `None`: that is not known, so the next listing only is remembered.
    stamp: Option<Fingerprint>,
    /// When it began to change.
    since: Instant,
    /// When it was seen to change last.
    changed_at: Instant,
    arriving: bool,
}

impl Young {
    fn new(stamp: Option<Fingerprint>, at: Instant, arriving: bool) -> Self {
        Self { stamp, since: at, changed_at: at, arriving }
    }

    /// When its files are to be listed again.
    fn next_look(&self, cx: &Cx) -> Instant {
        let quiet = cx.config.timers.arriving_quiet;
        let least = quiet.max(MIN_PAUSE);
        if self.arriving {
            let pause = cx.now.saturating_duration_since(self.since) / ARRIVING_PAUSES;
            let at = self.changed_at + pause.clamp(quiet, MAX_ARRIVING_PAUSE.max(quiet));
            return if at > cx.now { at } else { cx.now + least };
        }
        let age = cx.now.saturating_duration_since(self.changed_at);
        cx.now + (age / 2).clamp(least, MAX_PAUSE.max(least))
    }
}

impl Arrivals {
    /// Takes in a directory that was opened: what its games are, and when each of those that are still to be looked at is.
    pub(super) fn open(&mut self, cx: &Cx, opened: &mut OpenedLibrary) -> Vec<(GameId, Instant)> {
        let empty = Vec::new();
        let known: &[Arc<ScannedGame>] = opened.index.as_ref().map_or(&empty, |index| &index.games);
        let known: BTreeMap<&GameId, &Arc<ScannedGame>> = known.iter().map(|game| (&game.id, game)).collect();
        let mut looks = Vec::new();
        for game in &mut opened.games {
            let Some((changed_at, arriving)) = age(cx, game, opened.wall_ns) else { continue };
            let stamp = game.seen.0.map(|times| times.stamp);
            let before = known.get(&game.id).copied();
            if let Some(changed_at) = changed_at {
                let young = Young::new(stamp, changed_at, arriving);
                looks.push((game.id.clone(), young.next_look(cx)));
                self.games.insert(game.id.clone(), young);
            }
            let supersedes = history(before.map(Arc::as_ref), game, false);
            *game = Arc::new(ScannedGame { arriving, supersedes, seen: Seen::default(), ..(**game).clone() });
        }
        self.trim();
        looks
    }

    /// Somebody else changed a game, or nobody: what it is now, and when to look at it again. `before`: as it was known.
    pub(super) fn found(
        &mut self,
        cx: &Cx,
        before: Option<&ScannedGame>,
        now: &ScannedGame,
    ) -> (ScannedGame, Option<Instant>) {
        let stamp = now.seen.0.map(|times| times.stamp);
        let last = self.games.get(&now.id).and_then(|young| young.stamp);
        let compared = last.zip(stamp).map(|(last, stamp)| last == stamp);
        let changed = before.is_none_or(|before| is_another(before, now, compared == Some(false)));
        let was_arriving = before.is_some_and(|before| before.arriving);
        // Somebody who copied it here for the first time goes on. Another change, of a copy that others have as well, is a matter of
        // taste, as is one of a game that lay here for long.
        let too_early = self.games.contains_key(&now.id) && before.is_some_and(|before| before.brought.is_none());
        match self.games.get_mut(&now.id) {
            Some(young) if changed => {
                if !young.arriving {
                    young.since = cx.now;
                }
                *young = Young { stamp, changed_at: cx.now, arriving: true, ..*young };
            }
            Some(young) => {
                young.stamp = stamp.or(young.stamp);
                // Only two listings of all its files show that it kept still.
                let still_for = cx.now.saturating_duration_since(young.changed_at);
                young.arriving &= compared != Some(true) || still_for < cx.config.timers.arriving_quiet;
            }
            None if changed || was_arriving => {
                self.games.insert(now.id.clone(), Young::new(stamp, cx.now, true));
            }
            None => {}
        }
        let mut game = ScannedGame { supersedes: history(before, now, too_early), ..now.clone() };
        if compared == Some(true) {
            // The listing may have begun before the hashes came in.
            game.content_hash = game.content_hash.or(before.and_then(|before| before.content_hash));
        }
        self.verdict(cx, game)
    }

    /// An operation left a game like this.
    pub(super) fn made(
        &mut self,
        cx: &Cx,
        before: Option<&ScannedGame>,
        now: &ScannedGame,
    ) -> (ScannedGame, Option<Instant>) {
        self.forget(&now.id);
        // Its files may still be copied while others of it are installed.
        if before.is_some_and(|before| before.arriving && before.manifest_hash == now.manifest_hash) {
            let stamp = now.seen.0.map(|times| times.stamp);
            self.games.insert(now.id.clone(), Young::new(stamp, cx.now, true));
        }
        let kept = before.filter(|before| now.supersedes.is_empty() && before.manifest_hash == now.manifest_hash);
        let supersedes = kept.map_or_else(|| now.supersedes.clone(), |kept| kept.supersedes.clone());
        self.verdict(cx, ScannedGame { supersedes, ..now.clone() })
    }

    /// The game is gone, or under an operation.
    pub(super) fn forget(&mut self, game: &GameId) {
        self.games.remove(game);
    }

    /// Whether a game is to be looked at again.
    pub(super) fn expects(&self, game: &GameId) -> bool {
        self.games.contains_key(game)
    }

    /// When a look that came to nothing is made up for.
    pub(super) fn next_look(&self, cx: &Cx, game: &GameId) -> Option<Instant> {
        self.games.get(game).map(|young| young.next_look(cx))
    }

    fn verdict(&mut self, cx: &Cx, game: ScannedGame) -> (ScannedGame, Option<Instant>) {
        let too_old = |young: &Young| !young.arriving && cx.now.saturating_duration_since(young.changed_at) >= YOUNG;
        if cx.config.timers.arriving_quiet.is_zero() || self.games.get(&game.id).is_some_and(too_old) {
            self.forget(&game.id);
        }
        self.trim();
        let arriving = self.games.get(&game.id).is_some_and(|young| young.arriving) && !faults::is(Bug::HalfOffered);
        let game = ScannedGame { arriving, seen: Seen::default(), ..game };
        let at = self.next_look(cx, &game.id);
        (game, at)
    }

    /// Leaves the games that kept still for longest to the file events.
    fn trim(&mut self) {
        let still = |(_, young): &(&GameId, &Young)| !young.arriving;
        let mut count = self.games.iter().filter(still).count();
        while count > MAX_YOUNG {
            let oldest = self.games.iter().filter(still).min_by_key(|(_, young)| young.changed_at);
            let Some(oldest) = oldest.map(|(game, _)| game.clone()) else { return };
            self.games.remove(&oldest);
            count -= 1;
        }
    }
}

/// When a game that was found at the start was changed last, if that is not long ago, and whether it is arriving. `None`: it is as
/// it was known, in every respect.
fn age(cx: &Cx, game: &ScannedGame, wall_ns: i128) -> Option<(Option<Instant>, bool)> {
    let quiet = cx.config.timers.arriving_quiet;
    let Some(times) = game.seen.0 else {
        // It is as it was when the daemon ended, which may have been in the middle of a copy.
        return game.arriving.then_some((Some(cx.now), true));
    };
    let age = wall_ns.saturating_sub(times.newest_ns);
    if age < 0 {
        // Times that lie ahead say nothing.
        return Some((Some(cx.now).filter(|_| !quiet.is_zero()), false));
    }
    let age = Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX));
    let changed_at = (age < YOUNG && !quiet.is_zero()).then(|| cx.now.checked_sub(age).unwrap_or(cx.now));
    Some((changed_at, age < quiet))
}

/// Whether somebody changed the files of a game; an installation that came or went is no such change.
fn is_another(before: &ScannedGame, now: &ScannedGame, other_times: bool) -> bool {
    // The hashes that are kept count for exactly these sizes and times. What moved is the user's, beside the game.
    if now.content_hash.is_some() && now.content_hash == before.content_hash {
        return false;
    }
    let same_installation = (before.installed, &before.installed_version) == (now.installed, &now.installed_version);
    other_times
        || before.manifest_hash != now.manifest_hash
        || before.eti_version != now.eti_version
        || before.downloaded != now.downloaded
        || (before.fingerprint != now.fingerprint && same_installation)
}

/// What a game was before, in the same version and as far as it was offered: whoever fetched that may have got it too early. Only
/// with `too_early` something is added.
fn history(before: Option<&ScannedGame>, now: &ScannedGame, too_early: bool) -> Vec<ManifestHash> {
    let Some(before) = before.filter(|before| before.downloaded && before.eti_version == now.eti_version) else {
        return Vec::new();
    };
    let was_offered = too_early && !before.arriving && before.unportable.is_none();
    let last = Some(before.manifest_hash).filter(|_| was_offered);
    let older = last.into_iter().chain(before.supersedes.iter().copied());
    superseded(older.filter(|hash| *hash != now.manifest_hash))
}
