//! `[workload]`: what clients do, how often, from where.

use std::collections::BTreeMap;

use shakedown_contracts::catalogue;
use shakedown_contracts::plan::{ClientGroup, Target, Workload, WorkloadKind};
use shakedown_contracts::units::Duration;

use crate::reader::{TableReader, quoted};
use crate::tree::Value;
use crate::{redundancy, snapshot, suggestion};

/// Clients are tasks of a worker process; beyond this the harness measures itself.
const CLIENTS_MAX: u32 = 10_000;
/// Operations a second; one machine offers no more without being late.
const RATE_MAX: f64 = 1_000_000.0;
/// Keys or accounts.
const KEYS_MAX: u32 = 1_000_000;
/// How far the shares of a mix may be from 1.
const MIX_TOLERANCE: f64 = 1e-3;

/// The operations of each workload with their shares, as [`WorkloadKind`] documents them.
const REGISTER_MIX: &[(&str, f64)] = &[("read", 0.5), ("write", 0.3), ("cas", 0.2)];
/// Where nobody can compare and set in one step.
const PLAIN_REGISTER_MIX: &[(&str, f64)] = &[("read", 0.5), ("write", 0.5)];
const REQUESTS_MIX: &[(&str, f64)] = &[("call", 1.0)];
const BANK_MIX: &[(&str, f64)] = &[("read", 0.5), ("transfer", 0.5)];

/// The workload with every default filled in.
pub(crate) fn read(root: &TableReader<'_>, target: &Target) -> Workload {
    let empty = crate::tree::Table::default();
    let table = root
        .table("workload")
        .unwrap_or_else(|| TableReader::new(&empty, 0..0, "workload", root.log));
    let name = match table.has("kind") {
        true => table.available("kind", "workload", catalogue::WORKLOADS),
        false if target.strategy.balancing.is_some() => Some("requests"),
        false => Some("register"),
    };
    check_against_target(&table, name, target);
    let (kind, mix) = match name {
        Some("requests") => (requests(&table), read_mix(&table, "requests", REQUESTS_MIX)),
        Some("bank") => (bank(&table), read_mix(&table, "bank", BANK_MIX)),
        Some(_) if target.strategy.redundancy.is_some() && !table.has("mix") => {
            (register(&table), shares(PLAIN_REGISTER_MIX))
        }
        Some(_) => (register(&table), read_mix(&table, "register", REGISTER_MIX)),
        None => {
            // What its options mean is not known, or not yet.
            table.ignore_rest();
            (
                register(&TableReader::new(&empty, 0..0, "", root.log)),
                shares(REGISTER_MIX),
            )
        }
    };
    if target.strategy.snapshot.is_some() {
        snapshot::check_workload(&table, &kind);
    }
    redundancy::check_workload(&table, target, &kind, mix.contains_key("cas"));
    if target.strategy.transactions.is_some() && matches!(kind, WorkloadKind::Register { .. }) {
        let message = "with `transactions` the cluster holds accounts, not registers";
        table.invalid("kind", message, "set `workload.kind = \"bank\"`");
    }
    let clients = table.integer("clients", 1, CLIENTS_MAX).unwrap_or(8);
    let timeout = table
        .duration_above_zero("timeout")
        .map(|placed| placed.value);
    let workload = Workload {
        kind,
        clients,
        groups: read_groups(&table, clients, target),
        rate: table.positive("rate", RATE_MAX).unwrap_or(200.0),
        mix,
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
        final_reads: read_final_reads(&table, name),
    };
    table.finish();
    workload
}

fn register(table: &TableReader<'_>) -> WorkloadKind {
    let keys = table.integer("keys", 1, KEYS_MAX).unwrap_or(5);
    let never = table
        .entry("operations_per_key")
        .is_some_and(|entry| matches!(&entry.node.value, Value::Text(text) if text == "none"));
    let operations_per_key = match never {
        true => None,
        false => Some(
            table
                .integer("operations_per_key", 1, u32::MAX)
                .unwrap_or(400),
        ),
    };
    WorkloadKind::Register {
        keys,
        operations_per_key,
    }
}

fn bank(table: &TableReader<'_>) -> WorkloadKind {
    let keys = table.integer("keys", 2, KEYS_MAX).unwrap_or(10);
    const MONEY_MAX: i64 = 1_000_000_000;
    let initial_balance = table
        .integer("initial_balance", 1, MONEY_MAX)
        .unwrap_or(100);
    let transfer_max = table.integer("transfer_max", 1, MONEY_MAX);
    let transfer_max = transfer_max.unwrap_or_else(|| initial_balance.min(5));
    if transfer_max > initial_balance {
        let message = format!(
            "the largest transfer ({transfer_max}) is above what an account holds at first ({initial_balance})"
        );
        table.invalid(
            "transfer_max",
            message,
            "most transfers would be refused; give a smaller one",
        );
    }
    WorkloadKind::Bank {
        keys,
        initial_balance,
        transfer_max,
    }
}

fn requests(table: &TableReader<'_>) -> WorkloadKind {
    let keys = table.integer("keys", 1, KEYS_MAX).unwrap_or(1_000);
    let hot = table.ratio("hot").unwrap_or_default();
    if keys == 1 && table.has("hot") {
        let message = "`hot` has no effect on a single key";
        table.invalid("hot", message, "give more `keys`, or leave it out");
    }
    WorkloadKind::Requests { keys, hot }
}

/// Calls are for a balancer's backends, and those serve nothing else.
fn check_against_target(table: &TableReader<'_>, name: Option<&str>, target: &Target) {
    let balanced = target.strategy.balancing.is_some();
    let message = match name {
        Some("requests") if !balanced => "workload `requests` needs a balancer",
        Some("register" | "bank") if balanced => "backends behind a balancer keep no data",
        _ => return,
    };
    let hint = match balanced {
        false => "add `target.strategy.balancing`, or use \"register\"",
        true => "use `kind = \"requests\"`, or leave `target.strategy.balancing` out",
    };
    table.invalid("kind", message, hint);
}

fn read_final_reads(table: &TableReader<'_>, name: Option<&str>) -> bool {
    let written = table.boolean("final_reads");
    if name != Some("requests") {
        return written.unwrap_or(true);
    }
    if written == Some(true) {
        let message = "there is nothing to read back: nothing is kept of a call";
        table.invalid("final_reads", message, "leave it out");
    }
    false
}

fn shares(mix: &[(&str, f64)]) -> BTreeMap<String, f64> {
    mix.iter()
        .map(|(name, share)| ((*name).to_owned(), *share))
        .collect()
}

fn read_mix(
    table: &TableReader<'_>,
    workload: &str,
    default: &[(&'static str, f64)],
) -> BTreeMap<String, f64> {
    let Some(entry) = table.entry("mix") else {
        return shares(default);
    };
    let Value::Table(written) = &entry.node.value else {
        let message = format!(
            "`workload.mix` must be a table, this is {}",
            entry.node.value.type_name()
        );
        table.invalid("mix", message, "write it like { read = 0.5, write = 0.5 }");
        return shares(default);
    };
    let mut mix = BTreeMap::new();
    let mut sound = true;
    for operation in &written.entries {
        let key = format!("workload.mix.{}", operation.key);
        let share = match operation.node.value {
            Value::Float(share) => share,
            Value::Integer(share) => share as f64,
            _ => f64::NAN,
        };
        if !default.iter().any(|(name, _)| *name == operation.key) {
            let names = default.iter().map(|(name, _)| *name);
            let hint = suggestion::hint(&operation.key, "its operations are", names);
            let message = format!(
                "a {workload} workload has no operation {}",
                quoted(&operation.key)
            );
            table
                .log
                .invalid(&operation.key_span, &key, message, Some(hint));
            sound = false;
        } else if !(0.0..=1.0).contains(&share) {
            let message = format!("the share of `{}` is no number from 0 to 1", operation.key);
            table.log.invalid(&operation.node.span, &key, message, None);
            sound = false;
        } else if share > 0.0 {
            mix.insert(operation.key.clone(), share);
        }
    }
    let sum: f64 = mix.values().sum();
    if sound && (sum - 1.0).abs() > MIX_TOLERANCE {
        let message = format!(
            "the shares of `workload.mix` sum to {}",
            (sum * 1e4).round() / 1e4
        );
        table.invalid("mix", message, "shares sum to 1");
    }
    mix
}

#[derive(Clone, Copy)]
enum Placement {
    Outside,
    Beside,
}

fn read_groups(table: &TableReader<'_>, clients: u32, target: &Target) -> Vec<ClientGroup> {
    let placements = [
        ("outside", Placement::Outside),
        ("beside", Placement::Beside),
    ];
    let group = |index: usize, beside: Option<String>, clients| ClientGroup {
        name: format!("c{}", index + 1),
        beside,
        clients,
    };
    match table
        .choice("placement", &placements)
        .unwrap_or(Placement::Outside)
    {
        Placement::Outside => vec![group(0, None, clients)],
        Placement::Beside => {
            let nodes = u32::try_from(target.nodes.len()).unwrap_or(u32::MAX);
            if clients < nodes {
                let message = format!("{clients} clients cannot stand beside {nodes} nodes");
                let hint = format!("give at least {nodes} clients, or `placement = \"outside\"`");
                table.invalid(
                    if table.has("clients") {
                        "clients"
                    } else {
                        "placement"
                    },
                    message,
                    hint,
                );
            }
            let spread = |index: usize| {
                clients / nodes + u32::from((index as u64) < u64::from(clients % nodes))
            };
            let groups = target.nodes.iter().enumerate();
            groups
                .map(|(index, node)| group(index, Some(node.clone()), spread(index)))
                .collect()
        }
    }
}
