//! Which addresses of this host others can use.

use std::net::{IpAddr, SocketAddr};

/// Turns bound addresses into reachable ones: an unspecified address stands for every address of its family. Real
/// networks first, IPv4 before IPv6, loopback last.
pub(super) fn reachable(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addrs: Vec<SocketAddr> = Vec::new();
    for &addr in bound {
        if !addr.ip().is_unspecified() {
            addrs.push(addr);
            continue;
        }
        let same_family = interfaces.iter().map(if_addrs::Interface::ip).filter(|ip| ip.is_ipv4() == addr.is_ipv4());
        // A link-local IPv6 address says nothing without a scope, which means nothing to others.
        addrs.extend(same_family.filter(|ip| !is_link_local_v6(ip)).map(|ip| SocketAddr::new(ip, addr.port())));
    }
    addrs.sort_by_key(|addr| (addr.ip().is_loopback(), addr.is_ipv6(), addr.ip()));
    addrs.dedup();
    addrs
}

fn is_link_local_v6(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfe80)
}
