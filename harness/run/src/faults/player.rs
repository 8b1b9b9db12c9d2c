//! Plays the schedule of one trial, without I/O: moments, events and reports go in, records and
//! orders come out.
//!
//! The invariant: when the player is done, every injection of the schedule has been recorded as
//! healed or as unverified, and no part that was seen in effect was left unhealed.

use shakedown_contracts::control::FaultReport;
use shakedown_contracts::event::Event;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::plan::{Plan, Start, Trial};
use shakedown_contracts::time::Moment;

use super::injection::Injection;
use super::parts::{self, Order};
use super::shapes::Topology;
use super::view::View;
use crate::stage::Process;

/// What the trial must do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write an event down.
    Record(Event),
    /// Order an agent.
    Order(Order),
}

/// Where the trial stands, as far as faults go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Before,
    Faults { began: Moment },
    Settling,
}

/// The player of one trial's schedule.
#[derive(Debug)]
pub struct Player {
    seed: u64,
    topology: Topology,
    stand: Stand,
    injections: Vec<Injection>,
}

impl Player {
    /// The schedule of `trial`; nothing happens before [`Player::begin`].
    pub fn new(plan: &Plan, trial: &Trial) -> Self {
        let injection = |entry: &shakedown_contracts::plan::Injection| {
            let fault = plan.faults.iter().find(|fault| fault.name == entry.fault);
            let id = FaultId {
                fault: entry.fault.clone(),
                occurrence: entry.occurrence,
            };
            Injection::new(
                id,
                fault
                    .expect("a plan schedules only faults that it has")
                    .clone(),
                entry.start.clone(),
                entry.duration,
                plan.target.ready_timeout,
            )
        };
        Player {
            seed: trial.seed,
            topology: Topology::of(plan),
            stand: Stand::Before,
            injections: trial.schedule.iter().map(injection).collect(),
        }
    }

    /// The fault phase begins at `moment`.
    pub fn begin(&mut self, moment: Moment) {
        self.stand = Stand::Faults { began: moment };
    }

    /// When [`Player::tick`] is to be called next.
    pub fn next_deadline(&self) -> Option<Moment> {
        let deadline = |injection: &Injection| self.due(injection).or(injection.deadline());
        self.injections.iter().filter_map(deadline).min()
    }

    /// Starts, heals and gives up what is due.
    pub fn tick(&mut self, now: Moment, view: &View) -> Vec<Action> {
        let mut actions = Vec::new();
        for number in 0..self.injections.len() {
            match self.due(&self.injections[number]) {
                Some(due) if due <= now => actions.extend(self.start(number, due, now, view)),
                _ => actions.extend(self.injections[number].tick(now)),
            }
        }
        actions
    }

    /// Starts what waits for an event of this kind.
    pub fn observe(&mut self, event: &Event, now: Moment, view: &View) -> Vec<Action> {
        if !matches!(self.stand, Stand::Faults { .. }) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        for number in 0..self.injections.len() {
            let injection = &self.injections[number];
            let named = matches!(&injection.start, Start::After(name) if name == event.name());
            if injection.is_waiting() && named {
                actions.extend(self.start(number, now, now, view));
            }
        }
        actions
    }

    /// Takes an agent's report in; one that nobody waits for is passed over.
    pub fn report(&mut self, agent: &Process, report: FaultReport, now: Moment) -> Vec<Action> {
        let (FaultReport::Effective { id, .. }
        | FaultReport::Healed { id, .. }
        | FaultReport::Unverified { id, .. }) = &report;
        match self
            .injections
            .iter_mut()
            .find(|injection| injection.id == *id)
        {
            Some(injection) => injection.report(agent, report, now),
            None => Vec::new(),
        }
    }

    /// The fault phase is over: what is in effect is healed, what has not begun never will.
    pub fn settle(&mut self, now: Moment) -> Vec<Action> {
        self.stand = Stand::Settling;
        let mut actions = Vec::new();
        for injection in &mut self.injections {
            if injection.is_waiting() {
                let reason = match &injection.start {
                    Start::After(event) => format!("its event {event} never came"),
                    Start::At(at) => format!("the fault phase ended before {at}, when it was due"),
                };
                actions.extend(injection.give_up(&reason));
            }
            injection.heal_from(now);
            actions.extend(injection.tick(now));
        }
        actions
    }

    /// True while a fault keeps the node's host down: nobody can start a process there.
    pub fn host_is_down(&self, node: &str) -> bool {
        let mut injections = self.injections.iter();
        injections.any(|injection| injection.holds_host_down(node))
    }

    /// True when nothing is in effect or under way any more.
    pub fn is_done(&self) -> bool {
        self.injections.iter().all(Injection::is_done)
    }

    /// The trial breaks off: whatever is not done is unverified.
    pub fn abandon(&mut self, reason: &str) -> Vec<Action> {
        let open = self
            .injections
            .iter_mut()
            .filter(|injection| !injection.is_done());
        open.flat_map(|injection| injection.give_up(reason))
            .collect()
    }

    /// When a waiting injection at a fixed time begins.
    fn due(&self, injection: &Injection) -> Option<Moment> {
        match (self.stand, &injection.start) {
            (Stand::Faults { began }, Start::At(at)) if injection.is_waiting() => {
                Some(began.after(*at))
            }
            _ => None,
        }
    }

    fn start(&mut self, number: usize, due: Moment, now: Moment, view: &View) -> Vec<Action> {
        let injection = &mut self.injections[number];
        let resolved = parts::resolve(
            &injection.fault,
            &injection.id,
            self.seed,
            &self.topology,
            view,
        );
        injection.begin(resolved, due, now)
    }
}

#[cfg(test)]
#[path = "player_tests.rs"]
pub(crate) mod tests;
