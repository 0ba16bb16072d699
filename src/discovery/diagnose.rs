//! What is wrong with the adapters of this PC, as far as their addresses and routes tell.

use std::net::{IpAddr, Ipv4Addr};

use if_addrs::{IfAddr, Interface};

use super::interfaces::kind_of;
use crate::sys;
use crate::types::{Finding, FindingCode, InterfaceKind};

/// Looks at the adapters now.
pub(crate) fn diagnose() -> Vec<Finding> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let adapters: Vec<Adapter> = interfaces.iter().filter_map(Adapter::of).collect();
    let routes = sys::default_routes();
    let mut found = same_subnet_twice(&adapters);
    found.extend(vpn_route(&interfaces, &routes));
    found
}

/// An IPv4 address of an adapter that may lead to the LAN.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Adapter {
    name: String,
    ip: Ipv4Addr,
    prefix: u8,
}

impl Adapter {
    fn of(interface: &Interface) -> Option<Self> {
        let kind = kind_of(interface);
        if matches!(kind, Some(InterfaceKind::Loopback | InterfaceKind::Virtual | InterfaceKind::Vpn)) {
            return None;
        }
        match &interface.addr {
            IfAddr::V4(addr) if !addr.ip.is_link_local() => {
                Some(Self { name: interface.name.clone(), ip: addr.ip, prefix: addr.prefixlen })
            }
            _ => None,
        }
    }

    fn subnet(&self) -> u32 {
        u32::from(self.ip) & u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0)
    }
}

fn same_subnet_twice(adapters: &[Adapter]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, a) in adapters.iter().enumerate() {
        let twin =
            adapters[at + 1..].iter().find(|b| b.name != a.name && b.prefix == a.prefix && b.subnet() == a.subnet());
        if let Some(b) = twin {
            let message = format!(
                "the adapters {} ({}) and {} ({}) are in the same subnet: answers may leave by the wrong one",
                a.name, a.ip, b.name, b.ip
            );
            let remedy = "switch one of them off, such as Wi-Fi beside a cable";
            found.push(Finding::new(FindingCode::SameSubnetTwice, message, remedy));
        }
    }
    found
}

/// `routes`: names of the interfaces that default routes lead over, the preferred one first.
fn vpn_route(interfaces: &[Interface], routes: &[String]) -> Option<Finding> {
    let first = routes.first()?;
    let by_vpn = interfaces
        .iter()
        .find(|interface| interface.name == *first && kind_of(interface) == Some(InterfaceKind::Vpn))?;
    let ip: IpAddr = by_vpn.ip();
    let message = format!("a VPN ({first}, {ip}) takes all traffic that no nearer route takes");
    Some(Finding::new(FindingCode::VpnRoute, message, "switch the VPN off for the evening, or exclude the LAN from it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_in_one_subnet_are_found_and_others_are_not() {
        let adapter = |name: &str, ip: [u8; 4], prefix| Adapter { name: name.into(), ip: ip.into(), prefix };
        let wired = adapter("eth0", [192, 168, 0, 10], 24);
        let wifi = adapter("wlan0", [192, 168, 0, 77], 24);
        for (other, twins) in [
            (wifi, true),
            (adapter("wlan0", [192, 168, 1, 77], 24), false),
            (adapter("wlan0", [192, 168, 0, 77], 16), false),
            // A second address of the same adapter.
            (adapter("eth0", [192, 168, 0, 11], 24), false),
        ] {
            let found = same_subnet_twice(&[wired.clone(), other.clone()]);
            assert_eq!(found.len(), usize::from(twins), "{other:?}");
            assert!(found.iter().all(|finding| finding.code == FindingCode::SameSubnetTwice));
        }
        assert_eq!(adapter("all", [10, 0, 0, 1], 0).subnet(), 0);
    }
}
