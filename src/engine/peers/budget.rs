//! How much memory the libraries of others may take together, and whose goes when they want more.
//!
//! A summary that many libraries have is kept once, and each of them is charged its part of it; so a peer with the games that everybody has is cheap.
//! When the sum is above the budget, the libraries of absent peers go first; then, again and again, that of the most expensive peer at the most
//! expensive address, since a new identity costs nothing and a new address a little. A library goes as a whole: half of one would be a lie. It
//! is asked for again after a while.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Due, Peer, Peers, Presence};
use crate::api::{ErrorCode, LibraryTooLarge, PeerEvent};
use crate::engine::core::Cx;
use crate::engine::effect::Effect;
use crate::engine::remote::RemoteLibrary;
use crate::types::PeerId;

/// A library that did not fit is not asked for before this.
const TOO_LARGE_PAUSE: Duration = Duration::from_secs(600);

/// What a library takes.
#[derive(Clone, Copy, Debug)]
struct Charge {
    bytes: usize,
    games: usize,
}

/// A library that was let go.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLarge {
    charge: Charge,
    /// It is not asked for before this.
    until: Instant,
}

impl Peers {
    /// Whether this state of a peer's library may be kept in place of the one before; lets go of others if need be, or of the one before.
    pub(super) fn make_room(&mut self, cx: &mut Cx, peer: PeerId, next: &RemoteLibrary) -> bool {
        let budget = cx.config.limits.library_bytes as usize;
        if self.library_bytes(peer, next) <= budget {
            return true;
        }
        self.interner.sweep();
        if self.library_bytes(peer, next) <= budget {
            return true;
        }
        for (id, row) in &mut self.rows {
            // What the peer had before is replaced or let go in any case.
            if *id == peer || !matches!(row.presence, Presence::Connected(_)) {
                row.library = None;
            }
        }
        self.interner.sweep();
        while self.library_bytes(peer, next) > budget {
            let Some((most, charge)) = self.most_expensive(peer, next) else { return true };
            self.put_aside(cx, most, charge);
            if most == peer {
                return false;
            }
            self.interner.sweep();
        }
        true
    }

    /// Every library that is kept, with this one in place of the peer's.
    fn kept<'a>(
        &'a self,
        peer: PeerId,
        next: &'a RemoteLibrary,
    ) -> impl Iterator<Item = (PeerId, &'a Peer, &'a RemoteLibrary)> {
        self.rows.iter().filter_map(move |(id, row)| {
            let library = if *id == peer { Some(next) } else { row.library.as_ref() };
            library.map(|library| (*id, row, library))
        })
    }

    /// What all libraries take, with this one in place of the peer's. Summaries that were let go count until they are swept out.
    fn library_bytes(&self, peer: PeerId, next: &RemoteLibrary) -> usize {
        self.interner.bytes() + self.kept(peer, next).map(|(.., library)| library.list_bytes()).sum::<usize>()
    }

    /// What all libraries take, but for what was let go and not swept out yet.
    #[cfg(test)]
    pub(in crate::engine) fn library_bytes_now(&mut self) -> usize {
        self.interner.sweep();
        let lists = self.rows.values().filter_map(|row| row.library.as_ref()).map(RemoteLibrary::list_bytes);
        self.interner.bytes() + lists.sum::<usize>()
    }

    /// Who is charged most at the address that is charged most.
    fn most_expensive(&self, peer: PeerId, next: &RemoteLibrary) -> Option<(PeerId, Charge)> {
        let mut by_address: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        let mut charged = Vec::new();
        for (id, row, library) in self.kept(peer, next) {
            let (address, bytes) = (row.addr.map(|addr| addr.ip()), library.charge());
            *by_address.entry(address).or_default() += bytes;
            charged.push((address, id, Charge { bytes, games: library.games().len() }));
        }
        let (_, id, charge) =
            charged.into_iter().max_by_key(|(address, _, charge)| (by_address.get(address), charge.bytes))?;
        Some((id, charge))
    }

    /// Lets go of a library, and tells whose it was.
    fn put_aside(&mut self, cx: &mut Cx, peer: PeerId, charge: Charge) {
        let until = cx.now + TOO_LARGE_PAUSE;
        let Some(row) = self.rows.get_mut(&peer) else { return };
        tracing::debug!(%peer, ?charge, "library left out");
        row.library = None;
        let is_news = row.too_large.replace(TooLarge { charge, until }).is_none();
        let addr = row.addr.map(|addr| format!(" at {addr}")).unwrap_or_default();
        self.rest(peer);
        self.timers.set(Due::Resync(peer), until);
        cx.tell(Effect::SourcesChanged);
        cx.tell(Effect::Settled(peer));
        if is_news {
            let name = self.hostname(&peer).unwrap_or_else(|| peer.to_string());
            let Charge { bytes, games } = charge;
            let message = format!(
                "the library of {name}{addr} is left out: its {games} games take {} KiB, more than is left of the {} KiB that the libraries of all \
                 other PCs may take together (limits.library_bytes)",
                bytes >> 10,
                cx.config.limits.library_bytes >> 10
            );
            cx.event(PeerEvent::RuntimeError { code: ErrorCode::Io, message });
        }
    }

    /// Until when a library that is left out is not asked for, whatever its owner says, and however often it comes back.
    pub(super) fn put_aside_until(&self, peer: &PeerId, now: Instant) -> Option<Instant> {
        self.rows.get(peer)?.too_large.map(|left_out| left_out.until).filter(|until| *until > now)
    }

    /// The connected peers whose libraries are left out, for the status.
    pub(in crate::engine) fn too_large(&self) -> Vec<LibraryTooLarge> {
        let rows = self.rows.iter().filter(|(_, row)| matches!(row.presence, Presence::Connected(_)));
        let row = |(id, row): (&PeerId, &Peer)| {
            let Charge { bytes, games } = row.too_large?.charge;
            let (hostname, addr) = (row.hostname.clone(), row.addr);
            Some(LibraryTooLarge { peer_id: *id, hostname, addr, bytes, games })
        };
        rows.filter_map(row).collect()
    }
}
