//! Faults of a node's clock, one line in [`fault`]: `skew` holds them; `vdso`, `code` and `patch` change
//! what a process is told, `visit` asks it what that is.

#[cfg(target_arch = "x86_64")]
mod code;
#[cfg(target_arch = "x86_64")]
mod patch;
#[cfg(target_arch = "x86_64")]
mod skew;
#[cfg(target_arch = "x86_64")]
pub mod vdso;
#[cfg(target_arch = "x86_64")]
mod visit;

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::HostFault;

use super::Fault;
use crate::node_agent::node::NodeProcess;

/// The registry; `None` for what another room does.
#[cfg(target_arch = "x86_64")]
pub fn fault(fault: &HostFault, id: &FaultId) -> Option<Box<dyn Fault<NodeProcess>>> {
    match fault {
        HostFault::ClockRate { .. }
        | HostFault::ClockBump { .. }
        | HostFault::ClockStrobe { .. } => {
            Some(Box::new(skew::Skew::new(id.clone(), fault.clone())))
        }
        _ => None,
    }
}

/// The code for other processors is not written.
#[cfg(not(target_arch = "x86_64"))]
pub fn fault(_fault: &HostFault, _id: &FaultId) -> Option<Box<dyn Fault<NodeProcess>>> {
    None
}
