//! Lossy links: packets are lost at random.
//!
//! Proof: a burst of probes, each counted by the kernel into the agent's queue; the share that is
//! lost must be the one that was asked for, within four standard errors of a binomial draw.

use shakedown_contracts::fault::{FaultId, Link, LinkEffect, Loss};

use super::confirm;
use crate::faults::{Fault, Observation, Unverified};
use crate::network_agent::links::Links;

/// The fault.
pub(super) struct Lossy {
    id: FaultId,
    links: Vec<Link>,
    loss: Loss,
    overflows: u64,
}

impl Lossy {
    pub fn new(id: FaultId, links: Vec<Link>, loss: Loss) -> Self {
        Lossy {
            id,
            links,
            loss,
            overflows: 0,
        }
    }
}

impl Fault<Links> for Lossy {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        self.overflows = host.overflows()?;
        let at = host.apply(&self.id, &self.links, LinkEffect::Loss(self.loss))?;
        match confirm::losses(host, &self.links) {
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
        let mut seen = confirm::losses(host, &self.links)?;
        confirm::overflows(host, self.overflows, &mut seen)?;
        Ok(seen.into_observation(at, mechanism))
    }
}
