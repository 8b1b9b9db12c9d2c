//! Restart: SIGKILL and a start at once. In effect once the old process is gone; healed once the
//! new one serves.

use shakedown_contracts::fault::FaultId;

use super::kill::kill_or_find_dead;
use super::ready::{AwaitReady, require_readiness};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;

/// The fault.
pub(super) struct Restart {
    id: FaultId,
    awaited: Option<AwaitReady>,
}

impl Restart {
    pub fn new(id: FaultId) -> Self {
        Restart { id, awaited: None }
    }
}

impl Fault<NodeProcess> for Restart {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        require_readiness(host)?;
        if let Some(killer) = host.dead_by.first() {
            let name = host.name();
            let reason = format!(
                "{}: {name} is held dead by {killer}; let them not overlap",
                self.id
            );
            return Err(Unverified { reason });
        }
        let observation = kill_or_find_dead(host)?;
        host.start()?;
        self.awaited = Some(AwaitReady::running(host)?);
        Ok(observation)
    }

    fn prepare_heal(&mut self, host: &mut NodeProcess) -> Result<bool, Unverified> {
        match &self.awaited {
            Some(awaited) => awaited.poll(host),
            None => Err(Unverified {
                reason: format!("{} was never in effect", self.id),
            }),
        }
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        match &self.awaited {
            Some(awaited) => awaited.observation(host),
            None => Err(Unverified {
                reason: format!("{} was never in effect", self.id),
            }),
        }
    }
}
