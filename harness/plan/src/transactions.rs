//! `[target.strategy] transactions`: its options, and which of them mean nothing in a kind.
//!
//! With this table accounts are spread over all nodes and nothing else is on two of them, so
//! `replication` is `none`: that is its default here, and anything else is refused.

use shakedown_contracts::strategy::{Concurrency, InDoubt, TransactionKind, Transactions};
use shakedown_contracts::units::Duration;

use crate::reader::TableReader;

/// Below this the machine's own scheduling decides what is late.
const TIME_MIN: Duration = Duration::from_millis(1);

/// The transactions of that kind, with the contract's defaults for what is not written.
pub(crate) fn read(part: &TableReader<'_>, kind: &str) -> Transactions {
    let kind = match kind {
        "two-phase-commit" => TransactionKind::TwoPhaseCommit,
        "three-phase-commit" => TransactionKind::ThreePhaseCommit,
        "paxos-commit" => TransactionKind::PaxosCommit,
        "saga" => TransactionKind::Saga,
        _ => TransactionKind::None,
    };
    let default = Transactions::of(kind);
    let prepare_timeout = part.duration("prepare_timeout").map(|placed| placed.value);
    let transactions = Transactions {
        kind,
        prepare_timeout: prepare_timeout.unwrap_or(default.prepare_timeout),
        decision_retry: time(part, "decision_retry", default.decision_retry),
        concurrency: concurrency(part, default.concurrency),
        lock_ttl: time(part, "lock_ttl", default.lock_ttl),
        hold_before_decision: hold(part, kind),
        cooperative_termination: switch(
            part,
            "cooperative_termination",
            default.cooperative_termination,
        ),
        in_doubt: in_doubt(part, default.in_doubt),
        idempotent: switch(part, "idempotent", default.idempotent),
    };
    check(part, &transactions);
    transactions
}

/// Says so where an option that is written means nothing in this kind.
fn refuse_without_effect(part: &TableReader<'_>, key: &'static str, has_effect: bool) {
    if !has_effect && part.has(key) {
        let message = format!("`{key}` has no effect in transactions of this kind");
        part.invalid(key, message, "leave it out, or choose another `kind`");
    }
}

fn time(part: &TableReader<'_>, key: &'static str, default: Option<Duration>) -> Option<Duration> {
    let written = part.duration(key).map(|placed| placed.value);
    refuse_without_effect(part, key, default.is_some());
    default.map(|default| written.unwrap_or(default))
}

fn switch(part: &TableReader<'_>, key: &'static str, default: Option<bool>) -> Option<bool> {
    let written = part.boolean(key);
    refuse_without_effect(part, key, default.is_some());
    default.map(|default| written.unwrap_or(default))
}

fn concurrency(part: &TableReader<'_>, default: Option<Concurrency>) -> Option<Concurrency> {
    let written = part.choice(
        "concurrency",
        &[
            ("two-phase-locking", Concurrency::TwoPhaseLocking),
            ("snapshot", Concurrency::Snapshot),
        ],
    );
    refuse_without_effect(part, "concurrency", default.is_some());
    default.map(|default| written.unwrap_or(default))
}

fn in_doubt(part: &TableReader<'_>, default: Option<InDoubt>) -> Option<InDoubt> {
    let written = part.choice(
        "in_doubt",
        &[
            ("block", InDoubt::Block),
            ("heuristic-abort", InDoubt::HeuristicAbort),
        ],
    );
    refuse_without_effect(part, "in_doubt", default.is_some());
    default.map(|default| written.unwrap_or(default))
}

fn hold(part: &TableReader<'_>, kind: TransactionKind) -> Option<Duration> {
    let hold = part.duration_above_zero("hold_before_decision");
    refuse_without_effect(part, "hold_before_decision", kind.is_atomic());
    hold.map(|placed| placed.value).filter(|_| kind.is_atomic())
}

fn check(part: &TableReader<'_>, transactions: &Transactions) {
    let timeout = transactions.prepare_timeout;
    let times = [
        ("prepare_timeout", Some(timeout)),
        ("decision_retry", transactions.decision_retry),
        ("lock_ttl", transactions.lock_ttl),
    ];
    for (key, time) in times {
        if time.is_some_and(|time| time < TIME_MIN) {
            part.invalid(
                key,
                format!("`{key}` is below 1ms"),
                "give at least \"1ms\"",
            );
        }
    }
    if let Some(hold) = transactions
        .hold_before_decision
        .filter(|hold| *hold >= timeout)
    {
        let message =
            format!("a decision held back for {hold} comes after `prepare_timeout` ({timeout})");
        let hint = "participants would take every coordinator for gone; hold for less";
        part.invalid("hold_before_decision", message, hint);
    }
    let snapshot = transactions.concurrency == Some(Concurrency::Snapshot);
    let heuristic = transactions.in_doubt == Some(InDoubt::HeuristicAbort);
    if snapshot && !heuristic && part.has("lock_ttl") {
        let message = "`lock_ttl` has no effect with snapshots: reads lock nothing";
        part.invalid("lock_ttl", message, "leave it out");
    }
}
