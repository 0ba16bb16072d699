//! What kinds the network interfaces of this PC are of.

use std::net::SocketAddr;

use if_addrs::Interface;

use crate::sys::{PLAIN_NAMES_ARE_WIRED, is_wireless};
use crate::types::InterfaceKind;

/// What leads from an address of this PC to a peer. `None`: nobody has that address (any more), or the system does not
/// tell what its interface is.
pub(crate) fn kind_between(local: SocketAddr, remote: SocketAddr) -> Option<InterfaceKind> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    // The system keeps what is sent to its own addresses, whatever interface they belong to.
    if remote.ip().is_loopback() || interfaces.iter().any(|interface| interface.ip() == remote.ip()) {
        return Some(InterfaceKind::Loopback);
    }
    // The same link-local address may be in use on several links.
    let scope = match local {
        SocketAddr::V6(local) if local.scope_id() != 0 => Some(local.scope_id()),
        _ => None,
    };
    let is_local = |interface: &&Interface| {
        interface.ip() == local.ip() && scope.is_none_or(|scope| interface.index.is_none_or(|index| index == scope))
    };
    interfaces.iter().find(is_local).and_then(kind_of)
}

/// `None`: the system does not tell.
pub(super) fn kind_of(interface: &Interface) -> Option<InterfaceKind> {
    if interface.is_loopback() { Some(InterfaceKind::Loopback) } else { by_name(&interface.name, interface.is_p2p) }
}

/// From the name: no system says it in a portable way, and a wrong guess only changes who is dialled or asked first.
fn by_name(name: &str, point_to_point: bool) -> Option<InterfaceKind> {
    const VPN_PREFIXES: [&str; 9] = ["tun", "tap", "wg", "ppp", "utun", "ipsec", "zt", "ham", "gif"];
    const VPN_WORDS: [&str; 7] = ["vpn", "tailscale", "zerotier", "hamachi", "radmin", "wireguard", "wintun"];
    const VIRTUAL_PREFIXES: [&str; 9] = ["docker", "br-", "virbr", "veth", "vmnet", "vboxnet", "podman", "cni", "lxc"];
    const VIRTUAL_WORDS: [&str; 3] = ["hyper-v", "vmware", "virtual"];
    const WIRELESS_WORDS: [&str; 3] = ["wi-fi", "wifi", "wireless"];
    const WIRED_WORDS: [&str; 3] = ["ethernet", "local area connection", "lan-verbindung"];
    let lower = name.to_lowercase();
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| lower.starts_with(prefix));
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if begins(&VIRTUAL_PREFIXES) || has(&VIRTUAL_WORDS) {
        Some(InterfaceKind::Virtual)
    } else if point_to_point || begins(&VPN_PREFIXES) || has(&VPN_WORDS) {
        Some(InterfaceKind::Vpn)
    } else if lower.starts_with("wl") || has(&WIRELESS_WORDS) || is_wireless(name) {
        Some(InterfaceKind::Wireless)
    } else if PLAIN_NAMES_ARE_WIRED || has(&WIRED_WORDS) {
        Some(InterfaceKind::Wired)
    } else {
        // `en0` of a Mac is a cable on one and Wi-Fi on the next.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_kind_of_an_interface() {
        use InterfaceKind::{Virtual, Vpn, Wired, Wireless};
        for (name, kind) in [
            ("Ethernet 2", Wired),
            ("Local Area Connection", Wired),
            ("LAN-Verbindung 2", Wired),
            ("WLAN", Wireless),
            ("Wi-Fi", Wireless),
            ("wlp3s0", Wireless),
            ("tun0", Vpn),
            ("tailscale0", Vpn),
            ("Radmin VPN", Vpn),
            ("docker0", Virtual),
            ("vEthernet (Default Switch)", Virtual),
            ("VirtualBox Host-Only Network", Virtual),
        ] {
            assert_eq!(by_name(name, false), Some(kind), "{name}");
        }
        assert_eq!(by_name("anything", true), Some(Vpn));
        let unsaid = if PLAIN_NAMES_ARE_WIRED { Some(Wired) } else { None };
        assert_eq!(by_name("en0", false), unsaid);
    }

    #[test]
    fn an_address_of_this_pc_is_reached_over_loopback_and_a_strange_local_address_tells_nothing() {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 7);
        let interfaces = if_addrs::get_if_addrs().unwrap();
        let is_own = |addr: &SocketAddr| interfaces.iter().any(|own| own.ip() == addr.ip());
        let mut strange = (1..255).map(|n| SocketAddr::from(([192, 0, 2, n], 7))).filter(|addr| !is_own(addr));
        let (nowhere, elsewhere) = (strange.next().unwrap(), strange.next().unwrap());
        assert_eq!(kind_between(at("127.0.0.1"), at("127.0.0.2")), Some(InterfaceKind::Loopback));
        assert_eq!(kind_between(at("::1"), at("::1")), Some(InterfaceKind::Loopback));
        assert_eq!(kind_between(nowhere, elsewhere), None);
        for own in &interfaces {
            let own_at = SocketAddr::new(own.ip(), 7);
            assert_eq!(kind_between(nowhere, own_at), Some(InterfaceKind::Loopback), "{own:?}");
            if own.ip().is_ipv4() {
                assert_eq!(kind_between(own_at, elsewhere), kind_of(own), "{own:?}");
            }
        }
    }
}
