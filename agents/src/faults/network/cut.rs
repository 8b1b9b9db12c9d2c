//! Cut links: packets vanish (`drop`) or are refused (`reject`). One half of every partition.
//!
//! Proof is positive: each cut link's own counter in the kernel has counted the probes that were
//! sent into it, and none of them arrived. A refusal is moreover seen by the sender.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use shakedown_contracts::fault::{CutBehavior, FaultId, Link, LinkEffect};
use shakedown_contracts::units::Duration;

use super::{PROBE_PATIENCE, alone, heal_and_confirm, observation, unverified};
use crate::clock::now;
use crate::faults::{Fault, Observation, Unverified};
use crate::netlink::nftables::Fate;
use crate::network_agent::links::{Links, LinksError};
use crate::network_agent::topology::PROBE_PORT;

/// Probes into each cut link.
const PROBES: u32 = 3;

/// The fault.
pub(super) struct Cut {
    pub(super) id: FaultId,
    pub(super) links: Vec<Link>,
    pub(super) behavior: CutBehavior,
}

impl Cut {
    fn fate(&self) -> Fate {
        match self.behavior {
            CutBehavior::Drop => Fate::Cut,
            CutBehavior::Reject => Fate::Refuse,
        }
    }

    fn mechanism(&self) -> String {
        match self.behavior {
            CutBehavior::Drop => "nftables drop in the router".to_owned(),
            CutBehavior::Reject => "nftables reject in the router".to_owned(),
        }
    }

    /// Probes into every link, until the kernel has counted them all; none may arrive.
    fn confirm(&self, host: &mut Links) -> Result<String, Unverified> {
        let wires = &host.topology.wires;
        let seen = host
            .prober
            .exchange(wires, &self.links, PROBES, Duration::ZERO)
            .map_err(LinksError::from)?;
        self.await_counts(host)?;
        // Counted as dropped means never to arrive; whatever else was on its way is here by now.
        if let Some((link, _)) = seen.iter().find(|(_, arrivals)| !arrivals.times.is_empty()) {
            return Err(unverified(format!(
                "a probe went from {} to {} though the link is cut",
                link.from, link.to
            )));
        }
        Ok(format!(
            "{PROBES} probes on each of {} links were counted as cut and none arrived",
            self.links.len()
        ))
    }

    /// Links under a stronger cut of another fault are counted there.
    fn await_counts(&self, host: &mut Links) -> Result<(), Unverified> {
        let deadline = now().after(PROBE_PATIENCE);
        let mut late = false;
        loop {
            let mut counts = host.counts(self.fate())?;
            for (link, count) in host.counts(Fate::Cut)? {
                counts.insert(link, count);
            }
            let missing = self
                .links
                .iter()
                .find(|link| counts.get(*link).copied().unwrap_or(0) < u64::from(PROBES));
            match missing {
                None => return Ok(()),
                // The counters are read once more after the deadline: this thread may have slept.
                Some(link) if late => {
                    return Err(unverified(format!(
                        "the kernel counted {} of {PROBES} probes cut from {} to {}",
                        counts.get(link).copied().unwrap_or(0),
                        link.from,
                        link.to
                    )));
                }
                Some(_) => late = now() >= deadline,
            }
        }
    }

    fn confirm_refusal(&self, host: &Links) -> Result<(), Unverified> {
        for link in alone(host, &self.links, &self.id) {
            let wire = |name: &str| host.topology.wires.iter().find(|wire| wire.name == name);
            let (Some(from), Some(to)) = (wire(&link.from), wire(&link.to)) else {
                continue;
            };
            let target = SocketAddr::from((to.address, PROBE_PORT));
            let answer = host
                .topology
                .inside(from, || {
                    refused(SocketAddr::from((from.address, 0)), target)
                })
                .map_err(LinksError::from)?
                .map_err(LinksError::from)?;
            // The refusal travels the way back, which may be cut silently by another fault.
            let back = Link {
                from: link.to.clone(),
                to: link.from.clone(),
            };
            if !answer && host.others(&back, &self.id).is_empty() {
                return Err(unverified(format!(
                    "{} was not told that {} refuses it",
                    link.from, link.to
                )));
            }
        }
        Ok(())
    }
}

/// Whether a datagram to `target` is answered by a refusal.
fn refused(from: SocketAddr, target: SocketAddr) -> io::Result<bool> {
    let socket = UdpSocket::bind(from)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PROBE_PATIENCE.into()))?;
    socket.send(b"refused?")?;
    match socket.recv(&mut [0; 16]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

impl Fault<Links> for Cut {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        let at = host.apply(&self.id, &self.links, LinkEffect::Cut(self.behavior))?;
        let confirmed = self.confirm(host).and_then(|observed| {
            if self.behavior == CutBehavior::Reject {
                self.confirm_refusal(host)?;
            }
            Ok(observed)
        });
        match confirmed {
            Ok(observed) => Ok(observation(at, self.mechanism(), observed, Vec::new())),
            Err(unverified) => {
                host.withdraw(&self.id)?;
                Err(unverified)
            }
        }
    }

    fn heal(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        heal_and_confirm(host, &self.id, &self.links, &self.mechanism())
    }
}
