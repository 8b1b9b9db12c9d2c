//! Faults of a node's clock: one file each, one line in [`fault`].

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::HostFault;

use super::Fault;
use crate::node_agent::node::NodeProcess;

/// The registry; `None` for what another room does.
pub fn fault(_fault: &HostFault, _id: &FaultId) -> Option<Box<dyn Fault<NodeProcess>>> {
    None
}
