//! What a node of a spread bank holds, and what follows from a step.
//!
//! Invariants: an account is at one node alone; nothing is taken in an era before this node has gone
//! back for it; nothing counts as stored before the disk has said so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec::Drain;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::Status;
use shakedown_contracts::time::Moment;

use super::bank::{Forwarded, OpenRead};
use super::channel::Channel;
use super::checkpoint::{Checkpoints, Round};
use super::marker::Recording;
use super::message::{Body, SnapshotId, SpreadMessage};
use super::recovery::Duty;
use super::setting::Setting;
use crate::detector::watch::SelfPortrait;
use crate::flaw::Flaw;
use crate::interface::{ClientRequest, DiskToken, Output, Peer, RequestId, Timer};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::record::Recovered;
use crate::recovery_log::{Found, RecoveryLog, Ticket};
use crate::replication::replica::released;
use crate::service::Service;
use crate::store::Store;

/// One node.
#[derive(Debug)]
pub struct SpreadBank {
    pub(super) setting: Setting,
    pub(super) now: Moment,
    pub(super) out: Vec<Output>,
    pub(super) log: Box<dyn RecoveryLog>,
    /// Checkpoints on their way to the disk, with the era in which they were written.
    pub(super) when_stored: VecDeque<(Ticket, (u64, u64))>,
    /// The accounts of this node.
    pub(super) store: Store,
    /// All accounts there are, as far as this node has heard.
    pub(super) directory: BTreeSet<String>,
    /// Position of the newest transfer this node has heard of.
    pub(super) clock: u64,
    pub(super) era: u64,
    /// False while nodes go back.
    pub(super) active: bool,
    /// It has lost what it did since its checkpoint.
    pub(super) restarted: bool,
    pub(super) duty: Option<Duty>,
    pub(super) channels: BTreeMap<Peer, Channel>,
    pub(super) recordings: BTreeMap<SnapshotId, Recording>,
    pub(super) next_number: u64,
    pub(super) checkpoints: Checkpoints,
    pub(super) checkpoint_due: Option<Moment>,
    pub(super) round: Round,
    pub(super) reads: BTreeMap<u64, OpenRead>,
    pub(super) forwarded: BTreeMap<u64, Forwarded>,
    pub(super) requests_forwarded: u64,
    pub(super) suspected: BTreeSet<Peer>,
}

impl SpreadBank {
    /// A node that has not started.
    pub fn new(setting: Setting, log: Box<dyn RecoveryLog>) -> Self {
        SpreadBank {
            setting,
            now: Moment(0),
            out: Vec::new(),
            log,
            when_stored: VecDeque::new(),
            store: Store::default(),
            directory: BTreeSet::new(),
            clock: 0,
            era: 0,
            active: false,
            restarted: true,
            duty: None,
            channels: BTreeMap::new(),
            recordings: BTreeMap::new(),
            next_number: 1,
            checkpoints: Checkpoints::default(),
            checkpoint_due: None,
            round: Round::default(),
            reads: BTreeMap::new(),
            forwarded: BTreeMap::new(),
            requests_forwarded: 0,
            suspected: BTreeSet::new(),
        }
    }

    pub(super) fn note(&mut self, event: Event) {
        self.out.push(Output::Note { event });
    }

    pub(super) fn send(&mut self, to: Peer, message: SpreadMessage) {
        let message = Message::Spread(message);
        self.out.push(Output::Send { to, message });
    }

    /// True when the mistake is planted here.
    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.setting.has(flaw)
    }

    fn role(&self) -> Role {
        match self.active {
            true => Role::Peer,
            false => Role::Backup,
        }
    }

    pub(super) fn describe_status(&self) -> Status {
        Status {
            node: self.setting.name(self.setting.me),
            role: self.role(),
            epoch: self.era,
            primary: None,
            position: self.clock,
            committed: self.checkpoints.newest(),
        }
    }

    /// What came on a channel in its turn.
    pub(super) fn deliver(&mut self, from: Peer, content: Body) {
        match content {
            Body::Credit { position, transfer } => self.on_credit(from, position, &transfer),
            Body::Open { accounts } => self.open_own(accounts),
            Body::Marker { id, purpose } => self.on_marker(from, id, purpose),
            Body::Recorded { number, accounts } => self.on_recorded(from, number, accounts),
            Body::Stored { number } => self.on_stored(from, number),
        }
    }

    fn dispatch(&mut self, from: Peer, message: SpreadMessage) {
        match message {
            SpreadMessage::Carry {
                era,
                sequence,
                content,
            } => self.on_carry(from, era, sequence, content),
            SpreadMessage::Taken { era, sequence } => self.on_taken(from, era, sequence),
            SpreadMessage::Recover { era } => self.on_recover(from, era),
            SpreadMessage::Ready {
                era,
                newest,
                accounts,
            } => self.on_ready(from, era, newest, accounts),
            SpreadMessage::Newer { era } => self.on_newer(era),
            SpreadMessage::RollBack {
                era,
                line,
                next,
                accounts,
            } => self.on_roll_back(from, (era, line, next), accounts),
            SpreadMessage::Resumed { era } => self.on_resumed(from, era),
            SpreadMessage::Forward { number, transfer } => {
                self.on_forward(from, number, &transfer);
            }
            SpreadMessage::Answer { number, reply } => self.on_answer(number, reply),
        }
    }

    fn set_tick(&mut self) {
        let tick = self.now.after(self.setting.beat);
        // One that is overdue waits for something else.
        let due = self.checkpoint_due.filter(|due| *due > self.now);
        self.out.push(Output::SetTimer {
            timer: Timer::Replication,
            at: due.map_or(tick, |due| due.min(tick)),
        });
    }
}

impl Service for SpreadBank {
    fn at(&mut self, now: Moment) {
        self.now = now;
    }

    fn start(&mut self, recovered: Recovered, found: Option<Found>) {
        self.log
            .start(self.now, found.unwrap_or_default(), &mut self.out);
        if let Some(checkpoint) = recovered.checkpoint {
            self.checkpoints = Checkpoints::read(&checkpoint.service);
            self.era = checkpoint.point.epoch;
        }
        self.note(Event::RoleChanged {
            role: Role::Backup,
            epoch: self.era,
        });
        self.open_era(self.era);
        self.set_tick();
    }

    fn message(&mut self, from: Peer, message: Message) {
        // Others are of a group with another strategy: nothing here understands them.
        if let Message::Spread(message) = message {
            self.dispatch(from, message);
        }
    }

    fn reconnected(&mut self, peer: Peer) {
        self.send_again(peer);
        self.press_on();
    }

    /// Nobody has a role to tell.
    fn heard(&mut self, _from: Peer, _heartbeat: &Heartbeat) {}

    fn suspicion_changed(&mut self, suspected: BTreeSet<Peer>) {
        self.suspected = suspected;
    }

    fn tick(&mut self) {
        self.press_on();
        self.send_late_again();
        self.give_up_late();
        self.checkpoint_when_due();
        self.set_tick();
    }

    fn sync_due(&mut self) {
        self.log.sync_due(self.now, &mut self.out);
    }

    /// Checkpoints have a time of their own here.
    fn checkpoint_if_due(&mut self, _timer: bool) {}

    fn disk_done(&mut self, token: DiskToken) {
        self.log.disk_done(self.now, token, &mut self.out);
    }

    fn disk_failed(&mut self, token: DiskToken) {
        self.log.disk_failed(token, &mut self.out);
    }

    fn request(&mut self, id: RequestId, request: ClientRequest) {
        self.serve(id, request);
    }

    fn settle(&mut self) {
        let synced = self.log.synced();
        while let Some((era, number)) = released(&mut self.when_stored, synced) {
            self.is_stored(era, number);
        }
        self.acknowledge_taken();
    }

    fn take_outputs(&mut self) -> Drain<'_, Output> {
        self.out.drain(..)
    }

    fn portrait(&self) -> SelfPortrait {
        SelfPortrait {
            primary: false,
            epoch: self.era,
            position: self.clock,
        }
    }

    fn status(&self) -> Status {
        self.describe_status()
    }

    fn point(&self, _position: u64) -> Option<Point> {
        None
    }
}
