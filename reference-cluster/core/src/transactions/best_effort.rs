//! Without a protocol: both sides of a transfer are written at once, each on its own.
//!
//! The control group. Nothing is locked, asked before or said again; a side that refuses, or whose
//! node is gone, leaves the other one done. Sagas use the same change, one side after the other.
//! Invariant: a change is made at most once for one transfer and account.

use std::collections::BTreeSet;

use shakedown_contracts::node::{ApiErrorKind, TransferRequest};
use shakedown_contracts::time::Moment;

use super::accounts::Change;
use super::clock::TransactionId;
use super::ledger::Step;
use super::message::TransactionMessage;
use super::note::Note;
use super::transactor::{After, Transactor};
use crate::flaw::Flaw;
use crate::interface::{Peer, RequestId};

/// A transfer whose sides are being written.
#[derive(Debug)]
pub(super) struct Writing {
    request: RequestId,
    missing: BTreeSet<String>,
    refused: bool,
    pub deadline: Moment,
}

impl Transactor {
    /// Writes both sides.
    pub(super) fn write_both(&mut self, request: RequestId, transfer: &TransferRequest) {
        let id = self.new_id();
        let writing = Writing {
            request,
            missing: [transfer.from.clone(), transfer.to.clone()].into(),
            refused: false,
            deadline: self.now.after(self.setting.prepare_timeout),
        };
        self.writings.insert(id, writing);
        for change in Self::changes(transfer) {
            let owner = self.setting.owner(&change.key);
            let transfer = transfer.id;
            let message = TransactionMessage::Change {
                id,
                transfer,
                change,
            };
            self.post(owner, message);
        }
    }

    /// Makes a change for good, if it can be made. If it cannot, that is for good too: whoever asks
    /// takes the refusal for the end, and may have asked twice.
    pub(super) fn on_change(
        &mut self,
        from: Peer,
        id: TransactionId,
        transfer: u64,
        change: Change,
    ) {
        let key = change.key.clone();
        let changes = std::slice::from_ref(&change);
        let done = match self.ledger.step(id, &key) {
            Some(step) => step == Step::Done,
            None if self.ledger.is_done(transfer, changes) => true,
            None if self.ledger.accounts.allow(changes) => {
                let position = self.clock.tick(self.now);
                self.write(Note::Changed {
                    id,
                    transfer,
                    change,
                    position,
                });
                true
            }
            None => {
                self.bar(id, transfer, &key);
                false
            }
        };
        self.then(After::Post(
            from,
            TransactionMessage::Changed { id, key, done },
        ));
    }

    fn bar(&mut self, id: TransactionId, transfer: u64, key: &str) {
        if self.has(Flaw::RefusalsForgotten) {
            return;
        }
        let position = self.clock.tick(self.now);
        self.write(Note::Compensated {
            id,
            transfer,
            key: key.to_owned(),
            refund: None,
            position,
        });
    }

    /// One side is written, or refused.
    pub(super) fn on_changed(&mut self, id: TransactionId, key: &str, done: bool) {
        let Some(writing) = self.writings.get_mut(&id) else {
            return self.saga_step_taken(id, key, done);
        };
        writing.missing.remove(key);
        writing.refused |= !done;
        if !writing.missing.is_empty() {
            return;
        }
        let (request, refused) = (writing.request, writing.refused);
        self.writings.remove(&id);
        let reply = if refused {
            self.no_funds()
        } else {
            self.done()
        };
        self.reply(request, reply);
    }

    /// Gives up what was not answered in time.
    pub(super) fn writings_due(&mut self) {
        let due = self
            .writings
            .iter()
            .filter(|(_, one)| one.deadline <= self.now);
        let due: Vec<TransactionId> = due.map(|(id, _)| *id).collect();
        for id in due {
            if let Some(writing) = self.writings.remove(&id) {
                let message = "not every side has answered in time";
                let reply = self.failed(ApiErrorKind::Indeterminate, message);
                self.reply(writing.request, reply);
            }
        }
    }
}
