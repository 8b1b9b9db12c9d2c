//! The strategies that are compared, each with what it is compared to.

use shakedown_contracts::strategy::{
    Acknowledge, Automation, Backend, Balancing, BalancingKind, Chain, Checkpoint, CircuitBreaker,
    Detector, Election, Erasure, Fencing, Fsync, LogOptions, OutlierEjection, Quorum, Raft, Reads,
    RecoveryLog, Redundancy, Replication, Retry, Service, Strategy, Supervisor, Swim,
    TransactionKind, Transactions, default_retry_budget,
};
use shakedown_contracts::units::{Bytes, Duration};

use super::load::Operation;

/// Nodes of each group.
pub const NODES: usize = 3;

/// Two strategies that differ in one thing.
pub struct Pair {
    /// What the second has.
    pub name: &'static str,
    /// What the first has instead.
    pub against: &'static str,
    /// What both are asked.
    pub operation: Operation,
    /// The control.
    pub without: fn() -> Strategy,
    /// The other.
    pub with: fn() -> Strategy,
}

/// In the order of the table; the control of all comparisons first.
pub const PAIRS: &[Pair] = &[
    Pair {
        name: "the same (A/A)",
        against: "nothing",
        operation: Operation::Write,
        without: bare,
        with: bare,
    },
    Pair {
        name: "detector: fixed-timeout, every 50 ms",
        against: "none",
        operation: Operation::Write,
        without: bare,
        with: || detector(Detector::default()),
    },
    Pair {
        name: "detector: swim",
        against: "none",
        operation: Operation::Write,
        without: bare,
        with: || detector(Detector::Swim(Swim::default())),
    },
    Pair {
        name: "detector: progress-probe, every 100 ms",
        against: "none",
        operation: Operation::Write,
        without: bare,
        with: || {
            detector(Detector::ProgressProbe {
                probe_interval: Duration::from_millis(100),
                timeout: Duration::from_secs(1),
            })
        },
    },
    Pair {
        name: "recovery log: redo, fsync never",
        against: "none",
        operation: Operation::Write,
        without: bare,
        with: || log(Fsync::Never),
    },
    Pair {
        name: "recovery log: redo, fsync group",
        against: "none",
        operation: Operation::Write,
        without: bare,
        with: || log(Fsync::Group),
    },
    Pair {
        name: "recovery log: redo, fsync per operation",
        against: "none",
        operation: Operation::Write,
        without: bare,
        with: || log(Fsync::PerOperation),
    },
    Pair {
        name: "checkpoint every 64 KiB",
        against: "none",
        operation: Operation::Write,
        without: || log(Fsync::Group),
        with: || Strategy {
            recovery_log: redo(Fsync::Group, Checkpoint::Bytes(Bytes(64 << 10))),
            ..bare()
        },
    },
    Pair {
        name: "primary-backup: async",
        against: "replication none",
        operation: Operation::Write,
        without: || log(Fsync::Group),
        with: || replicated(Acknowledge::Async),
    },
    Pair {
        name: "primary-backup: semi-sync",
        against: "replication none",
        operation: Operation::Write,
        without: || log(Fsync::Group),
        with: || replicated(Acknowledge::SemiSync),
    },
    Pair {
        name: "primary-backup: majority",
        against: "replication none",
        operation: Operation::Write,
        without: || log(Fsync::Group),
        with: || replicated(Acknowledge::Majority),
    },
    Pair {
        name: "primary-backup: all",
        against: "replication none",
        operation: Operation::Write,
        without: || log(Fsync::Group),
        with: || replicated(Acknowledge::All),
    },
    Pair {
        name: "raft",
        against: "replication none",
        operation: Operation::Write,
        without: || log(Fsync::Group),
        with: || Strategy {
            replication: Replication::Raft(Raft::default()),
            ..log(Fsync::Group)
        },
    },
    Pair {
        name: "rollback log, checkpoint every 64 KiB",
        against: "redo, checkpoint every 64 KiB",
        operation: Operation::Write,
        without: || checkpointed(RecoveryLog::Redo),
        with: || checkpointed(RecoveryLog::UndoRedo),
    },
    Pair {
        name: "chain",
        against: "replication none",
        operation: Operation::Write,
        without: || log(Fsync::Group),
        with: || Strategy {
            detector: Detector::default(),
            replication: Replication::Chain(Chain::default()),
            ..log(Fsync::Group)
        },
    },
    Pair {
        name: "redundancy: three copies, r 2, w 2",
        against: "each key on one node",
        operation: Operation::Write,
        without: || redundant(Redundancy::None {}),
        with: || redundant(Redundancy::Quorum(Quorum::default())),
    },
    Pair {
        name: "redundancy: Reed–Solomon 2 + 1",
        against: "each key on one node",
        operation: Operation::Write,
        without: || redundant(Redundancy::None {}),
        with: || {
            redundant(Redundancy::Erasure(Erasure {
                k: 2,
                m: 1,
                ..Erasure::default()
            }))
        },
    },
    Pair {
        name: "transactions: two-phase commit",
        against: "each side written alone",
        operation: Operation::Transfer,
        without: || transacting(TransactionKind::None),
        with: || transacting(TransactionKind::TwoPhaseCommit),
    },
    Pair {
        name: "transactions: three-phase commit",
        against: "each side written alone",
        operation: Operation::Transfer,
        without: || transacting(TransactionKind::None),
        with: || transacting(TransactionKind::ThreePhaseCommit),
    },
    Pair {
        name: "transactions: Paxos commit",
        against: "each side written alone",
        operation: Operation::Transfer,
        without: || transacting(TransactionKind::None),
        with: || transacting(TransactionKind::PaxosCommit),
    },
    Pair {
        name: "transactions: saga",
        against: "each side written alone",
        operation: Operation::Transfer,
        without: || transacting(TransactionKind::None),
        with: || transacting(TransactionKind::Saga),
    },
    Pair {
        name: "balancing: better of two, watched, retried",
        against: "each key has its backend",
        operation: Operation::Call,
        without: || balanced(plain(BalancingKind::None)),
        with: || balanced(watchful()),
    },
    Pair {
        name: "automation: supervisor",
        against: "nobody",
        operation: Operation::Write,
        without: || replicated(Acknowledge::Majority),
        with: || Strategy {
            automation: Some(Automation::Supervisor(Supervisor::default())),
            ..replicated(Acknowledge::Majority)
        },
    },
];

fn bare() -> Strategy {
    Strategy {
        detector: Detector::None {},
        recovery_log: RecoveryLog::None {},
        replication: Replication::None {},
        ..Strategy::default()
    }
}

fn detector(detector: Detector) -> Strategy {
    Strategy { detector, ..bare() }
}

fn redo(fsync: Fsync, checkpoint: Checkpoint) -> RecoveryLog {
    RecoveryLog::Redo(LogOptions {
        fsync,
        checkpoint,
        ..LogOptions::default()
    })
}

fn log(fsync: Fsync) -> Strategy {
    Strategy {
        recovery_log: redo(fsync, Checkpoint::None),
        ..bare()
    }
}

fn replicated(acknowledge: Acknowledge) -> Strategy {
    Strategy {
        detector: Detector::default(),
        replication: Replication::PrimaryBackup {
            acknowledge,
            fallback: None,
            fencing: Fencing::Epoch,
            election: Election::UpToDate,
            reads: Reads::ReadIndex,
            lease: None,
            drift_bound: None,
        },
        ..log(Fsync::Group)
    }
}

/// Primary-backup with either log, so that something is in flight at a checkpoint.
fn checkpointed(log: fn(LogOptions) -> RecoveryLog) -> Strategy {
    let options = LogOptions {
        fsync: Fsync::Group,
        checkpoint: Checkpoint::Bytes(Bytes(64 << 10)),
        ..LogOptions::default()
    };
    Strategy {
        recovery_log: log(options),
        ..replicated(Acknowledge::Majority)
    }
}

fn redundant(redundancy: Redundancy) -> Strategy {
    Strategy {
        detector: Detector::default(),
        redundancy: Some(redundancy),
        ..log(Fsync::Group)
    }
}

fn transacting(kind: TransactionKind) -> Strategy {
    Strategy {
        detector: Detector::default(),
        transactions: Some(Transactions::of(kind)),
        ..log(Fsync::Group)
    }
}

fn balanced(balancing: Balancing) -> Strategy {
    Strategy {
        detector: Detector::default(),
        balancing: Some(balancing),
        ..bare()
    }
}

/// Backends that could serve far more than they are asked, so that what the balancer does shows.
fn plain(kind: BalancingKind) -> Balancing {
    let backend = Backend {
        slots: 64,
        service_time: Duration::from_micros(100),
        service: Service::Fixed,
        ..Backend::default()
    };
    Balancing {
        kind,
        bound: None,
        health_check: false,
        outlier_ejection: None,
        circuit_breaker: None,
        attempt_timeout: Duration::from_millis(250),
        timeout: Duration::from_secs(1),
        retry: Retry::None,
        retry_budget: None,
        hedging: None,
        slow_start: None,
        backend,
    }
}

fn watchful() -> Balancing {
    Balancing {
        health_check: true,
        outlier_ejection: Some(OutlierEjection::default()),
        circuit_breaker: Some(CircuitBreaker::default()),
        retry: Retry::Budget,
        retry_budget: Some(default_retry_budget()),
        ..plain(BalancingKind::PowerOfTwoChoices)
    }
}
