//! Each wrong is planted once and found; a bank that did nothing wrong passes.

use shakedown_contracts::history::JournalEntry;
use shakedown_contracts::strategy::{TransactionKind, Transactions};

use super::*;
use crate::made::MadeTrial;

/// An account of the made bank (two accounts of 100) with its whole journal.
fn account(key: &str, balance: i64, journal: &[(u64, i64, u64)]) -> Account {
    let journal = journal
        .iter()
        .map(|(id, delta, position)| JournalEntry {
            id: *id,
            delta: *delta,
            position: *position,
        })
        .collect();
    Account {
        key: key.to_owned(),
        balance,
        journal,
        journal_complete: true,
    }
}

fn windowed(mut account: Account) -> Account {
    account.journal_complete = false;
    account
}

fn kinds(made: &MadeTrial) -> Vec<String> {
    let findings = check(&made.trial(), &mut Samples::default());
    findings.into_iter().map(|finding| finding.kind).collect()
}

fn max(made: &MadeTrial, metric: &str) -> Option<f64> {
    let mut samples = Samples::default();
    check(&made.trial(), &mut samples);
    let summary = samples.summary(metric);
    (summary.count > 0).then_some(summary.max)
}

/// Two transfers of 10 and 5 from a0 to a1, both acknowledged.
fn bank() -> MadeTrial {
    let mut made = MadeTrial::bank();
    made.history.transfer(1, 10, 1_000).ok(1_010);
    made.history.transfer(2, 5, 1_100).ok(1_110);
    made
}

#[test]
fn a_bank_that_did_all_it_said_passes() {
    let mut made = bank();
    made.history.transfer(3, 7, 1_200).info(2_200);
    made.history.transfer(4, 500, 1_300).fail(1_310);
    let early = vec![
        account("a0", 90, &[(1, -10, 1)]),
        account("a1", 110, &[(1, 10, 1)]),
    ];
    made.history.snapshot(early, 1_050, false).ok(1_060);
    let last = vec![
        account("a0", 78, &[(1, -10, 1), (2, -5, 2), (3, -7, 3)]),
        account("a1", 122, &[(1, 10, 1), (2, 5, 2), (3, 7, 3)]),
    ];
    made.history.snapshot(last, 7_100, true).ok(7_200);
    assert!(kinds(&made).is_empty(), "{:?}", kinds(&made));
    for metric in [
        "writes.lost",
        "transactions.atomicity_violations",
        "transactions.wrong_totals",
    ] {
        assert_eq!(max(&made, metric), Some(0.0), "{metric}");
    }
}

#[test]
fn an_acknowledged_transfer_in_no_journal_is_lost_though_the_total_is_right() {
    let mut made = bank();
    let last = vec![
        account("a0", 90, &[(1, -10, 1)]),
        account("a1", 110, &[(1, 10, 1)]),
    ];
    made.history.snapshot(last, 7_100, true).ok(7_200);
    assert_eq!(max(&made, "writes.lost"), Some(1.0));
    assert_eq!(max(&made, "transactions.wrong_totals"), Some(0.0));
    assert_eq!(kinds(&made), ["lost write"]);
}

#[test]
fn an_account_that_is_gone_is_lost() {
    let mut made = MadeTrial::bank();
    made.history
        .snapshot(vec![account("a0", 100, &[])], 7_100, true)
        .ok(7_200);
    assert_eq!(max(&made, "writes.lost"), Some(1.0));
}

#[test]
fn without_a_whole_final_read_nothing_is_known_of_lost_writes() {
    let mut made = bank();
    let last = vec![windowed(account("a0", 100, &[])), account("a1", 100, &[])];
    made.history.snapshot(last, 7_100, true).ok(7_200);
    assert_eq!(max(&made, "writes.lost"), None);
}

#[test]
fn half_a_transfer_is_found_and_counted_once_over_all_snapshots() {
    let mut made = bank();
    let half = || vec![account("a0", 90, &[(1, -10, 1)]), account("a1", 100, &[])];
    made.history.snapshot(half(), 1_200, false).ok(1_210);
    made.history.snapshot(half(), 1_300, false).ok(1_310);
    assert_eq!(max(&made, "transactions.atomicity_violations"), Some(1.0));
    assert_eq!(max(&made, "transactions.wrong_totals"), Some(2.0));
    let findings = check(&made.trial(), &mut Samples::default());
    assert_eq!(
        findings[0].explanation,
        "transfer 1 of 10 from a0 to a1 is in a0 but not in a1; seen by the read that ended at 1.210s"
    );
}

#[test]
fn a_side_that_a_short_journal_may_have_dropped_is_no_evidence() {
    let mut made = bank();
    let dropped = vec![
        windowed(account("a0", 85, &[(1, -10, 1), (2, -5, 2)])),
        windowed(account("a1", 115, &[(2, 5, 2)])),
    ];
    made.history.snapshot(dropped, 1_200, false).ok(1_210);
    assert!(kinds(&made).is_empty(), "{:?}", kinds(&made));
    let reaching_back = vec![
        windowed(account("a0", 85, &[(1, -10, 1), (2, -5, 2)])),
        windowed(account("a1", 110, &[(1, 10, 1)])),
    ];
    made.history.snapshot(reaching_back, 1_300, false).ok(1_310);
    assert_eq!(max(&made, "transactions.atomicity_violations"), Some(1.0));
}

#[test]
fn a_transfer_applied_twice_by_another_amount_from_nowhere_or_after_refusal_is_found() {
    let mut made = bank();
    made.history.transfer(3, 7, 1_200).fail(1_210);
    let last = vec![
        account(
            "a0",
            0,
            &[(1, -10, 1), (1, -10, 2), (2, -5, 3), (3, -7, 4), (9, 1, 5)],
        ),
        account("a1", 0, &[(1, 10, 1), (2, 6, 3), (3, 7, 4), (9, -1, 5)]),
    ];
    made.history.snapshot(last, 7_100, true).ok(7_200);
    assert_eq!(max(&made, "transactions.atomicity_violations"), Some(4.0));
    let mut kinds = kinds(&made);
    kinds.sort();
    assert_eq!(
        kinds,
        [
            "failed transfer took effect",
            "transfer applied twice",
            "transfer from nowhere",
            "wrong amount",
            "wrong total"
        ]
    );
}

/// A saga's bank, in which transfer 1 was undone at a0 so many times.
fn undone(times: usize) -> MadeTrial {
    let mut made = MadeTrial::bank();
    made.plan.target.strategy.transactions = Some(Transactions::of(TransactionKind::Saga));
    made.history.transfer(1, 10, 1_000).fail(1_010);
    let undone = (0..times).map(|time| (1, 10, 2 + time as u64));
    let journal: Vec<_> = std::iter::once((1, -10, 1)).chain(undone).collect();
    let balance = 90 + 10 * times as i64;
    let last = vec![account("a0", balance, &journal), account("a1", 100, &[])];
    made.history.snapshot(last, 7_100, true).ok(7_200);
    made
}

#[test]
fn a_saga_that_undid_its_step_once_did_nothing_and_twice_is_found() {
    assert!(kinds(&undone(1)).is_empty(), "{:?}", kinds(&undone(1)));
    assert_eq!(kinds(&undone(2)), ["transfer undone twice", "wrong total"]);
    let half_done = [
        "failed transfer took effect",
        "half a transfer",
        "wrong total",
    ];
    assert_eq!(kinds(&undone(0)), half_done);
}

#[test]
fn a_reverse_entry_is_a_wrong_amount_where_nothing_is_compensated() {
    let mut made = undone(1);
    made.plan.target.strategy.transactions = None;
    assert!(kinds(&made).contains(&"wrong amount".to_owned()));
}

#[test]
fn an_acknowledged_saga_that_was_undone_is_lost() {
    let mut made = undone(1);
    made.history.transfer(2, 5, 1_100).ok(1_110);
    let last = vec![
        account("a0", 100, &[(2, -5, 1), (2, 5, 2)]),
        account("a1", 100, &[]),
    ];
    made.history.snapshot(last, 7_300, true).ok(7_400);
    assert_eq!(max(&made, "writes.lost"), Some(1.0));
}

#[test]
fn a_short_journal_that_shows_the_undoing_alone_is_no_evidence() {
    let mut made = undone(1);
    let last = vec![
        windowed(account("a0", 100, &[(1, 10, 9)])),
        windowed(account("a1", 100, &[])),
    ];
    made.history.snapshot(last, 7_300, false).ok(7_400);
    assert!(kinds(&made).is_empty(), "{:?}", kinds(&made));
}
