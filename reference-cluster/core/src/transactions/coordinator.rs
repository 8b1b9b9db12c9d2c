//! The coordinator of a transfer: asks every participant, then decides.
//!
//! Two-phase commit with presumed abort: a commit is written down before anybody is told, an abort
//! never is, because a transaction that its coordinator does not know was aborted. With the
//! coordinator among N participants that is N − 1 questions, N − 1 votes and N − 1 decisions between
//! nodes, the 3N − 3 of Gray & Lamport (section 3.2); decisions are not acknowledged, whoever misses
//! one asks. Three-phase commit puts a round between the votes and the decision; under Paxos Commit
//! the votes come by way of the acceptors.
//! Invariants: nobody is told "commit" before every participant has promised it; an attempt that met
//! another transaction ends before the next one begins, with the age of the first.
//! Sources: Mohan, Lindsay, Obermarck 1986, "Transaction Management in the R* Distributed Database
//! Management System", section 3; Gray & Lamport 2006.

use std::collections::BTreeMap;

use shakedown_contracts::node::TransferRequest;
use shakedown_contracts::strategy::{Concurrency, TransactionKind};
use shakedown_contracts::units::Duration;

use super::attempt::{Attempt, Stage};
use super::clock::TransactionId;
use super::message::{Decision, Part, Refusal, TransactionMessage, Vote};
use super::note::Note;
use super::transactor::{After, Transactor};
use crate::flaw::Flaw;
use crate::interface::{ClientReply, Peer, RequestId};

/// Pause before an attempt follows one that met another transaction, at least; it grows with the
/// time already spent.
const BACK_OFF: Duration = Duration::from_millis(2);

impl Transactor {
    /// A client's transfer begins.
    pub(super) fn begin_transfer(&mut self, request: RequestId, transfer: TransferRequest) {
        let id = self.new_id();
        let attempt = Attempt {
            request,
            participants: self.participants(&transfer),
            transfer,
            age: id,
            began: self.now,
            votes: BTreeMap::new(),
            keepers: BTreeMap::new(),
            stage: Stage::Preparing,
            deadline: self.now.after(self.setting.prepare_timeout),
            retry_at: self.now.after(self.setting.retry),
        };
        self.attempts.insert(id, attempt);
        self.ask_for_votes(id);
    }

    fn ask_for_votes(&mut self, id: TransactionId) {
        let Some(attempt) = self.attempts.get(&id) else {
            return;
        };
        let snapshot = self.setting.concurrency == Concurrency::Snapshot;
        let since = snapshot.then(|| id.began());
        let missing = attempt.participants.iter();
        let missing = missing.filter(|peer| !attempt.votes.contains_key(peer));
        let ask = |peer: &Peer| {
            let part = Part {
                transfer: attempt.transfer.id,
                participants: attempt.participants.clone(),
                changes: self.changes_at(&attempt.transfer, *peer),
            };
            let age = attempt.age;
            let prepare = TransactionMessage::Prepare {
                id,
                age,
                part,
                since,
            };
            (*peer, prepare)
        };
        let asked: Vec<_> = missing.map(ask).collect();
        for (peer, prepare) in asked {
            self.post(peer, prepare);
        }
    }

    /// A participant votes.
    pub(super) fn on_voted(&mut self, from: Peer, id: TransactionId, vote: Vote) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if !matches!(attempt.stage, Stage::Preparing) || !attempt.participants.contains(&from) {
            return;
        }
        match vote {
            Vote::Yes { position } => {
                attempt.votes.insert(from, position);
                self.count_votes(id);
            }
            Vote::No(reason) => self.refused(from, id, reason),
        }
    }

    /// Goes on once every vote is there.
    pub(super) fn count_votes(&mut self, id: TransactionId) {
        let enough_is_one = self.has(Flaw::DecidesOnFirstVote);
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let missing = attempt.participants.len() - attempt.votes.len();
        if attempt.votes.is_empty() || (missing > 0 && !enough_is_one) {
            return;
        }
        if self.setting.hold.is_zero() {
            return self.all_have_promised(id);
        }
        attempt.stage = Stage::Holding(self.now.after(self.setting.hold));
    }

    fn all_have_promised(&mut self, id: TransactionId) {
        match self.setting.kind {
            TransactionKind::ThreePhaseCommit => self.pre_commit(id),
            // A majority keeps all votes: that is the decision.
            TransactionKind::PaxosCommit => self.finish_commit(id),
            _ => self.commit(id),
        }
    }

    /// Writes the decision to commit down.
    pub(super) fn commit(&mut self, id: TransactionId) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        attempt.stage = Stage::Deciding;
        let position = attempt.position();
        if self.has(Flaw::DecisionNotWritten) {
            return self.finish_commit(id);
        }
        self.write(Note::Coordinated { id, position });
        self.then(After::Commit(id));
    }

    /// Tells everybody that it is committed.
    pub(super) fn finish_commit(&mut self, id: TransactionId) {
        let position = self.attempts.get(&id).map(Attempt::position);
        let reply = self.done();
        if let Some(position) = position {
            self.end(id, Decision::Commit { position }, reply);
        }
    }

    fn end(&mut self, id: TransactionId, decision: Decision, reply: ClientReply) {
        let Some(attempt) = self.attempts.remove(&id) else {
            return;
        };
        self.reply(attempt.request, reply);
        for peer in attempt.participants {
            self.post(peer, TransactionMessage::Decided { id, decision });
        }
    }

    /// A participant voted NO, which is final for this attempt.
    fn refused(&mut self, by: Peer, id: TransactionId, reason: Refusal) {
        let Some(attempt) = self.attempts.remove(&id) else {
            return;
        };
        let decision = Decision::Abort;
        for peer in attempt.participants.iter().filter(|peer| **peer != by) {
            self.post(*peer, TransactionMessage::Decided { id, decision });
        }
        let request = attempt.request;
        match reason {
            Refusal::Funds => self.reply(request, self.no_funds()),
            Refusal::Done => self.reply(request, self.done()),
            Refusal::Aborted => {
                let reply = self.unavailable("another node aborted the transaction");
                self.reply(request, reply);
            }
            Refusal::Conflict { newest } => {
                self.clock.hear(newest);
                self.back_off(id, attempt);
            }
        }
    }

    fn back_off(&mut self, id: TransactionId, mut attempt: Attempt) {
        let spent = self.now.since(attempt.began);
        if spent >= self.setting.prepare_timeout {
            let message = "other transactions were in the way";
            return self.reply(attempt.request, self.unavailable(message));
        }
        let pause = self.pause_after(spent);
        attempt.stage = Stage::BackingOff(self.now.after(pause));
        self.attempts.insert(id, attempt);
    }

    /// How long whoever met another transaction leaves it alone.
    pub(super) fn pause_after(&mut self, spent: Duration) -> Duration {
        let spread = Duration::from_nanos(spent.as_nanos() / 2).saturating_add(BACK_OFF);
        BACK_OFF.saturating_add(self.random.duration_up_to(spread))
    }

    fn begin_again(&mut self, id: TransactionId) {
        let Some(mut attempt) = self.attempts.remove(&id) else {
            return;
        };
        attempt.votes.clear();
        attempt.keepers.clear();
        attempt.stage = Stage::Preparing;
        attempt.deadline = self.now.after(self.setting.prepare_timeout);
        attempt.retry_at = self.now.after(self.setting.retry);
        let id = self.new_id();
        self.attempts.insert(id, attempt);
        self.ask_for_votes(id);
    }

    /// Looks at every attempt whose time has come.
    pub(super) fn attempts_due(&mut self) {
        let due = |attempt: &Attempt| attempt.due().is_some_and(|due| due <= self.now);
        let due = self.attempts.iter().filter(|(_, attempt)| due(attempt));
        let due: Vec<TransactionId> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.attempt_due(id);
        }
    }

    fn attempt_due(&mut self, id: TransactionId) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let late = attempt.deadline <= self.now;
        attempt.retry_at = self.now.after(self.setting.retry);
        match attempt.stage {
            Stage::Preparing if late => self.votes_are_missing(id),
            Stage::Preparing => self.ask_for_votes(id),
            Stage::Holding(_) => self.all_have_promised(id),
            Stage::PreCommitting(_) if late => self.commit(id),
            Stage::PreCommitting(_) => self.pre_commit_again(id),
            Stage::BackingOff(_) => self.begin_again(id),
            Stage::Deciding | Stage::Ending => {}
        }
    }

    fn votes_are_missing(&mut self, id: TransactionId) {
        if self.setting.kind == TransactionKind::PaxosCommit {
            // The votes may be with acceptors that were not heard of: only a ballot can end it.
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.stage = Stage::Ending;
                let participants = attempt.participants.clone();
                self.take_over(id, participants);
            }
            return;
        }
        let reply = self.unavailable("not every participant has voted in time");
        self.end(id, Decision::Abort, reply);
    }

    /// Others have ended what this coordinator began.
    pub(super) fn overtaken(&mut self, id: TransactionId, decision: Decision) {
        let attempt = self.attempts.get(&id);
        if attempt
            .is_none_or(|attempt| matches!(attempt.stage, Stage::BackingOff(_) | Stage::Deciding))
        {
            return;
        }
        let reply = match decision {
            Decision::Commit { .. } => self.done(),
            Decision::Abort => self.unavailable("other nodes aborted the transaction"),
        };
        self.end(id, decision, reply);
    }

    /// What is known here of a transaction that this node coordinates, once it is certain.
    pub(super) fn coordinators_decision(&self, id: TransactionId) -> Option<Decision> {
        if self
            .attempts
            .get(&id)
            .is_some_and(|attempt| !attempt.is_over())
        {
            return None;
        }
        let position = self.ledger.coordinated.get(&id);
        Some(
            position.map_or(Decision::Abort, |position| Decision::Commit {
                position: *position,
            }),
        )
    }
}
