//! A participant shows its accounts to a read.
//!
//! Locked, when nobody who changes them is in the way; as they were at a time, when no promise can turn
//! out to be before it; or plainly as they are.
//! Invariant: what was shown for a time is all that will ever be before it.

use shakedown_contracts::history::Account;

use super::clock::TransactionId;
use super::locks::{Claim, Turn};
use super::message::{TransactionMessage, View};
use super::participant::Pending;
use super::transactor::{After, Transactor};
use crate::interface::Peer;

impl Transactor {
    /// A participant is asked for accounts.
    pub(super) fn on_read(
        &mut self,
        id: TransactionId,
        age: TransactionId,
        keys: Vec<String>,
        journal: Option<u32>,
        view: View,
    ) {
        match view {
            View::Plain => self.show_now(id, &keys, None, journal),
            View::Locked => {
                let claim = Claim {
                    id,
                    age,
                    keys: keys.iter().cloned().collect(),
                    exclusive: false,
                };
                match self.locks.claim(claim) {
                    Turn::Holds => self.show_locked(id, &keys, journal),
                    Turn::Dies => self.show(id, None),
                    Turn::Waits => {
                        self.pending.insert(
                            id,
                            Pending::Read {
                                keys,
                                journal,
                                view,
                            },
                        );
                    }
                }
            }
            View::At(time) => {
                self.clock.hear(time);
                self.pending.insert(
                    id,
                    Pending::Read {
                        keys,
                        journal,
                        view,
                    },
                );
                self.show_what_waited();
            }
        }
    }

    /// Shows accounts whose locks this read has got.
    pub(super) fn show_locked(&mut self, id: TransactionId, keys: &[String], journal: Option<u32>) {
        self.shared
            .insert(id, self.now.after(self.setting.lock_ttl));
        self.show_now(id, keys, None, journal);
    }

    fn show_now(
        &mut self,
        id: TransactionId,
        keys: &[String],
        at: Option<u64>,
        journal: Option<u32>,
    ) {
        let accounts = &self.ledger.accounts;
        let shown = keys
            .iter()
            .filter_map(|key| accounts.account(key, at, journal));
        let shown = shown.collect();
        self.show(id, Some(shown));
    }

    /// Answers a read, or tells it that somebody is in its way.
    pub(super) fn show(&mut self, id: TransactionId, accounts: Option<Vec<Account>>) {
        let message = TransactionMessage::Shown { id, accounts };
        self.then(After::Post(id.coordinator(), message));
    }

    /// Snapshots: answers the reads that no promise stands before any more.
    pub(super) fn show_what_waited(&mut self) {
        let waits = |keys: &[String], time: u64| {
            let mut promised = self.ledger.prepared.values();
            promised.any(|prepared| {
                let mut changes = prepared.part.changes.iter();
                prepared.position <= time && changes.any(|change| keys.contains(&change.key))
            })
        };
        let ready = |(id, pending): (&TransactionId, &Pending)| match pending {
            Pending::Read {
                keys,
                view: View::At(time),
                ..
            } if !waits(keys, *time) => Some(*id),
            _ => None,
        };
        let ready: Vec<TransactionId> = self.pending.iter().filter_map(ready).collect();
        for id in ready {
            if let Some(Pending::Read {
                keys,
                journal,
                view: View::At(time),
            }) = self.pending.remove(&id)
            {
                self.show_now(id, &keys, Some(time), journal);
            }
        }
    }

    /// A read is over, as far as this participant goes.
    pub(super) fn on_unlock(&mut self, from: Peer, id: TransactionId, confirm: bool) {
        let held = self.locks.holds(id);
        self.shared.remove(&id);
        self.pending.remove(&id);
        self.release(id);
        if confirm {
            self.then(After::Post(from, TransactionMessage::Unlocked { id, held }));
        }
    }

    /// Frees the accounts of reads whose coordinators have been silent for too long.
    pub(super) fn locks_due(&mut self) {
        let due = self.shared.iter().filter(|(_, until)| **until <= self.now);
        let due: Vec<TransactionId> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.shared.remove(&id);
            self.release(id);
        }
    }
}
