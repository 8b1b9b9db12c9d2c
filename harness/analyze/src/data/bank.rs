//! The bank: transfers lost, seen half done, done twice, or done although refused; wrong totals.
//!
//! Each account carries a journal of the transfers applied to it, so every snapshot can be judged
//! transfer by transfer. The total alone is not enough: a dropped or doubled whole transfer
//! conserves it. A side that is absent from a journal is known to be missing only when the journal
//! is complete or reaches further back than the transfer's position in the log.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::control::initial_accounts;
use shakedown_contracts::history::{Account, JournalEntry, Operation, Transfer};
use shakedown_contracts::plan::WorkloadKind;
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use super::limited;
use crate::history::ClientOperation;
use crate::samples::Samples;
use crate::text;
use crate::trial::Trial;

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
    let present: BTreeSet<u64> = end
        .accounts
        .iter()
        .flat_map(|account| &account.journal)
        .map(|entry| entry.id)
        .collect();
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

/// What is wrong with a transfer in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Anomaly {
    HalfDone,
    WrongAmount,
    Twice,
    AfterRefusal,
    Unknown,
}

impl Anomaly {
    const fn kind(self) -> &'static str {
        match self {
            Anomaly::HalfDone => "half a transfer",
            Anomaly::WrongAmount => "wrong amount",
            Anomaly::Twice => "transfer applied twice",
            Anomaly::AfterRefusal => "failed transfer took effect",
            Anomaly::Unknown => "transfer from nowhere",
        }
    }
}

/// Each wrong thing about a transfer once, however many snapshots show it.
fn violations(
    trial: &Trial<'_>,
    transfers: &BTreeMap<u64, Asked<'_>>,
    snapshots: &[Snapshot<'_>],
) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for snapshot in snapshots {
        // By transfer: (id, account, entry), sorted, so that its sides stand together.
        let mut sides: Vec<(u64, &Account, &JournalEntry)> = Vec::new();
        for account in snapshot.accounts {
            sides.extend(
                account
                    .journal
                    .iter()
                    .map(|entry| (entry.id, account, entry)),
            );
        }
        sides.sort_by(|left, right| (left.0, &left.1.key).cmp(&(right.0, &right.1.key)));
        for sides in sides.chunk_by(|left, right| left.0 == right.0) {
            let id = sides[0].0;
            for (wrong, how) in judge(transfers.get(&id), sides, snapshot.accounts) {
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

/// Everything that is wrong with one transfer in one snapshot.
fn judge(
    asked: Option<&Asked<'_>>,
    sides: &[(u64, &Account, &JournalEntry)],
    accounts: &[Account],
) -> Vec<(Anomaly, String)> {
    let Some(asked) = asked else {
        return vec![(
            Anomaly::Unknown,
            format!(
                "is in the journal of {} though no client asked for it",
                sides[0].1.key
            ),
        )];
    };
    let transfer = asked.transfer;
    let mut wrong = Vec::new();
    if asked.operation.failed() {
        wrong.push((
            Anomaly::AfterRefusal,
            "was refused and took effect all the same".to_owned(),
        ));
    }
    for (_, account, entry) in sides {
        let expected = match &account.key {
            key if *key == transfer.from => -transfer.amount,
            key if *key == transfer.to => transfer.amount,
            _ => 0,
        };
        if entry.delta != expected {
            let how = format!(
                "changed {} by {} instead of {expected}",
                account.key, entry.delta
            );
            wrong.push((Anomaly::WrongAmount, how));
        }
    }
    if let Some(pair) = sides.windows(2).find(|pair| pair[0].1.key == pair[1].1.key) {
        wrong.push((
            Anomaly::Twice,
            format!("was applied twice to {}", pair[0].1.key),
        ));
    }
    for (there, missing) in [
        (&transfer.from, &transfer.to),
        (&transfer.to, &transfer.from),
    ] {
        let side = |key: &String| sides.iter().find(|(_, account, _)| account.key == *key);
        if let (Some((_, _, entry)), None) = (side(there), side(missing))
            && certainly_absent(
                accounts.iter().find(|account| account.key == *missing),
                entry,
            )
        {
            wrong.push((
                Anomaly::HalfDone,
                format!("is in {there} but not in {missing}"),
            ));
        }
    }
    wrong
}

/// Whether the account's journal would show the transfer of `entry` if it had been applied.
fn certainly_absent(account: Option<&Account>, entry: &JournalEntry) -> bool {
    account.is_none_or(|account| {
        account.journal_complete
            || account
                .journal
                .first()
                .is_some_and(|oldest| oldest.position < entry.position)
    })
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
