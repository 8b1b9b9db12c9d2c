//! One node of a cluster without a primary: it coordinates what it is asked, and keeps its keys.
//!
//! What a node says to itself goes the same way as what it says to others, through a queue that is
//! emptied before a step ends. What must be durable first waits by the ticket of its record.
//! Invariant: nothing is said to be held before the recovery log says that it may be relied on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;

use super::absences::Absences;
use super::holdings::Holdings;
use super::message::RedundancyMessage;
use super::notes::Note;
use super::operation::{Answer, Operation};
use super::setting::Setting;
use crate::flaw::Flaw;
use crate::interface::{Output, Peer, Timer};
use crate::message::Message;
use crate::recovery_log::record::Record;
use crate::recovery_log::{RecoveryLog, Ticket};

/// The node.
#[derive(Debug)]
pub struct Keeper {
    pub(super) setting: Setting,
    pub(super) now: Moment,
    pub(super) out: Vec<Output>,
    pub(super) log: Box<dyn RecoveryLog>,
    /// Something was written down since the last checkpoint.
    pub(super) unsaved: bool,
    pub(super) holdings: Holdings,
    pub(super) absences: Absences,
    pub(super) operations: BTreeMap<u64, Operation>,
    /// Keys of which this node's own copy is being given back.
    pub(super) repairing: BTreeSet<String>,
    /// What it says to itself.
    own: VecDeque<RedundancyMessage>,
    /// What is said once a ticket is durable; the second number keeps the order.
    waiting: BTreeMap<(Ticket, u64), (Peer, RedundancyMessage)>,
    waited: u64,
    last_stamp: u64,
    /// Since when a node has been suspected.
    pub(super) suspected: BTreeMap<Peer, Moment>,
    degraded: bool,
    /// When nodes that lack something are spoken to again.
    pub(super) reach_due: Moment,
    pub(super) comparison_due: Option<Moment>,
    /// The last that was compared with.
    pub(super) compared: Peer,
    pub(super) armed: Option<Moment>,
}

impl Keeper {
    /// An empty node.
    pub fn new(setting: Setting, log: Box<dyn RecoveryLog>) -> Self {
        let compared = setting.me;
        Keeper {
            setting,
            now: Moment(0),
            out: Vec::new(),
            log,
            unsaved: false,
            holdings: Holdings::default(),
            absences: Absences::default(),
            operations: BTreeMap::new(),
            repairing: BTreeSet::new(),
            own: VecDeque::new(),
            waiting: BTreeMap::new(),
            waited: 0,
            last_stamp: 0,
            suspected: BTreeMap::new(),
            degraded: false,
            reach_due: Moment(0),
            comparison_due: None,
            compared,
            armed: None,
        }
    }

    pub(super) fn name(&self, peer: Peer) -> String {
        let name = self.setting.names.get(peer.0 as usize);
        name.cloned().unwrap_or_default()
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.setting.planted.has(flaw)
    }

    pub(super) fn note(&mut self, event: Event) {
        self.out.push(Output::Note { event });
    }

    /// Says something to a node, which may be this one.
    pub(super) fn post(&mut self, to: Peer, message: RedundancyMessage) {
        if to == self.setting.me {
            self.own.push_back(message);
        } else {
            let message = Message::Redundancy(message);
            self.out.push(Output::Send { to, message });
        }
    }

    /// Says something as soon as what a ticket stands for is durable.
    pub(super) fn post_durable(&mut self, ticket: Ticket, to: Peer, message: RedundancyMessage) {
        self.waited += 1;
        self.waiting.insert((ticket, self.waited), (to, message));
    }

    /// Writes something down; its ticket.
    pub(super) fn write_down(&mut self, note: &Note) -> Ticket {
        self.unsaved = true;
        let json = serde_json::to_string(note).expect("a note has no part that JSON lacks");
        self.log.append(&Record::Service(json), &mut self.out)
    }

    /// The moment, moved on where it was used before: no two are the same, also over restarts.
    pub(super) fn stamp(&mut self) -> Moment {
        self.last_stamp = self.now.0.max(self.last_stamp + 1);
        Moment(self.last_stamp)
    }

    pub(super) fn is_suspected(&self, peer: Peer) -> bool {
        self.suspected.contains_key(&peer)
    }

    pub(super) fn handle(&mut self, from: Peer, message: RedundancyMessage) {
        match message {
            RedundancyMessage::Read { operation, key } => self.on_read(from, operation, key),
            RedundancyMessage::Held {
                operation,
                key,
                shares,
                complete,
            } => self.on_held(from, operation, &key, Answer { shares, complete }),
            RedundancyMessage::Write {
                operation,
                key,
                share,
                standing_in,
            } => self.on_write(from, operation, key, (share, standing_in)),
            RedundancyMessage::Stored {
                operation,
                key,
                version,
            } => self.on_stored(from, operation, &key, version),
            RedundancyMessage::Complete { key, version } => self.on_complete(key, version),
            RedundancyMessage::Compare { digests } => self.on_compare(from, &digests),
            RedundancyMessage::Leaves {
                leaves,
                versions,
                answers,
            } => self.on_leaves(from, leaves, &versions, answers),
        }
    }

    /// Says what has become durable, and takes in what this node said to itself.
    pub(super) fn flow(&mut self) {
        // Ends: each turn takes one message, and an operation says a bounded number of them.
        loop {
            let durable = self.log.acknowledgeable();
            if let Some(entry) = self.waiting.first_entry()
                && entry.key().0 <= durable
            {
                let (to, message) = entry.remove();
                self.post(to, message);
            } else if let Some(message) = self.own.pop_front() {
                self.handle(self.setting.me, message);
            } else {
                return;
            }
        }
    }

    /// Tells when copies become out of reach or missing, and when none is any more.
    pub(super) fn note_degradation(&mut self) {
        let behind: BTreeSet<Peer> = self
            .absences
            .peers()
            .chain(self.suspected.keys().copied())
            .collect();
        if behind.is_empty() == self.degraded {
            self.degraded = !behind.is_empty();
            let wanted = self.setting.names.len() as u32;
            let copies = wanted.saturating_sub(behind.len() as u32);
            self.note(match self.degraded {
                true => Event::RedundancyDegraded { copies, wanted },
                false => Event::RedundancyRestored { copies, wanted },
            });
        }
    }

    pub(super) fn arm(&mut self) {
        // Operations are numbered by when they began and all have the same patience.
        let first = self.operations.values().next();
        let busy = !self.absences.is_empty() || self.holdings.damaged().next().is_some();
        let due = first
            .map(|operation| operation.deadline)
            .into_iter()
            .chain(self.comparison_due)
            .chain(busy.then_some(self.reach_due))
            .min();
        if let Some(at) = due
            && due != self.armed
        {
            self.armed = due;
            let timer = Timer::Replication;
            self.out.push(Output::SetTimer { timer, at });
        }
    }
}
