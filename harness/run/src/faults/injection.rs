//! One injection on its way: due, ordered, verified in effect, healed, verified gone.
//!
//! Every step that waits has a deadline, and each part that was seen in effect is healed whatever
//! became of the others. What is not verified is recorded once and makes the trial unknown.

use std::collections::BTreeSet;

use shakedown_contracts::control::FaultReport;
use shakedown_contracts::event::{Event, Evidence};
use shakedown_contracts::fault::{Crash, FaultId, FaultKind};
use shakedown_contracts::plan::{Fault, Start};
use shakedown_contracts::time::{Bracket, Moment};
use shakedown_contracts::units::Duration;

use super::parts::{Part, Resolved};
use super::player::Action;
use crate::stage::Process;

/// An agent verifies any injection and the heal of links within some hundred milliseconds; ten
/// seconds are for a machine that is badly overloaded.
const REPORT_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Injection {
    pub id: FaultId,
    pub fault: Fault,
    pub start: Start,
    duration: Option<Duration>,
    ready_timeout: Duration,
    state: State,
    heal_at: Option<Moment>,
    nodes: Vec<String>,
    groups: Vec<Vec<Part>>,
    /// Agents that have reported their part in effect and not yet gone.
    in_effect: BTreeSet<Process>,
    unverified: bool,
}

#[derive(Debug)]
enum State {
    Waiting,
    Working(Work),
    Effective,
    Done,
}

/// Parts of one group are under way.
#[derive(Debug)]
struct Work {
    purpose: Purpose,
    group: usize,
    pending: BTreeSet<Process>,
    deadline: Moment,
    brackets: Vec<Bracket>,
    evidence: Vec<Evidence>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Inject,
    Heal,
}

impl Injection {
    pub fn new(
        id: FaultId,
        fault: Fault,
        start: Start,
        duration: Option<Duration>,
        ready_timeout: Duration,
    ) -> Self {
        Injection {
            id,
            fault,
            start,
            duration,
            ready_timeout,
            state: State::Waiting,
            heal_at: None,
            nodes: Vec::new(),
            groups: Vec::new(),
            in_effect: BTreeSet::new(),
            unverified: false,
        }
    }

    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// True while it keeps the node's whole host down.
    pub fn holds_host_down(&self, node: &str) -> bool {
        let crash = matches!(self.fault.kind, FaultKind::Kill { crash: Crash::Host });
        let met = self.nodes.iter().any(|met| met == node);
        crash && met && !self.is_done()
    }

    /// When this injection wants to be looked at, once it has begun.
    pub fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Working(work) => Some(work.deadline),
            State::Effective => self.heal_at,
            State::Waiting | State::Done => None,
        }
    }

    /// Orders the first group; `due` is when it should have begun.
    pub fn begin(
        &mut self,
        resolved: Result<Resolved, String>,
        due: Moment,
        now: Moment,
    ) -> Vec<Action> {
        let resolved = match resolved {
            Ok(resolved) => resolved,
            Err(reason) => return self.give_up(&reason),
        };
        self.nodes = resolved.nodes;
        self.groups = resolved.groups;
        self.heal_at = self.duration.map(|duration| due.after(duration));
        let requested = Event::FaultRequested {
            id: self.id.clone(),
            kind: self.fault.kind.name().to_owned(),
            nodes: self.nodes.clone(),
        };
        let mut actions = vec![Action::Record(requested)];
        actions.extend(self.work(Purpose::Inject, 0, now, Vec::new(), Vec::new()));
        actions
    }

    /// Never injected, and the reason.
    pub fn give_up(&mut self, reason: &str) -> Vec<Action> {
        self.state = State::Done;
        self.not_verified(reason)
    }

    /// Heal as soon as it is in effect.
    pub fn heal_from(&mut self, now: Moment) {
        self.heal_at = Some(self.heal_at.map_or(now, |at| at.min(now)));
    }

    /// Heals what is due and gives up on reports that are overdue.
    pub fn tick(&mut self, now: Moment) -> Vec<Action> {
        match &mut self.state {
            State::Effective if self.heal_at.is_some_and(|at| at <= now) => self.heal(now),
            State::Working(work) if work.deadline <= now => {
                let silent: Vec<String> = work.pending.iter().map(Process::to_string).collect();
                work.pending.clear();
                let waited = format!("no report from {} in time", silent.join(", "));
                let mut actions = self.not_verified(&waited);
                actions.extend(self.advance(now));
                actions
            }
            _ => Vec::new(),
        }
    }

    /// Takes an agent's report in.
    pub fn report(&mut self, agent: &Process, report: FaultReport, now: Moment) -> Vec<Action> {
        let State::Working(work) = &mut self.state else {
            return Vec::new();
        };
        if !work.pending.remove(agent) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        match (report, work.purpose) {
            (FaultReport::Effective { at, evidence, .. }, Purpose::Inject) => {
                self.in_effect.insert(agent.clone());
                work.brackets.push(at);
                work.evidence.push(evidence);
            }
            (FaultReport::Healed { at, evidence, .. }, Purpose::Heal) => {
                self.in_effect.remove(agent);
                work.brackets.push(at);
                work.evidence.push(evidence);
            }
            (FaultReport::Unverified { reason, .. }, purpose) => {
                self.in_effect.remove(agent);
                let what = if purpose == Purpose::Heal {
                    "not healed: "
                } else {
                    ""
                };
                actions = self.not_verified(&format!("{agent}: {what}{reason}"));
            }
            (other, _) => {
                actions = self.not_verified(&format!("{agent} answered out of turn: {other:?}"));
            }
        }
        actions.extend(self.advance(now));
        actions
    }

    /// Goes on when the current group is complete.
    fn advance(&mut self, now: Moment) -> Vec<Action> {
        let State::Working(work) = &mut self.state else {
            return Vec::new();
        };
        if !work.pending.is_empty() {
            return Vec::new();
        }
        let (purpose, next) = (work.purpose, work.group + 1);
        let brackets = std::mem::take(&mut work.brackets);
        let evidence = std::mem::take(&mut work.evidence);
        if purpose == Purpose::Inject && self.unverified {
            return self.heal(now);
        }
        if next < self.groups.len() {
            return self.work(purpose, next, now, brackets, evidence);
        }
        match purpose {
            Purpose::Inject => self.effective(&brackets, evidence, now),
            Purpose::Heal => self.healed(&brackets, evidence),
        }
    }

    fn effective(
        &mut self,
        brackets: &[Bracket],
        evidence: Vec<Evidence>,
        now: Moment,
    ) -> Vec<Action> {
        self.state = State::Effective;
        // Others see a fault from its first group on: a host is gone when its network is cut.
        let first = self.groups.first().map_or(0, Vec::len);
        let at = join_brackets(&brackets[..first.min(brackets.len())], now);
        let effective = Event::FaultEffective {
            id: self.id.clone(),
            at,
            nodes: self.nodes.clone(),
            evidence: join_evidence(evidence),
        };
        if self.fault.kind.is_instant() {
            // It is over by itself; healing waits until that is seen, as of a node that starts.
            self.heal_from(now);
        }
        let mut actions = vec![Action::Record(effective)];
        actions.extend(self.tick(now));
        actions
    }

    fn heal(&mut self, now: Moment) -> Vec<Action> {
        self.work(Purpose::Heal, 0, now, Vec::new(), Vec::new())
    }

    fn healed(&mut self, brackets: &[Bracket], evidence: Vec<Evidence>) -> Vec<Action> {
        self.state = State::Done;
        if self.unverified {
            return Vec::new();
        }
        let at = join_brackets(brackets, Moment(0));
        let evidence = join_evidence(evidence);
        vec![Action::Record(Event::FaultHealed {
            id: self.id.clone(),
            at,
            evidence,
        })]
    }

    /// Orders a group; what was gathered from the groups before it is kept.
    fn work(
        &mut self,
        purpose: Purpose,
        group: usize,
        now: Moment,
        brackets: Vec<Bracket>,
        evidence: Vec<Evidence>,
    ) -> Vec<Action> {
        let parts = self
            .groups
            .get(group)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let concerned = parts.iter().filter(|part| match purpose {
            Purpose::Inject => true,
            Purpose::Heal => self.in_effect.contains(&part.agent()),
        });
        let mut pending = BTreeSet::new();
        let mut actions = Vec::new();
        for part in concerned {
            pending.insert(part.agent());
            actions.push(Action::Order(match purpose {
                Purpose::Inject => part.inject(&self.id),
                Purpose::Heal => part.heal(&self.id),
            }));
        }
        let patience = match purpose {
            Purpose::Inject => REPORT_PATIENCE,
            Purpose::Heal => REPORT_PATIENCE.saturating_add(self.ready_timeout),
        };
        let deadline = now.after(patience);
        self.state = State::Working(Work {
            purpose,
            group,
            pending,
            deadline,
            brackets,
            evidence,
        });
        if actions.is_empty() {
            // Nothing of this group is in effect. At most one turn for each group.
            return self.advance(now);
        }
        actions
    }

    /// Recorded once for each injection: the first reason is the one that matters.
    fn not_verified(&mut self, reason: &str) -> Vec<Action> {
        if std::mem::replace(&mut self.unverified, true) {
            return Vec::new();
        }
        let reason = reason.to_owned();
        vec![Action::Record(Event::FaultUnverified {
            id: self.id.clone(),
            reason,
        })]
    }
}

fn join_brackets(brackets: &[Bracket], otherwise: Moment) -> Bracket {
    let before = brackets.iter().map(|bracket| bracket.before).min();
    let after = brackets.iter().map(|bracket| bracket.after).max();
    Bracket {
        before: before.unwrap_or(otherwise),
        after: after.unwrap_or(otherwise),
    }
}

fn join_evidence(all: Vec<Evidence>) -> Evidence {
    let mut joined = Evidence {
        mechanism: String::new(),
        observed: String::new(),
        achieved: Vec::new(),
    };
    for evidence in all {
        if !joined
            .mechanism
            .split("; ")
            .any(|known| known == evidence.mechanism)
        {
            append(&mut joined.mechanism, &evidence.mechanism);
        }
        append(&mut joined.observed, &evidence.observed);
        joined.achieved.extend(evidence.achieved);
    }
    joined
}

fn append(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(more);
}
