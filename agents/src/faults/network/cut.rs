//! Cut links: packets vanish (`drop`) or are refused (`reject`). One half of every partition.
//!
//! Proof is positive: a probe arrived before; after, each cut link's own counter in the kernel has
//! counted the probes that were sent into it, and none of them arrived. A refusal is moreover seen
//! by the sender. t0 is the change of the rules itself, not the look at it.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};

use shakedown_contracts::fault::{CutBehavior, FaultId, Link, LinkEffect};

use super::confirm::{self, PATIENCE, Seen, unverified};
use crate::clock::now;
use crate::faults::{Fault, Observation, Unverified};
use crate::netlink::nftables::Set;
use crate::network_agent::links::{Links, LinksError};
use crate::network_agent::probes::{Arrivals, PROBE_BYTES, PROBE_PORT};
use crate::network_agent::union::Union;

/// Probes into each cut link.
const PROBES: u32 = 3;

/// The fault.
pub(super) struct Cut {
    id: FaultId,
    links: Vec<Link>,
    behavior: CutBehavior,
}

impl Cut {
    pub fn new(id: FaultId, links: Vec<Link>, behavior: CutBehavior) -> Self {
        Cut {
            id,
            links,
            behavior,
        }
    }

    fn mechanism(&self) -> String {
        match self.behavior {
            CutBehavior::Drop => "nftables drop in the router".to_owned(),
            CutBehavior::Reject => "nftables reject in the router".to_owned(),
        }
    }

    /// Links on which nothing else acts let a probe through, else a cut would prove nothing.
    fn look_before(&self, host: &mut Links) -> Result<(), Unverified> {
        let free = |link: &&Link| host.union(link) == Union::default();
        let free: Vec<Link> = self.links.iter().filter(free).cloned().collect();
        let seen = host.probe(&free, 1, PATIENCE)?;
        let silent = seen.iter().find(|(_, arrivals)| arrivals.arrived() == 0);
        silent.map_or(Ok(()), |(link, _)| {
            Err(unverified(format!(
                "no probe arrived from {} to {} before the cut, so nothing can be said after it; is the endpoint's network changed by its own programs?",
                link.from, link.to
            )))
        })
    }

    /// Probes into every link, until the kernel has counted them all; none may arrive.
    fn look_after(&self, host: &mut Links) -> Result<Seen, Unverified> {
        let before = counts(host)?;
        let mut volley = host.send(&self.links, PROBES)?;
        let deadline = now().after(PATIENCE);
        let counted = loop {
            // Looks once more after the deadline: this thread may have slept over it.
            let late = now() >= deadline;
            let after = counts(host)?;
            let counted = self.links.iter().map(|link| {
                let count = |counts: &Counts| counts.get(link).copied().unwrap_or(0);
                (link, count(&after).saturating_sub(count(&before)))
            });
            let counted: BTreeMap<&Link, u64> = counted.collect();
            if late || counted.values().all(|count| *count >= u64::from(PROBES)) {
                break counted;
            }
        };
        // What was not dropped has been delivered by now: both happen as the probe is sent.
        volley
            .collect(&host.topology.wires, Default::default())
            .map_err(LinksError::from)?;
        judge(&counted, &volley.by_link())
    }

    fn look_at_refusals(&self, host: &Links) -> Result<(), Unverified> {
        let wire = |name: &str| host.topology.wires.iter().find(|wire| wire.name == name);
        for link in &self.links {
            if host.union(link).cut != Some(CutBehavior::Reject) {
                // Silenced by a stronger cut.
                continue;
            }
            let (Some(from), Some(to)) = (wire(&link.from), wire(&link.to)) else {
                return Err(LinksError::Unknown(link.to.clone()).into());
            };
            let (source, target) = (from.address, SocketAddr::from((to.address, PROBE_PORT)));
            let ask = || refused(SocketAddr::from((source, 0)), target);
            let answer = host.topology.inside(from, ask).map_err(LinksError::from)?;
            if !answer.map_err(LinksError::from)? {
                return Err(unverified(format!(
                    "{} was not told within {PATIENCE} that {} refuses it",
                    link.from, link.to
                )));
            }
        }
        Ok(())
    }

    fn look(&self, host: &mut Links) -> Result<Seen, Unverified> {
        let mut seen = self.look_after(host)?;
        if self.behavior == CutBehavior::Reject {
            self.look_at_refusals(host)?;
            seen.observed.push_str("; the senders were told");
        }
        let others = confirm::others(host, &self.links, &self.id);
        if !others.is_empty() {
            let note =
                format!("; on some of the links {others} acted before and was not probed through");
            seen.observed.push_str(&note);
        }
        Ok(seen)
    }
}

type Counts = BTreeMap<Link, u64>;

/// Packets dropped and refused; a link is in one of both sets.
fn counts(host: &mut Links) -> Result<Counts, LinksError> {
    let mut counts = host.counts(Set::Refuse)?;
    counts.extend(host.counts(Set::Cut)?);
    let counts = counts.into_iter();
    // In probes; where others send too, that is as good.
    Ok(counts
        .map(|(link, bytes)| (link, bytes / PROBE_BYTES))
        .collect())
}

fn judge(
    counted: &BTreeMap<&Link, u64>,
    seen: &BTreeMap<Link, Arrivals>,
) -> Result<Seen, Unverified> {
    if let Some((link, _)) = seen.iter().find(|(_, arrivals)| arrivals.arrived() > 0) {
        return Err(unverified(format!(
            "a probe arrived from {} to {} though the link is cut",
            link.from, link.to
        )));
    }
    if let Some((link, count)) = counted
        .iter()
        .find(|(_, count)| **count < u64::from(PROBES))
    {
        return Err(unverified(format!(
            "the kernel counted {count} of {PROBES} probes as cut from {} to {}",
            link.from, link.to
        )));
    }
    let observed = format!(
        "{PROBES} probes on each of {} links were counted as cut and none arrived",
        counted.len()
    );
    Ok(Seen {
        observed,
        achieved: Vec::new(),
    })
}

/// Whether a datagram to `target` is answered by a refusal.
fn refused(from: SocketAddr, target: SocketAddr) -> io::Result<bool> {
    let socket = UdpSocket::bind(from)?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(PATIENCE.into()))?;
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
        host.check(&self.links)?;
        self.look_before(host)?;
        let at = host.apply(&self.id, &self.links, LinkEffect::Cut(self.behavior))?;
        match self.look(host) {
            Ok(seen) => Ok(seen.into_observation(at, self.mechanism())),
            Err(unverified) => {
                host.withdraw(&self.id)?;
                Err(unverified)
            }
        }
    }

    fn heal(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        let at = host.withdraw(&self.id)?;
        let seen = confirm::arrivals(host, &self.links)?;
        Ok(seen.into_observation(at, self.mechanism()))
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::units::Duration;

    use super::*;

    #[test]
    fn a_cut_through_which_a_probe_goes_or_that_counted_none_is_not_verified() {
        let link = Link {
            from: "n1".to_owned(),
            to: "n2".to_owned(),
        };
        let judged = |counted, arrived: usize| {
            let arrivals = Arrivals {
                sent: PROBES,
                times: vec![Duration::from_micros(20); arrived],
                ..Arrivals::default()
            };
            judge(
                &BTreeMap::from([(&link, counted)]),
                &BTreeMap::from([(link.clone(), arrivals)]),
            )
        };
        assert!(judged(3, 0).is_ok());
        assert!(judged(9, 0).is_ok(), "others send on the link too");
        assert!(judged(3, 1).unwrap_err().reason.contains("arrived"));
        assert!(judged(2, 0).unwrap_err().reason.contains("2 of 3"));
    }
}
