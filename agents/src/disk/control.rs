//! What an agent and its disk's server say to each other: one order, one answer, a packet each.

use serde::{Deserialize, Serialize};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::{Damage, HostFault};
use shakedown_contracts::units::Duration;

/// The largest packet; orders and answers are far smaller.
pub(super) const PACKET_BYTES_MAX: usize = 1 << 16;

/// What the server is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Operations meet this fault from now on. Answered by [`Reply::Met`].
    Begin { id: FaultId, fault: HostFault },
    /// They no longer do; what it held goes on. Answered by [`Reply::Met`].
    End { id: FaultId },
    /// Answered by [`Reply::Met`].
    Look { id: FaultId },
    /// Alter one sector that was synced. Answered by [`Reply::Damaged`].
    Damage {
        id: FaultId,
        damage: Damage,
        path: Option<String>,
    },
    /// Forget what was not synced. Answered by [`Reply::Lost`].
    Lose { id: FaultId, torn: bool },
}

/// What it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// What operations have met of a fault.
    Met(Met),
    /// Which bytes are no longer what they were.
    Damaged(Damaged),
    /// Of how many files how many bytes went.
    Lost { files: usize, bytes: u64 },
    /// It could not.
    Refused { reason: String },
}

/// What operations have met of a fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// The target's own.
    pub operations: u64,
    /// The agent's.
    pub probes: u64,
    /// Those of the target's that were delayed and have completed.
    pub delayed: u64,
    /// How much longer they took, summed.
    pub added: Duration,
    /// How much longer they were to take, summed.
    pub requested: Duration,
    /// Written bytes that failed syncs gave up.
    pub lost_bytes: u64,
}

/// A sector that was altered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The file, from the disk's root.
    pub path: String,
    /// Where the sector begins, in bytes.
    pub offset: u64,
    /// What was there.
    pub before: Vec<u8>,
}
