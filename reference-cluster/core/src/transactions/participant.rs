//! A participant: promises, and keeps what it promised.
//!
//! A promise is the changes and their locks, written down before YES. From then on only the decision
//! frees the participant, through any number of restarts.
//! Invariants: who said NO to a transaction never says YES to it (it writes that down); the position
//! a participant asks for is later than everything it has committed or shown.
//! Source: Gray & Lamport 2006, section 3; Du, Elnikety, Zwaenepoel 2013, "Clock-SI", for positions.

use shakedown_contracts::event::Event;
use shakedown_contracts::strategy::{Concurrency, TransactionKind};

use super::clock::TransactionId;
use super::doubt::Doubt;
use super::locks::{Claim, Turn};
use super::message::{Decision, Part, Refusal, TransactionMessage, View, Vote};
use super::note::Note;
use super::transactor::{After, Transactor};
use crate::flaw::Flaw;
use crate::interface::Peer;

/// What waits at a participant.
#[derive(Debug)]
pub(super) enum Pending {
    /// A promise, for locks.
    Promise(Part),
    /// A read, for locks or for the decisions of others.
    Read {
        keys: Vec<String>,
        journal: Option<u32>,
        view: View,
    },
}

impl Transactor {
    /// A coordinator asks for a promise.
    pub(super) fn on_prepare(
        &mut self,
        id: TransactionId,
        age: TransactionId,
        part: Part,
        since: Option<u64>,
    ) {
        if let Some(decision) = self.ledger.decided.get(&id) {
            if *decision == Decision::Abort {
                self.vote_no(id, Refusal::Aborted);
            }
            return;
        }
        if let Some(prepared) = self.ledger.prepared.get(&id) {
            let position = prepared.position;
            return self.vote_yes(id, position);
        }
        if self.pending.contains_key(&id) {
            return;
        }
        if since.is_some_and(|since| !self.is_unchanged(&part, since)) {
            return self.refuse_conflict(id);
        }
        let claim = Claim {
            id,
            age,
            keys: part.changes.iter().map(|one| one.key.clone()).collect(),
            exclusive: true,
        };
        match self.locks.claim(claim) {
            Turn::Holds => self.promise(id, part),
            Turn::Waits if self.setting.concurrency == Concurrency::TwoPhaseLocking => {
                self.pending.insert(id, Pending::Promise(part));
            }
            Turn::Waits | Turn::Dies => {
                self.release(id);
                self.refuse_conflict(id);
            }
        }
    }

    /// Snapshots: nobody else has changed the accounts since, or is about to. The first wins.
    fn is_unchanged(&self, part: &Part, since: u64) -> bool {
        part.changes.iter().all(|change| {
            let newest = self.ledger.accounts.newest(&change.key);
            newest <= since && !self.locks.is_taken(&change.key)
        })
    }

    fn refuse_conflict(&mut self, id: TransactionId) {
        let newest = self.clock.tick(self.now);
        self.refuse(id, Refusal::Conflict { newest });
    }

    /// Says NO for good.
    fn refuse(&mut self, id: TransactionId, reason: Refusal) {
        let decision = Decision::Abort;
        self.write(Note::Decided { id, decision });
        self.vote_no(id, reason);
    }

    fn vote_no(&mut self, id: TransactionId, reason: Refusal) {
        let vote = Vote::No(reason);
        let message = TransactionMessage::Voted { id, vote };
        self.then(After::Post(id.coordinator(), message));
    }

    fn promise(&mut self, id: TransactionId, part: Part) {
        let refusal = if self.ledger.is_done(part.transfer, &part.changes) {
            Some(Refusal::Done)
        } else if !self.ledger.accounts.allow(&part.changes) {
            Some(Refusal::Funds)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.refuse(id, refusal);
            return self.release(id);
        }
        let position = self.clock.tick(self.now);
        let transaction = self.label(id);
        self.write(Note::Prepared { id, part, position });
        self.then(After::Note(Event::TransactionPrepared { transaction }));
        let ask_at = self.now.after(self.setting.patience());
        self.doubts.insert(id, Doubt::new(self.now, ask_at));
        self.vote_yes(id, position);
    }

    fn vote_yes(&mut self, id: TransactionId, position: u64) {
        if self.setting.kind == TransactionKind::PaxosCommit {
            return self.propose_own_vote(id, position);
        }
        let vote = Vote::Yes { position };
        let message = TransactionMessage::Voted { id, vote };
        if self.has(Flaw::VotesBeforeSync) {
            return self.post(id.coordinator(), message);
        }
        self.then(After::Post(id.coordinator(), message));
    }

    /// Somebody knows how it ended.
    pub(super) fn on_decided(&mut self, id: TransactionId, decision: Decision) {
        self.overtaken(id, decision);
        self.takeovers.remove(&id);
        self.settle_part(id, decision);
    }

    /// Ends this participant's part.
    pub(super) fn settle_part(&mut self, id: TransactionId, decision: Decision) {
        let waited = self.pending.remove(&id).is_some();
        if self.ledger.prepared.contains_key(&id) {
            self.write(Note::Decided { id, decision });
        } else if !waited {
            return;
        }
        let committed = matches!(decision, Decision::Commit { .. });
        if self.doubts.remove(&id).is_some_and(|doubt| doubt.told) {
            let transaction = self.label(id);
            self.note(Event::TransactionResolved {
                transaction,
                committed,
            });
        }
        self.release(id);
        self.show_what_waited();
    }

    /// Ends a claim, and goes on with those that waited for it.
    pub(super) fn release(&mut self, id: TransactionId) {
        for (id, turn) in self.locks.release(id) {
            let Some(pending) = self.pending.remove(&id) else {
                continue;
            };
            match (pending, turn) {
                (Pending::Promise(part), Turn::Holds) => self.promise(id, part),
                (Pending::Promise(_), _) => self.refuse_conflict(id),
                (Pending::Read { keys, journal, .. }, Turn::Holds) => {
                    self.show_locked(id, &keys, journal);
                }
                (Pending::Read { .. }, _) => self.show(id, None),
            }
        }
    }

    /// A participant in doubt asks how it ended.
    pub(super) fn on_ask(&mut self, from: Peer, id: TransactionId) {
        let decision = if id.coordinator() == self.setting.me {
            self.coordinators_decision(id)
        } else {
            self.participants_decision(id)
        };
        if let Some(mut decision) = decision {
            if self.has(Flaw::PresumesCommit) && decision == Decision::Abort {
                let position = self.clock.tick(self.now);
                decision = Decision::Commit { position };
            }
            let message = TransactionMessage::Decided { id, decision };
            self.then(After::Post(from, message));
        }
    }

    /// What this participant knows of the end. Where it has not voted, it now never will say YES, so
    /// that the end is abort.
    pub(super) fn participants_decision(&mut self, id: TransactionId) -> Option<Decision> {
        if let Some(decision) = self.ledger.decided.get(&id) {
            return Some(*decision);
        }
        if self.ledger.prepared.contains_key(&id) {
            return None;
        }
        let decision = Decision::Abort;
        self.write(Note::Decided { id, decision });
        self.pending.remove(&id);
        self.release(id);
        Some(decision)
    }
}
