//! Which of a peer's addresses to try first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// Most addresses kept of one peer.
const MAX_ADDRS: usize = 16;

/// An address as a record told it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) ip: IpAddr,
    /// Index (and scope) of the local interface it was heard on; 0: unknown.
    pub(super) index: u32,
}

/// Kind of a network interface, best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Wired,
    WiFi,
    /// VPN, bridge to virtual machines, tunnel.
    Virtual,
    Loopback,
}

/// This machine's interfaces and addresses.
#[derive(Clone, Default, Debug)]
pub(super) struct LocalNet {
    /// Interface index, its kind, one of its addresses.
    interfaces: Vec<(u32, Kind, IpAddr)>,
}

impl LocalNet {
    /// Asks the operating system; empty when it does not say.
    pub(super) fn read() -> Self {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        Self {
            interfaces: interfaces
                .into_iter()
                .map(|i| {
                    let kind = if i.is_loopback() { Kind::Loopback } else { kind_of(&i.name, i.is_p2p) };
                    (i.index.unwrap_or(0), kind, i.ip())
                })
                .collect(),
        }
    }

    fn kind(&self, index: u32) -> Kind {
        self.interfaces.iter().find(|(i, ..)| *i == index).map_or(Kind::Virtual, |(_, kind, _)| *kind)
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
        if ip.is_loopback() && kind != Kind::Loopback || quality == Quality::LinkLocalV6 && index == 0 {
            continue;
        }
        // Only a peer on this machine has this machine's addresses: the kind of adapter says nothing then.
        let here = ip.is_loopback() || local.is_own(ip);
        let addr = match ip {
            IpAddr::V6(v6) if quality == Quality::LinkLocalV6 => SocketAddrV6::new(v6, port, 0, index).into(),
            _ => SocketAddr::new(ip, port),
        };
        ranked.insert((Reverse(ip.is_loopback()), Reverse(here), kind, quality, addr));
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

/// From the name: no system says it in a portable way, and a wrong guess only changes the order of dialling.
fn kind_of(name: &str, point_to_point: bool) -> Kind {
    let lower = name.to_lowercase();
    const VIRTUAL_PREFIXES: [&str; 18] = [
        "tun", "tap", "wg", "ppp", "utun", "ipsec", "zt", "ham", "docker", "br-", "virbr", "veth", "vmnet", "vboxnet",
        "podman", "cni", "lxc", "gif",
    ];
    const VIRTUAL_WORDS: [&str; 13] = [
        "vpn",
        "tailscale",
        "zerotier",
        "hamachi",
        "radmin",
        "wireguard",
        "wintun",
        "openvpn",
        "vethernet",
        "hyper-v",
        "virtualbox",
        "vmware",
        "virtual",
    ];
    if point_to_point
        || VIRTUAL_PREFIXES.iter().any(|p| lower.starts_with(p))
        || VIRTUAL_WORDS.iter().any(|w| lower.contains(w))
    {
        Kind::Virtual
    } else if lower.starts_with("wl")
        || lower.contains("wi-fi")
        || lower.contains("wifi")
        || lower.contains("wireless")
        || is_wireless(name)
    {
        Kind::WiFi
    } else {
        Kind::Wired
    }
}

#[cfg(target_os = "linux")]
fn is_wireless(name: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(name).join("wireless").exists()
}

#[cfg(not(target_os = "linux"))]
fn is_wireless(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> LocalNet {
        let ip = |text: &str| text.parse().unwrap();
        LocalNet {
            interfaces: vec![
                (1, Kind::Loopback, ip("127.0.0.1")),
                (2, Kind::Wired, ip("192.168.0.2")),
                (3, Kind::WiFi, ip("192.168.1.2")),
                (4, Kind::Virtual, ip("10.8.0.2")),
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
