//! `[target.strategy] snapshot`: its options, and what it cannot stand beside.
//!
//! With a snapshot table the nodes are no group: an option of replication would have no effect, and a
//! node that keeps nothing on disk has nothing to go back to.

use shakedown_contracts::plan::WorkloadKind;
use shakedown_contracts::strategy::{RecoveryLog, Snapshot};
use shakedown_contracts::units::Duration;

use crate::reader::TableReader;

/// Below this a snapshot would begin before the one before is on disk.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The options of that kind, in the table of all strategies.
pub(crate) fn read(part: &TableReader<'_>, kind: &str, recovery_log: &RecoveryLog) -> Snapshot {
    let default = Duration::from_secs(1);
    let interval = match kind {
        "none" => default,
        _ => part
            .duration("interval")
            .map_or(default, |placed| placed.value),
    };
    if interval < INTERVAL_MIN {
        let message = format!("an interval of {interval} is too short for a snapshot");
        part.invalid("interval", message, "give at least \"10ms\"; 1s is usual");
    }
    if kind != "none" && *recovery_log == (RecoveryLog::None {}) {
        let message = "a checkpoint needs a disk, and `recovery_log` is \"none\"";
        let hint = "leave `recovery_log` out, or use `snapshot = { kind = \"none\" }`";
        part.invalid("kind", message, hint);
    }
    match kind {
        "none" => Snapshot::None {},
        "uncoordinated" => Snapshot::Uncoordinated { interval },
        _ => Snapshot::ChandyLamport { interval },
    }
}

/// Refuses a workload of which a spread bank knows nothing.
pub(crate) fn check_workload(table: &TableReader<'_>, kind: &WorkloadKind) {
    if !matches!(kind, WorkloadKind::Bank { .. }) {
        let message = "a cluster with `snapshot` has accounts and no registers";
        let hint = "use `kind = \"bank\"`, or leave `target.strategy.snapshot` out";
        table.invalid("kind", message, hint);
    }
}
