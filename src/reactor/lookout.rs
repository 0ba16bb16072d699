//! Who else is in the network: mDNS, and what it has seen.

use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::inbox::{Mailbox, Wake};
use crate::config::Config;
use crate::discovery::{Discovery, DiscoveryConfig, DiscoveryEvent};
use crate::identity::Identity;
use crate::proto::PROTO_VER;
use crate::types::LibraryStamp;

/// Sightings that may wait; more are shed, and come again.
pub(super) const SIGHTING_QUEUE: usize = 1024;

/// Advertises this daemon and looks for others.
pub(super) struct Lookout {
    /// `None`: switched off, or it could not be started.
    discovery: Option<Discovery>,
    sightings: Receiver<DiscoveryEvent>,
}

impl Lookout {
    /// And why it cannot look, in words.
    pub(super) fn start(
        config: &Config,
        identity: &Identity,
        listen: &[SocketAddr],
        wake: Wake,
    ) -> (Self, Option<String>) {
        let (mailbox, sightings) = Mailbox::new(SIGHTING_QUEUE, wake);
        let started = config.mdns.then(|| start_discovery(config, identity, listen, mailbox)).transpose();
        let (discovery, error) = match started {
            Ok(discovery) => (discovery, None),
            Err(error) => (None, Some(error)),
        };
        (Self { discovery, sightings }, error)
    }

    /// What it saw next.
    pub(super) fn try_next(&self) -> Option<DiscoveryEvent> {
        self.sightings.try_recv().ok()
    }

    /// Sightings that wait.
    pub(super) fn waiting(&self) -> usize {
        self.sightings.len()
    }

    /// So many connections stand by now.
    pub(super) fn connected(&self, connections: usize) {
        if let Some(discovery) = &self.discovery {
            discovery.connected(connections);
        }
    }

    pub(super) fn advertise(&self, stamp: LibraryStamp) {
        if let Some(discovery) = &self.discovery {
            discovery.advertise(stamp);
        }
    }

    pub(super) fn look_again(&self) {
        if let Some(discovery) = &self.discovery {
            discovery.look_again();
        }
    }

    pub(super) fn shutdown(&mut self) {
        if let Some(discovery) = self.discovery.take() {
            discovery.shutdown();
        }
    }
}

fn start_discovery(
    config: &Config,
    identity: &Identity,
    listen: &[SocketAddr],
    sightings: Mailbox<DiscoveryEvent>,
) -> Result<Discovery, String> {
    let port = listen.first().map_or(0, SocketAddr::port);
    let mut discovery = DiscoveryConfig::new(identity.peer_id(), port, PROTO_VER);
    // mdns-sd counts in seconds, and 0 would mean never.
    discovery.timers.ip_check = config.timers.interface_check.max(Duration::from_secs(1));
    discovery.hostname.clone_from(&config.hostname);
    discovery.listen = listen.iter().map(SocketAddr::ip).collect();
    // A sighting that does not fit comes again.
    let sink = Box::new(move |event| drop(sightings.try_send(event)));
    Discovery::start(discovery, sink).map_err(|error| error.to_string())
}
