//! Terminate: SIGTERM to the node, which may clean up and ends by itself.
//!
//! In effect once the process is gone; a node that lives on has ignored the signal, which leaves the
//! fault unverified and the node running. Otherwise as a kill: healed is "serves again", and those
//! that overlap keep the node dead until all are healed.

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::units::Duration;

use super::kill::Kill;
use super::ready::require_readiness;
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::{NodeProcess, Run};

/// Time to end in; the agent obeys nothing else meanwhile, the harness waits twice as long.
const GRACE: Duration = Duration::from_secs(5);

/// The fault.
pub(super) struct Terminate {
    id: FaultId,
    /// From its end on it is dead like any other.
    dead: Kill,
}

impl Terminate {
    pub fn new(id: FaultId) -> Self {
        let dead = Kill::new(id.clone(), false);
        Terminate { id, dead }
    }
}

impl Fault<NodeProcess> for Terminate {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        require_readiness(host)?;
        let observation = match host.state() {
            Run::Dead => Observation::at_once("nothing", "the node was dead already".to_owned()),
            Run::Running { .. } => terminate(host)?,
        };
        host.dead_by.insert(self.id.clone());
        Ok(observation)
    }

    fn prepare_heal(&mut self, host: &mut NodeProcess) -> Result<bool, Unverified> {
        self.dead.prepare_heal(host)
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        self.dead.heal(host)
    }
}

fn terminate(host: &mut NodeProcess) -> Result<Observation, Unverified> {
    let ended = host.terminate(GRACE)?;
    let observed = format!(
        "{} ended {:.3} ms after the call, by {}; none of its pid namespace lives",
        ended.pid,
        ended.at.width().as_millis_f64(),
        ended.status
    );
    Ok(Observation::new(
        ended.at,
        "SIGTERM by pidfd to the node",
        observed,
    ))
}
