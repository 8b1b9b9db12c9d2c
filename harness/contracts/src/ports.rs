//! Which of a link's traffic a fault meets, by the ports in its TCP and UDP headers.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::{CLIENT_PORT, HEARTBEAT_PORT, PEER_PORT};

/// UDP port, on every endpoint, of the network agent's own probes. A fault of this port alone could not
/// be told from a fault of all.
pub const PROBE_PORT: u16 = 7009;

/// Names that stand for ports of the reference cluster.
pub const NAMED_PORTS: [(&str, u16); 3] = [
    ("client", CLIENT_PORT),
    ("peer", PEER_PORT),
    ("heartbeat", HEARTBEAT_PORT),
];

/// Most ports of one fault: each is probed by itself, which for a loss takes over a second, and all
/// must be done within the harness's patience.
pub const PORTS_MAX: usize = 4;

/// Ports of one packet: where it comes from, and where it goes.
pub type PacketPorts = (u16, u16);

/// Ports of the listening side; none means all traffic, with ports or without.
///
/// A fault with ports meets packets of TCP and UDP of which one is source or destination. It leaves
/// alone what has no ports: other protocols, and all fragments of a datagram but its first.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ports(BTreeSet<u16>);

impl Ports {
    /// All traffic.
    pub fn all() -> Self {
        Ports::default()
    }

    /// Whether it is all traffic.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a packet with these ports (`None`: without any) is met.
    pub fn meet(&self, packet: Option<PacketPorts>) -> bool {
        let named = |(from, to): PacketPorts| self.0.contains(&from) || self.0.contains(&to);
        self.is_all() || packet.is_some_and(named)
    }

    /// In ascending order; nothing where it is all traffic.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }
}

impl FromIterator<u16> for Ports {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        Ports(ports.into_iter().collect())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<String> = self.iter().map(|port| port.to_string()).collect();
        match ports.is_empty() {
            true => f.write_str("all ports"),
            false => write!(f, "ports {}", ports.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_met_by_either_of_its_ports_and_one_without_ports_by_no_list() {
        let ports: Ports = [80, 7000].into_iter().collect();
        assert!(ports.meet(Some((7000, 4000))) && ports.meet(Some((4000, 80))));
        assert!(!ports.meet(Some((4000, 4001))) && !ports.meet(None));
        assert!(Ports::all().meet(None) && Ports::all().meet(Some((1, 2))));
    }
}
