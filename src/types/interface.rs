//! What kind of network interface leads to a peer.

use serde::{Deserialize, Serialize};

/// What a connection runs over, as far as this PC can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// The peer is on this PC.
    Loopback,
    /// A cable.
    Wired,
    /// Wi-Fi.
    Wireless,
    /// A tunnel to elsewhere.
    Vpn,
    /// A bridge or switch in software, to containers or virtual machines.
    Virtual,
}

impl InterfaceKind {
    /// How good it presumably is, 0 being best. Of a tunnel and a software switch nobody knows what is behind them:
    /// they come last.
    pub fn tier(self) -> u8 {
        match self {
            Self::Loopback => 0,
            Self::Wired => 1,
            Self::Wireless => 2,
            Self::Vpn | Self::Virtual => 3,
        }
    }
}
