//! The group's clients: logical processes that each do one operation at a time.
//!
//! An arrival goes to a free client or waits in a bounded queue; its due moment goes with it, so
//! that waiting counts as latency and the system under test cannot slow the load down. A process
//! whose operation ended in `info` is retired: its client goes on under a new id (Jepsen).

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration as StdDuration;

use shakedown_contracts::history::{Operation, RecordKind};
use shakedown_contracts::time::Moment;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::operation::{Drive, Outcome, Persistence};
use super::primary::Tracker;
use super::records::{Completed, Doer, Records};
use super::share::Share;
use super::{Adapter, Generator, Request};

/// Arrivals wait for a free client for at most about so long; a system that is that far behind
/// does not catch up within a phase.
const WAITING_SECONDS_MAX: f64 = 10.0;
/// First process id of arrivals that no client took: no client's id ever grows so far.
const SPARE_PROCESSES: u64 = 1 << 40;

/// What operations share.
#[derive(Debug)]
pub(crate) struct Context<A> {
    /// How nodes are spoken to.
    pub adapter: Rc<A>,
    /// Who is primary.
    pub tracker: Rc<Tracker>,
    /// Where records go.
    pub records: Rc<Records>,
    /// Timeout of an operation.
    pub timeout: StdDuration,
}

/// An operation that is to be done.
#[derive(Debug)]
struct Job {
    operation: Operation,
    request: Request,
    due: Option<Moment>,
    /// Of a final read: when it is given up.
    final_deadline: Option<Instant>,
}

#[derive(Debug)]
enum Waiting {
    Arrival(Moment),
    FinalRead(Box<Job>),
}

#[derive(Debug)]
struct Client {
    process: u64,
    open: Option<(Operation, Doer)>,
}

/// The clients of one group.
pub(crate) struct Clients<A> {
    context: Rc<Context<A>>,
    generator: Box<dyn Generator>,
    clients: Vec<Client>,
    /// Clients of all groups: the step from a retired process to the next.
    clients_all: u64,
    free: VecDeque<usize>,
    waiting: VecDeque<Waiting>,
    waiting_max: usize,
    spare_process: u64,
    open: JoinSet<(usize, Completed)>,
}

impl<A: Adapter> Clients<A> {
    /// All free.
    pub fn new(context: Context<A>, generator: Box<dyn Generator>, share: &Share) -> Self {
        let first = share.first_process;
        let processes = first..first + share.clients;
        Clients {
            context: Rc::new(context),
            generator,
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
            open: JoinSet::new(),
        }
    }

    /// Takes an arrival: offered at once, later, or recorded as not offered.
    pub fn arrive(&mut self, due: Moment) {
        if self.waiting.len() >= self.waiting_max {
            self.not_offered(due, "not offered: all clients busy");
        } else {
            self.waiting.push_back(Waiting::Arrival(due));
            self.dispatch();
        }
    }

    /// Records the arrivals that still wait as not offered.
    pub fn stop(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            if let Waiting::Arrival(due) = waiting {
                self.not_offered(due, "not offered: stopped while all clients were busy");
            }
        }
    }

    /// Queues the reads after settling, each tried until `limit` has passed from now.
    pub fn read_finally(&mut self, limit: StdDuration) {
        let final_deadline = Some(Instant::now() + limit);
        for (operation, request) in self.generator.final_reads() {
            let job = Job {
                operation,
                request,
                due: None,
                final_deadline,
            };
            self.waiting.push_back(Waiting::FinalRead(Box::new(job)));
        }
        self.dispatch();
    }

    /// True when nothing is open or waiting.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// Waits for the next completion and gives the client new work; pending while nothing is open.
    pub async fn next_completion(&mut self) {
        match self.open.join_next().await {
            None => std::future::pending().await,
            Some(Ok((index, completed))) => self.completed(index, &completed),
            Some(Err(error)) => {
                // Our bug, never the system's: what it left open is recorded when draining ends.
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Gives up everything that is still open or waiting, as `info` and unread.
    pub fn abandon(&mut self) {
        self.open = JoinSet::new();
        self.waiting.clear();
        for client in &mut self.clients {
            if let Some((operation, doer)) = client.open.take() {
                let reason = "given up: still open after its timeout".to_owned();
                let outcome = Outcome::Info { reason, by: None };
                self.context.records.complete(doer, operation, outcome);
                client.process += self.clients_all;
            }
        }
        self.free = (0..self.clients.len()).collect();
    }

    fn completed(&mut self, index: usize, completed: &Completed) {
        let client = &mut self.clients[index];
        client.open = None;
        match completed.kind {
            RecordKind::Ok => self.generator.observe(&completed.operation),
            RecordKind::Info => client.process += self.clients_all,
            RecordKind::Fail | RecordKind::Invoke => {}
        }
        self.free.push_back(index);
        self.dispatch();
    }

    fn dispatch(&mut self) {
        while !self.waiting.is_empty() {
            let Some(index) = self.free.pop_front() else {
                return;
            };
            let waiting = self.waiting.pop_front().expect("looked at just above");
            let job = match waiting {
                Waiting::Arrival(due) => self.generate(due),
                Waiting::FinalRead(job) => *job,
            };
            self.begin(index, job);
        }
    }

    fn generate(&mut self, due: Moment) -> Job {
        let operation = self.generator.next_operation();
        let request = self.generator.request(&operation);
        Job {
            operation,
            request,
            due: Some(due),
            final_deadline: None,
        }
    }

    fn begin(&mut self, index: usize, job: Job) {
        let client = &mut self.clients[index];
        let doer = Doer {
            process: client.process,
            final_read: job.final_deadline.is_some(),
        };
        client.open = Some((job.operation.clone(), doer));
        // Stamped here, so that an operation given up before its first turn has its invocation.
        self.context.records.invoke(doer, &job.operation, job.due);
        let context = Rc::clone(&self.context);
        self.open
            .spawn_local(async move { (index, carry_out(&context, doer, job).await) });
    }

    fn not_offered(&mut self, due: Moment, reason: &str) {
        let operation = self.generator.next_operation();
        let doer = Doer {
            process: self.spare_process,
            final_read: false,
        };
        self.context.records.invoke(doer, &operation, Some(due));
        let outcome = Outcome::Fail {
            reason: reason.to_owned(),
            by: None,
        };
        self.context.records.complete(doer, operation, outcome);
    }
}

async fn carry_out<A: Adapter>(context: &Context<A>, doer: Doer, job: Job) -> Completed {
    let now = Instant::now();
    let persistence = match job.final_deadline {
        None => Persistence {
            deadline: now + context.timeout,
            attempt: context.timeout,
            repeatable: false,
        },
        // A complete journal is long: a quarter of the time, but enough for a second attempt.
        Some(deadline) => Persistence {
            deadline,
            attempt: context
                .timeout
                .max(deadline.saturating_duration_since(now) / 4),
            repeatable: true,
        },
    };
    let drive = Drive::new(&*context.adapter, &context.tracker, persistence);
    let outcome = match drive.run(&job.request).await {
        // A final read that never succeeded leaves the question open, whatever the last answer.
        Outcome::Fail { reason, by } if doer.final_read => Outcome::Info { reason, by },
        outcome => outcome,
    };
    context.records.complete(doer, job.operation, outcome)
}
