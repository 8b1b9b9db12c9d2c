//! What can be wrong with one transfer in one snapshot.

use shakedown_contracts::history::{Account, JournalEntry, Transfer};

use super::Asked;
use super::sides::Side;

/// What is wrong with a transfer in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Anomaly {
    HalfDone,
    WrongAmount,
    Twice,
    UndoneTwice,
    AfterRefusal,
    Unknown,
}

impl Anomaly {
    /// Its name in findings.
    pub const fn kind(self) -> &'static str {
        match self {
            Anomaly::HalfDone => "half a transfer",
            Anomaly::WrongAmount => "wrong amount",
            Anomaly::Twice => "transfer applied twice",
            Anomaly::UndoneTwice => "transfer undone twice",
            Anomaly::AfterRefusal => "failed transfer took effect",
            Anomaly::Unknown => "transfer from nowhere",
        }
    }
}

/// Everything that is wrong with one transfer in one snapshot.
pub(super) fn judge(
    asked: Option<&Asked<'_>>,
    sides: &[Side<'_>],
    accounts: &[Account],
    compensates: bool,
) -> Vec<(Anomaly, String)> {
    let Some(asked) = asked else {
        return vec![(
            Anomaly::Unknown,
            format!(
                "is in the journal of {} though no client asked for it",
                sides[0].account.key
            ),
        )];
    };
    let transfer = asked.transfer;
    let mut wrong = Vec::new();
    let done = |side: &Side<'_>| side.present(transfer, compensates).is_some();
    if asked.operation.failed() && sides.iter().any(done) {
        wrong.push((
            Anomaly::AfterRefusal,
            "was refused and took effect all the same".to_owned(),
        ));
    }
    for side in sides {
        wrong.extend(judge_side(transfer, side, compensates));
    }
    wrong.extend(half_done(transfer, sides, accounts, compensates));
    wrong
}

fn judge_side(transfer: &Transfer, side: &Side<'_>, compensates: bool) -> Vec<(Anomaly, String)> {
    let key = &side.account.key;
    let mut wrong = Vec::new();
    if let Some(entry) = side.wrong(transfer, compensates) {
        let expected = side.expected(transfer);
        let how = format!("changed {key} by {} instead of {expected}", entry.delta);
        wrong.push((Anomaly::WrongAmount, how));
    }
    if side.is_done_twice(transfer, compensates) {
        wrong.push((Anomaly::Twice, format!("was applied twice to {key}")));
    }
    if side.is_undone_twice(transfer, compensates) {
        let how = format!("was undone at {key} more often than done");
        wrong.push((Anomaly::UndoneTwice, how));
    }
    wrong
}

fn half_done(
    transfer: &Transfer,
    sides: &[Side<'_>],
    accounts: &[Account],
    compensates: bool,
) -> Option<(Anomaly, String)> {
    let side = |key: &String| sides.iter().find(|side| side.account.key == *key);
    let present = |key: &String| side(key).and_then(|side| side.present(transfer, compensates));
    [
        (&transfer.from, &transfer.to),
        (&transfer.to, &transfer.from),
    ]
    .into_iter()
    .find_map(|(there, missing)| {
        let entry = present(there)?;
        let account = accounts.iter().find(|account| account.key == *missing);
        let absent = match side(missing) {
            Some(_) => present(missing).is_none(),
            None => certainly_absent(account, entry),
        };
        let how = || format!("is in {there} but not in {missing}");
        absent.then(|| (Anomaly::HalfDone, how()))
    })
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
