//! When the phases of a trial began and when each fault was in effect.
//!
//! Invariant: only what events say counts. A fault is in effect from its verified
//! `fault.effective` on, not from when it was asked for.

use shakedown_contracts::event::{Event, EventRecord, Phase};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::plan::{Fault, Plan};
use shakedown_contracts::time::{Bracket, Moment};

/// The course of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline<'a> {
    /// The trial begins; findings give times relative to this.
    pub started: Moment,
    /// The warm-up begins.
    pub warm_up: Moment,
    /// The fault phase begins.
    pub fault: Moment,
    /// Settling begins.
    pub settle: Moment,
    /// Settling is over: final reads, or the end.
    pub settled: Moment,
    /// The trial is over.
    pub ended: Moment,
    /// Faults that were verified in effect, in order of effect.
    pub injected: Vec<Injected<'a>>,
}

/// One injection that took effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Injected<'a> {
    /// Which.
    pub id: FaultId,
    /// The fault as planned.
    pub fault: &'a Fault,
    /// The nodes it met.
    pub nodes: Vec<String>,
    /// When it took effect.
    pub effective: Bracket,
    /// When it was gone.
    pub healed: Option<Bracket>,
}

impl<'a> Timeline<'a> {
    /// Reads the course out of the events.
    ///
    /// # Errors
    /// Which phase is missing, in words.
    pub fn new(plan: &'a Plan, events: &[EventRecord]) -> Result<Self, String> {
        let phase = |wanted: Phase| {
            events.iter().find_map(|record| match record.event {
                Event::PhaseStarted { phase } if phase == wanted => Some(record.time),
                _ => None,
            })
        };
        let required = |wanted: Phase| {
            phase(wanted).ok_or_else(|| format!("no event says when phase {wanted:?} began"))
        };
        let ended = events
            .iter()
            .find_map(|record| matches!(record.event, Event::TrialEnded {}).then_some(record.time))
            .ok_or("no event says that the trial ended")?;
        let warm_up = required(Phase::WarmUp)?;
        let started = events.iter().find_map(|record| {
            matches!(record.event, Event::TrialStarted { .. }).then_some(record.time)
        });
        Ok(Timeline {
            started: started.unwrap_or(warm_up),
            warm_up,
            fault: required(Phase::Fault)?,
            settle: required(Phase::Settle)?,
            settled: phase(Phase::FinalReads)
                .or(phase(Phase::End))
                .unwrap_or(ended),
            ended,
            injected: injected(plan, events),
        })
    }

    /// Faults in effect at some time of `from..=to`.
    pub fn active(&self, from: Moment, to: Moment) -> impl Iterator<Item = &Injected<'a>> {
        self.injected.iter().filter(move |injected| {
            injected.effective.before <= to && injected.gone_by(self.settled) >= from
        })
    }
}

impl Injected<'_> {
    /// The first moment at which it was certainly gone; `otherwise` when it was never healed.
    pub fn gone_by(&self, otherwise: Moment) -> Moment {
        self.healed.map_or(otherwise, |healed| healed.after)
    }
}

fn injected<'a>(plan: &'a Plan, events: &[EventRecord]) -> Vec<Injected<'a>> {
    let mut injected: Vec<Injected<'a>> = Vec::new();
    for record in events {
        match &record.event {
            Event::FaultEffective { id, at, nodes, .. } => {
                // A fault the plan does not know is reported as evidence that does not fit.
                let Some(fault) = plan.faults.iter().find(|fault| fault.name == id.fault) else {
                    continue;
                };
                injected.push(Injected {
                    id: id.clone(),
                    fault,
                    nodes: nodes.clone(),
                    effective: *at,
                    healed: None,
                });
            }
            Event::FaultHealed { id, at, .. } => {
                if let Some(open) = injected.iter_mut().find(|injected| injected.id == *id) {
                    open.healed = Some(*at);
                }
            }
            _ => {}
        }
    }
    injected.sort_by_key(|injected| injected.effective.before);
    injected
}
