//! `[target]`: which system, how many nodes, which strategies.

use shakedown_contracts::catalogue::{self, Choice};
use shakedown_contracts::plan::Target;
use shakedown_contracts::strategy::{
    Acknowledge, Checkpoint, Fencing, Fsync, Reads, RecoveryLog, Replication, Strategy,
};
use shakedown_contracts::units::{Bytes, Duration};

use crate::detector;
use crate::raft;
use crate::reader::{TableReader, quoted};

/// Nodes of a `local` cluster: each is a process with a namespace and an agent of its own.
const NODES_MAX: u32 = 64;

/// The target with every default filled in.
pub(crate) fn read(root: &TableReader<'_>) -> Target {
    let Some(table) = root.table("target") else {
        return target(3, default_strategy(), None);
    };
    let is_reference = read_system(&table);
    let nodes = table.integer("nodes", 1, NODES_MAX).unwrap_or(3);
    if table.has("role") {
        let key = table.key("role");
        let hint = "give `target.nodes` a number".to_owned();
        let message = "targets with roles are not available yet".to_owned();
        table
            .log
            .unavailable(&table.place("role"), &key, message, hint);
    }
    let ready_timeout = table
        .duration_above_zero("ready_timeout")
        .map(|placed| placed.value);
    let strategy = if is_reference {
        table
            .table("strategy")
            .map_or_else(default_strategy, read_strategy)
    } else {
        // The problem is the system; what its strategies would be says nothing.
        table.ignore_rest();
        default_strategy()
    };
    table.finish();
    target(nodes, strategy, ready_timeout)
}

fn target(nodes: u32, strategy: Strategy, ready_timeout: Option<Duration>) -> Target {
    Target {
        system: "reference".to_owned(),
        nodes: (1..=nodes).map(|number| format!("n{number}")).collect(),
        strategy,
        ready_timeout: ready_timeout.unwrap_or(Duration::from_secs(10)),
    }
}

fn read_system(table: &TableReader<'_>) -> bool {
    let Some(system) = table.text("system") else {
        return !table.has("system");
    };
    if system.value == "reference" {
        return true;
    }
    let message = format!("target {} is not available yet", quoted(system.value));
    let hint = "available: reference".to_owned();
    table
        .log
        .unavailable(&system.span, &table.key("system"), message, hint);
    false
}

/// The contract's defaults, with the default checkpoint written as its value, so that a plan read
/// back from its file is the same.
fn default_strategy() -> Strategy {
    let recovery_log = RecoveryLog::Redo {
        fsync: Fsync::default(),
        checkpoint: default_checkpoint(),
    };
    Strategy {
        recovery_log,
        ..Strategy::default()
    }
}

fn default_checkpoint() -> Checkpoint {
    Checkpoint::default()
        .bytes()
        .map_or(Checkpoint::None, |bytes| Checkpoint::Bytes(Bytes(bytes)))
}

fn read_strategy(table: TableReader<'_>) -> Strategy {
    let mut strategy = default_strategy();
    for (name, choices) in catalogue::STRATEGIES {
        let Some(part) = table.table(name) else {
            continue;
        };
        match (*name, read_kind(&part, name, choices)) {
            (_, None) => part.ignore_rest(),
            ("detector", Some(kind)) => strategy.detector = detector::read(&part, kind),
            ("recovery_log", Some(kind)) => strategy.recovery_log = recovery_log(&part, kind),
            ("replication", Some(kind)) => strategy.replication = replication(&part, kind),
            // The others have only their control group so far, which takes no options.
            (_, Some(_)) => {}
        }
        part.finish();
    }
    table.finish();
    strategy
}

fn read_kind(
    part: &TableReader<'_>,
    name: &'static str,
    choices: &'static [Choice],
) -> Option<&'static str> {
    if !part.has("kind") {
        let names: Vec<&str> = choices.iter().map(|choice| choice.name).collect();
        part.missing("kind", &format!("`kind` is one of {}", names.join(", ")));
        return None;
    }
    part.available("kind", name, choices)
}

fn recovery_log(part: &TableReader<'_>, kind: &str) -> RecoveryLog {
    if kind == "none" {
        return RecoveryLog::None {};
    }
    let fsync = part.choice(
        "fsync",
        &[
            ("per-operation", Fsync::PerOperation),
            ("group", Fsync::Group),
            ("interval", Fsync::Interval),
            ("never", Fsync::Never),
        ],
    );
    let checkpoint = part.text("checkpoint").and_then(|text| {
        let hint = "write \"none\", a size like \"4MiB\" or a time like \"10s\"";
        let parsed = Checkpoint::try_from(text.value.to_owned());
        let zero = |checkpoint: &Checkpoint| {
            matches!(checkpoint, Checkpoint::Bytes(bytes) if bytes.0 == 0)
                || matches!(checkpoint, Checkpoint::Every(every) if every.is_zero())
        };
        match parsed {
            Ok(checkpoint) if !zero(&checkpoint) => Some(checkpoint),
            _ => {
                let message = format!("{} is no checkpoint rule", quoted(text.value));
                part.invalid("checkpoint", message, hint);
                None
            }
        }
    });
    RecoveryLog::Redo {
        fsync: fsync.unwrap_or_default(),
        checkpoint: checkpoint.unwrap_or_else(default_checkpoint),
    }
}

fn replication(part: &TableReader<'_>, kind: &str) -> Replication {
    if kind == "none" {
        return Replication::None {};
    }
    if kind == "raft" {
        return Replication::Raft(raft::read(part));
    }
    let acknowledge = part.choice(
        "acknowledge",
        &[
            ("async", Acknowledge::Async),
            ("majority", Acknowledge::Majority),
            ("all", Acknowledge::All),
        ],
    );
    let fencing = part.choice(
        "fencing",
        &[("none", Fencing::None), ("epoch", Fencing::Epoch)],
    );
    let reads = part.choice(
        "reads",
        &[("local", Reads::Local), ("read-index", Reads::ReadIndex)],
    );
    let fencing = fencing.unwrap_or_default();
    if reads == Some(Reads::ReadIndex) && fencing == Fencing::None {
        let message = "`reads = \"read-index\"` has no effect without fencing: nobody refuses";
        part.invalid(
            "reads",
            message,
            "set `fencing = \"epoch\"`, or leave `reads` out",
        );
    }
    Replication::PrimaryBackup {
        acknowledge: acknowledge.unwrap_or_default(),
        fencing,
        reads: reads.unwrap_or_default(),
    }
}
