//! Faults of links: one file each, one line in [`fault`].

mod cut;
mod delay;
mod loss;

use shakedown_contracts::fault::{FaultId, Link, LinkEffect};
use shakedown_contracts::units::Duration;

use super::{Fault, Observation, Unverified};
use crate::network_agent::links::{Links, LinksError};

/// A probe over a healthy link takes tens of microseconds; a busy machine gets this long before a
/// missing one counts as lost.
const PROBE_PATIENCE: Duration = Duration::from_millis(250);

/// The registry.
pub fn fault(effect: LinkEffect, links: Vec<Link>, id: FaultId) -> Box<dyn Fault<Links>> {
    match effect {
        LinkEffect::Cut(behavior) => Box::new(cut::Cut {
            id,
            links,
            behavior,
        }),
        LinkEffect::Delay(delay) => Box::new(delay::Slow {
            id,
            links,
            delay,
            usual: None,
        }),
        LinkEffect::Loss(loss) => Box::new(loss::Lossy { id, links, loss }),
    }
}

impl From<LinksError> for Unverified {
    fn from(error: LinksError) -> Self {
        Unverified {
            reason: error.to_string(),
        }
    }
}

fn unverified(reason: String) -> Unverified {
    Unverified { reason }
}

/// Links on which no other fault is active: only there does a probe speak of this fault alone.
fn alone(host: &Links, links: &[Link], id: &FaultId) -> Vec<Link> {
    links
        .iter()
        .filter(|link| host.others(link, id).is_empty())
        .cloned()
        .collect()
}

/// Withdraws the fault and confirms that probes pass again wherever no other fault is active.
fn heal_and_confirm(
    host: &mut Links,
    id: &FaultId,
    links: &[Link],
    mechanism: &str,
) -> Result<Observation, Unverified> {
    const PROBES: u32 = 3;
    let at = host.withdraw(id)?;
    let free = alone(host, links, id);
    let wires = &host.topology.wires;
    let seen = host
        .prober
        .exchange(wires, &free, PROBES, PROBE_PATIENCE)
        .map_err(LinksError::from)?;
    if let Some((link, arrivals)) = seen.iter().find(|(_, a)| a.times.len() < PROBES as usize) {
        return Err(unverified(format!(
            "after the heal only {} of {PROBES} probes went from {} to {} within {PROBE_PATIENCE}",
            arrivals.times.len(),
            link.from,
            link.to
        )));
    }
    let slowest = seen
        .values()
        .flat_map(|arrivals| &arrivals.times)
        .max()
        .copied();
    let shared = links.len() - free.len();
    let mut observed = format!(
        "{PROBES} probes passed on each of {} links, the slowest in {:.3} ms",
        free.len(),
        slowest.unwrap_or_default().as_millis_f64()
    );
    if shared > 0 {
        observed.push_str(&format!("; {shared} links stay under other faults"));
    }
    Ok(observation(at, mechanism.to_owned(), observed, Vec::new()))
}

fn observation(
    at: shakedown_contracts::time::Bracket,
    mechanism: String,
    observed: String,
    achieved: Vec<shakedown_contracts::event::Achieved>,
) -> Observation {
    let evidence = shakedown_contracts::event::Evidence {
        mechanism,
        observed,
        achieved,
    };
    Observation { at, evidence }
}
