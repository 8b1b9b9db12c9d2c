//! One side of a transfer at a time, for accounts that are spread over several nodes.
//!
//! The node that holds the payer's account decides a transfer; the one that holds the receiver's takes
//! what it is sent. Between the two the money is in neither account.
//! Invariant: a journal is in order of positions; an id is paid out at most once.

use shakedown_contracts::history::JournalEntry;
use shakedown_contracts::node::TransferRequest;

use super::{Holding, Outcome, Store};

impl Store {
    /// Takes the money out of the payer's account; true when that was done now, and not before.
    pub fn pay_out(&mut self, position: u64, transfer: &TransferRequest) -> (Outcome, bool) {
        if let Some(outcome) = self.transfers.get(&transfer.id) {
            return (*outcome, false);
        }
        let holding = self.accounts.get_mut(&transfer.from);
        let paid = holding.and_then(|holding| {
            let rest = holding.balance.checked_sub(transfer.amount);
            rest.filter(|rest| *rest >= 0).map(|rest| (holding, rest))
        });
        let outcome = match paid {
            Some((holding, rest)) => {
                holding.balance = rest;
                holding.enter(transfer.id, -transfer.amount, position);
                Outcome::Done
            }
            None => Outcome::InsufficientFunds,
        };
        self.transfers.insert(transfer.id, outcome);
        (outcome, outcome == Outcome::Done)
    }

    /// Puts the money into the receiver's account, which is opened for it where it does not exist.
    pub fn pay_in(&mut self, position: u64, transfer: &TransferRequest) {
        let holding = self.accounts.entry(transfer.to.clone()).or_default();
        holding.balance = holding.balance.saturating_add(transfer.amount);
        holding.enter(transfer.id, transfer.amount, position);
    }

    /// Opens an account that does not exist yet.
    pub fn open(&mut self, key: &str, balance: i64) {
        let holding = || Holding {
            balance,
            journal: Vec::new(),
        };
        self.accounts.entry(key.to_owned()).or_insert_with(holding);
    }
}

impl Holding {
    fn enter(&mut self, id: u64, delta: i64, position: u64) {
        let place = self
            .journal
            .partition_point(|entry| entry.position <= position);
        let entry = JournalEntry {
            id,
            delta,
            position,
        };
        self.journal.insert(place, entry);
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::node::ReadAccountsRequest;

    use super::*;

    fn transfer(id: u64, amount: i64) -> TransferRequest {
        TransferRequest {
            id,
            from: "a".into(),
            to: "b".into(),
            amount,
        }
    }

    #[test]
    fn each_side_is_done_once_and_a_journal_is_in_order_whatever_comes_first() {
        let (mut payer, mut receiver) = (Store::default(), Store::default());
        payer.open("a", 10);
        payer.open("a", 99);
        assert_eq!(payer.pay_out(1, &transfer(1, 6)), (Outcome::Done, true));
        assert_eq!(payer.pay_out(2, &transfer(1, 6)), (Outcome::Done, false));
        let refused = (Outcome::InsufficientFunds, false);
        assert_eq!(payer.pay_out(3, &transfer(2, 6)), refused);
        receiver.pay_in(7, &transfer(3, 1));
        receiver.pay_in(1, &transfer(1, 6));
        let read = |store: &Store, key: &str| {
            let keys = vec![key.to_owned()];
            let read = ReadAccountsRequest {
                keys,
                journal: None,
            };
            let account = store.accounts(&read).remove(0);
            let journal = account.journal.iter().map(|entry| entry.id);
            (account.balance, journal.collect::<Vec<_>>())
        };
        assert_eq!(read(&payer, "a"), (4, vec![1]));
        assert_eq!(read(&receiver, "b"), (7, vec![1, 3]));
    }
}
