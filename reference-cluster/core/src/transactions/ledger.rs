//! What a node must not forget, as notes: the state is what its notes say, and nothing else.
//!
//! Every note is taken into the state when it is written, and again at a restart when it is read,
//! so that both can never differ. What may be told to others waits until the note is on disk.
//! Invariants: notes are numbered without gaps; one that was taken in already changes nothing (a
//! host can die between a new checkpoint and the cutting of the log); a participant's decision
//! about a transaction never changes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use shakedown_contracts::node::TransferRequest;

use super::accounts::{Accounts, Change};
use super::clock::TransactionId;
use super::message::{Decision, Part};
use super::note::{Line, Note};
use super::paxos::{Acceptor, Ballot, Opinion};
use crate::interface::Peer;

/// A promise to commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// What was promised.
    pub part: Part,
    /// The earliest position it can have.
    pub position: u64,
    /// Three-phase commit: every participant has promised, and it will commit there.
    pub pre_committed: Option<u64>,
}

/// What has become of a saga's step at an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Done.
    Done,
    /// Done and undone.
    Undone,
    /// Never done, and never will be.
    Barred,
}

/// Everything the notes say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Notes taken in.
    pub number: u64,
    /// The newest time in any of them.
    pub newest: u64,
    /// The accounts of this node.
    pub accounts: Accounts,
    /// Transfers and accounts here that they changed, so that one that is asked for again is not
    /// carried out again.
    pub done: BTreeSet<(u64, String)>,
    /// Promises without a decision.
    pub prepared: BTreeMap<TransactionId, Prepared>,
    /// This participant's decisions. Kept for ever, as replicas keep every transfer's outcome.
    pub decided: BTreeMap<TransactionId, Decision>,
    /// This coordinator's commits, and where. Kept for ever: somebody may still ask.
    pub coordinated: BTreeMap<TransactionId, u64>,
    /// Votes kept for others.
    pub acceptors: BTreeMap<TransactionId, Acceptor>,
    /// Sagas that this coordinator has not ended.
    pub sagas: BTreeMap<TransactionId, TransferRequest>,
    /// Steps of sagas at this node's accounts.
    pub steps: BTreeMap<TransactionId, Vec<(String, Step)>>,
}

impl Ledger {
    /// Takes a line from the disk in.
    ///
    /// # Errors
    /// The number that was expected, when notes are missing before it.
    pub fn replay(&mut self, line: &Line) -> Result<(), u64> {
        if line.number > self.number + 1 {
            return Err(self.number + 1);
        }
        if line.number == self.number + 1 {
            self.take(&line.note);
        }
        Ok(())
    }

    /// Takes a note in.
    pub fn take(&mut self, note: &Note) {
        self.number += 1;
        match note {
            Note::Opened(accounts) => {
                for (key, balance) in accounts {
                    self.accounts.open(key, *balance);
                }
            }
            Note::Prepared { id, part, position } => self.prepare(*id, part, *position),
            Note::PreCommitted { id, position } => {
                if let Some(prepared) = self.prepared.get_mut(id) {
                    prepared.pre_committed = Some(*position);
                }
            }
            Note::Decided { id, decision } => self.decide(*id, *decision),
            Note::Coordinated { id, position } => {
                self.see(*position);
                self.coordinated.insert(*id, *position);
            }
            Note::Promised { id, ballot } => {
                self.acceptors.entry(*id).or_default().promise(*ballot);
            }
            Note::Accepted {
                id,
                ballot,
                opinions,
            } => self.accept(*id, *ballot, opinions),
            Note::Changed {
                id,
                transfer,
                change,
                position,
            } => {
                self.change(*transfer, change, *position);
                self.set_step(*id, &change.key, Step::Done);
            }
            Note::Compensated { .. } => self.compensate(note),
            Note::SagaBegun { id, transfer } => {
                self.see(id.began());
                self.sagas.insert(*id, transfer.clone());
            }
            Note::SagaEnded(id) => {
                self.sagas.remove(id);
            }
        }
    }

    fn see(&mut self, time: u64) {
        self.newest = self.newest.max(time);
    }

    fn prepare(&mut self, id: TransactionId, part: &Part, position: u64) {
        self.see(position);
        let prepared = Prepared {
            part: part.clone(),
            position,
            pre_committed: None,
        };
        self.prepared.insert(id, prepared);
    }

    fn decide(&mut self, id: TransactionId, decision: Decision) {
        debug_assert!(!self.decided.contains_key(&id), "a decision never changes");
        self.decided.insert(id, decision);
        let prepared = self.prepared.remove(&id);
        if let (Some(prepared), Decision::Commit { position }) = (prepared, decision) {
            for change in &prepared.part.changes {
                self.change(prepared.part.transfer, change, position);
            }
        }
    }

    fn accept(&mut self, id: TransactionId, ballot: Ballot, opinions: &[Opinion]) {
        let acceptor = self.acceptors.entry(id).or_default();
        acceptor.accept(ballot, opinions);
    }

    fn change(&mut self, transfer: u64, change: &Change, position: u64) {
        self.see(position);
        self.accounts.change(transfer, position, change);
        self.done.insert((transfer, change.key.clone()));
    }

    fn compensate(&mut self, note: &Note) {
        let Note::Compensated {
            id,
            transfer,
            key,
            refund,
            position,
        } = note
        else {
            return;
        };
        let Some(refund) = refund else {
            return self.set_step(*id, key, Step::Barred);
        };
        self.see(*position);
        self.accounts.change(*transfer, *position, refund);
        self.done.remove(&(*transfer, key.clone()));
        self.set_step(*id, key, Step::Undone);
    }

    fn set_step(&mut self, id: TransactionId, key: &str, step: Step) {
        let steps = self.steps.entry(id).or_default();
        steps.retain(|(other, _)| other != key);
        steps.push((key.to_owned(), step));
    }

    /// What has become of a step.
    pub fn step(&self, id: TransactionId, key: &str) -> Option<Step> {
        let steps = self.steps.get(&id)?;
        let step = steps.iter().find(|(other, _)| other == key)?;
        Some(step.1)
    }

    /// True when a part's transfer was carried out here before.
    pub fn is_done(&self, transfer: u64, changes: &[Change]) -> bool {
        let done = |change: &Change| self.done.contains(&(transfer, change.key.clone()));
        !changes.is_empty() && changes.iter().all(done)
    }

    /// All peers that a transaction changes something at, as far as is known here.
    pub fn participants(&self, id: TransactionId) -> Vec<Peer> {
        let prepared = self.prepared.get(&id);
        prepared.map_or_else(Vec::new, |prepared| prepared.part.participants.clone())
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
