//! Whether a link tells its sender that it refuses a packet: ICMP port unreachable.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, poll};
use shakedown_contracts::fault::Link;
use shakedown_contracts::ports::PROBE_PORT;

use super::confirm::{PATIENCE, unverified};
use crate::clock::now;
use crate::faults::Unverified;
use crate::network_agent::links::LinksError;
use crate::network_agent::raw_socket::RawSocket;
use crate::network_agent::topology::Wire;
use crate::network_agent::traffic::Traffic;
use crate::network_agent::wire_bytes::{datagram, refused};
use crate::process::pidfd::poll_timeout;

const QUESTION: &[u8] = b"refused?";

/// Sends a datagram of such traffic over a link, and sees its refusal.
pub(super) fn see(host: &Traffic<'_>, link: &Link) -> Result<(), Unverified> {
    let wire = |name: &str| {
        let mut wires = host.topology().wires.iter();
        let wire = wires.find(|wire| wire.name == name);
        wire.ok_or_else(|| LinksError::Unknown(name.to_owned()))
    };
    let (from, to) = (wire(&link.from)?, wire(&link.to)?);
    let target = SocketAddrV4::new(to.address, PROBE_PORT);
    let ask = || match host.port() {
        None => from_any_port(from, target),
        Some(port) => from_port(from, port, target),
    };
    let told = host
        .topology()
        .inside(from, ask)
        .map_err(LinksError::from)?;
    match told.map_err(LinksError::from)? {
        true => Ok(()),
        false => Err(unverified(format!(
            "{} was not told within {PATIENCE} that {} refuses it",
            link.from, link.to
        ))),
    }
}

/// As a program sees it.
fn from_any_port(from: &Wire, target: SocketAddrV4) -> io::Result<bool> {
    let socket = UdpSocket::bind(SocketAddr::from((from.address, 0)))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE.into()))?;
    socket.send(QUESTION)?;
    match socket.recv(&mut [0; 16]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

/// As the kernel of the sender sees it: the port may be a program's.
fn from_port(from: &Wire, port: u16, target: SocketAddrV4) -> io::Result<bool> {
    let answers = RawSocket::of_answers()?;
    let asked = (SocketAddrV4::new(from.address, port), target);
    let packet = datagram(asked.0, target, QUESTION);
    from.raw.send(&packet).map_err(io::Error::other)?;
    let deadline = now().after(PATIENCE);
    loop {
        // Looks once more after the deadline: this thread may have slept over it.
        let left = deadline.since(now());
        while let Some(answer) = answers.receive()? {
            if refused(&answer) == Some(asked) {
                return Ok(true);
            }
        }
        if left.is_zero() {
            return Ok(false);
        }
        let mut fds = [PollFd::new(answers.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, poll_timeout(left)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
