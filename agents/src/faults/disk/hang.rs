//! The disk hangs: operations wait until it is healed, then all go on. Proof: a probe's first
//! operation waits for it.

use shakedown_contracts::units::Duration;

use super::{InEffect, evidence, sound};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;

/// A sound disk completes a write within microseconds.
const WAITED: Duration = Duration::from_millis(100);
/// Until a probe's operation has reached the disk, on a busy machine.
const REACH_LIMIT: Duration = Duration::from_secs(5);

/// The fault.
pub(super) struct Hang(pub InEffect);

impl Fault<NodeProcess> for Hang {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        self.0.begin(host, |disk| {
            let failed = |error: std::io::Error| error.to_string();
            for wait in [WAITED, REACH_LIMIT] {
                let steps = disk.probe(wait).map_err(failed)?;
                if let Some(step) = steps.first() {
                    let method = step.method;
                    return Err(format!("{method:?} of a probe completed all the same"));
                }
                if disk.look(&self.0.id).map_err(failed)?.probes > 0 {
                    return Ok(evidence(format!(
                        "a probe's write has not completed in {wait}"
                    )));
                }
            }
            Err(format!("no probe reached the disk within {REACH_LIMIT}"))
        })
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        self.0.end(host, sound, |met| {
            evidence(format!("{} operations had to wait", met.operations))
        })
    }
}
