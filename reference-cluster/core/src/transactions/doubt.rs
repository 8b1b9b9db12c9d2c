//! In doubt: a participant has promised, and nobody tells it how it ended.
//!
//! It may neither commit nor abort by itself, and its locks are in everybody's way. Under two-phase
//! commit it asks the coordinator again and again, and with cooperative termination the other
//! participants: if none of them knows more it stays blocked for as long as the coordinator is gone.
//! A heuristic abort (wrong on purpose) frees the accounts and breaks the promise. The other
//! protocols end it without the coordinator: see [`super::three_phase`] and [`super::takeover`].
//! Invariant: a promise that was read back from disk is in doubt again, with its locks.
//! Source: Bernstein, Hadzilacos, Goodman 1987, "Concurrency Control and Recovery in Database
//! Systems", section 7.4 (cooperative termination).

use std::collections::BTreeSet;

use shakedown_contracts::event::Event;
use shakedown_contracts::strategy::TransactionKind;
use shakedown_contracts::time::Moment;

use super::clock::TransactionId;
use super::locks::Claim;
use super::message::{Decision, TransactionMessage};
use super::three_phase::Termination;
use super::transactor::Transactor;
use crate::flaw::Flaw;
use crate::interface::Peer;

/// A promise without a decision.
#[derive(Debug)]
pub(super) struct Doubt {
    /// When it was given, or read back.
    since: Moment,
    /// When the participant asks next.
    pub ask_at: Moment,
    /// It has asked before.
    pub told: bool,
    /// It was read back from disk: others may have ended it meanwhile.
    pub recovered: bool,
    /// Three-phase commit: the end that this participant leads.
    pub termination: Option<Termination>,
}

impl Doubt {
    /// Of a promise given now.
    pub fn new(since: Moment, ask_at: Moment) -> Self {
        Doubt {
            since,
            ask_at,
            told: false,
            recovered: false,
            termination: None,
        }
    }
}

impl Transactor {
    /// Takes up every promise that was read back.
    pub(super) fn resume_doubts(&mut self) {
        let promised: Vec<_> = self.ledger.prepared.iter().collect();
        for (id, prepared) in promised {
            let claim = Claim {
                id: *id,
                age: *id,
                keys: prepared
                    .part
                    .changes
                    .iter()
                    .map(|one| one.key.clone())
                    .collect(),
                exclusive: true,
            };
            if !self.setting.has(Flaw::ForgetsLocks) {
                self.locks.restore(claim);
            }
            let mut doubt = Doubt::new(self.now, self.now);
            doubt.recovered = true;
            self.doubts.insert(*id, doubt);
        }
    }

    /// Asks about every promise whose time has come.
    pub(super) fn doubts_due(&mut self) {
        let due = self
            .doubts
            .iter()
            .filter(|(_, doubt)| doubt.ask_at <= self.now);
        let due: Vec<TransactionId> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.ask(id);
        }
    }

    fn ask(&mut self, id: TransactionId) {
        let next = self.now.after(self.setting.retry);
        let transaction = self.label(id);
        let Some(doubt) = self.doubts.get_mut(&id) else {
            return;
        };
        doubt.ask_at = next;
        let since = doubt.since;
        if !std::mem::replace(&mut doubt.told, true) {
            self.note(Event::TransactionInDoubt { transaction, since });
        }
        match self.setting.kind {
            TransactionKind::ThreePhaseCommit => self.terminate(id),
            TransactionKind::PaxosCommit if !self.takeovers.contains_key(&id) => {
                let participants = self.ledger.participants(id);
                self.take_over(id, participants);
            }
            TransactionKind::TwoPhaseCommit => self.ask_for_decision(id, since),
            _ => {}
        }
    }

    fn ask_for_decision(&mut self, id: TransactionId, since: Moment) {
        let patience = since.after(self.setting.lock_ttl);
        if self.setting.heuristic && self.now >= patience {
            return self.settle_part(id, Decision::Abort);
        }
        if let Some(doubt) = self.doubts.get_mut(&id)
            && self.setting.heuristic
        {
            doubt.ask_at = doubt.ask_at.min(patience);
        }
        let mut asked = vec![id.coordinator()];
        if self.setting.cooperative {
            let others = self.ledger.participants(id).into_iter();
            let me = self.setting.me;
            asked.extend(others.filter(|peer| *peer != me && *peer != id.coordinator()));
        }
        for peer in asked {
            self.post(peer, TransactionMessage::Ask { id });
        }
    }

    /// The detector suspects these now: who is in doubt about what one of them coordinates asks at
    /// once.
    pub(super) fn suspect(&mut self, suspected: BTreeSet<Peer>) {
        for (id, doubt) in &mut self.doubts {
            let coordinator = id.coordinator();
            let newly = suspected.contains(&coordinator) && !self.suspected.contains(&coordinator);
            if newly && !doubt.told {
                doubt.ask_at = self.now;
            }
        }
        self.suspected = suspected;
    }
}
