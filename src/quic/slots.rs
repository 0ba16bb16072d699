//! The table of connections: a slot for each, found by handle, by connection id, by address.

use std::hash::Hasher;
use std::time::{Duration, Instant};

use ring::rand::SecureRandom;

use super::ConnHandle;
use super::connection::{Connection, Origin, Phase};
use super::endpoint::{CID_LEN, Endpoint};

/// A deadline that quiche leaves in the past is looked at again after this long, so that it cannot spin.
const MIN_WAIT: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct Slot {
    /// How many connections this slot has had.
    pub(super) generation: u32,
    pub(super) connection: Option<Box<Connection>>,
}

impl Endpoint {
    pub(super) fn fresh_cid(&self) -> Option<u64> {
        let mut bytes = [0; CID_LEN];
        self.random.fill(&mut bytes).ok()?;
        Some(u64::from_be_bytes(bytes))
    }

    pub(super) fn is_full(&self) -> bool {
        self.stats.connections >= self.settings.max_connections
    }

    /// Takes a new connection in.
    pub(super) fn insert(&mut self, connection: Connection) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.stats.connections += 1;
        if matches!(connection.phase, Phase::Handshake { origin: Origin::Accepted, .. }) {
            self.stats.half_open += 1;
        }
        self.by_cid.insert(connection.cid, slot);
        if let Some(initial) = &connection.initial_cid {
            self.by_initial.insert((connection.path.remote, initial.clone()), slot);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            place.generation = place.generation.wrapping_add(1);
            place.connection = Some(Box::new(connection));
        }
        slot
    }

    /// Forgets a connection. Whether there was one.
    pub(super) fn remove(&mut self, slot: usize) -> bool {
        self.forget_routes(slot);
        let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.take()) else {
            return false;
        };
        let last = connection.stats();
        self.stats.lost_before += last.packets_lost;
        self.stats.retransmitted_before += last.retransmitted_bytes;
        self.stats.connections -= 1;
        if matches!(connection.phase, Phase::Handshake { origin: Origin::Accepted, .. }) {
            self.stats.half_open = self.stats.half_open.saturating_sub(1);
        }
        self.free.push(slot);
        true
    }

    /// No packet and no timer reaches the connection any more.
    pub(super) fn forget_routes(&mut self, slot: usize) {
        self.timers.disarm(slot);
        let Some(connection) = self.slots.get(slot).and_then(|slot| slot.connection.as_ref()) else {
            return;
        };
        if self.by_cid.get(&connection.cid) == Some(&slot) {
            self.by_cid.remove(&connection.cid);
        }
        if let Some(initial) = connection.initial_cid.clone() {
            self.by_initial.remove(&(connection.path.remote, initial));
        }
    }

    pub(super) fn arm(&mut self, slot: usize, now: Instant) {
        let Some(connection) = self.slots.get(slot).and_then(|slot| slot.connection.as_ref()) else {
            return;
        };
        if let Some(deadline) = connection.deadline() {
            self.timers.arm(slot, if deadline <= now { now + MIN_WAIT } else { deadline });
        }
    }

    pub(super) fn mark_dirty(&mut self, slot: usize) {
        if let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_mut())
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push_back(slot);
        }
    }

    pub(super) fn connection(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)?.connection.as_deref_mut()
    }

    pub(super) fn handle_of(&self, slot: usize) -> Option<ConnHandle> {
        let generation = self.slots.get(slot)?.generation;
        Some(ConnHandle(u64::from(generation) << 32 | slot as u64))
    }

    pub(super) fn slot_of(&self, conn: ConnHandle) -> Option<usize> {
        let slot = (conn.0 & u64::from(u32::MAX)) as usize;
        let place = self.slots.get(slot)?;
        (u64::from(place.generation) == conn.0 >> 32 && place.connection.is_some()).then_some(slot)
    }
}

/// For keys that are random already.
#[derive(Default)]
pub(super) struct RandomKey(u64);

impl Hasher for RandomKey {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
