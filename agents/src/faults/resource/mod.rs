//! Faults of what a node's host gives it: one file each, one line in [`fault`].

mod cpu;
mod dns;
mod file_descriptors;
mod hog;
mod memory;
mod quota;

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::HostFault;

use super::Fault;
use crate::node_agent::node::NodeProcess;

/// The registry; `None` for what another room does.
pub fn fault(fault: &HostFault, id: &FaultId) -> Option<Box<dyn Fault<NodeProcess>>> {
    match fault {
        HostFault::Cpu { hogs, quota } => Some(Box::new(cpu::Cpu::new(id, *hogs, *quota))),
        HostFault::Memory { limit, pressure } => Some(Box::new(memory::Memory {
            id: id.clone(),
            limit: *limit,
            pressure: *pressure,
            holder: None,
        })),
        HostFault::Dns(fault) => Some(Box::new(dns::Dns {
            id: id.clone(),
            fault: fault.clone(),
        })),
        HostFault::FileDescriptors { left } => {
            Some(Box::new(file_descriptors::FileDescriptors::new(*left)))
        }
        _ => None,
    }
}
