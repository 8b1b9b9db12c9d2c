//! Faults of a node's process: one file each, one line in [`fault`].

mod kill;
mod pause;
mod ready;
mod restart;
mod terminate;

pub(super) use self::pause::{Wanted, settle};

use shakedown_contracts::control::ProcessFault;
use shakedown_contracts::fault::FaultId;

use super::Fault;
use crate::node_agent::node::NodeProcess;

/// The registry.
pub fn fault(action: ProcessFault, id: FaultId) -> Box<dyn Fault<NodeProcess>> {
    match action {
        ProcessFault::Kill => Box::new(kill::Kill::new(id, false)),
        ProcessFault::CrashHost => Box::new(kill::Kill::new(id, true)),
        ProcessFault::Terminate => Box::new(terminate::Terminate::new(id)),
        ProcessFault::Pause => Box::new(pause::Pause::new(id)),
        ProcessFault::Restart => Box::new(restart::Restart::new(id)),
    }
}
