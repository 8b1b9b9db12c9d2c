//! What a node holds: log, state, epoch and role, and what its disk has proved of them.
//!
//! Every write goes to the recovery log first; what depends on it (an acknowledgement to the
//! primary, a promise, a commit) waits in a queue until the disk has answered.
//! Invariants: `committed` never exceeds the log; an epoch never falls; nothing that was promised
//! is said before it is durable.

use std::collections::{BTreeSet, VecDeque};

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::Status;
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::Rules;
use super::entry_log::EntryLog;
use super::first_start::Newcomer;
use super::leader::Leadership;
use super::lease::Grant;
use super::membership::Membership;
use super::takeover::Candidacy;
use crate::detector::watch::SelfPortrait;
use crate::flaw::{Flaw, Planted};
use crate::interface::{DiskToken, Output, Peer, RequestId, Timer};
use crate::message::{Entry, Message, Point};
use crate::recovery_log::record::{CheckpointState, Record, Recovered};
use crate::recovery_log::{Found, RecoveryLog, Ticket};
use crate::store::{Command, Outcome, Store};

/// What does not change while a node runs.
#[derive(Debug)]
pub struct Setting {
    /// Names of all members, in rank order.
    pub names: Vec<String>,
    /// This one.
    pub me: Peer,
    /// The strategy.
    pub rules: Rules,
    /// The step in which retries and staggers are counted.
    pub beat: Duration,
    /// How long a node without a primary waits for one to show itself.
    pub patience: Duration,
    /// An empty disk proves that this node never promised anything.
    pub empty_means_new: bool,
    /// In tests alone.
    pub planted: Planted,
}

/// What the node does at present.
#[derive(Debug)]
pub(super) enum Position {
    Backup,
    Candidate(Candidacy),
    Primary(Leadership),
}

/// What waits until the disk has it in truth.
#[derive(Debug)]
pub(super) enum AfterSync {
    Send(Peer, Message),
    OwnPromise(u64),
}

/// One node's part of the group.
#[derive(Debug)]
pub struct Replica {
    pub(super) setting: Setting,
    pub(super) random: Random,
    pub(super) now: Moment,
    pub(super) out: Vec<Output>,
    pub(super) log: Box<dyn RecoveryLog>,
    pub(super) last_ticket: Ticket,
    pub(super) entries: EntryLog,
    pub(super) store: Store,
    pub(super) membership: Membership,
    pub(super) committed: u64,
    checkpointed: u64,
    pub(super) durable: u64,
    /// Positions that become durable with a ticket.
    pub(super) unsynced: VecDeque<(Ticket, u64)>,
    pub(super) when_acknowledgeable: VecDeque<(Ticket, (Peer, Message))>,
    pub(super) when_synced: VecDeque<(Ticket, AfterSync)>,
    pub(super) epoch: u64,
    pub(super) promised: Option<Peer>,
    pub(super) position: Position,
    pub(super) leader: Option<Peer>,
    pub(super) suspected: BTreeSet<Peer>,
    pub(super) newcomer: Option<Newcomer>,
    pub(super) takeover_due: Option<Moment>,
    pub(super) grant: Grant,
    pub(super) wants_snapshot: bool,
}

impl Replica {
    /// An empty node.
    pub fn new(setting: Setting, log: Box<dyn RecoveryLog>, seed: u64) -> Self {
        let name = setting
            .names
            .get(setting.me.0 as usize)
            .map_or("", String::as_str);
        let random = Random::keyed(seed, "takeover", name);
        let leader = setting.rules.fixed_primary;
        let membership = Membership::new(setting.rules.voters.clone());
        Replica {
            membership,
            setting,
            random,
            now: Moment(0),
            out: Vec::new(),
            log,
            last_ticket: 0,
            entries: EntryLog::default(),
            store: Store::default(),
            committed: 0,
            checkpointed: 0,
            durable: 0,
            unsynced: VecDeque::new(),
            when_acknowledgeable: VecDeque::new(),
            when_synced: VecDeque::new(),
            epoch: 0,
            promised: None,
            position: Position::Backup,
            leader,
            suspected: BTreeSet::new(),
            newcomer: None,
            takeover_due: None,
            grant: Grant::default(),
            wants_snapshot: false,
        }
    }

    /// Begins with what the disk held. `found` is `None` when it held nothing at all.
    pub fn start(&mut self, recovered: Recovered, found: Option<Found>) {
        let empty = found.is_none();
        self.last_ticket = self
            .log
            .start(self.now, found.unwrap_or_default(), &mut self.out);
        self.epoch = recovered.epoch;
        self.promised = recovered.promised;
        let mut base = Point::default();
        if let Some(checkpoint) = recovered.checkpoint {
            base = checkpoint.point;
            self.store = checkpoint.store;
        }
        self.committed = base.position;
        self.checkpointed = base.position;
        self.entries = EntryLog::new(base, recovered.entries);
        if !self.has(Flaw::ForgetsVoters) {
            let entries = self.entries.tail(base.position + 1);
            self.membership.begin(self.store.configuration(), entries);
            self.adopt_voters();
        }
        self.unsynced
            .push_back((self.last_ticket, self.entries.last().position));
        self.note(Event::RoleChanged {
            role: Role::Backup,
            epoch: self.epoch,
        });
        if !empty {
            self.remember_no_grant();
        }
        self.begin(empty);
        self.set_tick();
    }

    /// Sets the moment of everything that follows.
    pub fn at(&mut self, now: Moment) {
        self.now = now;
    }

    /// What was asked for since the last call.
    pub fn take_outputs(&mut self) -> std::vec::Drain<'_, Output> {
        self.out.drain(..)
    }

    /// What heartbeats say about this node.
    pub fn portrait(&self) -> SelfPortrait {
        SelfPortrait {
            primary: matches!(self.position, Position::Primary(_)),
            epoch: self.epoch,
            position: self.entries.last().position,
        }
    }

    /// What `GET /v1/status` answers.
    pub fn status(&self) -> Status {
        Status {
            node: self.name(self.setting.me),
            role: match &self.position {
                Position::Primary(_) => Role::Primary,
                Position::Candidate(candidacy) if !candidacy.trial => Role::Candidate,
                Position::Candidate(_) | Position::Backup => Role::Backup,
            },
            epoch: self.epoch,
            primary: self.leader.map(|leader| self.name(leader)),
            position: self.entries.last().position,
            committed: self.committed,
        }
    }

    pub(super) fn name(&self, peer: Peer) -> String {
        self.setting
            .names
            .get(peer.0 as usize)
            .cloned()
            .unwrap_or_default()
    }

    /// True when the mistake is planted here.
    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.setting.planted.has(flaw)
    }

    pub(super) fn note(&mut self, event: Event) {
        self.out.push(Output::Note { event });
    }

    pub(super) fn send(&mut self, to: Peer, message: Message) {
        self.out.push(Output::Send { to, message });
    }

    /// The other voters.
    pub(super) fn others(&self) -> Vec<Peer> {
        let me = self.setting.me;
        self.setting
            .rules
            .voters
            .iter()
            .copied()
            .filter(|peer| *peer != me)
            .collect()
    }

    /// Sets the timer for the next tick, or for a takeover that is due before.
    pub(super) fn set_tick(&mut self) {
        let tick = self.now.after(self.setting.beat);
        let fallback = match &self.position {
            Position::Primary(leadership) => leadership.semi_sync.due(),
            Position::Backup | Position::Candidate(_) => None,
        };
        let fallback = fallback.filter(|due| *due > self.now);
        let due = self.takeover_due.into_iter().chain(fallback).min();
        let at = due.map_or(tick, |due| due.min(tick)).max(self.now);
        self.out.push(Output::SetTimer {
            timer: Timer::Replication,
            at,
        });
    }

    /// The replication timer is due.
    pub fn tick(&mut self) {
        match self.position {
            Position::Primary(_) => self.lead(),
            Position::Candidate(_) => self.retry_candidacy(),
            Position::Backup => {
                self.ask_to_join();
                self.takeover_if_due();
            }
        }
        self.set_tick();
    }

    /// Writes an entry to both logs.
    pub(super) fn write(&mut self, entry: Entry) {
        let position = entry.point.position;
        let record = Record::Entry(entry);
        self.last_ticket = self.log.append(&record, &mut self.out);
        let Record::Entry(entry) = record else { return };
        self.membership.written(&entry);
        self.entries.push(entry);
        self.unsynced.push_back((self.last_ticket, position));
        self.adopt_voters();
    }

    /// Removes a divergent tail. On disk the next record replaces it.
    pub(super) fn truncate_from(&mut self, position: u64) {
        self.entries.truncate_from(position);
        self.membership.truncated_from(position);
        self.adopt_voters();
        self.unsynced.retain(|(_, unsynced)| *unsynced < position);
        self.durable = self.durable.min(position - 1);
    }

    /// Writes down a promise; its ticket.
    pub(super) fn write_promise(&mut self, epoch: u64, to: Peer) -> Ticket {
        self.promised = Some(to);
        if self.has(Flaw::ForgetsPromise) {
            return self.last_ticket;
        }
        self.last_ticket = self
            .log
            .append(&Record::Promise { epoch, to }, &mut self.out);
        self.log.force(&mut self.out);
        self.last_ticket
    }

    /// Applies everything up to `position`, and answers those who wait for it.
    pub(super) fn commit_to(&mut self, position: u64) {
        while self.committed < position {
            let Some(entry) = self.entries.entry(self.committed + 1) else {
                return;
            };
            self.committed += 1;
            if self.setting.planted.has(Flaw::TransfersTwice) {
                self.store.forget_transfers();
            }
            let outcome = self.store.apply(self.committed, &entry.command);
            if let Command::Reconfigure { .. } = entry.command {
                self.reconfigured();
            }
            if let Some(id) = self.take_waiting(self.committed) {
                self.answer(id, outcome);
            }
        }
    }

    fn take_waiting(&mut self, position: u64) -> Option<RequestId> {
        let Position::Primary(leadership) = &mut self.position else {
            return None;
        };
        leadership.waiting.remove(&position)
    }

    fn answer(&mut self, id: RequestId, outcome: Outcome) {
        let reply = self.outcome_reply(outcome);
        self.out.push(Output::Reply { id, reply });
    }

    /// To be called last at every step: draws the consequences of what the disk has done.
    pub fn settle(&mut self) {
        let acknowledgeable = self.log.acknowledgeable();
        while let Some(position) = released(&mut self.unsynced, acknowledgeable) {
            self.durable = self.durable.max(position);
        }
        while let Some((to, message)) = released(&mut self.when_acknowledgeable, acknowledgeable) {
            self.send(to, message);
        }
        let synced = self.log.synced();
        while let Some(after) = released(&mut self.when_synced, synced) {
            match after {
                AfterSync::Send(to, message) => self.send(to, message),
                AfterSync::OwnPromise(epoch) => self.promised_by(self.setting.me, epoch, false),
            }
        }
        self.commit_what_is_held();
        self.judge_redundancy();
        self.go_on_with_swap();
        self.answer_reads();
        self.entries.compact(self.committed);
        self.checkpoint_if_due(false);
    }

    /// Writes a checkpoint when its rule says so. `timer`: asked by the checkpoint timer.
    pub fn checkpoint_if_due(&mut self, timer: bool) {
        let due = self.log.checkpoint_due(self.now, timer, &mut self.out);
        if !due || self.committed <= self.checkpointed {
            return;
        }
        let Some(point) = self.entries.point(self.committed) else {
            return;
        };
        let state = CheckpointState::new(point, self.store.clone());
        let mut records = self.promise_record();
        records.extend(
            self.entries
                .tail(self.committed + 1)
                .cloned()
                .map(Record::Entry),
        );
        self.last_ticket = self
            .log
            .checkpoint(self.now, &state, &records, &mut self.out);
        self.checkpointed = self.committed;
    }

    /// Takes over a whole state from the primary; the ticket with which it is durable.
    pub(super) fn install(&mut self, point: Point, store: Store) -> Ticket {
        let state = CheckpointState::new(point, store);
        let records = self.promise_record();
        self.last_ticket = self
            .log
            .checkpoint(self.now, &state, &records, &mut self.out);
        self.store = state.store;
        self.entries = EntryLog::new(point, Vec::new());
        self.membership
            .begin(self.store.configuration(), std::iter::empty());
        self.adopt_voters();
        self.committed = point.position;
        self.checkpointed = point.position;
        self.durable = 0;
        self.unsynced.clear();
        self.unsynced.push_back((self.last_ticket, point.position));
        self.last_ticket
    }

    fn promise_record(&self) -> Vec<Record> {
        let epoch = self.epoch;
        self.promised
            .filter(|_| !self.has(Flaw::ForgetsPromise))
            .map(|to| Record::Promise { epoch, to })
            .into_iter()
            .collect()
    }

    /// What the log holds at a position, as far as it is in memory.
    pub fn point(&self, position: u64) -> Option<Point> {
        self.entries.point(position)
    }

    /// A disk operation is done.
    pub fn disk_done(&mut self, token: DiskToken) {
        self.log.disk_done(self.now, token, &mut self.out);
    }

    /// A sync failed, and the driver goes on.
    pub fn disk_failed(&mut self, token: DiskToken) {
        self.log.disk_failed(token, &mut self.out);
    }

    /// The sync timer is due.
    pub fn sync_due(&mut self) {
        self.log.sync_due(self.now, &mut self.out);
    }

    /// Puts a command into the log as primary; its position.
    pub(super) fn propose(&mut self, command: Command) -> u64 {
        let position = self.entries.last().position + 1;
        self.write(Entry {
            point: Point {
                epoch: self.epoch,
                position,
            },
            command,
        });
        position
    }
}

/// The next item of a queue that is released by tickets.
pub(crate) fn released<T>(queue: &mut VecDeque<(Ticket, T)>, up_to: Ticket) -> Option<T> {
    let (ticket, _) = queue.front()?;
    if *ticket <= up_to {
        queue.pop_front().map(|(_, item)| item)
    } else {
        None
    }
}
