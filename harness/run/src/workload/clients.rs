//! The group's clients: logical processes that each do one operation at a time.
//!
//! An arrival goes to a free client or waits in a bounded queue; its due moment goes with it, so
//! that waiting counts as latency and the system under test cannot slow the load down. A process
//! whose operation ended in `info` is retired: its client goes on under a new id (Jepsen). Pure:
//! moments, arrivals and answers go in; commands and records come out. A worker on real sockets
//! and a simulated one drive the same machine.

use std::collections::VecDeque;

use shakedown_contracts::history::{Operation, OperationRecord, RecordKind};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::operation::{Commands, Drive, Outcome, Persistence};
use super::primary::Tracker;
use super::records::{Doer, Records};
use super::share::Share;
use super::{Attempt, AttemptId, Command, Generator, Request, Standing};

/// Arrivals wait for a free client for at most about so long; a system that is that far behind
/// does not catch up within a phase.
const WAITING_SECONDS_MAX: f64 = 10.0;
/// First process id of arrivals that no client took: no client's id ever grows so far.
const SPARE_PROCESSES: u64 = 1 << 40;

/// An operation that is to be done.
#[derive(Debug)]
struct Job {
    operation: Operation,
    request: Request,
    due: Option<Moment>,
    persistence: Persistence,
    final_read: bool,
}

#[derive(Debug)]
enum Waiting {
    Arrival(Moment),
    FinalRead(Box<Job>),
}

#[derive(Debug)]
struct Open {
    operation: Operation,
    doer: Doer,
    drive: Drive,
}

#[derive(Debug)]
struct Client {
    process: u64,
    open: Option<Open>,
}

/// The clients of one group.
pub(crate) struct Clients {
    timeout: Duration,
    generator: Box<dyn Generator>,
    tracker: Tracker,
    /// Changes of the primary that all open operations have been told of.
    told: u64,
    commands: Commands,
    records: Records,
    clients: Vec<Client>,
    /// Clients of all groups: the step from a retired process to the next.
    clients_all: u64,
    free: VecDeque<usize>,
    waiting: VecDeque<Waiting>,
    waiting_max: usize,
    spare_process: u64,
    preparing: Option<Drive>,
    prepared: Option<Outcome>,
}

impl Clients {
    /// All free; `nodes` is how many nodes can be asked.
    pub fn new(
        nodes: usize,
        timeout: Duration,
        generator: Box<dyn Generator>,
        share: &Share,
    ) -> Self {
        let first = share.first_process;
        let processes = first..first + share.clients;
        Clients {
            timeout,
            generator,
            tracker: Tracker::new(nodes),
            told: 0,
            commands: Commands::default(),
            records: Records::default(),
            clients: processes
                .map(|process| Client {
                    process,
                    open: None,
                })
                .collect(),
            clients_all: share.clients_all,
            free: (0..share.clients as usize).collect(),
            waiting: VecDeque::new(),
            waiting_max: (share.rate * WAITING_SECONDS_MAX).ceil().max(1.0) as usize,
            spare_process: SPARE_PROCESSES + share.group,
            preparing: None,
            prepared: None,
        }
    }

    /// Writes the first data, any number of times, for at most `limit`.
    pub fn prepare(&mut self, limit: Duration, now: Moment) {
        let persistence = Persistence {
            deadline: now.after(limit),
            attempt: self.timeout,
            repeatable: true,
        };
        let request = self.generator.preparation();
        self.preparing = Some(Drive::new(request, persistence, now));
        self.tick(now);
    }

    /// How the preparation ended, once.
    pub fn take_prepared(&mut self) -> Option<Outcome> {
        self.prepared.take()
    }

    /// Takes an arrival: offered at once, later, or recorded as not offered.
    pub fn arrive(&mut self, due: Moment, now: Moment) {
        if self.waiting.len() >= self.waiting_max {
            self.not_offered(due, now, "not offered: all clients busy");
        } else {
            self.waiting.push_back(Waiting::Arrival(due));
            self.tick(now);
        }
    }

    /// Records the arrivals that still wait as not offered.
    pub fn stop(&mut self, now: Moment) {
        for waiting in std::mem::take(&mut self.waiting) {
            if let Waiting::Arrival(due) = waiting {
                self.not_offered(due, now, "not offered: stopped while all clients were busy");
            }
        }
    }

    /// Queues the reads after settling, each tried until `limit` has passed from now.
    pub fn read_finally(&mut self, limit: Duration, now: Moment) {
        // A complete journal is long: a quarter of the time, but enough for a second attempt.
        let attempt = self.timeout.max(Duration::from_nanos(limit.as_nanos() / 4));
        let persistence = Persistence {
            deadline: now.after(limit),
            attempt,
            repeatable: true,
        };
        for (operation, request) in self.generator.final_reads() {
            let job = Job {
                operation,
                request,
                due: None,
                persistence,
                final_read: true,
            };
            self.waiting.push_back(Waiting::FinalRead(Box::new(job)));
        }
        self.tick(now);
    }

    /// True when nothing is open or waiting.
    pub fn is_idle(&self) -> bool {
        self.free.len() == self.clients.len() && self.waiting.is_empty()
    }

    /// Gives up everything that is still open or waiting, as `info` and unread.
    pub fn abandon(&mut self, now: Moment) {
        self.waiting.clear();
        for index in 0..self.clients.len() {
            if let Some(open) = &self.clients[index].open {
                if let Some(id) = open.drive.attempt() {
                    self.commands.push(Command::Cancel { id });
                }
                let reason = "given up: still open after its timeout".to_owned();
                self.complete(index, Outcome::Info { reason, by: None }, now);
            }
        }
    }

    /// Takes the answer to an attempt; one to a cancelled attempt is passed over.
    pub fn answer(&mut self, id: AttemptId, attempt: Attempt, now: Moment) {
        let Clients {
            tracker, commands, ..
        } = self;
        if let Some(drive) = &mut self.preparing
            && drive.attempt() == Some(id)
        {
            let outcome = drive.answer(attempt, now, tracker, commands);
            self.preparation_ended(outcome);
        } else {
            let asked = |client: &Client| {
                let open = client.open.as_ref();
                open.is_some_and(|open| open.drive.attempt() == Some(id))
            };
            if let Some(index) = self.clients.iter().position(asked) {
                let open = self.clients[index].open.as_mut();
                let outcome =
                    open.and_then(|open| open.drive.answer(attempt, now, tracker, commands));
                self.ended(index, outcome, now);
            }
        }
        self.tick(now);
    }

    /// Takes the answer to a question about a node's role.
    pub fn standing(&mut self, node: usize, standing: Option<Standing>, now: Moment) {
        self.tracker.answered(node, standing, now);
        self.tick(now);
    }

    /// Does whatever is due.
    pub fn tick(&mut self, now: Moment) {
        self.dispatch(now);
        self.poll_due(now);
        // Ends: each turn was caused by a change of the primary, and only an answer or a question
        // makes one.
        while self.told != self.tracker.changes() {
            self.told = self.tracker.changes();
            self.poll_all(now);
            self.dispatch(now);
        }
        for question in self.tracker.questions(now, self.oldest()) {
            self.commands.push(Command::Ask(question));
        }
    }

    /// When [`Clients::tick`] is to be called, if nothing else happens.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let drives = self.drives().map(Drive::next_deadline);
        let question = self.tracker.next_deadline(now, self.oldest());
        drives.chain(question).min()
    }

    /// What is to be done since the last call, in order.
    pub fn take_commands(&mut self) -> Vec<Command> {
        self.commands.take()
    }

    /// True when records should not wait any longer.
    pub fn has_full_batch(&self) -> bool {
        self.records.is_full()
    }

    /// The records since the last call, in order.
    pub fn take_records(&mut self) -> Vec<OperationRecord> {
        self.records.take()
    }

    fn drives(&self) -> impl Iterator<Item = &Drive> {
        let open = self.clients.iter().filter_map(|one| one.open.as_ref());
        open.map(|open| &open.drive).chain(&self.preparing)
    }

    fn oldest(&self) -> Option<Moment> {
        self.drives().map(|drive| drive.began).min()
    }

    fn poll_due(&mut self, now: Moment) {
        for index in 0..self.clients.len() {
            let open = self.clients[index].open.as_ref();
            if open.is_some_and(|open| open.drive.next_deadline() <= now) {
                self.poll(index, now);
            }
        }
        self.poll_preparation(now);
    }

    fn poll_all(&mut self, now: Moment) {
        for index in 0..self.clients.len() {
            self.poll(index, now);
        }
        self.poll_preparation(now);
    }

    fn poll(&mut self, index: usize, now: Moment) {
        let Clients {
            tracker, commands, ..
        } = self;
        if let Some(open) = &mut self.clients[index].open {
            let outcome = open.drive.poll(now, tracker, commands);
            self.ended(index, outcome, now);
        }
    }

    fn poll_preparation(&mut self, now: Moment) {
        if let Some(drive) = &mut self.preparing {
            let outcome = drive.poll(now, &mut self.tracker, &mut self.commands);
            self.preparation_ended(outcome);
        }
    }

    fn preparation_ended(&mut self, outcome: Option<Outcome>) {
        if outcome.is_some() {
            self.preparing = None;
            self.prepared = outcome;
        }
    }

    fn ended(&mut self, index: usize, outcome: Option<Outcome>, now: Moment) {
        if let Some(outcome) = outcome {
            self.complete(index, outcome, now);
        }
    }

    fn complete(&mut self, index: usize, outcome: Outcome, now: Moment) {
        let client = &mut self.clients[index];
        let Some(Open {
            operation, doer, ..
        }) = client.open.take()
        else {
            return;
        };
        let outcome = match outcome {
            // A final read that never succeeded leaves the question open, whatever the last answer.
            Outcome::Fail { reason, by } if doer.final_read => Outcome::Info { reason, by },
            outcome => outcome,
        };
        let completed = self.records.complete(now, doer, operation, outcome);
        match completed.kind {
            RecordKind::Ok => self.generator.observe(&completed.operation),
            RecordKind::Info => client.process += self.clients_all,
            RecordKind::Fail | RecordKind::Invoke => {}
        }
        self.free.push_back(index);
    }

    fn dispatch(&mut self, now: Moment) {
        // Ends: each turn takes one that waits.
        while !self.waiting.is_empty() {
            let Some(index) = self.free.pop_front() else {
                return;
            };
            let job = match self.waiting.pop_front() {
                Some(Waiting::Arrival(due)) => self.generate(due, now),
                Some(Waiting::FinalRead(job)) => *job,
                None => return,
            };
            self.begin(index, job, now);
            self.poll(index, now);
        }
    }

    fn generate(&mut self, due: Moment, now: Moment) -> Job {
        let operation = self.generator.next_operation();
        let request = self.generator.request(&operation);
        let persistence = Persistence {
            deadline: now.after(self.timeout),
            attempt: self.timeout,
            repeatable: false,
        };
        Job {
            operation,
            request,
            due: Some(due),
            persistence,
            final_read: false,
        }
    }

    fn begin(&mut self, index: usize, job: Job, now: Moment) {
        let client = &mut self.clients[index];
        let doer = Doer {
            process: client.process,
            final_read: job.final_read,
        };
        self.records.invoke(now, doer, &job.operation, job.due);
        client.open = Some(Open {
            operation: job.operation,
            doer,
            drive: Drive::new(job.request, job.persistence, now),
        });
    }

    fn not_offered(&mut self, due: Moment, now: Moment, reason: &str) {
        let operation = self.generator.next_operation();
        let doer = Doer {
            process: self.spare_process,
            final_read: false,
        };
        self.records.invoke(now, doer, &operation, Some(due));
        let outcome = Outcome::Fail {
            reason: reason.to_owned(),
            by: None,
        };
        self.records.complete(now, doer, operation, outcome);
    }
}
