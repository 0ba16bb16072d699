//! One version, several contents: which one is fetched, and over what.

use std::sync::Arc;

use super::sim::{Offer, Sim, game, offer};
use super::{MIB, code};
use crate::api::ErrorCode;
use crate::engine::effect::Effect;
use crate::types::{ManifestHash, ScannedGame};

/// Half of a game, as it was offered too early.
fn half() -> Offer {
    offer("g", "1", &[2 * MIB], 0)
}

/// All of it, at its first owner.
fn whole() -> Offer {
    offer("g", "1", &[2 * MIB, 5 * MIB], 0).supersedes(&half())
}

/// What a download brings with these sources, over this copy; `None`: nothing was fetched.
fn fetched(here: Option<Arc<ScannedGame>>, there: &[Offer]) -> Option<Arc<ScannedGame>> {
    let mut sim = Sim::new(1);
    sim.local.scanned.extend(here.map(|here| (game("g"), here)));
    for (n, offer) in there.iter().enumerate() {
        sim.peer(n as u8 + 1, offer);
    }
    sim.download("g").unwrap();
    sim.run();
    sim.effects.iter().find_map(|effect| match effect {
        Effect::OperationEnded { scanned: Some(Some(scanned)), .. } => Some(scanned.clone()),
        _ => None,
    })
}

fn list(scanned: Option<Arc<ScannedGame>>) -> Option<ManifestHash> {
    scanned.map(|scanned| scanned.manifest_hash)
}

#[test]
fn who_fetched_half_a_game_gets_the_rest_by_another_download() {
    let all = Some(whole().summary.manifest_hash);
    assert_eq!(list(fetched(Some(half().brought()), &[whole()])), all);
    // However many have the half.
    assert_eq!(list(fetched(Some(half().brought()), &[half(), whole(), half(), half()])), all);
    assert_eq!(list(fetched(None, &[half(), whole(), half(), half()])), all);
    // Also before its owner has hashed it.
    assert_eq!(list(fetched(Some(half().brought()), &[half(), whole().unhashed(), half()])), all);
}

#[test]
fn who_has_the_rest_does_not_go_back_to_the_half() {
    let got = fetched(None, &[half(), whole(), half()]).unwrap();
    assert_eq!(got.supersedes, [half().summary.manifest_hash], "it is told on by whoever fetched it");
    // The first owner has left, and most have the half.
    let here = whole().brought();
    assert_eq!(list(fetched(Some(here.clone()), &[half(), half()])), None);
    assert_eq!(list(fetched(Some(here), &[half(), whole(), half()])), None);
    assert_eq!(list(fetched(Some(whole().scanned()), &[whole()])), None);
}

#[test]
fn statements_in_a_circle_say_nothing_and_the_most_frequent_content_counts() {
    let (one, other) = (offer("g", "1", &[MIB], 1), offer("g", "1", &[3 * MIB], 2));
    let (a, b) = (one.supersedes(&other), other.supersedes(&one));
    assert_eq!(list(fetched(None, &[a.clone(), b.clone(), b.clone()])), Some(b.summary.manifest_hash));
    assert_eq!(list(fetched(None, &[a.clone(), a.clone(), b])), Some(a.summary.manifest_hash));
    // A statement about itself says nothing either.
    let itself = one.supersedes(&one);
    assert_eq!(
        list(fetched(None, &[itself, other.clone(), other])),
        Some(offer("g", "1", &[3 * MIB], 2).summary.manifest_hash)
    );
}

#[test]
fn what_no_download_brought_is_replaced_by_another_version_or_by_request_only() {
    let (own, newer) = (half().scanned(), offer("g", "2", &[MIB], 0));
    for there in [whole(), offer("g", "1", &[2 * MIB], 9)] {
        let mut sim = Sim::new(1);
        sim.local.scanned.insert(game("g"), own.clone());
        sim.peer(1, &there);
        assert_eq!(code(sim.download("g")), ErrorCode::OwnContent);
        assert!(sim.jobs.is_empty() && sim.stops.is_empty());
        sim.download_again("g").unwrap();
        sim.run();
        assert_eq!(sim.effects.iter().filter(|e| matches!(e, Effect::OperationEnded { .. })).count(), 1);
    }
    assert_eq!(list(fetched(Some(own.clone()), std::slice::from_ref(&newer))), Some(newer.summary.manifest_hash));
    // The catalog tells which content is the right one.
    let mut sim = Sim::new(1);
    sim.local.scanned.insert(game("g"), own);
    sim.local.content = whole().summary.content_hash;
    sim.peer(1, &whole());
    sim.download("g").unwrap();
}

#[test]
fn nothing_is_fetched_over_a_game_that_is_still_being_copied() {
    for brought in [None, half().summary.content_hash] {
        let mut sim = Sim::new(1);
        let arriving = ScannedGame { arriving: true, brought, ..(*half().scanned()).clone() };
        sim.local.scanned.insert(game("g"), Arc::new(arriving));
        sim.peer(1, &whole());
        assert_eq!(code(sim.download("g")), ErrorCode::InUse);
        assert_eq!(code(sim.download_again("g")), ErrorCode::InUse);
        assert!(sim.jobs.is_empty() && sim.stops.is_empty());
    }
}
