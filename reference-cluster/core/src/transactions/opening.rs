//! Opening accounts: each at the node that holds it; opening one again leaves it as it is.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::node::{ApiErrorKind, OpenAccountsRequest};
use shakedown_contracts::time::Moment;

use super::clock::TransactionId;
use super::message::TransactionMessage;
use super::note::Note;
use super::transactor::{After, Transactor};
use crate::interface::{Peer, RequestId};

/// Accounts that are being opened.
#[derive(Debug)]
pub(super) struct Opening {
    request: RequestId,
    missing: BTreeSet<Peer>,
    pub deadline: Moment,
}

impl Transactor {
    /// A client opens accounts.
    pub(super) fn open_accounts(&mut self, request: RequestId, wanted: OpenAccountsRequest) {
        let id = self.new_id();
        let mut by_owner: BTreeMap<Peer, Vec<(String, i64)>> = BTreeMap::new();
        for (key, balance) in wanted.accounts {
            let owner = self.setting.owner(&key);
            by_owner.entry(owner).or_default().push((key, balance));
        }
        if by_owner.is_empty() {
            let reply = self.done();
            return self.reply(request, reply);
        }
        let opening = Opening {
            request,
            missing: by_owner.keys().copied().collect(),
            deadline: self.now.after(self.setting.prepare_timeout),
        };
        self.openings.insert(id, opening);
        for (owner, accounts) in by_owner {
            self.post(owner, TransactionMessage::Open { id, accounts });
        }
    }

    /// A node is to open its accounts.
    pub(super) fn on_open(&mut self, from: Peer, id: TransactionId, accounts: Vec<(String, i64)>) {
        self.write(Note::Opened(accounts));
        self.then(After::Post(from, TransactionMessage::Opened { id }));
    }

    /// A node has opened its accounts.
    pub(super) fn on_opened(&mut self, from: Peer, id: TransactionId) {
        let Some(opening) = self.openings.get_mut(&id) else {
            return;
        };
        opening.missing.remove(&from);
        if opening.missing.is_empty() {
            let request = opening.request;
            self.openings.remove(&id);
            let reply = self.done();
            self.reply(request, reply);
        }
    }

    /// Gives up what was not answered in time.
    pub(super) fn openings_due(&mut self) {
        let due = self
            .openings
            .iter()
            .filter(|(_, one)| one.deadline <= self.now);
        let due: Vec<TransactionId> = due.map(|(id, _)| *id).collect();
        for id in due {
            if let Some(opening) = self.openings.remove(&id) {
                let message = "not every node has opened its accounts in time";
                let reply = self.failed(ApiErrorKind::Indeterminate, message);
                self.reply(opening.request, reply);
            }
        }
    }
}
