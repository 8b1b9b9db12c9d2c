//! A group's worker in virtual time: the same clients as on real sockets, and calls on the world.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use shakedown_contracts::control::{CONTROL_VERSION, ClientOrder, ClientReport};
use shakedown_contracts::plan::Workload;
use shakedown_contracts::time::Moment;
use shakedown_simulator::{CallAnswer, CallId, ClientRequest, World};

use crate::workload::group::Group;
use crate::workload::primary::Question;
use crate::workload::{Attempt, AttemptId, Command, Request, WorkloadError, reference_calls};

/// What a call was made for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Attempt(AttemptId),
    Question(usize),
}

/// One group's worker.
#[derive(Debug)]
pub(super) struct Worker {
    nodes: Vec<String>,
    group: Group,
    calls: BTreeMap<CallId, Asked>,
    attempts: BTreeMap<AttemptId, CallId>,
    /// Until when questions are waited for.
    limits: BTreeSet<(Moment, CallId)>,
    reports: Vec<ClientReport>,
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
        let group = Group::new(workload, group, nodes.len(), seed)?;
        Ok(Worker {
            nodes,
            group,
            calls: BTreeMap::new(),
            attempts: BTreeMap::new(),
            limits: BTreeSet::new(),
            reports: vec![ClientReport::Ready {
                version: CONTROL_VERSION,
            }],
        })
    }

    /// Begins what is ordered.
    pub fn obey(&mut self, order: &ClientOrder, world: &mut World) {
        if let Err(error) = self.group.obey(order, world.now()) {
            self.fail(&error);
        }
        self.go_on(world);
    }

    /// When [`Worker::tick`] is to be called, if nothing else happens.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let limit = self.limits.first().map(|(limit, _)| *limit);
        limit.into_iter().chain(self.group.next_deadline(now)).min()
    }

    /// Does what is due.
    pub fn tick(&mut self, world: &mut World) {
        let now = world.now();
        // Ends: each turn takes one question.
        while let Some((limit, call)) = self.limits.first().copied()
            && limit <= now
        {
            self.limits.pop_first();
            if let Some(Asked::Question(node)) = self.calls.remove(&call) {
                world.cancel(call);
                self.group.standing(node, None, now);
            }
        }
        self.group.tick(now);
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
                self.group.standing(node, standing, now);
            }
            Some(Asked::Attempt(id)) => {
                self.attempts.remove(&id);
                let attempt = reference_calls::attempt(answer.clone(), &self.nodes);
                self.group.answer(id, attempt, now);
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
        for command in self.group.take_commands() {
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
                        world.call(self.group.name(), &self.nodes[node], ClientRequest::Status);
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
            return self.group.answer(id, attempt, world.now());
        };
        let call = world.call(self.group.name(), &self.nodes[node], request);
        self.calls.insert(call, Asked::Attempt(id));
        self.attempts.insert(id, call);
    }

    fn report(&mut self) {
        match self.group.take_reports(false) {
            Ok(reports) => self.reports.extend(reports),
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &WorkloadError) {
        self.reports.push(ClientReport::Failed {
            message: error.to_string(),
        });
    }
}
