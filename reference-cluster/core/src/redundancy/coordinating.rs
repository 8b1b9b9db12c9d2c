//! How a request goes through its stages at the node that was asked.
//!
//! A read asks the nodes of the key and takes the newest version (`operation`). Before it answers it
//! sees to it that as many nodes hold that version as hold a write, telling those that lack it: else
//! a later read could meet only nodes that lack it, and return something older (the write-back of
//! Attiya, Bar-Noy & Dolev). `read_repair` says whether it waits for that. A write asks for the
//! newest version first, takes the next, and is acknowledged when enough nodes hold it.
//!
//! Invariant: "not done" is said only of a write that no node was told to hold.

use shakedown_contracts::node::{Answer as Done, ApiError, ApiErrorKind, ValueAnswer};
use shakedown_contracts::strategy::ReadRepair;

use super::keeper::Keeper;
use super::message::{NO_OPERATION, RedundancyMessage};
use super::operation::{Answer, Choice, Operation, Purpose, Stage, Target, Written};
use super::share::Version;
use crate::flaw::Flaw;
use crate::interface::{ClientReply, ClientRequest, Output, Peer, RequestId};

/// Most operations under way at one node.
const OPERATIONS_MAX: usize = 4096;

impl Keeper {
    /// A client asks.
    pub(super) fn take(&mut self, id: RequestId, request: ClientRequest) {
        let (key, purpose) = match request {
            ClientRequest::Status => {
                let reply = ClientReply::Status(crate::service::Service::status(self));
                return self.out.push(Output::Reply { id, reply });
            }
            ClientRequest::Get { key } => (key, Purpose::Get(id)),
            ClientRequest::Put { key, value } => (key, Purpose::Put(id, value)),
            ClientRequest::Cas { .. } => {
                let message = "no node can compare and set alone; read, then put";
                return self.refuse(id, ApiErrorKind::BadRequest, message);
            }
            ClientRequest::OpenAccounts(_)
            | ClientRequest::Transfer(_)
            | ClientRequest::ReadAccounts(_)
            | ClientRequest::Call { .. } => {
                let message = "nodes without a primary keep single keys and nothing else";
                return self.refuse(id, ApiErrorKind::BadRequest, message);
            }
        };
        let targets = self.targets(&key);
        let terms = &self.setting.terms;
        let needed = match purpose {
            Purpose::Put(..) => terms.read.max(terms.write),
            Purpose::Get(_) | Purpose::Repair { .. } => terms.read,
        };
        let live = targets
            .iter()
            .filter(|target| !self.is_suspected(target.node));
        if live.count() < needed {
            let message = "so many nodes of the key are suspected that too few are left";
            return self.refuse(id, ApiErrorKind::Unavailable, message);
        }
        if self.operations.len() >= OPERATIONS_MAX {
            return self.refuse(
                id,
                ApiErrorKind::Unavailable,
                "too many requests are waiting",
            );
        }
        self.begin(key, purpose, targets);
    }

    /// The nodes of a key; where quorums are sloppy, the next in the ranking instead of those that
    /// are suspected and may still be kept something for.
    pub(super) fn targets(&self, key: &str) -> Vec<Target> {
        let ranking = self.setting.ranking(key);
        let (keep, others) = ranking.split_at(self.setting.terms.copies);
        let mut others = others.iter().filter(|peer| !self.is_suspected(**peer));
        let targets = keep.iter().enumerate().map(|(place, peer)| {
            let replaced = self.setting.terms.sloppy
                && self.is_suspected(*peer)
                && self.keeps_hints_for(*peer);
            let other = if replaced { others.next() } else { None };
            match other {
                Some(other) => Target {
                    node: *other,
                    place,
                    standing_in: Some(*peer),
                },
                None => Target {
                    node: *peer,
                    place,
                    standing_in: None,
                },
            }
        });
        targets.collect()
    }

    pub(super) fn begin(&mut self, key: String, purpose: Purpose, targets: Vec<Target>) {
        let number = self.stamp().0;
        let deadline = self.now.after(self.setting.terms.patience);
        for target in &targets {
            self.ask(number, &key, target.node);
        }
        let operation = Operation::new(key, purpose, targets, deadline);
        self.operations.insert(number, operation);
    }

    pub(super) fn ask(&mut self, operation: u64, key: &str, node: Peer) {
        let key = key.to_owned();
        self.post(node, RedundancyMessage::Read { operation, key });
    }

    pub(super) fn on_held(&mut self, from: Peer, number: u64, key: &str, answer: Answer) {
        if answer.shares.iter().any(|share| !share.is_sound(key)) {
            return;
        }
        if number == NO_OPERATION {
            if let Some(newest) = answer.newest() {
                self.has_arrived(from, key, newest);
            }
            return;
        }
        let operation = self.operations.get_mut(&number);
        let part = operation.filter(|operation| operation.target(from).is_some());
        if let Some(operation) = part {
            operation.answers.insert(from, answer);
            self.advance(number);
        }
    }

    pub(super) fn on_stored(&mut self, from: Peer, number: u64, key: &str, version: Version) {
        self.has_arrived(from, key, version);
        let operation = self.operations.get_mut(&number);
        let written = |operation: &&mut Operation| {
            let written = operation.written.map(|written| written.version);
            written == Some(version) && operation.target(from).is_some()
        };
        if let Some(operation) = operation.filter(written) {
            operation.stored.insert(from);
            self.advance(number);
        }
    }

    /// Looks whether an operation can go on, and forgets it when nothing more is to come.
    pub(super) fn advance(&mut self, number: u64) {
        let Some(mut operation) = self.operations.remove(&number) else {
            return;
        };
        if operation.stage == Stage::Asking {
            self.look_at_answers(number, &mut operation);
        }
        if operation.stage == Stage::Writing {
            self.look_at_stores(&mut operation);
        }
        if operation.stage != Stage::Answered || !self.is_over(&mut operation) {
            self.operations.insert(number, operation);
        }
    }

    fn look_at_answers(&mut self, number: u64, operation: &mut Operation) {
        let needed = match operation.purpose {
            Purpose::Put(..) if self.has(Flaw::VersionFromOneCopy) => 1,
            Purpose::Get(_) | Purpose::Put(..) => self.setting.terms.read,
            Purpose::Repair { answers } => answers,
        };
        if operation.answers.len() < needed {
            return;
        }
        match operation.purpose {
            Purpose::Get(_) => self.look_at_read(number, operation),
            Purpose::Put(_, value) => {
                let newest = operation.newest().map_or(0, |version| version.counter);
                let version = Version {
                    counter: newest + 1,
                    node: self.setting.me,
                    stamp: self.stamp(),
                };
                operation.written = Some(Written { version, value });
                self.spread(number, operation);
            }
            Purpose::Repair { .. } => self.look_at_repair(number, operation),
        }
    }

    fn look_at_read(&mut self, number: u64, operation: &mut Operation) {
        match operation.choose(&self.setting.terms) {
            Choice::Undecided => self.ask_anew(number, operation),
            Choice::Found(None) => self.answer(operation),
            Choice::Found(Some(version)) => {
                let value = self.setting.coding.value(operation.shares(version));
                let Some(value) = value else {
                    return;
                };
                operation.written = Some(Written { version, value });
                operation.stored = operation.holders(version);
                let waits = self.setting.terms.read_repair == ReadRepair::Sync
                    && !self.has(Flaw::ReadsNotWrittenBack);
                if waits && operation.stored.len() < self.setting.terms.write {
                    self.spread(number, operation);
                } else {
                    self.answer(operation);
                }
            }
        }
    }

    /// All were heard and nothing can be said, because some answered before a write and some after it:
    /// all are asked again, until the patience is over.
    fn ask_anew(&mut self, number: u64, operation: &mut Operation) {
        let heard = |node| operation.answers.contains_key(&node);
        if operation.all(heard, |node| self.is_suspected(node)) {
            operation.answers.clear();
            for target in &operation.targets {
                self.ask(number, &operation.key, target.node);
            }
        }
    }

    /// Tells all who do not hold it yet to hold what is written.
    fn spread(&mut self, number: u64, operation: &mut Operation) {
        operation.stage = Stage::Writing;
        for target in &operation.targets {
            if !operation.stored.contains(&target.node) {
                self.tell(number, operation, target);
            }
        }
    }

    pub(super) fn tell(&mut self, number: u64, operation: &Operation, target: &Target) {
        let Some(Written { version, value }) = operation.written else {
            return;
        };
        let coding = &self.setting.coding;
        let share = coding.share(&operation.key, version, target.place, value);
        let message = RedundancyMessage::Write {
            operation: number,
            key: operation.key.clone(),
            share,
            standing_in: target.standing_in,
        };
        self.post(target.node, message);
    }

    fn look_at_stores(&mut self, operation: &mut Operation) {
        let terms = self.setting.terms;
        let by = match self.has(Flaw::CountsOneCopy) {
            true => 1,
            false => terms.write,
        };
        let held = |node| operation.stored.contains(&node);
        let waits = terms.all_live && matches!(operation.purpose, Purpose::Put(..));
        if operation.stored.len() < by
            || waits && !operation.all(held, |node| self.is_suspected(node))
        {
            return;
        }
        self.answer(operation);
        if let Some(Written { version, .. }) = operation.written
            && terms.needed > 1
        {
            for target in &operation.targets {
                let key = operation.key.clone();
                self.post(target.node, RedundancyMessage::Complete { key, version });
            }
        }
    }

    /// Answers the client.
    fn answer(&mut self, operation: &mut Operation) {
        operation.stage = Stage::Answered;
        let node = self.name(self.setting.me);
        let (id, reply) = match operation.purpose {
            Purpose::Get(id) => {
                let value = operation.written.map(|written| written.value);
                (
                    id,
                    ClientReply::Value(ValueAnswer {
                        value,
                        node,
                        epoch: 0,
                    }),
                )
            }
            Purpose::Put(id, _) => (id, ClientReply::Done(Done { node, epoch: 0 })),
            Purpose::Repair { .. } => return,
        };
        self.out.push(Output::Reply { id, reply });
    }

    /// What is left to do after the answer; true when nothing is.
    fn is_over(&mut self, operation: &mut Operation) -> bool {
        match operation.purpose {
            Purpose::Put(..) => {
                let held = |node| operation.stored.contains(&node);
                let over = operation.all(held, |node| self.is_suspected(node));
                if over {
                    self.note_absent(operation);
                }
                over
            }
            Purpose::Get(_)
                if self.setting.terms.read_repair == ReadRepair::None
                    || self.has(Flaw::ReadsNotWrittenBack) =>
            {
                true
            }
            Purpose::Get(_) => {
                self.repair_stragglers(operation);
                let heard = |node| operation.answers.contains_key(&node);
                operation.all(heard, |node| self.is_suspected(node))
            }
            Purpose::Repair { .. } => true,
        }
    }

    pub(super) fn refuse(&mut self, id: RequestId, error: ApiErrorKind, message: &str) {
        let error = ApiError {
            error,
            message: message.to_owned(),
            node: self.name(self.setting.me),
            epoch: 0,
            primary: None,
        };
        let reply = ClientReply::Error(error);
        self.out.push(Output::Reply { id, reply });
    }
}
