//! Operations of the disk fail with an error. What a failed sync was to make durable is lost, as with ext4, XFS and
//! Btrfs (Rebello 2020, section 3). Proof: a probe's operations fail with that error.

use std::io;

use shakedown_contracts::host_fault::{DiskMethod, Errno};

use super::{InEffect, evidence, probe, sound};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;

/// With a share of operations failing, so many probes miss it once in a billion runs at most.
const MISSED: f64 = 1e-9;
/// Probes that are made at most.
const PROBES_MAX: f64 = 20_000.0;

/// The fault.
pub(super) struct OperationsFail {
    order: InEffect,
    errno: Errno,
    methods: Vec<DiskMethod>,
    share: f64,
}

impl OperationsFail {
    pub fn new(order: InEffect, errno: Errno, methods: Vec<DiskMethod>, share: f64) -> Self {
        OperationsFail {
            order,
            errno,
            methods,
            share,
        }
    }

    /// Probes until each method was seen to fail; how many operations did.
    fn look(&self, disk: &crate::disk::Disk) -> Result<u32, String> {
        let mut unseen = self.methods.clone();
        let mut failed = 0;
        let probes = (MISSED.ln() / (1.0 - self.share).ln()).clamp(1.0, PROBES_MAX);
        for _ in 0..probes.ceil() as u32 {
            for step in probe(disk)? {
                if step.errno == Some(self.errno.number()) && self.methods.contains(&step.method) {
                    failed += 1;
                    unseen.retain(|method| *method != step.method);
                }
            }
            if unseen.is_empty() {
                return Ok(failed);
            }
        }
        let name = self.errno.name();
        Err(format!(
            "no {unseen:?} of {probes:.0} probes failed with {name}"
        ))
    }
}

impl Fault<NodeProcess> for OperationsFail {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        self.order.begin(host, |disk| {
            let failed = self.look(disk)?;
            let error = io::Error::from_raw_os_error(self.errno.number());
            Ok(evidence(format!(
                "{failed} operations of probes failed: {error}"
            )))
        })
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let name = self.errno.name();
        self.order.end(host, sound, |met| {
            let (count, lost) = (met.operations, met.lost_bytes);
            let observed =
                format!("{count} operations of the node failed with {name}, {lost} bytes lost");
            evidence(observed)
        })
    }
}
