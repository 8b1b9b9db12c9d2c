//! Faults of what a node's host gives it: one file each, one line in [`fault`].

mod cpu;
mod file_descriptors;

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::HostFault;

use super::Fault;
use crate::node_agent::node::NodeProcess;

/// The registry; `None` for what another room does.
pub fn fault(fault: &HostFault, _id: &FaultId) -> Option<Box<dyn Fault<NodeProcess>>> {
    match fault {
        HostFault::Cpu { hogs } => Some(Box::new(cpu::Cpu::new(*hogs))),
        HostFault::FileDescriptors { left } => {
            Some(Box::new(file_descriptors::FileDescriptors::new(*left)))
        }
        _ => None,
    }
}
