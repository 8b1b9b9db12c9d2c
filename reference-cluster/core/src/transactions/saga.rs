//! Sagas: every step is done for good at once, and undone by its compensation where a later step
//! fails.
//!
//! The payer pays, then the receiver receives. If the second step is refused or not answered in time
//! both are compensated, each until its account says so; a step that comes after its compensation is
//! not done any more. Between the steps, and until the compensation, everybody sees half a transfer:
//! a saga is all or nothing at the end alone, and never isolated.
//! Invariants: a saga that was begun ends, through restarts too (one that was under way is undone);
//! with `idempotent` a compensation changes an account at most once, however often it is asked for.
//! Source: Garcia-Molina & Salem 1987, "Sagas".

use std::collections::BTreeSet;

use shakedown_contracts::node::TransferRequest;
use shakedown_contracts::time::Moment;

use super::accounts::Change;
use super::clock::TransactionId;
use super::ledger::Step;
use super::message::TransactionMessage;
use super::note::Note;
use super::transactor::{After, Transactor};
use crate::flaw::Flaw;
use crate::interface::{Peer, RequestId};

#[derive(Debug)]
enum Stage {
    /// The beginning is being written down.
    Beginning,
    Paying,
    Receiving,
    /// These accounts have not said yet that it is undone.
    Undoing(BTreeSet<String>),
}

/// A saga under way.
#[derive(Debug)]
pub(super) struct Saga {
    /// `None` after a restart: nobody waits any more.
    request: Option<RequestId>,
    transfer: TransferRequest,
    stage: Stage,
    deadline: Moment,
    pub retry_at: Moment,
}

impl Saga {
    /// When it must be looked at.
    pub fn due(&self) -> Option<Moment> {
        match self.stage {
            Stage::Beginning => None,
            Stage::Paying | Stage::Receiving => Some(self.deadline.min(self.retry_at)),
            Stage::Undoing(_) => Some(self.retry_at),
        }
    }

    fn step(&self) -> Option<Change> {
        let [pay, receive] = Transactor::changes(&self.transfer);
        match self.stage {
            Stage::Paying => Some(pay),
            Stage::Receiving => Some(receive),
            Stage::Beginning | Stage::Undoing(_) => None,
        }
    }
}

impl Transactor {
    /// A client's transfer begins as a saga, once that is written down.
    pub(super) fn begin_saga(&mut self, request: RequestId, transfer: TransferRequest) {
        let id = self.new_id();
        self.write(Note::SagaBegun {
            id,
            transfer: transfer.clone(),
        });
        self.then(After::BeginSaga(id));
        let saga = self.saga(Some(request), transfer);
        self.sagas.insert(id, saga);
    }

    fn saga(&self, request: Option<RequestId>, transfer: TransferRequest) -> Saga {
        Saga {
            request,
            transfer,
            stage: Stage::Beginning,
            deadline: self.now,
            retry_at: self.now,
        }
    }

    /// What was under way when this node died is undone.
    pub(super) fn resume_sagas(&mut self) {
        if self.has(Flaw::SagasForgotten) {
            return;
        }
        for (id, transfer) in self.ledger.sagas.clone() {
            let saga = self.saga(None, transfer);
            self.sagas.insert(id, saga);
            self.undo(id);
        }
    }

    /// Goes to the next step.
    pub(super) fn take_saga_step(&mut self, id: TransactionId) {
        let deadline = self.now.after(self.setting.prepare_timeout);
        let Some(saga) = self.sagas.get_mut(&id) else {
            return;
        };
        saga.deadline = deadline;
        saga.stage = match saga.stage {
            Stage::Beginning => Stage::Paying,
            _ => Stage::Receiving,
        };
        self.ask_for_step(id);
    }

    fn ask_for_step(&mut self, id: TransactionId) {
        let retry_at = self.now.after(self.setting.retry);
        let Some(saga) = self.sagas.get_mut(&id) else {
            return;
        };
        saga.retry_at = retry_at;
        let transfer = saga.transfer.id;
        if let Some(change) = saga.step() {
            let owner = self.setting.owner(&change.key);
            let message = TransactionMessage::Change {
                id,
                transfer,
                change,
            };
            self.post(owner, message);
        }
    }

    /// A step is taken, or refused.
    pub(super) fn saga_step_taken(&mut self, id: TransactionId, key: &str, done: bool) {
        let Some(saga) = self.sagas.get(&id) else {
            return;
        };
        if saga.step().is_none_or(|step| step.key != key) {
            return;
        }
        match (&saga.stage, done) {
            (Stage::Paying, true) => self.take_saga_step(id),
            (Stage::Paying, false) => self.end_saga(id, self.no_funds()),
            (_, true) => self.end_saga(id, self.done()),
            (_, false) => self.undo(id),
        }
    }

    fn end_saga(&mut self, id: TransactionId, reply: crate::interface::ClientReply) {
        let Some(saga) = self.sagas.remove(&id) else {
            return;
        };
        self.write(Note::SagaEnded(id));
        if let Some(request) = saga.request {
            self.then(After::Reply(request, reply));
        }
    }

    fn undo(&mut self, id: TransactionId) {
        if let Some(saga) = self.sagas.get_mut(&id) {
            let both = [saga.transfer.from.clone(), saga.transfer.to.clone()];
            saga.stage = Stage::Undoing(both.into());
            self.ask_for_compensation(id);
        }
    }

    fn ask_for_compensation(&mut self, id: TransactionId) {
        let retry_at = self.now.after(self.setting.retry);
        let Some(saga) = self.sagas.get_mut(&id) else {
            return;
        };
        saga.retry_at = retry_at;
        let Stage::Undoing(missing) = &saga.stage else {
            return;
        };
        let steps = Self::changes(&saga.transfer).into_iter();
        let steps: Vec<Change> = steps.filter(|step| missing.contains(&step.key)).collect();
        let transfer = saga.transfer.id;
        for change in steps {
            let owner = self.setting.owner(&change.key);
            let message = TransactionMessage::Compensate {
                id,
                transfer,
                change,
            };
            self.post(owner, message);
        }
    }

    /// A step is to be undone, or never to be done.
    pub(super) fn on_compensate(
        &mut self,
        from: Peer,
        id: TransactionId,
        transfer: u64,
        change: &Change,
    ) {
        let key = change.key.clone();
        let again = !self.setting.idempotent;
        let refund = match self.ledger.step(id, &key) {
            Some(Step::Done) => Some(Some(change.reversed())),
            Some(Step::Undone) if again => Some(Some(change.reversed())),
            Some(Step::Undone | Step::Barred) => None,
            None => Some(None),
        };
        if let Some(refund) = refund {
            let position = self.clock.tick(self.now);
            self.write(Note::Compensated {
                id,
                transfer,
                key: key.clone(),
                refund,
                position,
            });
        }
        self.then(After::Post(
            from,
            TransactionMessage::Compensated { id, key },
        ));
    }

    /// An account says that a step is undone.
    pub(super) fn on_compensated(&mut self, id: TransactionId, key: &str) {
        let Some(Saga {
            stage: Stage::Undoing(missing),
            ..
        }) = self.sagas.get_mut(&id)
        else {
            return;
        };
        missing.remove(key);
        if missing.is_empty() {
            let reply = self.unavailable("a step was not answered in time; all are undone");
            self.end_saga(id, reply);
        }
    }

    /// Says again what was not answered, and undoes what was not answered in time.
    pub(super) fn sagas_due(&mut self) {
        let due = |saga: &Saga| saga.due().is_some_and(|due| due <= self.now);
        let due = self.sagas.iter().filter(|(_, saga)| due(saga));
        let due: Vec<TransactionId> = due.map(|(id, _)| *id).collect();
        for id in due {
            let saga = self.sagas.get(&id);
            let late = saga.is_some_and(|saga| saga.deadline <= self.now);
            let undoing = saga.is_some_and(|saga| matches!(saga.stage, Stage::Undoing(_)));
            match (undoing, late) {
                (true, _) => self.ask_for_compensation(id),
                (false, true) => self.undo(id),
                (false, false) => self.ask_for_step(id),
            }
        }
    }
}
