//! What a run tells whoever watches it: events, and nothing else.

use shakedown_contracts::event::Phase;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::units::Duration;

use crate::trial::TrialEnd;

/// Takes the events of a run as they happen.
pub trait Progress {
    /// Must not block: the run waits for it.
    fn event(&mut self, event: ProgressEvent);
}

impl<P: Progress + ?Sized> Progress for Box<P> {
    fn event(&mut self, event: ProgressEvent) {
        (**self).event(event);
    }
}

/// Keeps them, for whoever is told later.
impl Progress for Vec<ProgressEvent> {
    fn event(&mut self, event: ProgressEvent) {
        self.push(event);
    }
}

/// Tells nobody.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _event: ProgressEvent) {}
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressEvent {
    /// The run begins.
    RunStarted {
        /// Trials of all plans.
        trials: u32,
        /// How long they will take if none is void.
        estimate: Duration,
    },
    /// A trial begins.
    TrialStarted {
        /// Name of its plan.
        experiment: String,
        /// Which, from 1.
        trial: u32,
        /// Of how many in that plan.
        of: u32,
    },
    /// A phase of the current trial begins.
    PhaseStarted {
        /// Which.
        phase: Phase,
        /// How long it lasts, where the plan says so.
        length: Option<Duration>,
    },
    /// A fault is in effect.
    FaultEffective {
        /// Which.
        fault: FaultId,
        /// On which nodes.
        nodes: Vec<String>,
    },
    /// A fault is gone.
    FaultHealed {
        /// Which.
        fault: FaultId,
    },
    /// A fault or its heal was not verified: the trial is unknown.
    FaultUnverified {
        /// Which.
        fault: FaultId,
        /// Why.
        reason: String,
    },
    /// The current trial is over.
    TrialEnded {
        /// How; a void trial will be repeated, attempts permitting.
        end: TrialEnd,
    },
    /// Something the user should know of.
    Warning {
        /// In words.
        message: String,
    },
}
