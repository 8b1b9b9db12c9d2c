//! The bank workload: transfers between accounts, and snapshots of all of them.
//!
//! Money only moves, so every snapshot must hold the same total; and since each transfer has an id
//! of its own and stands in the journals of both accounts, a lost, doubled or half transfer shows
//! even where the total happens to be right.

use std::rc::Rc;

use shakedown_contracts::control::initial_accounts;
use shakedown_contracts::history::{Operation, Transfer};
use shakedown_contracts::plan::Workload;
use shakedown_contracts::random::Random;

use super::share::{Mix, Share};
use super::{Generator, Request, WorkloadError};

/// Latest journal entries of each account in a snapshot under load: enough to see every transfer
/// of the last moments, little enough to be read often.
const JOURNAL_UNDER_LOAD: u32 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Read,
    Transfer,
}

/// Generates a group's transfers and snapshots.
#[derive(Debug)]
pub(crate) struct BankGenerator {
    accounts: Vec<(String, i64)>,
    keys: Rc<[String]>,
    transfer_max: i64,
    mix: Mix<Choice>,
    share: Share,
    transfers: u64,
    random: Random,
}

impl BankGenerator {
    /// Over the workload's accounts, moving at most `transfer_max` at a time.
    ///
    /// # Errors
    /// When the mix names other operations.
    pub fn new(
        workload: &Workload,
        transfer_max: i64,
        share: &Share,
        seed: u64,
    ) -> Result<Self, WorkloadError> {
        let accounts = initial_accounts(&workload.kind);
        let known = [("read", Choice::Read), ("transfer", Choice::Transfer)];
        Ok(BankGenerator {
            keys: accounts.iter().map(|(key, _)| key.clone()).collect(),
            accounts,
            transfer_max,
            mix: Mix::new(&workload.mix, &known, "read transfer")?,
            share: share.clone(),
            transfers: 0,
            random: Random::keyed(seed, "workload", &share.name),
        })
    }

    fn transfer(&mut self) -> Operation {
        let accounts = self.keys.len() as u64;
        let from = self.random.below(accounts);
        // Any account but the payer, all equally likely; a lone account can only pay itself.
        let to = (from + 1 + self.random.below(accounts.saturating_sub(1))) % accounts.max(1);
        let spread = self.random.below(self.transfer_max.unsigned_abs());
        self.transfers += 1;
        Operation::Transfer(Transfer {
            id: self.share.unique(self.transfers),
            from: self.keys[from as usize].clone(),
            to: self.keys[to as usize].clone(),
            amount: 1 + i64::try_from(spread).expect("below an i64"),
        })
    }
}

impl Generator for BankGenerator {
    fn next_operation(&mut self) -> Operation {
        match self.mix.draw(&mut self.random) {
            Choice::Read => Operation::ReadAll(None),
            Choice::Transfer => self.transfer(),
        }
    }

    fn observe(&mut self, _completed: &Operation) {}

    fn request(&self, operation: &Operation) -> Request {
        match operation {
            Operation::ReadAll(_) => Request::ReadAccounts {
                keys: self.keys.clone(),
                journal: Some(JOURNAL_UNDER_LOAD),
            },
            other => Request::Operation(other.clone()),
        }
    }

    fn preparation(&self) -> Request {
        Request::OpenAccounts(self.accounts.clone())
    }

    /// One complete snapshot, by the first group alone: it holds the transfers of all.
    fn final_reads(&self) -> Vec<(Operation, Request)> {
        if self.share.group > 0 {
            return Vec::new();
        }
        let request = Request::ReadAccounts {
            keys: self.keys.clone(),
            journal: None,
        };
        vec![(Operation::ReadAll(None), request)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shakedown_contracts::plan::WorkloadKind;

    use super::super::share::tests::workload;
    use super::*;

    fn generator(group: &str) -> BankGenerator {
        let mut workload = workload(&[2, 2]);
        workload.kind = WorkloadKind::Bank {
            keys: 3,
            initial_balance: 100,
            transfer_max: 5,
        };
        workload.mix = [("read".to_owned(), 0.5), ("transfer".to_owned(), 0.5)].into();
        let share = Share::of(&workload, group).unwrap();
        BankGenerator::new(&workload, 5, &share, 7).unwrap()
    }

    #[test]
    fn transfers_are_unique_between_two_accounts_and_within_the_limit() {
        let (mut ids, mut amounts, mut pairs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut transfers = 0;
        for group in ["c1", "c2"] {
            let mut generator = generator(group);
            for _ in 0..1000 {
                let Operation::Transfer(transfer) = generator.next_operation() else {
                    continue;
                };
                transfers += 1;
                assert_ne!(transfer.from, transfer.to);
                assert!(ids.insert(transfer.id), "{} came twice", transfer.id);
                amounts.insert(transfer.amount);
                pairs.insert((transfer.from, transfer.to));
            }
        }
        // Binomial of 2,000 at one half: a standard deviation of 22; 150 is over six of them.
        assert!(
            u32::abs_diff(transfers, 1000) < 150,
            "{transfers} transfers"
        );
        assert_eq!(amounts, (1..=5).collect());
        assert_eq!(pairs.len(), 6, "each ordered pair of three accounts");
    }

    #[test]
    fn the_first_group_alone_reads_everything_with_its_whole_journal() {
        let reads = generator("c1").final_reads();
        assert!(matches!(
            reads[..],
            [(_, Request::ReadAccounts { journal: None, .. })]
        ));
        assert!(generator("c2").final_reads().is_empty());
        let request = generator("c1").request(&Operation::ReadAll(None));
        assert!(matches!(
            request,
            Request::ReadAccounts {
                journal: Some(64),
                ..
            }
        ));
    }
}
