//! What all faults have in common whose packets pass through the agent's queue: an effect on links,
//! and a look that confirms it.

use shakedown_contracts::fault::{FaultId, Link, LinkEffect};

use super::confirm::{self, Seen};
use crate::faults::{Fault, Observation, Unverified};
use crate::network_agent::links::{Links, Scope};
use crate::network_agent::traffic::Traffic;

/// Sees what all faults on the links come to for some traffic, or that they come to something else.
pub(super) type Look = fn(&mut Traffic<'_>, &[Link]) -> Result<Seen, Unverified>;

/// The fault.
pub(super) struct Queued {
    id: FaultId,
    scope: Scope,
    effect: LinkEffect,
    look: Look,
    overflows: u64,
}

impl Queued {
    pub fn new(id: FaultId, scope: Scope, effect: LinkEffect, look: Look) -> Self {
        Queued {
            id,
            scope,
            effect,
            look,
            overflows: 0,
        }
    }

    fn look(&self, host: &mut Links) -> Result<Seen, Unverified> {
        confirm::by_ports(host, &self.scope, self.look, self.look)
    }
}

impl Fault<Links> for Queued {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        self.overflows = host.overflows()?;
        let at = host.apply(&self.id, &self.scope, self.effect)?;
        match self.look(host) {
            Ok(seen) => Ok(seen.into_observation(at, host.slow_mechanism())),
            Err(unverified) => {
                host.withdraw(&self.id)?;
                Err(unverified)
            }
        }
    }

    /// What is seen after the heal is what the faults that are left come to.
    fn heal(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        let mechanism = host.slow_mechanism();
        let at = host.withdraw(&self.id)?;
        let mut seen = self.look(host)?;
        confirm::overflows(host, self.overflows, &mut seen)?;
        Ok(seen.into_observation(at, mechanism))
    }
}
