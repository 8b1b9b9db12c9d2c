//! The strategies that are compared, each with what it is compared to.

use shakedown_contracts::strategy::{
    Acknowledge, Chain, Checkpoint, Detector, Election, Erasure, Fencing, Fsync, LogOptions,
    Quorum, Raft, Reads, RecoveryLog, Redundancy, Replication, Strategy, Swim,
};
use shakedown_contracts::units::{Bytes, Duration};

/// Nodes of each group.
pub const NODES: usize = 3;

/// Two strategies that differ in one thing.
pub struct Pair {
    /// What the second has.
    pub name: &'static str,
    /// What the first has instead.
    pub against: &'static str,
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
        without: bare,
        with: bare,
    },
    Pair {
        name: "detector: fixed-timeout, every 50 ms",
        against: "none",
        without: bare,
        with: || detector(Detector::default()),
    },
    Pair {
        name: "detector: swim",
        against: "none",
        without: bare,
        with: || detector(Detector::Swim(Swim::default())),
    },
    Pair {
        name: "detector: progress-probe, every 100 ms",
        against: "none",
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
        without: bare,
        with: || log(Fsync::Never),
    },
    Pair {
        name: "recovery log: redo, fsync group",
        against: "none",
        without: bare,
        with: || log(Fsync::Group),
    },
    Pair {
        name: "recovery log: redo, fsync per operation",
        against: "none",
        without: bare,
        with: || log(Fsync::PerOperation),
    },
    Pair {
        name: "checkpoint every 64 KiB",
        against: "none",
        without: || log(Fsync::Group),
        with: || Strategy {
            recovery_log: redo(Fsync::Group, Checkpoint::Bytes(Bytes(64 << 10))),
            ..bare()
        },
    },
    Pair {
        name: "primary-backup: async",
        against: "replication none",
        without: || log(Fsync::Group),
        with: || replicated(Acknowledge::Async),
    },
    Pair {
        name: "primary-backup: semi-sync",
        against: "replication none",
        without: || log(Fsync::Group),
        with: || replicated(Acknowledge::SemiSync),
    },
    Pair {
        name: "primary-backup: majority",
        against: "replication none",
        without: || log(Fsync::Group),
        with: || replicated(Acknowledge::Majority),
    },
    Pair {
        name: "primary-backup: all",
        against: "replication none",
        without: || log(Fsync::Group),
        with: || replicated(Acknowledge::All),
    },
    Pair {
        name: "raft",
        against: "replication none",
        without: || log(Fsync::Group),
        with: || Strategy {
            replication: Replication::Raft(Raft::default()),
            ..log(Fsync::Group)
        },
    },
    Pair {
        name: "rollback log, checkpoint every 64 KiB",
        against: "redo, checkpoint every 64 KiB",
        without: || checkpointed(RecoveryLog::Redo),
        with: || checkpointed(RecoveryLog::UndoRedo),
    },
    Pair {
        name: "chain",
        against: "replication none",
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
        without: || redundant(Redundancy::None {}),
        with: || redundant(Redundancy::Quorum(Quorum::default())),
    },
    Pair {
        name: "redundancy: Reed–Solomon 2 + 1",
        against: "each key on one node",
        without: || redundant(Redundancy::None {}),
        with: || {
            redundant(Redundancy::Erasure(Erasure {
                k: 2,
                m: 1,
                ..Erasure::default()
            }))
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
