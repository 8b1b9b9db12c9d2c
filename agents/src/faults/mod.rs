//! The catalogue of faults: one file a fault, one trait, one line in the registry of its agent.
//!
//! A fault declares what it does, is applied, is *seen* to be in effect, is undone, and is seen to
//! be gone. What cannot be seen is reported as unverified, which makes the trial unknown.

pub mod clock;
pub mod disk;
pub mod guard;
pub mod network;
pub mod process;
pub mod resource;

use shakedown_contracts::event::{Achieved, Evidence};
use shakedown_contracts::time::Bracket;
use thiserror::Error;

use crate::clock::{now, until_now};

/// A fault that has been or is to be injected into `Host`: a node's process, or the links.
pub trait Fault<Host>: Send {
    /// Applies the fault and confirms its effect.
    ///
    /// # Errors
    /// [`Unverified`] when it could not be done or not be seen; nothing stays half applied.
    fn inject(&mut self, host: &mut Host) -> Result<Observation, Unverified>;

    /// Begins what healing takes time for, such as a start, and says whether [`Fault::heal`] can be
    /// called now. Called again until it says so; the fault itself bounds how long that takes.
    ///
    /// # Errors
    /// [`Unverified`] when the fault cannot be healed; it is not asked again.
    fn prepare_heal(&mut self, _host: &mut Host) -> Result<bool, Unverified> {
        Ok(true)
    }

    /// Undoes the fault and confirms that it is gone.
    ///
    /// # Errors
    /// [`Unverified`] when it is not gone, or that cannot be seen.
    fn heal(&mut self, host: &mut Host) -> Result<Observation, Unverified>;
}

/// When something took effect, and how that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Not before, not after.
    pub at: Bracket,
    /// How it was done and seen.
    pub evidence: Evidence,
}

impl Observation {
    /// Of something that was done by that mechanism, in words.
    pub fn new(at: Bracket, mechanism: &str, observed: String) -> Self {
        Observation {
            at,
            evidence: Evidence {
                mechanism: mechanism.to_owned(),
                observed,
                achieved: Vec::new(),
            },
        }
    }

    /// Of what is so already.
    pub fn at_once(mechanism: &str, observed: String) -> Self {
        Observation::new(until_now(now()), mechanism, observed)
    }

    /// With numbers, asked for and seen.
    #[must_use]
    pub fn with(mut self, achieved: Vec<Achieved>) -> Self {
        self.evidence.achieved = achieved;
        self
    }
}

/// A fault or heal without proof.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Unverified {
    /// What was tried, what was seen instead, what to do.
    pub reason: String,
}
