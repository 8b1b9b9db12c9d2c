//! A node's part of all transactions: what it holds, and what follows from a step.
//!
//! The node is coordinator of what clients ask it, participant for its own accounts, and under Paxos
//! Commit an acceptor. What it says to itself goes the same way as what it says to others, but
//! through its `inbox`, so that no protocol has a special case for it.
//! Invariant: nothing that rests on a note is said before the note is on disk, as far as the fsync
//! policy wants; one timer is set for whatever comes due next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shakedown_contracts::event::Event;
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;

use super::attempt::Attempt;
use super::best_effort::Writing;
use super::clock::{Clock, TransactionId};
use super::doubt::Doubt;
use super::ledger::Ledger;
use super::locks::Locks;
use super::message::TransactionMessage;
use super::note::{Line, Note};
use super::opening::Opening;
use super::participant::Pending;
use super::reads::Reading;
use super::saga::Saga;
use super::setting::Setting;
use super::takeover::Takeover;
use crate::flaw::Flaw;
use crate::interface::{ClientReply, Output, Peer, RequestId, Timer};
use crate::message::{Message, Point};
use crate::recovery_log::record::{CheckpointState, Record, Recovered};
use crate::recovery_log::{Found, RecoveryLog, Ticket};
use crate::replication::replica::released;
use crate::store::Store;

/// What waits until everything written so far is on disk.
#[derive(Debug)]
pub(super) enum After {
    /// A message.
    Post(Peer, TransactionMessage),
    /// An event.
    Note(Event),
    /// A client's answer.
    Reply(RequestId, ClientReply),
    /// This coordinator's decision to commit.
    Commit(TransactionId),
    /// The beginning of a saga.
    BeginSaga(TransactionId),
}

/// One node's part of all transactions.
#[derive(Debug)]
pub struct Transactor {
    pub(super) setting: Setting,
    pub(super) random: Random,
    pub(super) now: Moment,
    pub(super) out: Vec<Output>,
    inbox: VecDeque<TransactionMessage>,
    pub(super) log: Box<dyn RecoveryLog>,
    ticket: Ticket,
    after: VecDeque<(Ticket, After)>,
    checkpointed: u64,
    pub(super) ledger: Ledger,
    pub(super) clock: Clock,
    pub(super) locks: Locks,
    pub(super) suspected: BTreeSet<Peer>,
    /// Transfers that this node coordinates.
    pub(super) attempts: BTreeMap<TransactionId, Attempt>,
    /// Without a protocol.
    pub(super) writings: BTreeMap<TransactionId, Writing>,
    pub(super) sagas: BTreeMap<TransactionId, Saga>,
    pub(super) readings: BTreeMap<TransactionId, Reading>,
    pub(super) openings: BTreeMap<TransactionId, Opening>,
    /// Ballots that this node leads.
    pub(super) takeovers: BTreeMap<TransactionId, Takeover>,
    /// Promises of this participant, and when it asks about them.
    pub(super) doubts: BTreeMap<TransactionId, Doubt>,
    /// What waits for locks, or for a decision, at this participant.
    pub(super) pending: BTreeMap<TransactionId, Pending>,
    /// Until when locks of reads are kept.
    pub(super) shared: BTreeMap<TransactionId, Moment>,
    timer_set: Option<Moment>,
}

impl Transactor {
    /// A node that has not started.
    pub fn new(setting: Setting, log: Box<dyn RecoveryLog>, seed: u64) -> Self {
        let random = Random::keyed(seed, "transactions", &setting.name(setting.me));
        Transactor {
            setting,
            random,
            now: Moment(0),
            out: Vec::new(),
            inbox: VecDeque::new(),
            log,
            ticket: 0,
            after: VecDeque::new(),
            checkpointed: 0,
            ledger: Ledger::default(),
            clock: Clock::default(),
            locks: Locks::default(),
            suspected: BTreeSet::new(),
            attempts: BTreeMap::new(),
            writings: BTreeMap::new(),
            sagas: BTreeMap::new(),
            readings: BTreeMap::new(),
            openings: BTreeMap::new(),
            takeovers: BTreeMap::new(),
            doubts: BTreeMap::new(),
            pending: BTreeMap::new(),
            shared: BTreeMap::new(),
            timer_set: None,
        }
    }

    /// Begins with what the disk held.
    pub(super) fn begin(&mut self, recovered: &Recovered, found: Option<Found>) {
        let found = found.unwrap_or_default();
        self.ticket = self.log.start(self.now, found, &mut self.out);
        if let Err(message) = self.recall(recovered) {
            self.out.push(Output::Fatal { message });
            return;
        }
        self.clock.hear(self.ledger.newest);
        self.checkpointed = self.ledger.number;
        self.resume_doubts();
        self.resume_sagas();
    }

    fn recall(&mut self, recovered: &Recovered) -> Result<(), String> {
        if let Some(checkpoint) = &recovered.checkpoint {
            self.ledger = serde_json::from_str(&checkpoint.service).map_err(|error| {
                format!("the checkpoint is of another strategy ({error}); empty the folder")
            })?;
        }
        for text in &recovered.service {
            let line: Line = serde_json::from_str(text)
                .map_err(|error| format!("a note cannot be read ({error}); empty the folder"))?;
            self.ledger.replay(&line).map_err(|expected| {
                let number = line.number;
                format!("the log has note {number} where {expected} is missing; empty the folder")
            })?;
        }
        Ok(())
    }

    /// Writes a note down and takes it in.
    pub(super) fn write(&mut self, note: Note) {
        let number = self.ledger.number + 1;
        self.ledger.take(&note);
        self.clock.hear(self.ledger.newest);
        let line = serde_json::to_string(&Line { number, note });
        let line = line.expect("a note has no part that JSON lacks");
        self.ticket = self.log.append(&Record::Service(line), &mut self.out);
    }

    /// Does something once everything written so far is on disk.
    pub(super) fn then(&mut self, after: After) {
        self.after.push_back((self.ticket, after));
    }

    /// Says something to a peer, or to this node itself.
    pub(super) fn post(&mut self, to: Peer, message: TransactionMessage) {
        if to == self.setting.me {
            return self.inbox.push_back(message);
        }
        let message = Message::Transactions(message);
        self.out.push(Output::Send { to, message });
    }

    /// Answers a client.
    pub(super) fn reply(&mut self, id: RequestId, reply: ClientReply) {
        self.out.push(Output::Reply { id, reply });
    }

    pub(super) fn note(&mut self, event: Event) {
        self.out.push(Output::Note { event });
    }

    /// A name for a transaction that begins now.
    pub(super) fn new_id(&mut self) -> TransactionId {
        TransactionId::new(self.clock.tick(self.now), self.setting.me)
    }

    /// What a transaction is called in events.
    pub(super) fn label(&self, id: TransactionId) -> String {
        format!("{}-{}", self.setting.name(id.coordinator()), id.began())
    }

    /// True when the mistake is planted here.
    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.setting.has(flaw)
    }

    /// Draws the consequences of what the disk has done, and takes what this node said to itself.
    pub(super) fn draw_consequences(&mut self) {
        // Ends: a message leads to at most so many others as its protocol has left.
        loop {
            self.release_what_is_written();
            let Some(message) = self.inbox.pop_front() else {
                break;
            };
            self.dispatch(self.setting.me, message);
        }
        self.write_checkpoint_if_due(false);
        self.set_timer();
    }

    fn release_what_is_written(&mut self) {
        let written = self.log.acknowledgeable();
        while let Some(after) = released(&mut self.after, written) {
            match after {
                After::Post(to, message) => self.post(to, message),
                After::Note(event) => self.note(event),
                After::Reply(id, reply) => self.reply(id, reply),
                After::Commit(id) => self.finish_commit(id),
                After::BeginSaga(id) => self.take_saga_step(id),
            }
        }
    }

    pub(super) fn write_checkpoint_if_due(&mut self, timer: bool) {
        let due = self.log.checkpoint_due(self.now, timer, &mut self.out);
        if !due || self.ledger.number <= self.checkpointed {
            return;
        }
        let service = serde_json::to_string(&self.ledger);
        let state = CheckpointState {
            service: service.expect("a ledger has no part that JSON lacks"),
            ..CheckpointState::new(Point::default(), Store::default())
        };
        self.ticket = self.log.checkpoint(self.now, &state, &[], &mut self.out);
        self.checkpointed = self.ledger.number;
    }

    /// The timer is due.
    pub(super) fn ring(&mut self) {
        self.timer_set = None;
        self.attempts_due();
        self.writings_due();
        self.sagas_due();
        self.readings_due();
        self.openings_due();
        self.retry_takeovers();
        self.doubts_due();
        self.locks_due();
    }

    fn set_timer(&mut self) {
        let attempts = self.attempts.values().filter_map(Attempt::due);
        let sagas = self.sagas.values().filter_map(Saga::due);
        let doubts = self.doubts.values().map(|doubt| doubt.ask_at);
        let next = attempts
            .chain(self.writings.values().map(|writing| writing.deadline))
            .chain(sagas)
            .chain(self.readings.values().map(Reading::due))
            .chain(self.openings.values().map(|opening| opening.deadline))
            .chain(self.takeovers.values().map(|takeover| takeover.retry_at))
            .chain(doubts)
            .chain(self.shared.values().copied())
            .min();
        if let Some(at) = next
            && self.timer_set.is_none_or(|set| at < set || set <= self.now)
        {
            self.timer_set = Some(at);
            let timer = Timer::Replication;
            self.out.push(Output::SetTimer { timer, at });
        }
    }

    /// What may have been lost with a connection is said again.
    pub(super) fn say_again_to(&mut self, peer: Peer) {
        let now = self.now;
        for attempt in self.attempts.values_mut() {
            if attempt.participants.contains(&peer) {
                attempt.retry_at = now;
            }
        }
        for (id, doubt) in &mut self.doubts {
            if doubt.told && id.coordinator() == peer {
                doubt.ask_at = now;
            }
        }
        self.sagas.values_mut().for_each(|saga| saga.retry_at = now);
    }
}
