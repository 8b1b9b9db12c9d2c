//! The UDP socket of heartbeats, and of the other datagrams of detectors.
//!
//! UDP, because TCP would hide a lost heartbeat behind a retransmission and hand it over late.
//! Peers are told apart by the address they send from; datagrams from elsewhere are nobody's and
//! are dropped. A datagram that cannot be sent is lost, as on any network: the detector is made
//! for that.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use shakedown_core::detector::swim::packet::Probe;
use shakedown_core::interface::Peer;
use shakedown_core::message::{Datagram, Heartbeat};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::{Config, heartbeat_address};
use crate::error::NodeError;
use crate::sockets::{Endpoint, bind_udp};

/// As long as the longest of them; a longer datagram is cut and then does not decode.
const DATAGRAM_BYTES_MAX: usize = 512;

/// Sends and receives heartbeats. The socket is used directly and asked of the runtime only to be
/// woken, so that a send or a look for waiting datagrams never depends on the runtime's turn.
pub struct Heartbeats {
    socket: AsyncFd<UdpSocket>,
    addresses: BTreeMap<Peer, SocketAddr>,
    peers: BTreeMap<SocketAddr, Peer>,
}

impl Heartbeats {
    /// Binds the own heartbeat port. Must be called within a runtime.
    pub fn bind(config: &Config) -> Result<Self, NodeError> {
        let socket = bind_udp(Endpoint {
            address: heartbeat_address(config.own_member()),
            purpose: "heartbeats",
            key: "heartbeat_port",
        })?;
        let addresses: BTreeMap<Peer, SocketAddr> = config
            .peers()
            .map(|(peer, member)| (peer, heartbeat_address(member)))
            .collect();
        let peers = addresses
            .iter()
            .map(|(peer, address)| (*address, *peer))
            .collect();
        // SAFETY: the socket owns its descriptor and is neither replaced nor closed while the
        // `AsyncFd` owns the socket: it is only used by shared reference.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Heartbeats {
            socket: socket.map_err(|error| NodeError::Runtime(error.into()))?,
            addresses,
            peers,
        })
    }

    /// Sends one heartbeat, or loses it.
    pub fn send(&self, to: Peer, heartbeat: &Heartbeat) {
        self.send_bytes(to, &heartbeat.encode());
    }

    /// Sends one datagram of SWIM, or loses it.
    pub fn send_probe(&self, to: Peer, probe: &Probe) {
        self.send_bytes(to, &probe.encode());
    }

    fn send_bytes(&self, to: Peer, bytes: &[u8]) {
        if let Some(address) = self.addresses.get(&to) {
            let _lost_when_refused = self.socket.get_ref().send_to(bytes, address);
        }
    }

    /// The next waiting datagram: `Some(None)` for one that no peer's detector sent, `None` when
    /// nothing waits.
    pub fn try_receive(&self) -> Option<Option<(Peer, Datagram)>> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        match self.socket.get_ref().recv_from(&mut buffer) {
            Ok((length, from)) => Some(self.read(&buffer[..length], from)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            // An ICMP answer to something sent earlier: it carries no heartbeat.
            Err(_) => Some(None),
        }
    }

    /// Waits for a datagram to be there. Safe to drop and call again.
    pub async fn readable(&self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            // A peek of one byte: the datagram stays for `try_receive`.
            match ready.try_io(|socket| socket.get_ref().peek_from(&mut [0]).map(|_| ())) {
                Ok(_) => return Ok(()),
                Err(_would_block) => continue,
            }
        }
    }

    fn read(&self, datagram: &[u8], from: SocketAddr) -> Option<(Peer, Datagram)> {
        let peer = *self.peers.get(&from)?;
        Some((peer, Datagram::decode(datagram)?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shakedown_core::detector::swim::packet::{CLAIMS_MAX, Claim, Errand, Standing};
    use shakedown_core::detector::watch::SelfPortrait;

    use super::*;
    use crate::config::two_members;

    fn longest_probe() -> Probe {
        let claim = Claim {
            member: Peer(1),
            incarnation: 2,
            standing: Standing::Suspect { by: Peer(3) },
        };
        Probe {
            sender: SelfPortrait {
                primary: true,
                epoch: 4,
                position: 5,
            },
            sequence: 6,
            errand: Errand::Ping {},
            claims: vec![claim; CLAIMS_MAX],
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_whole_heartbeats_of_members_are_taken() {
        let port = || {
            UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port()
        };
        let ports = [port(), port()];
        let config = |own| two_members(ports, Path::new("/"), own);
        let receiver = Heartbeats::bind(&config(0)).unwrap();
        let member = Heartbeats::bind(&config(1)).unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = ("127.0.0.1", ports[0]);
        let beat = Heartbeat {
            ack: false,
            primary: false,
            incarnation: 1,
            sequence: 2,
            epoch: 3,
            position: 4,
            progress: 5,
        };
        stranger.send_to(&beat.encode(), to).unwrap();
        member.socket.get_ref().send_to(b"damaged", to).unwrap();
        member.send(Peer(0), &beat);
        let probe = longest_probe();
        member.send_probe(Peer(0), &probe);
        let mut taken = Vec::new();
        while taken.len() < 4 {
            receiver.readable().await.unwrap();
            while let Some(datagram) = receiver.try_receive() {
                taken.push(datagram);
            }
        }
        let of_member = |datagram| Some((Peer(1), datagram));
        let expected = [
            None,
            None,
            of_member(Datagram::Heartbeat(beat)),
            of_member(Datagram::Probe(probe)),
        ];
        assert_eq!(taken, expected);
        assert_eq!(receiver.try_receive(), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_heartbeat_port_cannot_be_shared() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let bound = Heartbeats::bind(&two_members([port, 1], Path::new("/"), 0));
        let message = bound.err().unwrap().to_string();
        assert!(message.contains("heartbeat_port"), "{message}");
    }
}
