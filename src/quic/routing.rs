//! To whom a packet belongs: a connection, a newcomer, a connection that was closed, nobody.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use quiche::{ConnectionId, Header, RetryConnectionIds, Type};

use super::connection::{Connection, MIN_PAYLOAD, Origin, Path, Phase};
use super::endpoint::{CID_LEN, Endpoint};
use super::guard::Guard;
use super::socket::{Inbox, Route, canonical};
use super::tls::SharedBytes;

/// Room for a Retry or version negotiation packet.
const SHORT_ANSWER: usize = 512;

impl Endpoint {
    /// Gives every packet of `count` trains to its connection. How many there were.
    pub(super) fn route_trains(&mut self, inbox: &mut Inbox, count: usize, socket: usize, now: Instant) -> usize {
        let mut packets = 0;
        let mut previous = None;
        for (train, meta) in inbox.trains(count) {
            self.stats.trains_received += 1;
            let from = canonical(meta.addr);
            for packet in train.chunks_mut(meta.stride.max(1)) {
                packets += 1;
                previous = self.route(packet, from, meta.dst_ip, socket, previous, now);
            }
        }
        self.stats.packets_received += packets as u64;
        packets
    }

    /// `previous`: id and slot of the packet before, which is mostly of the same connection.
    fn route(
        &mut self,
        packet: &mut [u8],
        from: SocketAddr,
        dst_ip: Option<IpAddr>,
        socket: usize,
        previous: Option<(u64, usize)>,
        now: Instant,
    ) -> Option<(u64, usize)> {
        let Some(cid) = short_header_cid(packet) else {
            self.route_long(packet, from, dst_ip, socket, now);
            return previous;
        };
        let found = previous.filter(|&(same, _)| same == cid).or_else(|| Some((cid, *self.by_cid.get(&cid)?)));
        match found {
            Some((_, slot)) => self.deliver(slot, packet, from),
            None => self.answer_stray(cid, from, now),
        }
        found
    }

    /// Hands a packet to its connection.
    fn deliver(&mut self, slot: usize, packet: &mut [u8], from: SocketAddr) {
        let Some(connection) = self.slots.get_mut(slot).and_then(|slot| slot.connection.as_mut()) else {
            return;
        };
        if connection.path.remote != from {
            self.stats.dropped_address += 1;
            return;
        }
        connection.receive(packet);
        if !connection.touched {
            connection.touched = true;
            self.touched.push(slot);
        }
    }

    /// A packet with a long header (RFC 9000, section 17.2): part of a handshake.
    fn route_long(&mut self, packet: &mut [u8], from: SocketAddr, dst_ip: Option<IpAddr>, socket: usize, now: Instant) {
        let datagram = packet.len();
        let Ok(header) = Header::from_slice(packet, CID_LEN) else {
            self.stats.dropped_unknown += 1;
            return;
        };
        if let Some(slot) = self.slot_for(&header, from) {
            self.deliver(slot, packet, from);
            return;
        }
        // RFC 9000, section 14.1: a newcomer fills its first packets up, so that answers are no larger.
        if header.ty == Type::Short || datagram < MIN_PAYLOAD || from.port() == 0 {
            self.stats.dropped_unknown += 1;
            return;
        }
        // A path to the newcomer is looked up only when it becomes a connection.
        let route = Route { to: from, from: dst_ip };
        if header.ty != Type::VersionNegotiation && !quiche::version_is_supported(header.version) {
            self.stats.version_negotiations_sent += 1;
            self.answer(socket, route, |out| quiche::negotiate_version(&header.scid, &header.dcid, out));
        } else if header.ty == Type::Initial && header.dcid.len() >= CID_LEN {
            self.welcome(header, packet, from, dst_ip, socket, now);
        } else if let Some(cid) = own_cid(&header) {
            self.answer_stray(cid, from, now);
        } else {
            self.stats.dropped_unknown += 1;
        }
    }

    /// A packet for a connection that does not exist: it may just have been closed.
    fn answer_stray(&mut self, cid: u64, from: SocketAddr, now: Instant) {
        match self.farewells.answer(cid, from, now) {
            Some(farewell) => {
                if let Some(socket) = self.sockets.get_mut(farewell.socket).filter(|socket| !socket.is_blocked()) {
                    socket.send_once(&farewell.packet, farewell.route, &mut self.stats);
                }
            }
            None => self.stats.dropped_unknown += 1,
        }
    }

    fn slot_for(&self, header: &Header<'_>, from: SocketAddr) -> Option<usize> {
        let known = own_cid(header).and_then(|cid| self.by_cid.get(&cid));
        known.or_else(|| self.by_initial.get(&(from, header.dcid.to_vec()))).copied()
    }

    /// The first packet of a newcomer.
    fn welcome(
        &mut self,
        header: Header<'_>,
        packet: &mut [u8],
        from: SocketAddr,
        dst_ip: Option<IpAddr>,
        socket: usize,
        now: Instant,
    ) {
        if self.is_full() {
            self.stats.dropped_full += 1;
            return;
        }
        let token = header.token.as_deref().unwrap_or_default();
        let original = self.tokens.check(token, from, &header.dcid, now).map(<[u8]>::to_vec);
        if original.is_none() && self.stats.half_open >= self.settings.half_open_before_retry {
            self.demand_address(&header, from, dst_ip, socket, now);
            return;
        }
        let Ok(path) = self.path(socket, from, dst_ip) else {
            self.stats.dropped_unknown += 1;
            return;
        };
        let Some(slot) = self.accept(&header, original, path, now) else {
            self.stats.dropped_unknown += 1;
            return;
        };
        self.stats.accepted += 1;
        self.deliver(slot, packet, from);
        self.forget_if_not_quic(slot);
    }

    /// Drops a newcomer whose first packet could not even be decrypted, without an answer: it was garbage or a forgery.
    fn forget_if_not_quic(&mut self, slot: usize) {
        let forged = self.connection(slot).is_some_and(|connection| connection.quic.stats().recv == 0);
        if forged {
            self.stats.dropped_unknown += 1;
            self.remove(slot);
        }
    }

    fn accept(&mut self, header: &Header<'_>, original: Option<Vec<u8>>, path: Path, now: Instant) -> Option<usize> {
        let cid = self.fresh_cid()?;
        let scid = cid.to_be_bytes();
        let scid = ConnectionId::from_ref(&scid);
        self.parameters.set_max_send_udp_payload_size(path.payload);
        let quic = match original {
            Some(original) => {
                let cids = RetryConnectionIds {
                    original_destination_cid: &ConnectionId::from_vec(original),
                    retry_source_cid: &header.dcid,
                };
                quiche::accept_with_retry::<SharedBytes>(&scid, cids, path.local, path.remote, &mut self.parameters)
            }
            None => {
                let (local, remote) = (path.local, path.remote);
                quiche::accept_with_buf_factory::<SharedBytes>(&scid, None, local, remote, &mut self.parameters)
            }
        };
        let deadline = now + self.settings.handshake_timeout;
        let phase = Phase::Handshake { origin: Origin::Accepted, deadline };
        let initial_cid = Some(header.dcid.to_vec());
        Some(self.insert(Connection::new(
            quic.ok()?,
            phase,
            path,
            cid,
            initial_cid,
            Guard::new(self.settings.ping_guard),
        )))
    }

    /// Asks a newcomer to come again with a token, which shows that it receives what is sent to its address.
    fn demand_address(
        &mut self,
        header: &Header<'_>,
        from: SocketAddr,
        dst_ip: Option<IpAddr>,
        socket: usize,
        now: Instant,
    ) {
        let Some(cid) = self.fresh_cid() else {
            return;
        };
        let cid = cid.to_be_bytes();
        let token = self.tokens.mint(from, &header.dcid, &cid, now);
        self.stats.retries_sent += 1;
        self.answer(socket, Route { to: from, from: dst_ip }, |out| {
            quiche::retry(&header.scid, &header.dcid, &ConnectionId::from_ref(&cid), &token, header.version, out)
        });
    }

    /// Sends a packet that belongs to no connection, if there is room for it.
    fn answer(&mut self, socket: usize, route: Route, write: impl FnOnce(&mut [u8]) -> Result<usize, quiche::Error>) {
        let mut out = [0; SHORT_ANSWER];
        let Ok(len) = write(&mut out) else {
            return;
        };
        if let (Some(socket), Some(packet)) = (self.sockets.get_mut(socket), out.get(..len))
            && !socket.is_blocked()
        {
            socket.send_once(packet, route, &mut self.stats);
        }
    }
}

/// The connection id of a packet with a short header (RFC 9000, section 17.3): one for a connection that is up.
fn short_header_cid(packet: &[u8]) -> Option<u64> {
    let (&first, rest) = packet.split_first()?;
    if first & 0x80 != 0 {
        return None;
    }
    rest.first_chunk::<CID_LEN>().map(|cid| u64::from_be_bytes(*cid))
}

/// The destination id of a packet, if it may be one that this side chose.
fn own_cid(header: &Header<'_>) -> Option<u64> {
    <[u8; CID_LEN]>::try_from(&*header.dcid).ok().map(u64::from_be_bytes)
}
