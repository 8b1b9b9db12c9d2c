//! What the nodes are to each other: a group that replicates, or what one other table makes of them.
//!
//! A node runs one machine for its clients, so at most one table may choose it. A new strategy that
//! brings a machine of its own is one line here.

use shakedown_contracts::strategy::{RecoveryLog, Replication, Strategy};

use crate::reader::TableReader;

/// Tables of `[target.strategy]` that take the place of `replication` when they are present.
const TABLES: &[&str] = &["snapshot", "transactions", "redundancy", "balancing"];

/// Refuses two tables that choose; without replication beside one of [`TABLES`].
pub(crate) fn settle(table: &TableReader<'_>, strategy: &mut Strategy) {
    let mut present = TABLES.iter().filter(|name| table.has(name));
    let Some(chosen) = present.next() else {
        return;
    };
    for other in present {
        let message = format!("`{other}` and `{chosen}` both say what the nodes are");
        table.invalid(other, message, "leave one of the two out");
    }
    if table.has("replication") && strategy.replication != (Replication::None {}) {
        let message = format!("`replication` and `{chosen}` both say what the nodes are");
        let hint = "leave one of the two out, or set `replication = { kind = \"none\" }`";
        table.invalid("replication", message, hint);
    }
    strategy.replication = Replication::None {};
    let logged = *chosen != "balancing";
    if logged && matches!(strategy.recovery_log, RecoveryLog::UndoRedo(_)) {
        let message = format!("`undo-redo` has no effect with `{chosen}`: nothing is in flight");
        let hint = "set `recovery_log.kind = \"redo\"`";
        table.invalid("recovery_log", message, hint);
    }
}
