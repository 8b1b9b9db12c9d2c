//! Faults of a node's disk: one file each, one line in [`fault`]. The disk itself is served by
//! [`crate::disk`]; each fault here is an order to its server, and a look at what came of it.

mod corrupt;
mod full;
mod hang;
mod latency;
mod lose_unsynced;
mod operations_fail;

use std::io;

use shakedown_contracts::event::Evidence;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::HostFault;
use shakedown_contracts::units::Duration;

use super::{Fault, Observation, Unverified};
use crate::clock::{now, until_now};
use crate::disk::{Disk, Met, PROBE_STEPS, Step};
use crate::node_agent::node::NodeProcess;

const MECHANISM: &str = "FUSE, the node's folder served by the agent";
/// A sound disk completes a probe within milliseconds, one behind a busy machine within seconds.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// The registry; `None` for what another room does.
pub fn fault(fault: &HostFault, id: &FaultId) -> Option<Box<dyn Fault<NodeProcess>>> {
    let order = InEffect {
        id: id.clone(),
        fault: fault.clone(),
    };
    Some(match fault {
        HostFault::DiskHang {} => Box::new(hang::Hang(order)),
        HostFault::DiskLatency { latency, .. } => Box::new(latency::Latency(order, *latency)),
        HostFault::DiskFault {
            errno,
            methods,
            percent,
            ..
        } => {
            let share = percent.map_or(1.0, |share| share.as_f64());
            let methods = methods.clone();
            Box::new(operations_fail::OperationsFail::new(
                order, *errno, methods, share,
            ))
        }
        HostFault::DiskFull {} => Box::new(full::Full(order)),
        HostFault::DiskCorrupt { damage, path } => Box::new(corrupt::Corrupt {
            id: id.clone(),
            damage: *damage,
            path: path.clone(),
        }),
        HostFault::DiskLoseUnsynced { torn } => Box::new(lose_unsynced::LoseUnsynced {
            id: id.clone(),
            torn: *torn,
        }),
        _ => return None,
    })
}

/// A fault that operations meet from its beginning to its end.
struct InEffect {
    id: FaultId,
    fault: HostFault,
}

impl InEffect {
    /// Begins it, and has `see` look at it through the disk; ended again when that does not see it.
    fn begin(
        &self,
        host: &mut NodeProcess,
        see: impl FnOnce(&Disk) -> Result<Evidence, String>,
    ) -> Result<Observation, Unverified> {
        let name = host.name().to_owned();
        let disk = disk(host)?;
        let before = now();
        let begun = disk.begin(&self.id, &self.fault);
        let at = until_now(before);
        let seen = begun
            .map_err(|error| error.to_string())
            .and_then(|()| see(disk));
        match seen {
            Ok(evidence) => {
                host.disk_held_by.insert(self.id.clone());
                Ok(Observation { at, evidence })
            }
            Err(reason) => {
                // The report says unverified whatever comes of it.
                let _ended = disk.end(&self.id);
                let reason = format!("{name}: {reason}");
                Err(Unverified { reason })
            }
        }
    }

    /// Ends it, has `see` look at it through the disk if nothing else is wrong with it, and tells what
    /// operations of the node had met.
    fn end(
        &self,
        host: &mut NodeProcess,
        see: impl FnOnce(&[Step]) -> Result<String, String>,
        met: impl FnOnce(&Met) -> Evidence,
    ) -> Result<Observation, Unverified> {
        let name = host.name().to_owned();
        let unverified = |reason: String| Unverified {
            reason: format!("{name}: {reason}"),
        };
        host.disk_held_by.remove(&self.id);
        let others = host.disk_held_by.len();
        let disk = disk(host)?;
        let before = now();
        let ended = disk
            .end(&self.id)
            .map_err(|error| unverified(error.to_string()))?;
        let at = until_now(before);
        let mut evidence = met(&ended);
        let seen = match others {
            0 => see(&probe(disk).map_err(unverified)?).map_err(unverified)?,
            1 => "another fault is in effect on this disk".to_owned(),
            others => format!("{others} other faults are in effect on this disk"),
        };
        evidence.observed = format!("{}; {seen}", evidence.observed);
        Ok(Observation { at, evidence })
    }
}

fn disk(host: &NodeProcess) -> Result<&Disk, Unverified> {
    host.disk().ok_or_else(|| Unverified {
        reason: format!("{}: its disk is not served by the agent", host.name()),
    })
}

fn probe(disk: &Disk) -> Result<Vec<Step>, String> {
    let failed = |error: io::Error| format!("probing the disk: {error}");
    disk.probe(PROBE_LIMIT).map_err(failed)
}

/// All steps of a probe have completed without an error.
fn sound(steps: &[Step]) -> Result<String, String> {
    if steps.len() < PROBE_STEPS {
        let done = steps.len();
        return Err(format!(
            "{done} of {PROBE_STEPS} operations of a probe completed in {PROBE_LIMIT}"
        ));
    }
    match steps
        .iter()
        .find_map(|step| Some((step.method, step.errno?)))
    {
        Some((method, errno)) => {
            let error = io::Error::from_raw_os_error(errno);
            Err(format!("{method:?} of a probe failed: {error}"))
        }
        None => Ok("a probe's operations completed".to_owned()),
    }
}

fn evidence(observed: String) -> Evidence {
    Evidence {
        mechanism: MECHANISM.to_owned(),
        observed,
        achieved: Vec::new(),
    }
}
