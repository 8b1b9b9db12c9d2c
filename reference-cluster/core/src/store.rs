//! The replicated state: registers and bank accounts, changed by commands in log order.
//!
//! A command is decided when it is applied (a compare-and-set compares then, a transfer checks its
//! funds then), so that every node decides alike.
//! Invariant: the same commands in the same order give the same store; a transfer changes both
//! accounts or none, and an id is carried out at most once.

mod image;
mod sides;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shakedown_contracts::history::{Account, JournalEntry};
use shakedown_contracts::node::{
    CasRequest, OpenAccountsRequest, ReadAccountsRequest, TransferRequest,
};

use crate::automation::message::Swap;
use crate::interface::Peer;
pub use image::Image;

/// What a log entry does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Nothing: a new primary's first entry, which commits those before it.
    Nothing,
    /// Write a register.
    Put(String, u64),
    /// Compare-and-set a register.
    Cas(String, CasRequest),
    /// Open accounts that do not exist yet.
    OpenAccounts(OpenAccountsRequest),
    /// Move money.
    Transfer(TransferRequest),
    /// From here on these vote.
    Reconfigure {
        /// In rank order.
        voters: Vec<Peer>,
        /// What it is for: its first step while the lost node is among the voters, then its second.
        swap: Swap,
    },
}

/// Who votes from a position of the group's log on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Where the command stands; 0 for the voters of the beginning.
    pub position: u64,
    /// In rank order.
    pub voters: Vec<Peer>,
    /// What it is for; `None` for the voters of the beginning.
    pub swap: Option<Swap>,
}

impl Command {
    /// Its size in a message, roughly.
    pub fn size(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                Command::Nothing => 0,
                Command::Put(key, _) | Command::Cas(key, _) => key.len(),
                Command::OpenAccounts(request) => {
                    request.accounts.iter().map(|(key, _)| key.len() + 24).sum()
                }
                Command::Transfer(transfer) => transfer.from.len() + transfer.to.len(),
                Command::Reconfigure { voters, .. } => 4 * voters.len(),
            }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Carried out.
    Done,
    /// The compared value was another.
    Mismatch,
    /// An account does not exist or holds too little.
    InsufficientFunds,
}

/// One account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holding {
    balance: i64,
    journal: Vec<JournalEntry>,
}

/// The whole state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    registers: BTreeMap<String, u64>,
    accounts: BTreeMap<String, Holding>,
    /// Outcome of every transfer ever decided.
    #[serde(with = "pairs")]
    transfers: BTreeMap<u64, Outcome>,
    /// Who votes, where that has changed: part of the state, so that it is in every checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configuration: Option<Configuration>,
}

/// A map as a list of pairs: JSON has no numeric keys, and inside a tagged enum serde cannot turn
/// the text back into numbers.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Outcome;

    pub fn serialize<S: Serializer>(
        map: &BTreeMap<u64, Outcome>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u64, Outcome>, D::Error> {
        Ok(Vec::<(u64, Outcome)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

impl Store {
    /// Carries out a command that stands at `position` of the log.
    pub fn apply(&mut self, position: u64, command: &Command) -> Outcome {
        match command {
            Command::Nothing => Outcome::Done,
            Command::Put(key, value) => {
                self.registers.insert(key.clone(), *value);
                Outcome::Done
            }
            Command::Cas(key, cas) => {
                if self.registers.get(key).copied() != cas.expected {
                    return Outcome::Mismatch;
                }
                self.registers.insert(key.clone(), cas.new);
                Outcome::Done
            }
            Command::OpenAccounts(request) => {
                for (key, balance) in &request.accounts {
                    let opened = || Holding {
                        balance: *balance,
                        journal: Vec::new(),
                    };
                    self.accounts.entry(key.clone()).or_insert_with(opened);
                }
                Outcome::Done
            }
            Command::Transfer(transfer) => {
                if let Some(outcome) = self.transfers.get(&transfer.id) {
                    return *outcome;
                }
                let outcome = self.transfer(position, transfer);
                self.transfers.insert(transfer.id, outcome);
                outcome
            }
            Command::Reconfigure { voters, swap } => {
                self.configuration = Some(Configuration {
                    position,
                    voters: voters.clone(),
                    swap: Some(*swap),
                });
                Outcome::Done
            }
        }
    }

    /// For a planted mistake: which transfers were carried out.
    pub(crate) fn forget_transfers(&mut self) {
        self.transfers.clear();
    }

    fn transfer(&mut self, position: u64, transfer: &TransferRequest) -> Outcome {
        let TransferRequest {
            id,
            from,
            to,
            amount,
        } = transfer;
        let (id, amount) = (*id, *amount);
        let balance = |key: &String| self.accounts.get(key).map(|holding| holding.balance);
        let paid = balance(from).and_then(|held| held.checked_sub(amount));
        let received = balance(to).and_then(|held| held.checked_add(amount));
        let (Some(paid @ 0..), Some(received)) = (paid, received) else {
            return Outcome::InsufficientFunds;
        };
        for (key, balance, delta) in [(from, paid, -amount), (to, received, amount)] {
            if let Some(holding) = self.accounts.get_mut(key) {
                holding.balance = balance;
                holding.journal.push(JournalEntry {
                    id,
                    delta,
                    position,
                });
            }
        }
        Outcome::Done
    }

    /// Who votes, where that has ever changed.
    pub fn configuration(&self) -> Option<&Configuration> {
        self.configuration.as_ref()
    }

    /// What a register holds.
    pub fn register(&self, key: &str) -> Option<u64> {
        self.registers.get(key).copied()
    }

    /// The accounts asked for, in that order, all from this one moment; absent ones are left out.
    pub fn accounts(&self, request: &ReadAccountsRequest) -> Vec<Account> {
        let limit = request.journal.map_or(usize::MAX, |limit| limit as usize);
        let found = request
            .keys
            .iter()
            .filter_map(|key| self.accounts.get_key_value(key));
        found
            .map(|(key, holding)| {
                let skipped = holding.journal.len().saturating_sub(limit);
                Account {
                    key: key.clone(),
                    balance: holding.balance,
                    journal: holding.journal[skipped..].to_vec(),
                    journal_complete: skipped == 0,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank() -> Store {
        let mut store = Store::default();
        let accounts = vec![("a".to_owned(), 100), ("b".to_owned(), 0)];
        store.apply(1, &Command::OpenAccounts(OpenAccountsRequest { accounts }));
        store
    }

    fn transfer(id: u64, amount: i64) -> Command {
        Command::Transfer(TransferRequest {
            id,
            from: "a".into(),
            to: "b".into(),
            amount,
        })
    }

    fn read(store: &Store, journal: Option<u32>) -> Vec<Account> {
        let keys = vec!["a".to_owned(), "none".to_owned(), "b".to_owned()];
        store.accounts(&ReadAccountsRequest { keys, journal })
    }

    #[test]
    fn a_repeated_transfer_is_answered_like_the_first_and_carried_out_once() {
        let mut store = bank();
        assert_eq!(store.apply(2, &transfer(7, 60)), Outcome::Done);
        assert_eq!(store.apply(3, &transfer(7, 60)), Outcome::Done);
        assert_eq!(store.apply(4, &transfer(8, 60)), Outcome::InsufficientFunds);
        store.apply(
            5,
            &Command::Transfer(TransferRequest {
                id: 9,
                from: "b".into(),
                to: "a".into(),
                amount: 60,
            }),
        );
        assert_eq!(store.apply(6, &transfer(8, 60)), Outcome::InsufficientFunds);
        let accounts = read(&store, Some(1));
        assert_eq!((accounts[0].balance, accounts[1].balance), (100, 0));
        assert_eq!(
            accounts[0].journal,
            [JournalEntry {
                id: 9,
                delta: 60,
                position: 5
            }]
        );
        assert!(!accounts[0].journal_complete);
        assert!(read(&store, None)[0].journal_complete);
    }

    #[test]
    fn a_store_survives_json() {
        let mut store = bank();
        store.apply(2, &transfer(7, 60));
        let json = serde_json::to_string(&store).unwrap();
        assert_eq!(serde_json::from_str::<Store>(&json).unwrap(), store);
    }

    #[test]
    fn opening_an_account_again_leaves_it_as_it_is() {
        let mut store = bank();
        store.apply(2, &transfer(1, 40));
        let before = store.clone();
        let accounts = vec![("a".to_owned(), 5)];
        store.apply(3, &Command::OpenAccounts(OpenAccountsRequest { accounts }));
        assert_eq!(store, before);
    }

    #[test]
    fn compare_and_set_compares_with_absence_too() {
        let mut store = Store::default();
        let cas = |expected, new| Command::Cas("k".into(), CasRequest { expected, new });
        assert_eq!(store.apply(1, &cas(Some(1), 2)), Outcome::Mismatch);
        assert_eq!(store.apply(2, &cas(None, 2)), Outcome::Done);
        assert_eq!(store.apply(3, &cas(None, 3)), Outcome::Mismatch);
        assert_eq!(store.apply(4, &cas(Some(2), 3)), Outcome::Done);
        assert_eq!(store.register("k"), Some(3));
    }
}
