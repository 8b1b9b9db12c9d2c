//! The disk is slow: every operation waits before it is carried out. Proof: a probe's write takes so long at least; at
//! the end, how much longer the node's own operations took than they would have.

use shakedown_contracts::event::Achieved;
use shakedown_contracts::units::Duration;

use super::{InEffect, PROBE_LIMIT, evidence, sound};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;

/// The fault, and the least that it adds.
pub(super) struct Latency(pub InEffect, pub Duration);

impl Fault<NodeProcess> for Latency {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let requested = self.1;
        self.0.begin(host, |disk| {
            let limit = PROBE_LIMIT.saturating_add(requested);
            let wrote = disk.probe_write(limit).map_err(|error| error.to_string())?;
            let took = wrote.ok_or("a probe's write did not complete")?;
            if took < requested {
                return Err(format!("a probe's write took {took}, not {requested}"));
            }
            let mut seen = evidence(format!(
                "a probe's write took {:.2} ms",
                took.as_millis_f64()
            ));
            seen.achieved = vec![latency(requested.as_millis_f64(), took.as_millis_f64())];
            Ok(seen)
        })
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        self.0.end(host, sound, |met| {
            let mut seen = evidence(format!("{} operations of the node met it", met.operations));
            if met.delayed > 0 {
                let mean = |sum: Duration| sum.as_millis_f64() / met.delayed as f64;
                seen.achieved = vec![latency(mean(met.requested), mean(met.added))];
            }
            seen
        })
    }
}

fn latency(requested: f64, achieved: f64) -> Achieved {
    Achieved {
        name: "latency".to_owned(),
        requested,
        achieved,
        unit: "ms".to_owned(),
    }
}
