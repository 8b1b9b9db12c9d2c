//! The disk is full: nothing can be written or made, what is there can be read and synced. Proof: a probe's write fails
//! with ENOSPC, and the disk says that no byte is free.

use super::{InEffect, evidence, probe, sound};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;
use shakedown_contracts::host_fault::{DiskMethod, Errno};

/// The fault.
pub(super) struct Full(pub InEffect);

impl Fault<NodeProcess> for Full {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        self.0.begin(host, |disk| {
            let steps = probe(disk)?;
            let write = steps.iter().find(|step| step.method == DiskMethod::Write);
            let errno = write.and_then(|step| step.errno);
            if errno != Some(Errno::NoSpace.number()) {
                return Err(format!(
                    "a probe's write did not fail with ENOSPC: {errno:?}"
                ));
            }
            let free = disk.free_bytes().map_err(|error| error.to_string())?;
            if free > 0 {
                return Err(format!("the disk says that {free} bytes are free"));
            }
            Ok(evidence(
                "no byte is free, a probe's write failed with ENOSPC".to_owned(),
            ))
        })
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        self.0.end(host, sound, |met| {
            let count = met.operations;
            evidence(format!("{count} operations of the node failed with ENOSPC"))
        })
    }
}
