//! The bank: transfers lost, seen half done, done twice, or done although refused; wrong totals.
//!
//! Each account carries a journal of the transfers applied to it, so every snapshot can be judged
//! transfer by transfer. The total alone is not enough: a dropped or doubled whole transfer
//! conserves it. A side that is absent from a journal is known to be missing only when the journal
//! is complete or reaches further back than the transfer's position in the log. Positions only grow
//! along a journal; accounts on several nodes get theirs from the transaction's coordinator.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::control::initial_accounts;
use shakedown_contracts::history::{Account, Operation, Transfer};
use shakedown_contracts::plan::WorkloadKind;
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use self::anomaly::judge;
use self::sides::Side;
use super::limited;
use crate::history::ClientOperation;
use crate::samples::Samples;
use crate::text;
use crate::trial::Trial;

mod anomaly;
mod sides;

/// Samples `writes.lost`, `transactions.atomicity_violations` and `transactions.wrong_totals`.
pub fn check(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let transfers = transfers(trial);
    let snapshots: Vec<Snapshot<'_>> = trial
        .history
        .operations
        .iter()
        .filter_map(snapshot)
        .collect();
    let mut findings = lost_writes(trial, &transfers, &snapshots, samples);
    let metrics = [
        "transactions.atomicity_violations",
        "transactions.wrong_totals",
    ];
    if snapshots.is_empty() {
        for metric in metrics {
            let reason = format!(
                "no snapshot of the accounts succeeded in trial {}",
                trial.index
            );
            samples.lacking(metric, reason);
        }
        return findings;
    }
    let violations = violations(trial, &transfers, &snapshots);
    samples.add(metrics[0], violations.len() as f64);
    findings.extend(limited(violations));
    let totals = wrong_totals(trial, &snapshots);
    samples.add(metrics[1], totals.len() as f64);
    findings.extend(limited(totals));
    findings
}

/// A transfer as it was asked for.
#[derive(Debug, Clone, Copy)]
struct Asked<'t> {
    transfer: &'t Transfer,
    operation: &'t ClientOperation,
}

/// A read of all accounts that succeeded.
#[derive(Debug, Clone, Copy)]
struct Snapshot<'t> {
    accounts: &'t [Account],
    at: Moment,
    last: bool,
}

fn transfers<'t>(trial: &'t Trial<'_>) -> BTreeMap<u64, Asked<'t>> {
    let operations = trial.history.operations.iter();
    operations
        .filter_map(|operation| match &operation.operation {
            Operation::Transfer(transfer) => Some((
                transfer.id,
                Asked {
                    transfer,
                    operation,
                },
            )),
            _ => None,
        })
        .collect()
}

fn snapshot(operation: &ClientOperation) -> Option<Snapshot<'_>> {
    let at = operation.ok()?.at;
    match &operation.operation {
        Operation::ReadAll(Some(accounts)) => Some(Snapshot {
            accounts,
            at,
            last: operation.final_read,
        }),
        _ => None,
    }
}

fn lost_writes(
    trial: &Trial<'_>,
    transfers: &BTreeMap<u64, Asked<'_>>,
    snapshots: &[Snapshot<'_>],
    samples: &mut Samples,
) -> Vec<Finding> {
    if !trial.plan.workload.final_reads {
        samples.lacking(
            "writes.lost",
            "the workload has final_reads = false".to_owned(),
        );
        return Vec::new();
    }
    let whole = |snapshot: &&Snapshot<'_>| {
        snapshot.last
            && snapshot
                .accounts
                .iter()
                .all(|account| account.journal_complete)
    };
    let Some(end) = snapshots.iter().rev().find(whole) else {
        let reason = format!(
            "the accounts with their whole journals could not be read after settling in trial {}",
            trial.index
        );
        samples.lacking("writes.lost", reason);
        return Vec::new();
    };
    let present = present(trial, transfers, end);
    let gone = transfers.values().filter_map(|asked| {
        let at = asked.operation.ok()?.at;
        (!present.contains(&asked.transfer.id)).then(|| {
            let by = asked
                .operation
                .ok()
                .and_then(|completion| completion.node.as_deref());
            let explanation = format!(
                "{} acknowledged {} at {}; after settling it is in no account's journal",
                by.unwrap_or("the cluster"),
                told(asked.transfer),
                text::since(trial.timeline.started, at)
            );
            finding(trial, "lost write", explanation, at)
        })
    });
    let missing = missing_accounts(trial, end).map(|key| {
        let explanation =
            format!("account {key}, opened before the warm-up, is gone after settling");
        finding(trial, "lost write", explanation, end.at)
    });
    let lost: Vec<Finding> = missing.chain(gone).collect();
    samples.add("writes.lost", lost.len() as f64);
    limited(lost)
}

/// The transfers that are done, on one side at least.
fn present(
    trial: &Trial<'_>,
    transfers: &BTreeMap<u64, Asked<'_>>,
    end: &Snapshot<'_>,
) -> BTreeSet<u64> {
    let compensates = sides::compensates(trial.plan);
    let is_done = |id: u64, sides: &[Side<'_>]| {
        transfers.get(&id).is_none_or(|asked| {
            let mut sides = sides.iter();
            sides.any(|side| side.present(asked.transfer, compensates).is_some())
        })
    };
    let sides = sides::by_transfer(end.accounts).into_iter();
    sides
        .filter(|(id, sides)| is_done(*id, sides))
        .map(|(id, _)| id)
        .collect()
}

fn missing_accounts(trial: &Trial<'_>, snapshot: &Snapshot<'_>) -> impl Iterator<Item = String> {
    let present: BTreeSet<&str> = snapshot
        .accounts
        .iter()
        .map(|account| account.key.as_str())
        .collect();
    let opened = initial_accounts(&trial.plan.workload.kind);
    let missing: Vec<String> = opened
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| !present.contains(key.as_str()))
        .collect();
    missing.into_iter()
}

/// Each wrong thing about a transfer once, however many snapshots show it.
fn violations(
    trial: &Trial<'_>,
    transfers: &BTreeMap<u64, Asked<'_>>,
    snapshots: &[Snapshot<'_>],
) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    let compensates = sides::compensates(trial.plan);
    for snapshot in snapshots {
        for (id, sides) in sides::by_transfer(snapshot.accounts) {
            let asked = transfers.get(&id);
            for (wrong, how) in judge(asked, &sides, snapshot.accounts, compensates) {
                if seen.insert((id, wrong)) {
                    let what = transfers
                        .get(&id)
                        .map_or(format!("transfer {id}"), |asked| told(asked.transfer));
                    let explanation = format!(
                        "{what} {how}; seen by the read{} that ended at {}",
                        if snapshot.last { " after settling" } else { "" },
                        text::since(trial.timeline.started, snapshot.at)
                    );
                    findings.push(finding(trial, wrong.kind(), explanation, snapshot.at));
                }
            }
        }
    }
    findings
}

fn wrong_totals(trial: &Trial<'_>, snapshots: &[Snapshot<'_>]) -> Vec<Finding> {
    let WorkloadKind::Bank {
        keys,
        initial_balance,
        ..
    } = trial.plan.workload.kind
    else {
        return Vec::new();
    };
    let expected = i128::from(keys) * i128::from(initial_balance);
    snapshots
        .iter()
        // Without all accounts there is no total; a missing account is a finding of its own.
        .filter(|snapshot| missing_accounts(trial, snapshot).next().is_none())
        .filter_map(|snapshot| {
            let total: i128 = snapshot
                .accounts
                .iter()
                .map(|account| i128::from(account.balance))
                .sum();
            (total != expected).then(|| {
                let at = text::since(trial.timeline.started, snapshot.at);
                let explanation = format!(
                    "the accounts read at {at} hold {total} together instead of {expected}"
                );
                finding(trial, "wrong total", explanation, snapshot.at)
            })
        })
        .collect()
}

fn told(transfer: &Transfer) -> String {
    format!(
        "transfer {} of {} from {} to {}",
        transfer.id, transfer.amount, transfer.from, transfer.to
    )
}

fn finding(trial: &Trial<'_>, kind: &str, explanation: String, at: Moment) -> Finding {
    Finding {
        trial: trial.index,
        kind: kind.to_owned(),
        explanation,
        at: Some(at),
    }
}

#[cfg(test)]
mod tests;
