//! Reads of accounts on many nodes, as one moment.
//!
//! With two-phase locking a read locks every account; when all are shown, a second round asks
//! whether all locks are still held: then there was a moment at which all of them were. (A
//! participant that restarted, or whose patience ended, has forgotten them.) With snapshots a read
//! asks for a past time, waits for promises that may turn out to be before it, and locks nothing.
//! Without a protocol, and with sagas, nodes just show what they have.
//! Invariant: what is shown for a time never changes: whatever commits later is later.
//! Source: Bernstein, Hadzilacos, Goodman 1987, sections 3.2 and 5.2; Du, Elnikety, Zwaenepoel 2013,
//! "Clock-SI", section 4.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::history::Account;
use shakedown_contracts::node::{AccountsAnswer, ReadAccountsRequest};
use shakedown_contracts::strategy::Concurrency;
use shakedown_contracts::time::Moment;

use super::clock::TransactionId;
use super::message::{TransactionMessage, View};
use super::transactor::Transactor;
use crate::flaw::Flaw;
use crate::interface::{ClientReply, Peer, RequestId};

#[derive(Debug)]
enum Stage {
    Asking,
    /// Who has not said yet that its locks were held until now.
    Confirming(BTreeSet<Peer>),
    BackingOff(Moment),
}

/// A read that this node coordinates.
#[derive(Debug)]
pub(super) struct Reading {
    request: RequestId,
    wanted: ReadAccountsRequest,
    age: TransactionId,
    began: Moment,
    shown: BTreeMap<Peer, Vec<Account>>,
    stage: Stage,
    deadline: Moment,
}

impl Reading {
    /// When it must be looked at.
    pub fn due(&self) -> Moment {
        match self.stage {
            Stage::BackingOff(until) => until,
            Stage::Asking | Stage::Confirming(_) => self.deadline,
        }
    }
}

impl Transactor {
    /// A client's read begins.
    pub(super) fn read_accounts(&mut self, request: RequestId, wanted: ReadAccountsRequest) {
        let id = self.new_id();
        let reading = Reading {
            request,
            wanted,
            age: id,
            began: self.now,
            shown: BTreeMap::new(),
            stage: Stage::Asking,
            deadline: self.now.after(self.setting.prepare_timeout),
        };
        self.readings.insert(id, reading);
        self.ask_for_accounts(id);
    }

    fn view(&self, id: TransactionId) -> View {
        let locked = self.setting.concurrency == Concurrency::TwoPhaseLocking;
        match self.setting.kind.is_atomic() {
            false => View::Plain,
            true if self.has(Flaw::ReadsWithoutLocks) => View::Plain,
            true if locked => View::Locked,
            true => View::At(id.began()),
        }
    }

    fn ask_for_accounts(&mut self, id: TransactionId) {
        let Some(reading) = self.readings.get(&id) else {
            return;
        };
        let (age, journal) = (reading.age, reading.wanted.journal);
        let mut by_owner: BTreeMap<Peer, Vec<String>> = BTreeMap::new();
        for key in &reading.wanted.keys {
            let owner = self.setting.owner(key);
            by_owner.entry(owner).or_default().push(key.clone());
        }
        let view = self.view(id);
        for (owner, keys) in by_owner {
            let message = TransactionMessage::Read {
                id,
                age,
                keys,
                journal,
                view,
            };
            self.post(owner, message);
        }
    }

    /// A participant shows its accounts, or does not.
    pub(super) fn on_shown(
        &mut self,
        from: Peer,
        id: TransactionId,
        accounts: Option<Vec<Account>>,
    ) {
        let Some(reading) = self.readings.get_mut(&id) else {
            return;
        };
        if !matches!(reading.stage, Stage::Asking) {
            return;
        }
        let Some(accounts) = accounts else {
            return self.read_again(id);
        };
        reading.shown.insert(from, accounts);
        let owners = self.owners_of(id);
        let shown = self
            .readings
            .get(&id)
            .map_or(0, |reading| reading.shown.len());
        if shown < owners.len() {
            return;
        }
        if self.view(id) != View::Locked {
            return self.end_read(id);
        }
        if let Some(reading) = self.readings.get_mut(&id) {
            reading.stage = Stage::Confirming(owners.iter().copied().collect());
        }
        self.unlock(id, true);
    }

    fn owners_of(&self, id: TransactionId) -> Vec<Peer> {
        let reading = self.readings.get(&id);
        reading.map_or_else(Vec::new, |reading| self.owners(&reading.wanted.keys))
    }

    fn unlock(&mut self, id: TransactionId, confirm: bool) {
        for owner in self.owners_of(id) {
            self.post(owner, TransactionMessage::Unlock { id, confirm });
        }
    }

    /// A participant says whether its locks were held until now.
    pub(super) fn on_unlocked(&mut self, from: Peer, id: TransactionId, held: bool) {
        let Some(reading) = self.readings.get_mut(&id) else {
            return;
        };
        let Stage::Confirming(missing) = &mut reading.stage else {
            return;
        };
        missing.remove(&from);
        let confirmed = missing.is_empty();
        if !held {
            self.read_again(id);
        } else if confirmed {
            self.end_read(id);
        }
    }

    fn end_read(&mut self, id: TransactionId) {
        let Some(reading) = self.readings.remove(&id) else {
            return;
        };
        let shown = reading.shown.into_values().flatten();
        let mut shown: BTreeMap<String, Account> = shown
            .map(|account| (account.key.clone(), account))
            .collect();
        let keys = reading.wanted.keys.iter();
        let answer = AccountsAnswer {
            accounts: keys.filter_map(|key| shown.remove(key)).collect(),
            node: self.setting.name(self.setting.me),
            epoch: 0,
        };
        self.reply(reading.request, ClientReply::Accounts(answer));
    }

    /// Gives the accounts free, and tries again a little later.
    fn read_again(&mut self, id: TransactionId) {
        self.unlock(id, false);
        let Some(mut reading) = self.readings.remove(&id) else {
            return;
        };
        let spent = self.now.since(reading.began);
        if spent >= self.setting.prepare_timeout {
            let reply = self.unavailable("other transactions were in the way of the read");
            return self.reply(reading.request, reply);
        }
        let until = self.now.after(self.pause_after(spent));
        reading.stage = Stage::BackingOff(until);
        reading.shown.clear();
        self.readings.insert(id, reading);
    }

    /// Looks at every read whose time has come.
    pub(super) fn readings_due(&mut self) {
        let due = self
            .readings
            .iter()
            .filter(|(_, reading)| reading.due() <= self.now);
        let due: Vec<TransactionId> = due.map(|(id, _)| *id).collect();
        for id in due {
            let waiting = self.readings.get(&id).map(|reading| &reading.stage);
            if matches!(waiting, Some(Stage::BackingOff(_))) {
                self.begin_read_again(id);
                continue;
            }
            self.unlock(id, false);
            if let Some(reading) = self.readings.remove(&id) {
                let reply = self.unavailable("not all accounts could be read in time");
                self.reply(reading.request, reply);
            }
        }
    }

    fn begin_read_again(&mut self, id: TransactionId) {
        let Some(mut reading) = self.readings.remove(&id) else {
            return;
        };
        reading.stage = Stage::Asking;
        let id = self.new_id();
        self.readings.insert(id, reading);
        self.ask_for_accounts(id);
    }
}
