//! A group's worker in virtual time: the same clients as on real sockets, and calls on the world.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use shakedown_contracts::control::{CONTROL_VERSION, ClientOrder, ClientReport};
use shakedown_contracts::plan::Workload;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_simulator::{CallAnswer, CallId, ClientRequest, World};

use crate::workload::clients::Clients;
use crate::workload::operation::Outcome;
use crate::workload::primary::Question;
use crate::workload::schedule::Schedule;
use crate::workload::share::Share;
use crate::workload::worker::DRAIN_MARGIN;
use crate::workload::{
    Attempt, AttemptId, Command, Request, WorkloadError, generator, reference_calls,
};

/// What a call was made for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Attempt(AttemptId),
    Question(usize),
}

/// One group's worker.
pub(super) struct Worker {
    nodes: Vec<String>,
    seed: u64,
    share: Share,
    timeout: Duration,
    clients: Clients,
    schedule: Option<Schedule>,
    calls: BTreeMap<CallId, Asked>,
    attempts: BTreeMap<AttemptId, CallId>,
    /// Until when questions are waited for.
    limits: BTreeSet<(Moment, CallId)>,
    stopped_by: Option<Moment>,
    reports: Vec<ClientReport>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// In place, with nothing to do.
    ///
    /// # Errors
    /// [`WorkloadError`] when the workload cannot be offered.
    pub fn new(
        group: &str,
        workload: &Workload,
        nodes: Vec<String>,
        seed: u64,
    ) -> Result<Self, WorkloadError> {
        let share = Share::of(workload, group)?;
        let generator = generator(workload, &share, seed)?;
        let timeout = workload.timeout;
        Ok(Worker {
            clients: Clients::new(nodes.len(), timeout, generator, &share),
            nodes,
            seed,
            share,
            timeout,
            schedule: None,
            calls: BTreeMap::new(),
            attempts: BTreeMap::new(),
            limits: BTreeSet::new(),
            stopped_by: None,
            reports: vec![ClientReport::Ready {
                version: CONTROL_VERSION,
            }],
        })
    }

    /// Begins what is ordered.
    pub fn obey(&mut self, order: &ClientOrder, world: &mut World) {
        let now = world.now();
        match order {
            ClientOrder::Hello { .. } | ClientOrder::Shutdown => {}
            ClientOrder::Prepare { timeout } => self.clients.prepare(*timeout, now),
            ClientOrder::Start { at } => {
                self.schedule = Schedule::new(*at, &self.share, self.seed);
            }
            ClientOrder::Stop => {
                self.schedule = None;
                self.clients.stop(now);
                self.stopped_by = Some(now.after(self.timeout).after(DRAIN_MARGIN));
            }
            ClientOrder::FinalReads { timeout } => {
                self.clients.read_finally(*timeout, now);
                self.stopped_by = Some(now.after(*timeout).after(DRAIN_MARGIN));
            }
        }
        self.go_on(world);
    }

    /// When [`Worker::tick`] is to be called, if nothing else happens.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let due = self.schedule.as_ref().map(Schedule::next_due);
        let limit = self.limits.first().map(|(limit, _)| *limit);
        let deadlines = [due, limit, self.stopped_by, self.clients.next_deadline(now)];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, world: &mut World) {
        let now = world.now();
        // Ends at the present: each turn takes one due moment that has passed.
        while let Some(due) = self
            .schedule
            .as_mut()
            .and_then(|schedule| schedule.take_due(now))
        {
            self.clients.arrive(due, now);
        }
        // Ends: each turn takes one question.
        while let Some((limit, call)) = self.limits.first().copied()
            && limit <= now
        {
            self.limits.pop_first();
            if let Some(Asked::Question(node)) = self.calls.remove(&call) {
                world.cancel(call);
                self.clients.standing(node, None, now);
            }
        }
        self.clients.tick(now);
        if self.stopped_by.is_some_and(|by| by <= now) {
            self.clients.abandon(now);
        }
        self.go_on(world);
    }

    /// Takes the answer to a call; false when this worker did not make it.
    pub fn answer(&mut self, call: CallId, answer: &CallAnswer, world: &mut World) -> bool {
        let now = world.now();
        match self.calls.remove(&call) {
            None => return false,
            Some(Asked::Question(node)) => {
                self.limits.retain(|(_, one)| *one != call);
                let standing = reference_calls::standing(answer);
                self.clients.standing(node, standing, now);
            }
            Some(Asked::Attempt(id)) => {
                self.attempts.remove(&id);
                let attempt = reference_calls::attempt(answer.clone(), &self.nodes);
                self.clients.answer(id, attempt, now);
            }
        }
        self.go_on(world);
        true
    }

    /// What it has to say since the last call.
    pub fn take_reports(&mut self) -> Vec<ClientReport> {
        std::mem::take(&mut self.reports)
    }

    fn go_on(&mut self, world: &mut World) {
        for command in self.clients.take_commands() {
            match command {
                Command::Attempt { id, node, request } => self.attempt(id, node, &request, world),
                Command::Cancel { id } => {
                    if let Some(call) = self.attempts.remove(&id) {
                        self.calls.remove(&call);
                        world.cancel(call);
                    }
                }
                Command::Ask(Question { node, limit }) => {
                    let call =
                        world.call(&self.share.name, &self.nodes[node], ClientRequest::Status);
                    self.calls.insert(call, Asked::Question(node));
                    self.limits.insert((world.now().after(limit), call));
                }
            }
        }
        self.report();
    }

    fn attempt(&mut self, id: AttemptId, node: usize, request: &Rc<Request>, world: &mut World) {
        let Some(request) = reference_calls::call(request) else {
            let reason = "no request for this".to_owned();
            let attempt = Attempt::Refused { reason, by: None };
            return self.clients.answer(id, attempt, world.now());
        };
        let call = world.call(&self.share.name, &self.nodes[node], request);
        self.calls.insert(call, Asked::Attempt(id));
        self.attempts.insert(id, call);
    }

    fn report(&mut self) {
        match self.clients.take_prepared() {
            None => {}
            Some(Outcome::Ok { .. }) => self.reports.push(ClientReport::Prepared),
            Some(Outcome::Fail { reason, .. } | Outcome::Info { reason, .. }) => {
                self.reports.push(ClientReport::Failed {
                    message: WorkloadError::Prepare(reason).to_string(),
                });
            }
        }
        let stopped = self.stopped_by.is_some() && self.clients.is_idle();
        if stopped || self.clients.has_full_batch() {
            let records = self.clients.take_records();
            self.reports.push(ClientReport::Operations { records });
        }
        if stopped {
            self.stopped_by = None;
            self.reports.push(ClientReport::Stopped {
                pacing_lateness_max: Duration::ZERO,
            });
        }
    }
}
