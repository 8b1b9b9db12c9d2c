//! `[target]`: which system, how many nodes, which strategies.

use shakedown_contracts::catalogue::{self, Choice};
use shakedown_contracts::node::MemberKind;
use shakedown_contracts::plan::{Companion, Target};
use shakedown_contracts::strategy::{Automation, Strategy};
use shakedown_contracts::units::Duration;

use crate::reader::{TableReader, quoted};
use crate::{
    automation, balancing, detector, node_kind, recovery_log, redundancy, replication, snapshot,
    transactions,
};

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
            .map_or_else(default_strategy, |table| read_strategy(table, nodes))
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
        companions: companions(&strategy),
        strategy,
        ready_timeout: ready_timeout.unwrap_or(Duration::from_secs(10)),
    }
}

/// Processes besides the nodes that the strategies bring along.
fn companions(strategy: &Strategy) -> Vec<Companion> {
    let mut companions = Vec::new();
    companions.extend(strategy.balancing.as_ref().map(|_| balancing::companion()));
    if let Some(Automation::Supervisor(_)) = strategy.automation {
        companions.push(Companion {
            name: "s1".to_owned(),
            kind: MemberKind::Supervisor,
        });
    }
    companions
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
    Strategy {
        recovery_log: recovery_log::default(),
        ..Strategy::default()
    }
}

fn read_strategy(table: TableReader<'_>, nodes: u32) -> Strategy {
    let mut strategy = default_strategy();
    for (name, choices) in catalogue::STRATEGIES {
        let Some(part) = table.table(name) else {
            continue;
        };
        match (*name, read_kind(&part, name, choices)) {
            (_, None) => part.ignore_rest(),
            ("detector", Some(kind)) => strategy.detector = detector::read(&part, kind),
            ("recovery_log", Some(kind)) => strategy.recovery_log = recovery_log::read(&part, kind),
            ("replication", Some(kind)) => {
                strategy.replication = replication::read(&part, kind, strategy.detector.beat())
            }
            ("snapshot", Some(kind)) => {
                let log = &strategy.recovery_log;
                strategy.snapshot = Some(snapshot::read(&part, kind, log));
            }
            ("transactions", Some(kind)) => {
                strategy.transactions = Some(transactions::read(&part, kind));
            }
            ("redundancy", Some(kind)) => strategy.redundancy = Some(redundancy::read(&part, kind)),
            ("balancing", Some(kind)) => strategy.balancing = Some(balancing::read(&part, kind)),
            ("automation", Some(kind)) => {
                strategy.automation = Some(automation::read(&part, kind, nodes, &strategy));
            }
            (_, Some(_)) => {}
        }
        part.finish();
    }
    node_kind::settle(&table, &mut strategy);
    balancing::complete(&table, &mut strategy);
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
