//! A group at work: its clients, the schedule by which operations come to them, and what it owes its
//! harness.
//!
//! Pure: orders, moments and answers go in; commands and reports come out. A worker process
//! (`worker`) carries the commands out on sockets, the simulation stage on its world.
//! Invariant: `stopped` is reported once for each order that asks for it, when nothing is open any
//! more, and after every record.

use shakedown_contracts::control::{ClientOrder, ClientReport};
use shakedown_contracts::plan::Workload;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::clients::Clients;
use super::operation::Outcome;
use super::schedule::Schedule;
use super::share::Share;
use super::{Attempt, AttemptId, Command, Standing, WorkloadError, generator};

/// Operations end by their own timeout; so much later they are given up from outside.
const DRAIN_MARGIN: Duration = Duration::from_millis(200);

/// One group's part of the load.
pub(crate) struct Group {
    share: Share,
    seed: u64,
    timeout: Duration,
    clients: Clients,
    schedule: Option<Schedule>,
    /// Set while `stopped` is owed: open operations are given up then.
    stopped_by: Option<Moment>,
    pacing_lateness_max: Duration,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// The group of this name, with nothing to do; `nodes` is how many can be asked.
    ///
    /// # Errors
    /// When the workload cannot be offered.
    pub fn new(
        workload: &Workload,
        name: &str,
        nodes: usize,
        seed: u64,
    ) -> Result<Self, WorkloadError> {
        let share = Share::of(workload, name)?;
        let generator = generator(workload, &share, seed)?;
        let timeout = workload.timeout;
        Ok(Group {
            clients: Clients::new(nodes, timeout, generator, &share),
            share,
            seed,
            timeout,
            schedule: None,
            stopped_by: None,
            pacing_lateness_max: Duration::ZERO,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.share.name
    }

    /// Begins what is ordered.
    ///
    /// # Errors
    /// When the order is not one about work.
    pub fn obey(&mut self, order: &ClientOrder, now: Moment) -> Result<(), WorkloadError> {
        match order {
            ClientOrder::Hello { .. } | ClientOrder::Shutdown => {
                return Err(WorkloadError::NoHello);
            }
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
        Ok(())
    }

    /// When [`Group::tick`] is to be called, if nothing else happens.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let due = self.schedule.as_ref().map(Schedule::next_due);
        let deadlines = [due, self.stopped_by, self.clients.next_deadline(now)];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Moment) {
        // Ends at the present: each turn takes one due moment that has passed.
        while let Some(due) = self
            .schedule
            .as_mut()
            .and_then(|schedule| schedule.take_due(now))
        {
            self.pacing_lateness_max = self.pacing_lateness_max.max(now.since(due));
            self.clients.arrive(due, now);
        }
        self.clients.tick(now);
        if self.stopped_by.is_some_and(|by| by <= now) {
            self.clients.abandon(now);
        }
    }

    /// Takes the answer to an attempt; one to a cancelled attempt is passed over.
    pub fn answer(&mut self, id: AttemptId, attempt: Attempt, now: Moment) {
        self.clients.answer(id, attempt, now);
    }

    /// Takes the answer to a question about a node's role.
    pub fn standing(&mut self, node: usize, standing: Option<Standing>, now: Moment) {
        self.clients.standing(node, standing, now);
    }

    /// What is to be done since the last call, in order.
    pub fn take_commands(&mut self) -> Vec<Command> {
        self.clients.take_commands()
    }

    /// What it has to say since the last call. Records wait for company unless `flush`.
    ///
    /// # Errors
    /// When the first data could not be written: there is no use going on.
    pub fn take_reports(&mut self, flush: bool) -> Result<Vec<ClientReport>, WorkloadError> {
        let mut reports = Vec::new();
        match self.clients.take_prepared() {
            None => {}
            Some(Outcome::Ok { .. }) => reports.push(ClientReport::Prepared),
            Some(Outcome::Fail { reason, .. } | Outcome::Info { reason, .. }) => {
                return Err(WorkloadError::Prepare(reason));
            }
        }
        let stopped = self.stopped_by.is_some() && self.clients.is_idle();
        if flush || stopped || self.clients.has_full_batch() {
            let records = self.clients.take_records();
            if !records.is_empty() {
                reports.push(ClientReport::Operations { records });
            }
        }
        if stopped {
            self.stopped_by = None;
            reports.push(ClientReport::Stopped {
                pacing_lateness_max: self.pacing_lateness_max,
            });
        }
        Ok(reports)
    }
}
