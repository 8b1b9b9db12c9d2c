//! Slow links: every packet arrives later, by latency and jitter.
//!
//! Proof: on each link the kernel counted every probe into the agent's queue, and their mean one-way
//! time is what was asked for, within what the jitter's own scatter and the machine's scheduling
//! explain. Looking takes as long as the delay itself.

use shakedown_contracts::fault::{Delay, FaultId, Link, LinkEffect};

use super::confirm;
use crate::faults::{Fault, Observation, Unverified};
use crate::network_agent::links::Links;

/// The fault.
pub(super) struct Slow {
    id: FaultId,
    links: Vec<Link>,
    delay: Delay,
    overflows: u64,
}

impl Slow {
    pub fn new(id: FaultId, links: Vec<Link>, delay: Delay) -> Self {
        Slow {
            id,
            links,
            delay,
            overflows: 0,
        }
    }
}

impl Fault<Links> for Slow {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        self.overflows = host.overflows()?;
        let at = host.apply(&self.id, &self.links, LinkEffect::Delay(self.delay))?;
        match confirm::latency(host, &self.links) {
            Ok(seen) => Ok(seen.into_observation(at, host.slow_mechanism())),
            Err(unverified) => {
                host.withdraw(&self.id)?;
                Err(unverified)
            }
        }
    }

    fn heal(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        let mechanism = host.slow_mechanism();
        let at = host.withdraw(&self.id)?;
        let mut seen = confirm::latency(host, &self.links)?;
        confirm::overflows(host, self.overflows, &mut seen)?;
        Ok(seen.into_observation(at, mechanism))
    }
}
