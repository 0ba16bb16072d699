//! Which of a peer's addresses to try first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::interfaces::kind_of;
use crate::types::InterfaceKind;

/// Most addresses kept of one peer.
const MAX_ADDRS: usize = 16;

/// An address as a record told it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) ip: IpAddr,
    /// Index (and scope) of the local interface it was heard on; 0: unknown.
    pub(super) index: u32,
}

/// This machine's interfaces and addresses.
#[derive(Clone, Default, Debug)]
pub(super) struct LocalNet {
    /// Interface index, its kind, one of its addresses.
    interfaces: Vec<(u32, Option<InterfaceKind>, IpAddr)>,
}

impl LocalNet {
    /// Asks the operating system; empty when it does not say.
    pub(super) fn read() -> Self {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        Self { interfaces: interfaces.iter().map(|i| (i.index.unwrap_or(0), kind_of(i), i.ip())).collect() }
    }

    /// One whose kind the system does not tell is most likely as good as any; one that is not there any more is not.
    fn kind(&self, index: u32) -> InterfaceKind {
        let known = self.interfaces.iter().find(|(i, ..)| *i == index);
        known.map_or(InterfaceKind::Virtual, |(_, kind, _)| kind.unwrap_or(InterfaceKind::Wired))
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.interfaces.iter().any(|(_, _, own)| *own == ip)
    }
}

/// The usable addresses, best first: wired before Wi-Fi, virtual adapters last; within a kind IPv4, routable IPv6,
/// link-local IPv6 with its scope, link-local IPv4. Loopback is only believed when it was heard over a loopback
/// interface, which means that the peer runs on this machine; then it is best, having no MTU to speak of.
pub(super) fn rank(found: &[Found], port: u16, local: &LocalNet) -> Vec<SocketAddr> {
    if port == 0 {
        return Vec::new();
    }
    let mut ranked = BTreeSet::new();
    for &Found { ip, index } in found {
        let kind = local.kind(index);
        let Some(quality) = quality(ip) else { continue };
        if ip.is_loopback() && kind != InterfaceKind::Loopback || quality == Quality::LinkLocalV6 && index == 0 {
            continue;
        }
        // Only a peer on this machine has this machine's addresses: the kind of adapter says nothing then.
        let here = ip.is_loopback() || local.is_own(ip);
        let addr = match ip {
            IpAddr::V6(v6) if quality == Quality::LinkLocalV6 => SocketAddrV6::new(v6, port, 0, index).into(),
            _ => SocketAddr::new(ip, port),
        };
        ranked.insert((Reverse(ip.is_loopback()), Reverse(here), kind.tier(), quality, addr));
    }
    let mut addrs: Vec<SocketAddr> = Vec::with_capacity(ranked.len().min(MAX_ADDRS));
    for (.., addr) in ranked {
        if addrs.len() < MAX_ADDRS && !addrs.contains(&addr) {
            addrs.push(addr);
        }
    }
    addrs
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Quality {
    V4,
    V6,
    LinkLocalV6,
    LinkLocalV4,
}

/// `None`: not the address of one host.
fn quality(ip: IpAddr) -> Option<Quality> {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() => None,
        IpAddr::V4(v4) if v4.is_link_local() => Some(Quality::LinkLocalV4),
        IpAddr::V4(_) => Some(Quality::V4),
        // Mapped addresses belong to the IPv4 socket, where they would have been advertised as such.
        IpAddr::V6(v6) if v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some() => None,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(Quality::LinkLocalV6),
        IpAddr::V6(_) => Some(Quality::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> LocalNet {
        let ip = |text: &str| text.parse().unwrap();
        LocalNet {
            interfaces: vec![
                (1, Some(InterfaceKind::Loopback), ip("127.0.0.1")),
                (2, Some(InterfaceKind::Wired), ip("192.168.0.2")),
                (3, Some(InterfaceKind::Wireless), ip("192.168.1.2")),
                (4, Some(InterfaceKind::Virtual), ip("10.8.0.2")),
            ],
        }
    }

    fn ranked(found: &[(&str, u32)]) -> Vec<String> {
        let found: Vec<_> = found.iter().map(|&(ip, index)| Found { ip: ip.parse().unwrap(), index }).collect();
        rank(&found, 7, &local()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn wired_comes_before_wifi_and_virtual_adapters_come_last() {
        assert_eq!(
            ranked(&[("10.8.0.9", 4), ("192.168.1.9", 3), ("fe80::9", 2), ("169.254.1.9", 2), ("192.168.0.9", 2)]),
            ["192.168.0.9:7", "[fe80::9%2]:7", "169.254.1.9:7", "192.168.1.9:7", "10.8.0.9:7"]
        );
    }

    #[test]
    fn loopback_is_believed_only_when_heard_over_loopback() {
        assert_eq!(ranked(&[("127.0.0.1", 2), ("192.168.0.9", 2)]), ["192.168.0.9:7"]);
        assert_eq!(ranked(&[("::1", 0)]), [""; 0]);
        assert_eq!(ranked(&[("192.168.0.2", 2), ("127.0.0.1", 1)]), ["127.0.0.1:7", "192.168.0.2:7"]);
    }

    #[test]
    fn addresses_that_are_no_host_are_left_out_and_the_rest_is_bounded() {
        for ip in ["0.0.0.0", "224.0.0.251", "255.255.255.255", "::", "ff02::fb", "::ffff:127.0.0.1"] {
            assert!(ranked(&[(ip, 2)]).is_empty(), "{ip}");
        }
        assert!(ranked(&[("fe80::1", 0)]).is_empty(), "a link-local address without its link");
        let many: Vec<_> = (0..200u8).map(|n| Found { ip: [10, 0, 0, n + 1].into(), index: 2 }).collect();
        assert_eq!(rank(&many, 7, &local()).len(), MAX_ADDRS);
        assert!(rank(&many, 0, &local()).is_empty());
    }
}
