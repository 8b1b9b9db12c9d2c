//! Options of the reference cluster's fault-tolerance strategies, every default filled in.
//!
//! Each table has a `none`, the control group: what happens without the strategy. Kinds that the
//! cluster does not have yet are in [`crate::catalogue`], where plan finds them to refuse them.

use serde::{Deserialize, Serialize};

mod detector;
mod raft;
mod recovery_log;
mod replication;
mod swim;

pub use detector::Detector;
pub use raft::Raft;
pub use recovery_log::{
    Checkpoint, Checksum, DEFAULT_MEAN_TIME_BETWEEN_FAILURES, Fsync, RecoveryLog,
};
pub use replication::{
    Acknowledge, DEFAULT_LEASE, Election, Fallback, Fencing, Reads, Replication,
    default_drift_bound,
};
pub use swim::Swim;

/// The strategies of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Strategy {
    /// Who notices a failure.
    pub detector: Detector,
    /// What a node remembers over its own death.
    pub recovery_log: RecoveryLog,
    /// How many nodes hold the data, and who takes over.
    pub replication: Replication,
}
