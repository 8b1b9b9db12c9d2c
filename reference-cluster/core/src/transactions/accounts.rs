//! The accounts that one node holds, with everything that ever changed them.
//!
//! A journal in the order of its positions is at once the list of an account's versions: what it
//! held at a time is what it was opened with and every change up to then.
//! Invariants: an account's balance is its opening plus its journal; changes under an atomic
//! protocol have positions that only grow along a journal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shakedown_contracts::history::{Account, JournalEntry};

/// A change of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The account.
    pub key: String,
    /// What is added to it.
    pub delta: i64,
}

impl Change {
    /// What undoes it.
    pub fn reversed(&self) -> Change {
        Change {
            key: self.key.clone(),
            delta: -self.delta,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holding {
    opening: i64,
    balance: i64,
    journal: Vec<JournalEntry>,
}

/// All accounts of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    holdings: BTreeMap<String, Holding>,
}

impl Accounts {
    /// Opens an account; one that exists is left as it is.
    pub fn open(&mut self, key: &str, balance: i64) {
        let opened = || Holding {
            opening: balance,
            balance,
            journal: Vec::new(),
        };
        self.holdings.entry(key.to_owned()).or_insert_with(opened);
    }

    /// Whether every change can be made: its account exists, and holds enough.
    pub fn allow(&self, changes: &[Change]) -> bool {
        let allowed = |change: &Change| {
            let holding = self.holdings.get(&change.key)?;
            let balance = holding.balance.checked_add(change.delta)?;
            Some(balance >= 0 || change.delta > 0)
        };
        changes.iter().all(|change| allowed(change) == Some(true))
    }

    /// Makes a change on behalf of the client's transfer `id`; of an account that is not here,
    /// none.
    pub fn change(&mut self, id: u64, position: u64, change: &Change) {
        if let Some(holding) = self.holdings.get_mut(&change.key) {
            holding.balance = holding.balance.saturating_add(change.delta);
            holding.journal.push(JournalEntry {
                id,
                delta: change.delta,
                position,
            });
        }
    }

    /// Position of the last change of an account; 0 for none.
    pub fn newest(&self, key: &str) -> u64 {
        let journal = self.holdings.get(key).map(|holding| &holding.journal);
        let last = journal.and_then(|journal| journal.last());
        last.map_or(0, |entry| entry.position)
    }

    /// An account as it was at a time (`None`: as it is), with so many of its latest changes.
    pub fn account(&self, key: &str, at: Option<u64>, journal: Option<u32>) -> Option<Account> {
        let holding = self.holdings.get(key)?;
        let visible = at.map_or(holding.journal.len(), |at| {
            holding
                .journal
                .partition_point(|entry| entry.position <= at)
        });
        let (seen, later) = holding.journal.split_at(visible);
        let later: i64 = later.iter().map(|entry| entry.delta).sum();
        let limit = journal.map_or(usize::MAX, |limit| limit as usize);
        let skipped = seen.len().saturating_sub(limit);
        Some(Account {
            key: key.to_owned(),
            balance: holding.balance - later,
            journal: seen[skipped..].to_vec(),
            journal_complete: skipped == 0,
        })
    }

    /// Sum of all balances here.
    #[cfg(test)]
    pub fn total(&self) -> i64 {
        self.holdings.values().map(|holding| holding.balance).sum()
    }

    #[cfg(test)]
    /// True when every balance is its opening and what its journal says.
    pub fn is_sound(&self) -> bool {
        self.holdings.values().all(|holding| {
            let changes: i64 = holding.journal.iter().map(|entry| entry.delta).sum();
            holding.balance == holding.opening + changes
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, delta: i64) -> Change {
        Change {
            key: key.to_owned(),
            delta,
        }
    }

    #[test]
    fn an_account_is_read_as_it_was_at_a_time() {
        let mut accounts = Accounts::default();
        accounts.open("a", 100);
        for (id, position, delta) in [(1, 10, -30), (2, 20, 5), (3, 30, 7)] {
            accounts.change(id, position, &change("a", delta));
        }
        accounts.open("a", 5);
        let read = |at| accounts.account("a", at, None).unwrap();
        assert_eq!(read(None).balance, 82);
        assert_eq!((read(Some(20)).balance, read(Some(19)).balance), (75, 70));
        assert_eq!(read(Some(20)).journal.len(), 2);
        let short = accounts.account("a", Some(20), Some(1)).unwrap();
        assert_eq!((short.journal[0].id, short.journal_complete), (2, false));
        assert_eq!(accounts.account("b", None, None), None);
        assert_eq!((accounts.newest("a"), accounts.newest("b")), (30, 0));
        assert!(accounts.is_sound());
    }

    #[test]
    fn what_an_account_does_not_hold_cannot_be_taken_from_it() {
        let mut accounts = Accounts::default();
        accounts.open("a", 10);
        assert!(accounts.allow(&[change("a", -10)]));
        assert!(!accounts.allow(&[change("a", -11)]));
        assert!(!accounts.allow(&[change("a", -1), change("b", 1)]));
        accounts.change(1, 1, &change("a", -4));
        assert!(!accounts.allow(&[change("a", -7)]));
        accounts.change(1, 2, &change("a", -4).reversed());
        assert_eq!(accounts.total(), 10);
    }
}
