//! The sides of a transfer: what each account's journal says of it.
//!
//! A saga undoes what it cannot finish by a reverse entry under the same id, so a side is done when
//! its entries do more than they undo, and undone more often than done is a mistake of its own. Under
//! every other strategy a reverse entry is just a wrong amount.

use shakedown_contracts::history::{Account, JournalEntry, Transfer};
use shakedown_contracts::plan::Plan;
use shakedown_contracts::strategy::TransactionKind;

/// Whether reverse entries are compensations in this plan.
pub(super) fn compensates(plan: &Plan) -> bool {
    let transactions = plan.target.strategy.transactions.as_ref();
    transactions.is_some_and(|transactions| transactions.kind == TransactionKind::Saga)
}

/// One account's entries of one transfer, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Side<'a> {
    /// Whose journal.
    pub account: &'a Account,
    /// The transfer's entries in it; at least one.
    pub entries: Vec<&'a JournalEntry>,
}

/// The sides in a snapshot by transfer, and by account's key within one.
pub(super) fn by_transfer(accounts: &[Account]) -> Vec<(u64, Vec<Side<'_>>)> {
    let mut all: Vec<(u64, &Account, &JournalEntry)> = Vec::new();
    for account in accounts {
        let entries = account.journal.iter();
        all.extend(entries.map(|entry| (entry.id, account, entry)));
    }
    // Stable: the entries of one side stay in the journal's order.
    all.sort_by(|left, right| (left.0, &left.1.key).cmp(&(right.0, &right.1.key)));
    all.chunk_by(|left, right| left.0 == right.0)
        .map(|transfer| {
            let sides = transfer.chunk_by(|left, right| left.1.key == right.1.key);
            let sides = sides.map(|entries| Side {
                account: entries[0].1,
                entries: entries.iter().map(|(_, _, entry)| *entry).collect(),
            });
            (transfer[0].0, sides.collect())
        })
        .collect()
}

impl<'a> Side<'a> {
    /// What the transfer should change here.
    pub fn expected(&self, transfer: &Transfer) -> i64 {
        match &self.account.key {
            key if *key == transfer.from => -transfer.amount,
            key if *key == transfer.to => transfer.amount,
            _ => 0,
        }
    }

    fn undoes(&self, entry: &JournalEntry, transfer: &Transfer, compensates: bool) -> bool {
        let expected = self.expected(transfer);
        compensates && expected != 0 && entry.delta == -expected
    }

    /// The first entry that is neither what was asked for nor its reverse.
    pub fn wrong(&self, transfer: &Transfer, compensates: bool) -> Option<&'a JournalEntry> {
        let right = |entry: &JournalEntry| {
            entry.delta == self.expected(transfer) || self.undoes(entry, transfer, compensates)
        };
        let mut wrong = self.entries.iter().filter(|entry| !right(entry));
        wrong.next().copied()
    }

    /// How often it was done, and how often undone.
    fn counts(&self, transfer: &Transfer, compensates: bool) -> (usize, usize) {
        let entries = self.entries.iter();
        let undone = entries
            .filter(|entry| self.undoes(entry, transfer, compensates))
            .count();
        (self.entries.len() - undone, undone)
    }

    /// It was done again without having been undone.
    pub fn is_done_twice(&self, transfer: &Transfer, compensates: bool) -> bool {
        let (done, undone) = self.counts(transfer, compensates);
        done > undone + 1
    }

    /// It was undone more often than done. A short journal may have dropped one that was done.
    pub fn is_undone_twice(&self, transfer: &Transfer, compensates: bool) -> bool {
        let (done, undone) = self.counts(transfer, compensates);
        undone > done + usize::from(!self.account.journal_complete)
    }

    /// The entry by which it is done at this moment.
    pub fn present(&self, transfer: &Transfer, compensates: bool) -> Option<&'a JournalEntry> {
        let last = self.entries.last().copied()?;
        (!self.undoes(last, transfer, compensates)).then_some(last)
    }
}
