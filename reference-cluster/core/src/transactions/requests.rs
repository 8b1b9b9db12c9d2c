//! What clients ask, and what they are told.
//!
//! Invariant: "not done" (`Unavailable`, `BadRequest`, `InsufficientFunds`) is said only of a
//! transaction that is aborted for good, or of a saga that is undone; whatever is not known to be
//! either is `Indeterminate`.

use std::collections::BTreeSet;

use shakedown_contracts::node::{ApiError, ApiErrorKind, TransferRequest};
use shakedown_contracts::strategy::TransactionKind;

use super::accounts::Change;
use super::transactor::Transactor;
use crate::interface::{ClientReply, ClientRequest, Peer, RequestId};
use crate::replication::answers::Speaker;
use crate::store::Outcome;

/// Most requests that one node coordinates at a time.
const OPEN_REQUESTS_MAX: usize = 4096;

impl Transactor {
    pub(super) fn speaker(&self) -> Speaker {
        Speaker {
            node: self.setting.name(self.setting.me),
            epoch: 0,
            primary: None,
        }
    }

    pub(super) fn done(&self) -> ClientReply {
        self.speaker().outcome(Outcome::Done)
    }

    pub(super) fn no_funds(&self) -> ClientReply {
        self.speaker().outcome(Outcome::InsufficientFunds)
    }

    pub(super) fn failed(&self, kind: ApiErrorKind, message: &str) -> ClientReply {
        ClientReply::Error(self.speaker().error(kind, message))
    }

    /// Certainly not done.
    pub(super) fn unavailable(&self, message: &str) -> ClientReply {
        self.failed(ApiErrorKind::Unavailable, message)
    }

    /// Begins what a client asks for.
    pub(super) fn serve(&mut self, id: RequestId, request: ClientRequest) {
        if let Err(error) = self.take(id, request) {
            self.reply(id, ClientReply::Error(error));
        }
    }

    fn take(&mut self, id: RequestId, request: ClientRequest) -> Result<(), ApiError> {
        self.speaker().check(&request)?;
        let open = self.attempts.len() + self.readings.len() + self.writings.len();
        if open + self.sagas.len() >= OPEN_REQUESTS_MAX {
            let message = "too many requests are waiting";
            return Err(self.speaker().error(ApiErrorKind::Unavailable, message));
        }
        match request {
            ClientRequest::OpenAccounts(request) => self.open_accounts(id, request),
            ClientRequest::ReadAccounts(request) => {
                self.refuse_suspected(&self.owners(&request.keys))?;
                self.read_accounts(id, request);
            }
            ClientRequest::Transfer(transfer) => {
                self.refuse_suspected(&self.participants(&transfer))?;
                match self.setting.kind {
                    TransactionKind::None => self.write_both(id, &transfer),
                    TransactionKind::Saga => self.begin_saga(id, transfer),
                    _ => self.begin_transfer(id, transfer),
                }
            }
            _ => {
                let message = "this cluster holds accounts, not registers";
                return Err(self.speaker().error(ApiErrorKind::BadRequest, message));
            }
        }
        Ok(())
    }

    /// What would only wait for a node that is held for dead is not begun.
    fn refuse_suspected(&self, needed: &[Peer]) -> Result<(), ApiError> {
        let Some(gone) = needed.iter().find(|peer| self.suspected.contains(peer)) else {
            return Ok(());
        };
        let name = self.setting.name(*gone);
        let message = format!("{name}, which holds one of the accounts, is suspected");
        Err(self.speaker().error(ApiErrorKind::Unavailable, &message))
    }

    /// Who holds the accounts, each once.
    pub(super) fn owners(&self, keys: &[String]) -> Vec<Peer> {
        let owners: BTreeSet<Peer> = keys.iter().map(|key| self.setting.owner(key)).collect();
        owners.into_iter().collect()
    }

    /// Who has a part in a transfer.
    pub(super) fn participants(&self, transfer: &TransferRequest) -> Vec<Peer> {
        self.owners(&[transfer.from.clone(), transfer.to.clone()])
    }

    /// The two changes of a transfer.
    pub(super) fn changes(transfer: &TransferRequest) -> [Change; 2] {
        let change = |key: &String, delta| Change {
            key: key.clone(),
            delta,
        };
        [
            change(&transfer.from, -transfer.amount),
            change(&transfer.to, transfer.amount),
        ]
    }

    /// Those of them that a peer makes.
    pub(super) fn changes_at(&self, transfer: &TransferRequest, peer: Peer) -> Vec<Change> {
        let changes = Self::changes(transfer).into_iter();
        changes
            .filter(|change| self.setting.owner(&change.key) == peer)
            .collect()
    }
}
