//! Options of the reference cluster's fault-tolerance strategies, every default filled in.
//!
//! Each table has a `none`, the control group: what happens without the strategy. The tables that may
//! be absent change what the nodes are to each other when present. Kinds that the
//! cluster does not have yet are in [`crate::catalogue`], where plan finds them to refuse them.

use serde::{Deserialize, Serialize};

mod automation;
mod balancing;
mod chain;
mod detector;
mod raft;
mod recovery_log;
mod redundancy;
mod replication;
mod snapshot;
mod swim;
mod transactions;

pub use automation::{Automation, Supervisor};
pub use balancing::{
    Backend, Balancing, BalancingKind, CircuitBreaker, OutlierEjection, RETRIES_ALWAYS, Retry,
    Service, Shedding, default_retry_budget,
};
pub use chain::{Chain, ChainReads};
pub use detector::Detector;
pub use raft::Raft;
pub use recovery_log::{
    Checkpoint, Checksum, DEFAULT_MEAN_TIME_BETWEEN_FAILURES, Fsync, LogOptions, OnFsyncError,
    RecoveryLog,
};
pub use redundancy::{AntiEntropy, Erasure, Quorum, ReadRepair, Redundancy};
pub use replication::{
    Acknowledge, DEFAULT_LEASE, Election, Fallback, Fencing, Reads, Replication,
    default_drift_bound,
};
pub use snapshot::Snapshot;
pub use swim::Swim;
pub use transactions::{Concurrency, InDoubt, TransactionKind, Transactions};

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
    /// How a transfer between nodes becomes atomic. Absent: one group holds all accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions: Option<Transactions>,
    /// How nodes that hold an account each go back together. Absent: one group holds all accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// How values are kept on several nodes without a primary. Absent: `replication` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redundancy: Option<Redundancy>,
    /// How a balancer spreads requests. Absent: clients speak to the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balancing: Option<Balancing>,
    /// Who restarts and replaces nodes. Absent: nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automation: Option<Automation>,
}

impl Strategy {
    /// Nodes that stand by, of the last ones.
    pub fn spares(&self) -> u32 {
        self.automation.as_ref().map_or(0, Automation::spares)
    }
}
