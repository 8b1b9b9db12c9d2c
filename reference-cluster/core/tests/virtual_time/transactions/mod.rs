//! Transfers between accounts on several nodes: a bank, its client, and what is wrong at the end.

mod chaos;
mod kinds;
mod messages;

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::history::Account;
use shakedown_contracts::node::{
    ApiErrorKind, OpenAccountsRequest, ReadAccountsRequest, TransferRequest,
};
use shakedown_contracts::strategy::{
    Checkpoint, Concurrency, Detector, Fsync, LogOptions, RecoveryLog, Replication, Strategy,
    TransactionKind, Transactions,
};
use shakedown_contracts::units::{Bytes, Duration};
use shakedown_core::interface::{ClientReply, ClientRequest, Peer, RequestId};
use shakedown_core::transactions::setting::Setting;

use crate::world::World;

/// What every account is opened with.
const OPENING: i64 = 100;

pub fn strategy(transactions: Transactions) -> Strategy {
    Strategy {
        detector: Detector::FixedTimeout {
            heartbeat_interval: Duration::from_millis(20),
            timeout: Duration::from_millis(80),
            ack: true,
        },
        recovery_log: RecoveryLog::Redo(LogOptions {
            fsync: Fsync::Group,
            checkpoint: Checkpoint::Bytes(Bytes(20_000)),
            ..LogOptions::default()
        }),
        replication: Replication::None {},
        transactions: Some(transactions),
        ..Strategy::default()
    }
}

/// A kind with times that fit a world of milliseconds.
pub fn options(kind: TransactionKind, concurrency: Concurrency) -> Transactions {
    let default = Transactions::of(kind);
    Transactions {
        prepare_timeout: Duration::from_millis(100),
        decision_retry: default.decision_retry.map(|_| Duration::from_millis(20)),
        lock_ttl: default.lock_ttl.map(|_| Duration::from_millis(200)),
        concurrency: default.concurrency.map(|_| concurrency),
        ..default
    }
}

/// The accounts' names.
pub fn keys(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("a{number}")).collect()
}

/// A name of an account that this node of so many holds.
pub fn held_by(node: u32, nodes: u32) -> String {
    let names = (0..nodes).map(|number| format!("n{number}")).collect();
    let options = Transactions::of(TransactionKind::None);
    let setting = Setting::new(&options, names, Peer(node), Default::default());
    let setting = setting.expect("the defaults are valid");
    let mut names = (0..).map(|number| format!("b{number}"));
    let found = names.find(|key| setting.owner(key) == Peer(node));
    found.expect("names do not end")
}

/// A client of the bank, which remembers what it asked and was told.
pub struct Bank {
    keys: Vec<String>,
    transfers: BTreeMap<u64, (RequestId, TransferRequest)>,
    reads: Vec<RequestId>,
}

impl Bank {
    /// Opens accounts of these names, which must succeed.
    pub fn open(world: &mut World, keys: Vec<String>) -> Bank {
        let accounts = keys.iter().map(|key| (key.clone(), OPENING)).collect();
        let request = ClientRequest::OpenAccounts(OpenAccountsRequest { accounts });
        let id = world.request(0, request);
        world.run_for(Duration::from_millis(50));
        let reply = world.replies.get(&id).map(|(_, _, reply)| reply);
        assert!(matches!(reply, Some(ClientReply::Done(_))), "{reply:?}");
        Bank {
            keys,
            transfers: BTreeMap::new(),
            reads: Vec::new(),
        }
    }

    /// Moves money between two accounts.
    pub fn transfer(&mut self, world: &mut World, node: u32, from: &str, to: &str) -> RequestId {
        let id = 1 + self.transfers.len() as u64;
        let transfer = TransferRequest {
            id,
            from: from.to_owned(),
            to: to.to_owned(),
            amount: 1 + (id % 9) as i64,
        };
        let request = world.request(node, ClientRequest::Transfer(transfer.clone()));
        self.transfers.insert(id, (request, transfer));
        request
    }

    /// The same between two that are drawn.
    pub fn transfer_any(&mut self, world: &mut World, node: u32) {
        let count = self.keys.len() as u64;
        let from = world.draw(count);
        let to = (from + 1 + world.draw(count - 1)) % count;
        let [from, to] = [from, to].map(|index| self.keys[index as usize].clone());
        self.transfer(world, node, &from, &to);
    }

    /// Reads all accounts.
    pub fn read(&mut self, world: &mut World, node: u32) -> RequestId {
        let request = ClientRequest::ReadAccounts(ReadAccountsRequest {
            keys: self.keys.clone(),
            journal: None,
        });
        let id = world.request(node, request);
        self.reads.push(id);
        id
    }

    /// Reads all accounts until that succeeds.
    pub fn read_at_rest(&mut self, world: &mut World) -> Vec<Account> {
        for _ in 0..40 {
            let id = self.read(world, 0);
            world.run_for(Duration::from_millis(150));
            if let Some((_, _, ClientReply::Accounts(answer))) = world.replies.get(&id) {
                return answer.accounts.clone();
            }
        }
        panic!("a healed cluster shows its accounts");
    }

    /// What a client was told: done for certain, certainly not done, or neither.
    pub fn told(world: &World, id: RequestId) -> Option<bool> {
        match world.replies.get(&id)? {
            (_, _, ClientReply::Done(_)) => Some(true),
            (_, _, ClientReply::Error(error)) => {
                (error.error != ApiErrorKind::Indeterminate).then_some(false)
            }
            _ => None,
        }
    }

    pub fn acknowledged(&self, world: &World) -> usize {
        let transfers = self.transfers.values();
        transfers
            .filter(|(id, _)| Bank::told(world, *id) == Some(true))
            .count()
    }

    pub fn shown(&self, world: &World) -> usize {
        let shown = |id: &&RequestId| {
            matches!(
                world.replies.get(*id),
                Some((_, _, ClientReply::Accounts(_)))
            )
        };
        self.reads.iter().filter(shown).count()
    }

    /// Everything that is wrong with what reads were shown, the last one at rest.
    pub fn violations(&mut self, world: &mut World) -> Vec<String> {
        let at_rest = self.read_at_rest(world);
        let mut wrong = self.judge_snapshot("at rest", &at_rest);
        for (id, transfer) in self.transfers.values() {
            let done = sides(transfer, &at_rest) == [1, 1];
            if Bank::told(world, *id).is_some_and(|told| told != done) {
                wrong.push(format!("{transfer:?} is told wrongly, done: {done}"));
            }
        }
        for id in &self.reads {
            if let Some((at, _, ClientReply::Accounts(answer))) = world.replies.get(id) {
                wrong.extend(self.judge_snapshot(&format!("{at}"), &answer.accounts));
            }
        }
        wrong
    }

    fn judge_snapshot(&self, when: &str, accounts: &[Account]) -> Vec<String> {
        let mut wrong = Vec::new();
        let total: i64 = accounts.iter().map(|account| account.balance).sum();
        if total != OPENING * self.keys.len() as i64 {
            wrong.push(format!("{when}: the total is {total}"));
        }
        for (_, transfer) in self.transfers.values() {
            let sides = sides(transfer, accounts);
            if sides != [0, 0] && sides != [1, 1] {
                wrong.push(format!("{when}: {transfer:?} is torn: {sides:?}"));
            }
        }
        for account in accounts {
            let positions = account.journal.iter().map(|entry| entry.position);
            if !positions.is_sorted() {
                wrong.push(format!("{when}: positions fall along {}", account.key));
            }
        }
        wrong
    }
}

/// How often each side of a transfer is done.
fn sides(transfer: &TransferRequest, accounts: &[Account]) -> [i64; 2] {
    [
        (&transfer.from, -transfer.amount),
        (&transfer.to, transfer.amount),
    ]
    .map(|(key, delta)| {
        let account = accounts.iter().find(|account| account.key == *key);
        let journal = account.map_or(&[][..], |account| &account.journal);
        let mine = journal.iter().filter(|entry| entry.id == transfer.id);
        mine.map(|entry| entry.delta / delta).sum()
    })
}

/// Nodes that promised and were never told: events of doubt without their end.
pub fn unresolved(world: &World) -> usize {
    use shakedown_contracts::event::Event;
    let mut open: BTreeSet<(u32, &str)> = BTreeSet::new();
    for (_, node, event) in &world.notes {
        match event {
            Event::TransactionInDoubt { transaction, .. } => {
                open.insert((*node, transaction));
            }
            Event::TransactionResolved { transaction, .. } => {
                open.remove(&(*node, transaction.as_str()));
            }
            _ => {}
        }
    }
    open.len()
}
