//! What a server holds, and what follows from a step.
//!
//! A step takes one input, then settles: what the disk has proved releases answers, what a majority
//! holds is committed and applied, what is committed answers clients.
//! Invariants: `committed` never falls; nothing that rests on the disk is said before the disk has
//! it; one timer is set for whatever the server waits for next.
//! Source: paper, figure 2.

use std::collections::VecDeque;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::Status;
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;

use super::message::RaftMessage;
use super::role::Position;
use super::setting::Setting;
use crate::detector::watch::SelfPortrait;
use crate::flaw::Flaw;
use crate::interface::{Output, Peer, RequestId, Timer};
use crate::message::{Entry, Message, Point};
use crate::recovery_log::record::Recovered;
use crate::recovery_log::{Found, RecoveryLog, Ticket};
use crate::replication::replica::released;
use crate::replication::server_log::Log;
use crate::store::{Command, Store};

/// What waits until the disk has it in truth.
#[derive(Debug)]
pub(super) enum AfterSync {
    Send(Peer, RaftMessage),
    OwnVote(u64),
}

/// One server.
#[derive(Debug)]
pub struct Raft {
    pub(super) setting: Setting,
    pub(super) random: Random,
    pub(super) now: Moment,
    pub(super) out: Vec<Output>,
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) committed: u64,
    checkpointed: u64,
    pub(super) when_acknowledgeable: VecDeque<(Ticket, (Peer, RaftMessage))>,
    pub(super) when_synced: VecDeque<(Ticket, AfterSync)>,
    pub(super) position: Position,
    pub(super) leader: Option<Peer>,
    /// When the leader was last heard.
    pub(super) leader_heard: Option<Moment>,
    pub(super) election_due: Option<Moment>,
    timer_set: Option<Moment>,
    pub(super) wants_snapshot: bool,
}

impl Raft {
    /// A server that has not started.
    pub fn new(setting: Setting, disk: Box<dyn RecoveryLog>, seed: u64) -> Self {
        let random = Random::keyed(seed, "election", &setting.name(setting.me));
        Raft {
            random,
            now: Moment(0),
            out: Vec::new(),
            log: Log::new(disk, setting.planted),
            setting,
            store: Store::default(),
            committed: 0,
            checkpointed: 0,
            when_acknowledgeable: VecDeque::new(),
            when_synced: VecDeque::new(),
            position: Position::Follower,
            leader: None,
            leader_heard: None,
            election_due: None,
            timer_set: None,
            wants_snapshot: false,
        }
    }

    pub(super) fn begin(&mut self, recovered: Recovered, found: Option<Found>) {
        let store = self.log.start(self.now, recovered, found, &mut self.out);
        self.store = store.unwrap_or_default();
        self.committed = self.log.entries.base().position;
        self.checkpointed = self.committed;
        let epoch = self.log.term();
        self.note(Event::RoleChanged {
            role: Role::Backup,
            epoch,
        });
        self.postpone_election();
        if self.setting.majority() == 1 {
            self.stand();
        }
    }

    pub(super) fn set_now(&mut self, now: Moment) {
        self.now = now;
    }

    pub(super) fn note(&mut self, event: Event) {
        self.out.push(Output::Note { event });
    }

    pub(super) fn send(&mut self, to: Peer, message: RaftMessage) {
        let message = Message::Raft(message);
        self.out.push(Output::Send { to, message });
    }

    /// Puts a command into the log as leader; its position.
    pub(super) fn propose(&mut self, command: Command) -> u64 {
        let point = Point {
            epoch: self.log.term(),
            position: self.log.last().position + 1,
        };
        self.log.append(Entry { point, command }, &mut self.out);
        point.position
    }

    /// Applies everything up to `position`, and answers those who wait for it.
    pub(super) fn commit_to(&mut self, position: u64) {
        while self.committed < position {
            let Some(entry) = self.log.entries.entry(self.committed + 1) else {
                return;
            };
            self.committed += 1;
            if self.setting.has(Flaw::TransfersTwice) {
                self.store.forget_transfers();
            }
            let outcome = self.store.apply(self.committed, &entry.command);
            if let Some(id) = self.take_waiting(self.committed) {
                let reply = self.speaker().outcome(outcome);
                self.out.push(Output::Reply { id, reply });
            }
        }
    }

    fn take_waiting(&mut self, position: u64) -> Option<RequestId> {
        let Position::Leader(leadership) = &mut self.position else {
            return None;
        };
        leadership.waiting.remove(&position)
    }

    pub(super) fn draw_consequences(&mut self) {
        self.log.settle();
        let acknowledgeable = self.log.acknowledgeable();
        while let Some((to, message)) = released(&mut self.when_acknowledgeable, acknowledgeable) {
            self.send(to, message);
        }
        let synced = self.log.synced();
        while let Some(after) = released(&mut self.when_synced, synced) {
            match after {
                AfterSync::Send(to, message) => self.send(to, message),
                AfterSync::OwnVote(term) => self.own_vote_is_written(term),
            }
        }
        self.commit_what_is_held();
        self.judge_redundancy();
        self.answer_reads();
        self.log.entries.compact(self.committed);
        self.write_checkpoint_if_due(false);
        self.set_timer();
    }

    pub(super) fn write_checkpoint_if_due(&mut self, timer: bool) {
        let due = self.log.checkpoint_due(self.now, timer, &mut self.out);
        if !due || self.committed <= self.checkpointed {
            return;
        }
        if let Some(point) = self.log.entries.point(self.committed) {
            self.log
                .checkpoint(self.now, point, &self.store, &mut self.out);
            self.checkpointed = self.committed;
        }
    }

    /// Takes over a whole state from the leader.
    pub(super) fn install(&mut self, point: Point, store: Store) {
        self.log.install(self.now, point, &store, &mut self.out);
        self.store = store;
        self.committed = point.position;
        self.checkpointed = point.position;
    }

    pub(super) fn ring(&mut self) {
        self.timer_set = None;
        if let Position::Leader(leadership) = &self.position {
            if self.now >= leadership.heartbeat_due {
                self.step_down_without_quorum();
                self.beat();
            }
        } else if self.election_due.is_some_and(|due| self.now >= due) {
            self.stand();
        }
    }

    fn set_timer(&mut self) {
        let next = match &self.position {
            Position::Leader(leadership) => Some(leadership.heartbeat_due),
            Position::Follower | Position::Candidate(_) => self.election_due,
        };
        if let Some(at) = next
            && self.timer_set != next
        {
            self.timer_set = next;
            let timer = Timer::Replication;
            self.out.push(Output::SetTimer { timer, at });
        }
    }

    pub(super) fn describe_self(&self) -> SelfPortrait {
        SelfPortrait {
            primary: matches!(self.position, Position::Leader(_)),
            epoch: self.log.term(),
            position: self.log.last().position,
        }
    }

    pub(super) fn describe_status(&self) -> Status {
        Status {
            node: self.setting.name(self.setting.me),
            role: self.position.role(),
            epoch: self.log.term(),
            primary: self.leader.map(|leader| self.setting.name(leader)),
            position: self.log.last().position,
            committed: self.committed,
        }
    }

    /// True when the mistake is planted here.
    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.setting.has(flaw)
    }
}
