//! What clients are told.
//!
//! Any node takes any request. A transfer goes to the node that holds the payer's account, which
//! decides it, sends the money off and answers; whether it has arrived is not waited for. A read is a
//! snapshot of its own. What is acknowledged is on no disk before the next checkpoint: a node's death
//! undoes it (that is what the interval costs). So while a node is suspected nothing is taken: it would
//! be undone with all the rest.
//! Invariant: "not done" is said only of what no account has seen.

use std::collections::BTreeMap;

use shakedown_contracts::history::Account;
use shakedown_contracts::node::{
    AccountsAnswer, ApiErrorKind, OpenAccountsRequest, ReadAccountsRequest, TransferRequest,
};
use shakedown_contracts::strategy::Snapshot as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::message::{Body, Purpose, SpreadMessage};
use super::server::SpreadBank;
use crate::interface::{ClientReply, ClientRequest, Output, Peer, RequestId};
use crate::replication::answers::Speaker;
use crate::store::Outcome;

/// Whoever waits for another node is told after this time that nobody answers.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most requests that wait for other nodes.
const OPEN_REQUESTS_MAX: usize = 4096;

/// A read that waits for what others recorded.
#[derive(Debug)]
pub(super) struct OpenRead {
    id: RequestId,
    keys: Vec<String>,
    /// By node, so that none counts twice.
    recorded: BTreeMap<Peer, Vec<Account>>,
    since: Moment,
}

/// A transfer that another node decides.
#[derive(Debug)]
pub(super) struct Forwarded {
    id: RequestId,
    since: Moment,
}

impl SpreadBank {
    fn speaker(&self) -> Speaker {
        Speaker {
            node: self.setting.name(self.setting.me),
            // Epoch 0: it serves without being anybody's primary.
            epoch: 0,
            primary: None,
        }
    }

    pub(super) fn reply(&mut self, id: RequestId, reply: ClientReply) {
        self.out.push(Output::Reply { id, reply });
    }

    fn refusal(&self, kind: ApiErrorKind, message: &str) -> ClientReply {
        ClientReply::Error(self.speaker().error(kind, message))
    }

    fn unavailable(&self, message: &str) -> ClientReply {
        self.refusal(ApiErrorKind::Unavailable, message)
    }

    /// Answers a client, or lets it wait.
    pub(super) fn serve(&mut self, id: RequestId, request: ClientRequest) {
        if let ClientRequest::Status = request {
            let status = self.describe_status();
            return self.reply(id, ClientReply::Status(status));
        }
        if let Err(error) = self.speaker().check(&request) {
            return self.reply(id, ClientReply::Error(error));
        }
        if !self.active {
            let reply = self.unavailable("all nodes are going back to a checkpoint");
            return self.reply(id, reply);
        }
        if !self.suspected.is_empty() {
            let message = "a node is suspected: when it is back, all go back to before";
            let reply = self.unavailable(message);
            return self.reply(id, reply);
        }
        if self.reads.len().max(self.forwarded.len()) >= OPEN_REQUESTS_MAX {
            let reply = self.unavailable("too many requests are waiting");
            return self.reply(id, reply);
        }
        match request {
            ClientRequest::OpenAccounts(request) => self.open_accounts(id, request),
            ClientRequest::Transfer(transfer) => self.take_transfer(id, transfer),
            ClientRequest::ReadAccounts(request) => self.read_accounts(id, request),
            _ => {
                let message = "a spread bank has accounts and no registers";
                let reply = self.refusal(ApiErrorKind::BadRequest, message);
                self.reply(id, reply);
            }
        }
    }

    fn open_accounts(&mut self, id: RequestId, request: OpenAccountsRequest) {
        let accounts = request.accounts;
        self.post_all(&Body::Open {
            accounts: accounts.clone(),
        });
        self.open_own(accounts);
        let done = self.speaker().outcome(Outcome::Done);
        self.reply(id, done);
    }

    /// Opens those that belong here, and remembers all.
    pub(super) fn open_own(&mut self, accounts: Vec<(String, i64)>) {
        for (key, balance) in accounts {
            if self.setting.owner(&key) == self.setting.me {
                self.store.open(&key, balance);
            }
            let new = self.directory.insert(key);
            if new && matches!(self.setting.options, Options::ChandyLamport { .. }) {
                // A snapshot from before would not have the account.
                self.checkpoint_due = Some(self.now);
            }
        }
    }

    fn take_transfer(&mut self, id: RequestId, transfer: TransferRequest) {
        let owner = self.setting.owner(&transfer.from);
        if owner == self.setting.me {
            let reply = self.decide(&transfer);
            return self.reply(id, reply);
        }
        self.requests_forwarded += 1;
        let number = self.requests_forwarded;
        let since = self.now;
        self.forwarded.insert(number, Forwarded { id, since });
        self.send(owner, SpreadMessage::Forward { number, transfer });
    }

    /// Somebody's client pays from an account here.
    pub(super) fn on_forward(&mut self, from: Peer, number: u64, transfer: &TransferRequest) {
        let reply = match self.active && self.suspected.is_empty() {
            true => self.decide(transfer),
            false => self.unavailable("a node is suspected, or all are going back"),
        };
        self.send(from, SpreadMessage::Answer { number, reply });
    }

    fn decide(&mut self, transfer: &TransferRequest) -> ClientReply {
        let receiver = self.setting.owner(&transfer.to);
        if !self.directory.contains(&transfer.to) {
            return self.speaker().outcome(Outcome::InsufficientFunds);
        }
        let position = self.clock + 1;
        let (outcome, now) = self.store.pay_out(position, transfer);
        if now {
            self.clock = position;
            let transfer = transfer.clone();
            if receiver == self.setting.me {
                self.store.pay_in(position, &transfer);
            } else {
                self.post(receiver, Body::Credit { position, transfer });
            }
        }
        self.speaker().outcome(outcome)
    }

    /// Money has arrived.
    pub(super) fn on_credit(&mut self, from: Peer, position: u64, transfer: &TransferRequest) {
        self.clock = self.clock.max(position);
        self.record_in_flight(from, position, transfer);
        self.store.pay_in(position, transfer);
    }

    /// The node of the payer has decided.
    pub(super) fn on_answer(&mut self, number: u64, reply: ClientReply) {
        if let Some(forwarded) = self.forwarded.remove(&number) {
            self.reply(forwarded.id, reply);
        }
    }

    fn read_accounts(&mut self, id: RequestId, request: ReadAccountsRequest) {
        let open = OpenRead {
            id,
            keys: request.keys.clone(),
            recorded: BTreeMap::new(),
            since: self.now,
        };
        self.reads.insert(self.next_number, open);
        self.begin_snapshot(Purpose::Read(request));
    }

    /// What a node has recorded for a read that was asked here.
    pub(super) fn on_recorded(&mut self, from: Peer, number: u64, accounts: Vec<Account>) {
        let nodes = self.setting.names.len();
        let Some(open) = self.reads.get_mut(&number) else {
            return;
        };
        open.recorded.insert(from, accounts);
        if open.recorded.len() < nodes {
            return;
        }
        let Some(open) = self.reads.remove(&number) else {
            return;
        };
        let found = open.recorded.into_values().flatten();
        let mut found: BTreeMap<String, Account> =
            found.map(|one| (one.key.clone(), one)).collect();
        let speaker = self.speaker();
        let answer = AccountsAnswer {
            accounts: open
                .keys
                .iter()
                .filter_map(|key| found.remove(key))
                .collect(),
            node: speaker.node,
            epoch: speaker.epoch,
        };
        self.reply(open.id, ClientReply::Accounts(answer));
    }

    /// What was being recorded is not going to be whole.
    pub(super) fn give_up_reads(&mut self) {
        for open in std::mem::take(&mut self.reads).into_values() {
            let reply = self.unavailable("all nodes are going back to a checkpoint");
            self.reply(open.id, reply);
        }
    }

    /// At every tick: tells those who have waited for too long.
    pub(super) fn give_up_late(&mut self) {
        let late = |since: Moment| self.now.since(since) >= PATIENCE;
        let reads = self.reads.iter().filter(|(_, open)| late(open.since));
        let reads: Vec<u64> = reads.map(|(number, _)| *number).collect();
        let transfers = self.forwarded.iter().filter(|(_, one)| late(one.since));
        let transfers: Vec<u64> = transfers.map(|(number, _)| *number).collect();
        for open in reads
            .iter()
            .filter_map(|number| self.reads.remove(number))
            .collect::<Vec<_>>()
        {
            let reply = self.unavailable("not every node has recorded its accounts in time");
            self.reply(open.id, reply);
        }
        for number in transfers {
            let message = "the node of the paying account has not answered in time";
            let reply = self.refusal(ApiErrorKind::Indeterminate, message);
            self.on_answer(number, reply);
        }
    }
}
