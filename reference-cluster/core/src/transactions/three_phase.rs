//! Three-phase commit: nobody commits before everybody knows that all have promised.
//!
//! So a participant that is left alone can tell: if it, or anybody it can ask, knows that all have
//! promised, the end is commit; if nobody does, nobody can have committed, and the end is abort.
//! That is right only where silence means death. A partition makes each side believe the other dead:
//! the coordinator's side commits, the side that has not heard it aborts.
//! Invariant, under crashes alone: no participant commits while another one that runs is uncertain.
//! A participant that comes back from its disk may be the one that was believed dead, so it ends
//! nothing unless it hears all others and the coordinator.
//! Source: Skeen 1981, "Nonblocking Commit Protocols", sections 4 and 5.

use std::collections::{BTreeMap, BTreeSet};

use super::attempt::Stage;
use super::clock::TransactionId;
use super::message::{Decision, Standing, TransactionMessage};
use super::note::Note;
use super::transactor::{After, Transactor};
use crate::interface::Peer;

/// The end of a transaction that a participant leads.
#[derive(Debug, Default)]
pub(super) struct Termination {
    answers: BTreeMap<Peer, Standing>,
    /// Where it will commit, and who does not know it yet.
    announced: Option<(u64, BTreeSet<Peer>)>,
}

impl Transactor {
    /// All have promised: tells them so, and waits for each to write it down.
    pub(super) fn pre_commit(&mut self, id: TransactionId) {
        let deadline = self.now.after(self.setting.prepare_timeout);
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        attempt.stage = Stage::PreCommitting(BTreeSet::new());
        attempt.deadline = deadline;
        self.pre_commit_again(id);
    }

    /// Tells those that have not answered.
    pub(super) fn pre_commit_again(&mut self, id: TransactionId) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let Stage::PreCommitting(known) = &attempt.stage else {
            return;
        };
        let position = attempt.position();
        let missing = attempt
            .participants
            .iter()
            .filter(|peer| !known.contains(peer));
        let missing: Vec<Peer> = missing.copied().collect();
        for peer in missing {
            self.post(peer, TransactionMessage::PreCommit { id, position });
        }
    }

    /// A participant hears that all have promised.
    pub(super) fn on_pre_commit(&mut self, from: Peer, id: TransactionId, position: u64) {
        if let Some(decision) = self.ledger.decided.get(&id) {
            let decision = *decision;
            return self.then(After::Post(
                from,
                TransactionMessage::Decided { id, decision },
            ));
        }
        let Some(prepared) = self.ledger.prepared.get(&id) else {
            return;
        };
        if prepared.pre_committed.is_none() {
            self.write(Note::PreCommitted { id, position });
        }
        if let Some(doubt) = self.doubts.get_mut(&id) {
            doubt.ask_at = self.now.after(self.setting.prepare_timeout);
            doubt.termination = None;
        }
        self.then(After::Post(from, TransactionMessage::PreCommitted { id }));
    }

    /// A participant has written that down.
    pub(super) fn on_pre_committed(&mut self, from: Peer, id: TransactionId) {
        if let Some(attempt) = self.attempts.get_mut(&id)
            && let Stage::PreCommitting(known) = &mut attempt.stage
        {
            known.insert(from);
            if known.len() == attempt.participants.len() {
                self.commit(id);
            }
            return;
        }
        let announced = self.announced(id);
        if let Some((position, missing)) = announced {
            missing.remove(&from);
            if missing.is_empty() {
                let position = *position;
                self.conclude(id, Decision::Commit { position });
            }
        }
    }

    fn announced(&mut self, id: TransactionId) -> Option<&mut (u64, BTreeSet<Peer>)> {
        let termination = self.doubts.get_mut(&id)?.termination.as_mut()?;
        termination.announced.as_mut()
    }

    /// A participant in doubt ends the transaction with those it can reach.
    pub(super) fn terminate(&mut self, id: TransactionId) {
        let Some(doubt) = self.doubts.get_mut(&id) else {
            return;
        };
        match &doubt.termination {
            None => {
                doubt.termination = Some(Termination::default());
                self.ask_others(id);
            }
            Some(Termination {
                announced: Some((position, _)),
                ..
            }) => {
                // Whoever has not answered by now is dead.
                let position = *position;
                self.conclude(id, Decision::Commit { position });
            }
            Some(_) => self.judge(id),
        }
    }

    /// Everybody else who has to do with it, the coordinator included.
    fn others(&self, id: TransactionId) -> BTreeSet<Peer> {
        let mut others: BTreeSet<Peer> = self.ledger.participants(id).into_iter().collect();
        others.insert(id.coordinator());
        others.remove(&self.setting.me);
        others
    }

    fn ask_others(&mut self, id: TransactionId) {
        for peer in self.others(id) {
            self.post(peer, TransactionMessage::AskStanding { id });
        }
    }

    /// A participant asks what is known here.
    pub(super) fn on_ask_standing(&mut self, from: Peer, id: TransactionId) {
        let under_way = self
            .attempts
            .get(&id)
            .is_some_and(|attempt| !attempt.is_over());
        let committed = self.ledger.coordinated.get(&id);
        let decision = committed.map(|position| Decision::Commit {
            position: *position,
        });
        let standing = match self.ledger.prepared.get(&id) {
            _ if under_way => Some(Standing::UnderWay),
            Some(prepared) => Some(match prepared.pre_committed {
                Some(position) => Standing::PreCommitted(position),
                None => Standing::Uncertain,
            }),
            None => None,
        };
        let message = match (decision.filter(|_| !under_way), standing) {
            (Some(decision), _) => TransactionMessage::Decided { id, decision },
            (None, Some(standing)) => TransactionMessage::Stands { id, standing },
            // A coordinator that has forgotten may have been overtaken: it did not commit, and knows
            // no more.
            (None, None) if id.coordinator() == self.setting.me => {
                match self.ledger.decided.get(&id).copied() {
                    Some(decision) => TransactionMessage::Decided { id, decision },
                    None => TransactionMessage::Stands {
                        id,
                        standing: Standing::Uncertain,
                    },
                }
            }
            (None, None) => {
                let Some(decision) = self.participants_decision(id) else {
                    return;
                };
                TransactionMessage::Decided { id, decision }
            }
        };
        self.then(After::Post(from, message));
    }

    /// What another one knows.
    pub(super) fn on_stands(&mut self, from: Peer, id: TransactionId, standing: Standing) {
        let postponed = self.now.after(self.setting.prepare_timeout);
        let Some(doubt) = self.doubts.get_mut(&id) else {
            return;
        };
        let Some(termination) = doubt.termination.as_mut() else {
            return;
        };
        if standing == Standing::UnderWay {
            doubt.termination = None;
            doubt.ask_at = postponed;
            return;
        }
        // Judged when the participant asks next, so that all have had time to answer.
        termination.answers.insert(from, standing);
    }

    /// Draws the end from what those that could be reached know.
    fn judge(&mut self, id: TransactionId) {
        let others = self.others(id);
        let own = self
            .ledger
            .prepared
            .get(&id)
            .and_then(|one| one.pre_committed);
        let Some(doubt) = self.doubts.get_mut(&id) else {
            return;
        };
        let recovered = doubt.recovered;
        let Some(termination) = doubt.termination.as_mut() else {
            return;
        };
        let known = termination
            .answers
            .values()
            .find_map(|standing| match standing {
                Standing::PreCommitted(position) => Some(*position),
                Standing::UnderWay | Standing::Uncertain => None,
            });
        let heard_all = others
            .iter()
            .all(|peer| termination.answers.contains_key(peer));
        if recovered && !heard_all {
            doubt.termination = None;
            return;
        }
        let Some(position) = own.or(known) else {
            return self.conclude(id, Decision::Abort);
        };
        let uncertain = termination.answers.iter();
        let uncertain = uncertain.filter(|(_, standing)| **standing == Standing::Uncertain);
        let uncertain: BTreeSet<Peer> = uncertain.map(|(peer, _)| *peer).collect();
        if uncertain.is_empty() {
            return self.conclude(id, Decision::Commit { position });
        }
        termination.announced = Some((position, uncertain.clone()));
        for peer in uncertain {
            self.post(peer, TransactionMessage::PreCommit { id, position });
        }
    }

    fn conclude(&mut self, id: TransactionId, decision: Decision) {
        let mut told = self.others(id);
        told.insert(self.setting.me);
        for peer in told {
            self.post(peer, TransactionMessage::Decided { id, decision });
        }
    }
}
