//! Packets of the agent's own that prove what a link does.
//!
//! The agent holds a UDP socket inside every endpoint's namespace. A probe from one to another
//! travels the link as any packet does: whether it arrives, and after what time, is what an
//! endpoint would see.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use shakedown_contracts::fault::Link;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::topology::{PROBE_PORT, Wire};
use crate::clock::now;

/// First bytes of every probe.
const MAGIC: [u8; 4] = *b"SDP1";
const PROBE_BYTES: usize = 12;
/// Probes sent before arrivals are taken; a socket's buffer holds more than these.
const BURST: u32 = 64;

/// What became of the probes on one link.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arrivals {
    /// Sent.
    pub sent: u32,
    /// One-way times of those that arrived, in order of arrival.
    pub times: Vec<Duration>,
}

impl Arrivals {
    /// Share of probes that did not arrive; 0 when none was sent.
    pub fn lost(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        1.0 - self.times.len() as f64 / f64::from(self.sent)
    }

    /// Mean one-way time; `None` when none arrived.
    pub fn mean(&self) -> Option<Duration> {
        let total: u64 = self.times.iter().map(|time| time.as_nanos()).sum();
        let count = u64::try_from(self.times.len())
            .ok()
            .filter(|count| *count > 0)?;
        Some(Duration::from_nanos(total / count))
    }
}

/// Sends and collects probes; numbers them over its life so that late ones are not taken for new.
#[derive(Debug, Default)]
pub struct Prober {
    next: u64,
}

impl Prober {
    /// Sends `rounds` probes on each link, then waits until all have arrived or `patience` is over.
    ///
    /// # Errors
    /// When a socket breaks; a link's fault never is an error.
    pub fn exchange(
        &mut self,
        wires: &[Wire],
        links: &[Link],
        rounds: u32,
        patience: Duration,
    ) -> io::Result<BTreeMap<Link, Arrivals>> {
        let mut sent: BTreeMap<u64, (usize, Moment)> = BTreeMap::new();
        let mut arrivals = vec![Arrivals::default(); links.len()];
        let mut since_taken = 0;
        for _ in 0..rounds {
            for (position, link) in links.iter().enumerate() {
                let number = self.next;
                self.next += 1;
                sent.insert(number, (position, now()));
                send(wires, link, number)?;
                arrivals[position].sent += 1;
                since_taken += 1;
                if since_taken >= BURST {
                    take(wires, &mut sent, &mut arrivals)?;
                    since_taken = 0;
                }
            }
        }
        let deadline = now().after(patience);
        loop {
            take(wires, &mut sent, &mut arrivals)?;
            let left = deadline.since(now());
            if sent.is_empty() || left.is_zero() {
                return Ok(links.iter().cloned().zip(arrivals).collect());
            }
            wait_readable(wires, left)?;
        }
    }
}

fn wire<'a>(wires: &'a [Wire], name: &str) -> io::Result<&'a Wire> {
    wires
        .iter()
        .find(|wire| wire.name == name)
        .ok_or_else(|| io::Error::other(format!("{name} is no endpoint of this run")))
}

fn send(wires: &[Wire], link: &Link, number: u64) -> io::Result<()> {
    let (from, to) = (wire(wires, &link.from)?, wire(wires, &link.to)?);
    let mut bytes = [0; PROBE_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    match from
        .probe
        .send_to(&bytes, SocketAddr::from((to.address, PROBE_PORT)))
    {
        Ok(_) => Ok(()),
        // A refusal of an earlier probe comes back on the socket: an answer, not a defect.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
    }
}

fn take(
    wires: &[Wire],
    sent: &mut BTreeMap<u64, (usize, Moment)>,
    arrivals: &mut [Arrivals],
) -> io::Result<()> {
    let mut bytes = [0; 64];
    for wire in wires {
        loop {
            match wire.probe.recv_from(&mut bytes) {
                Ok((PROBE_BYTES, _)) if bytes[..4] == MAGIC => {
                    let number = bytes[4..PROBE_BYTES].first_chunk().copied();
                    let number = number.map_or(u64::MAX, u64::from_be_bytes);
                    if let Some((position, at)) = sent.remove(&number) {
                        arrivals[position].times.push(now().since(at));
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn wait_readable(wires: &[Wire], left: Duration) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = wires
        .iter()
        .map(|wire| PollFd::new(wire.probe.as_fd(), PollFlags::POLLIN))
        .collect();
    match ppoll(&mut fds, Some(TimeSpec::from_duration(left.into())), None) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
