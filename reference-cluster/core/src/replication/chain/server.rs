//! What a member holds, and what follows from a step.
//!
//! A step takes one input, then settles: what is on disk is passed on down the chain and told up the
//! chain, what the tail has is committed and applied, what is committed answers clients.
//! Invariants: `committed` never falls; nothing is said before the disk has what it rests on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::Status;
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;

use super::authority::Candidacy;
use super::head::Headship;
use super::link::Link;
use super::message::{ChainMessage, Configuration};
use super::reads::ReadHere;
use super::setting::Setting;
use crate::detector::watch::SelfPortrait;
use crate::flaw::Flaw;
use crate::interface::{Output, Peer, RequestId, Timer};
use crate::message::{Message, Point};
use crate::recovery_log::record::Recovered;
use crate::recovery_log::{Found, RecoveryLog, Ticket};
use crate::replication::replica::released;
use crate::replication::server_log::Log;
use crate::store::Store;

/// What a member does at present.
#[derive(Debug)]
pub(super) enum Position {
    /// Holds a place in the chain that is not the first, or none.
    Follower,
    Candidate(Candidacy),
    Head(Headship),
}

/// What waits until the disk has it in truth.
#[derive(Debug)]
pub(super) enum AfterSync {
    Send(Peer, ChainMessage),
    OwnPromise(u64),
}

/// One member.
#[derive(Debug)]
pub struct Chain {
    pub(super) setting: Setting,
    pub(super) random: Random,
    pub(super) now: Moment,
    pub(super) out: Vec<Output>,
    /// With the newest epoch known, and whom it was promised.
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) committed: u64,
    checkpointed: u64,
    pub(super) when_synced: VecDeque<(Ticket, AfterSync)>,
    pub(super) position: Position,
    /// The last chain known; it stands as long as no newer epoch is known.
    pub(super) configuration: Option<Configuration>,
    pub(super) head: Option<Peer>,
    /// Up to here the log is that of the chain; `None`: not known yet.
    pub(super) verified: Option<u64>,
    pub(super) links: BTreeMap<Peer, Link>,
    /// An answer is due although nothing has changed.
    pub(super) owes_answer: bool,
    pub(super) told: Option<(u64, u64)>,
    pub(super) wants_snapshot: bool,
    pub(super) reads_here: VecDeque<ReadHere>,
    pub(super) reads_asked: u64,
    pub(super) suspected: BTreeSet<Peer>,
    pub(super) stand_due: Option<Moment>,
}

impl Chain {
    /// A member that has not started.
    pub fn new(setting: Setting, disk: Box<dyn RecoveryLog>, seed: u64) -> Self {
        let random = Random::keyed(seed, "chain", &setting.name(setting.me));
        Chain {
            random,
            now: Moment(0),
            out: Vec::new(),
            log: Log::new(disk, setting.planted),
            setting,
            store: Store::default(),
            committed: 0,
            checkpointed: 0,
            when_synced: VecDeque::new(),
            position: Position::Follower,
            configuration: None,
            head: None,
            verified: None,
            links: BTreeMap::new(),
            owes_answer: false,
            told: None,
            wants_snapshot: false,
            reads_here: VecDeque::new(),
            reads_asked: 0,
            suspected: BTreeSet::new(),
            stand_due: None,
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
        self.plan_to_stand();
        self.stand_if_due();
        self.set_tick();
    }

    pub(super) fn note(&mut self, event: Event) {
        self.out.push(Output::Note { event });
    }

    pub(super) fn send(&mut self, to: Peer, message: ChainMessage) {
        let message = Message::Chain(message);
        self.out.push(Output::Send { to, message });
    }

    /// True when the mistake is planted here.
    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.setting.has(flaw)
    }

    /// The chain that stands: none while a newer epoch is promised and has no chain yet.
    pub(super) fn standing(&self) -> Option<&Configuration> {
        let epoch = self.log.term();
        self.configuration
            .as_ref()
            .filter(|chain| chain.epoch == epoch)
    }

    /// To whom this member passes on, in the chain that stands.
    pub(super) fn successor(&self) -> Option<Peer> {
        self.standing()?.successor(self.setting.me)
    }

    /// Up to here the log is the chain's; a head's always is.
    pub(super) fn verified(&self) -> u64 {
        match &self.position {
            Position::Head(_) => self.log.last().position,
            Position::Follower | Position::Candidate(_) => self.verified.unwrap_or(0),
        }
    }

    /// Up to here it is the chain's, and on disk.
    pub(super) fn settled(&self) -> u64 {
        self.log.durable().min(self.verified())
    }

    /// Up to here everyone from this member to the tail has the log on disk.
    pub(super) fn held(&self) -> u64 {
        let behind = self.successor().map(|peer| self.links.get(&peer));
        match behind {
            Some(_) if self.has(Flaw::AcknowledgesBeforeTail) => self.settled(),
            Some(link) => self.settled().min(link.map_or(0, |link| link.held)),
            None => self.settled(),
        }
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
        match &mut self.position {
            Position::Head(headship) => headship.waiting.remove(&position),
            Position::Candidate(_) | Position::Follower => None,
        }
    }

    /// Commits what the tail has. An entry of an older epoch counts only behind one of the chain's
    /// own: who holds it proves nothing by itself (Ongaro & Ousterhout 2014, figure 8).
    fn commit_what_is_held(&mut self) {
        let me = self.setting.me;
        let Some(chain) = self.standing().filter(|chain| chain.holds(me)) else {
            return;
        };
        let (held, epoch) = (self.held(), chain.epoch);
        let own = self.log.entries.point(held);
        if own.is_some_and(|point| point.epoch == epoch) || self.has(Flaw::CommitsOldTerms) {
            self.commit_to(held);
        }
    }

    pub(super) fn draw_consequences(&mut self) {
        self.log.settle();
        let synced = self.log.synced();
        while let Some(after) = released(&mut self.when_synced, synced) {
            match after {
                AfterSync::Send(to, message) => self.send(to, message),
                AfterSync::OwnPromise(epoch) => self.own_promise_is_written(epoch),
            }
        }
        self.pass_on(false);
        self.tell_source();
        self.commit_what_is_held();
        self.answer_reads();
        self.change_chain_if_due();
        self.log.entries.compact(self.committed);
        self.write_checkpoint_if_due(false);
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

    /// Takes over a whole state.
    pub(super) fn install(&mut self, point: Point, store: Store) {
        self.log.install(self.now, point, &store, &mut self.out);
        self.store = store;
        self.committed = point.position;
        self.checkpointed = point.position;
    }

    /// The replication timer is due.
    pub(super) fn ring(&mut self) {
        self.pass_on(true);
        self.ask_reads_again(false);
        self.retry_candidacy();
        self.stand_if_due();
        self.set_tick();
    }

    /// Sets the timer for the next tick, or for what is due before.
    pub(super) fn set_tick(&mut self) {
        let tick = self.now.after(self.setting.beat);
        let at = self.stand_due.map_or(tick, |due| due.min(tick));
        self.out.push(Output::SetTimer {
            timer: Timer::Replication,
            at: at.max(self.now),
        });
    }

    /// Role and epoch as others are told. A head that has its chain changed stays head of the old
    /// one until the new one stands: there is no other meanwhile.
    fn role(&self) -> (Role, u64) {
        let epoch = self.log.term();
        match &self.position {
            Position::Head(_) => {
                let chain = self.configuration.as_ref();
                (Role::Primary, chain.map_or(epoch, |chain| chain.epoch))
            }
            Position::Candidate(candidacy) if !candidacy.trial => (Role::Candidate, epoch),
            Position::Candidate(_) | Position::Follower => (Role::Backup, epoch),
        }
    }

    pub(super) fn describe_self(&self) -> SelfPortrait {
        let (role, epoch) = self.role();
        SelfPortrait {
            primary: role == Role::Primary,
            epoch,
            position: self.log.last().position,
        }
    }

    pub(super) fn describe_status(&self) -> Status {
        let (role, epoch) = self.role();
        Status {
            node: self.setting.name(self.setting.me),
            role,
            epoch,
            primary: self.head.map(|head| self.setting.name(head)),
            position: self.log.last().position,
            committed: self.committed,
        }
    }
}
