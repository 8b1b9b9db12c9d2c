//! Cut links: packets vanish (`drop`) or are refused (`reject`). One half of every partition.
//!
//! Proof is positive: a probe arrived before; after, each cut link's own counter in the kernel has
//! counted the probes that were sent into it, and none of them arrived. A refusal is moreover seen
//! by the sender. Where the fault names ports, a probe from none of them arrives still. t0 is the change of the rules itself, not the look at it.

use std::collections::BTreeMap;

use shakedown_contracts::fault::{CutBehavior, FaultId, Link, LinkEffect};

use super::confirm::{self, PATIENCE, Seen, unverified};
use super::refusal;
use crate::clock::now;
use crate::faults::{Fault, Observation, Unverified};
use crate::netlink::nftables::Set;
use crate::network_agent::links::{Links, LinksError, Scope};
use crate::network_agent::probes::{Arrivals, PROBE_BYTES};
use crate::network_agent::traffic::Traffic;
use crate::network_agent::union::Union;

/// Probes into each cut link.
const PROBES: u32 = 3;

/// The fault.
pub(super) struct Cut {
    id: FaultId,
    scope: Scope,
    behavior: CutBehavior,
}

impl Cut {
    pub fn new(id: FaultId, scope: Scope, behavior: CutBehavior) -> Self {
        Cut {
            id,
            scope,
            behavior,
        }
    }

    fn mechanism(&self) -> String {
        match self.behavior {
            CutBehavior::Drop => "nftables drop in the router".to_owned(),
            CutBehavior::Reject => "nftables reject in the router".to_owned(),
        }
    }

    fn look(&self, host: &mut Links) -> Result<Seen, Unverified> {
        let look = match self.behavior {
            CutBehavior::Drop => look_after,
            CutBehavior::Reject => look_at_refusals,
        };
        let mut seen = confirm::by_ports(host, &self.scope, look, confirm::arrivals)?;
        let others = confirm::others(host, &self.scope.links, &self.id);
        if !others.is_empty() {
            let note =
                format!("; on some of the links {others} acted before and was not probed through");
            seen.observed.push_str(&note);
        }
        Ok(seen)
    }
}

/// Links on which nothing else acts let a probe through, else a cut would prove nothing.
fn look_before(host: &mut Traffic<'_>, links: &[Link]) -> Result<Seen, Unverified> {
    let free = |link: &&Link| host.union(link) == Union::default();
    let free: Vec<Link> = links.iter().filter(free).cloned().collect();
    let seen = host.probe(&free, 1, PATIENCE)?;
    let silent = seen.iter().find(|(_, arrivals)| arrivals.arrived() == 0);
    silent.map_or(Ok(Seen::default()), |(link, _)| {
        Err(unverified(format!(
            "no probe arrived from {} to {} before the cut, so nothing can be said after it; is the endpoint's network changed by its own programs?",
            link.from, link.to
        )))
    })
}

/// Probes into every link, until the kernel has counted them all; none may arrive.
fn look_after(host: &mut Traffic<'_>, links: &[Link]) -> Result<Seen, Unverified> {
    let before = counts(host)?;
    let mut volley = host.send(links, PROBES)?;
    let deadline = now().after(PATIENCE);
    let counted = loop {
        // Looks once more after the deadline: this thread may have slept over it.
        let late = now() >= deadline;
        let after = counts(host)?;
        let counted = links.iter().map(|link| {
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
        .collect(&host.topology().wires, Default::default())
        .map_err(LinksError::from)?;
    judge(&counted, &volley.by_link())
}

/// The same, and each sender is told.
fn look_at_refusals(host: &mut Traffic<'_>, links: &[Link]) -> Result<Seen, Unverified> {
    let mut seen = look_after(host, links)?;
    for link in links {
        if host.union(link).cut == Some(CutBehavior::Reject) {
            refusal::see(host, link)?;
        }
        // Else silenced by a stronger cut.
    }
    seen.observed.push_str("; the senders were told");
    Ok(seen)
}

type Counts = BTreeMap<Link, u64>;

/// Packets dropped and refused; a link is in one of both sets.
fn counts(host: &mut Traffic<'_>) -> Result<Counts, LinksError> {
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

impl Fault<Links> for Cut {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        host.check(&self.scope)?;
        confirm::by_ports(host, &self.scope, look_before, look_before)?;
        let at = host.apply(&self.id, &self.scope, LinkEffect::Cut(self.behavior))?;
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
        let look = confirm::arrivals;
        let seen = confirm::by_ports(host, &self.scope, look, look)?;
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
