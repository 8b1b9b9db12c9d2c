//! Kill: SIGKILL to the node; the rest of its pid namespace goes with it.
//!
//! t0 lies between the system call and the moment the kernel marks the process as ended (its pidfd
//! is readable). Healed is not "started" but "serves again". Two kills that overlap keep the node
//! dead until both are healed.

use shakedown_contracts::fault::FaultId;

use super::ready::{AwaitReady, require_readiness};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::{NodeProcess, Run};

/// The fault.
pub(super) struct Kill {
    id: FaultId,
    /// A disk that the agent serves forgets what was not synced.
    of_host: bool,
    awaited: Option<AwaitReady>,
}

impl Kill {
    pub fn new(id: FaultId, of_host: bool) -> Self {
        Kill {
            id,
            of_host,
            awaited: None,
        }
    }
}

impl Fault<NodeProcess> for Kill {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        require_readiness(host)?;
        let mut observation = kill_or_find_dead(host)?;
        if let Some(disk) = host.disk().filter(|_| self.of_host) {
            let lost = disk.lose(&self.id, true).map_err(|error| Unverified {
                reason: format!("{}: {error}", host.name()),
            })?;
            let (files, bytes) = lost;
            let told = format!("; {bytes} bytes of {files} files were not synced and are gone");
            observation.evidence.observed.push_str(&told);
        }
        host.dead_by.insert(self.id.clone());
        Ok(observation)
    }

    fn prepare_heal(&mut self, host: &mut NodeProcess) -> Result<bool, Unverified> {
        if let Some(awaited) = &self.awaited {
            return awaited.poll(host);
        }
        host.dead_by.remove(&self.id);
        if !host.dead_by.is_empty() {
            return Ok(true);
        }
        if matches!(host.state(), Run::Dead) {
            host.start()?;
        }
        let awaited = AwaitReady::running(host)?;
        self.awaited = Some(awaited);
        awaited.poll(host)
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        match &self.awaited {
            Some(awaited) => awaited.observation(host),
            None => {
                let others: Vec<_> = host.dead_by.iter().map(ToString::to_string).collect();
                Ok(Observation::at_once(
                    "nothing",
                    format!("still dead by {}", others.join(", ")),
                ))
            }
        }
    }
}

/// Kills the running node, or states that it was dead already.
pub(super) fn kill_or_find_dead(host: &mut NodeProcess) -> Result<Observation, Unverified> {
    if matches!(host.state(), Run::Dead) {
        return Ok(Observation::at_once(
            "nothing",
            "the node was dead already".to_owned(),
        ));
    }
    let killed = host.kill()?;
    let observed = format!(
        "{} ended {:.3} ms after the call, by {}; none of its pid namespace lives",
        killed.pid,
        killed.at.width().as_millis_f64(),
        killed.status
    );
    let mechanism = "SIGKILL by pidfd, to the node and to its namespace's init".to_owned();
    Ok(Observation::new(killed.at, &mechanism, observed))
}
