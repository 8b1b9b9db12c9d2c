//! What a balancer and its backends say to each other.
//!
//! Invariant: a backend repeats the whole [`WorkId`] of what it answers, so that the next process
//! of the balancer does not take it for an answer to a request of its own.

use serde::{Deserialize, Serialize};
use shakedown_contracts::units::Duration;

/// Names one attempt at one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkId {
    /// Which process of the balancer asks: its start on the monotonic clock.
    pub incarnation: u64,
    /// Unique within it.
    pub number: u64,
}

/// A message between a balancer and a backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "balancing", rename_all = "kebab-case")]
pub enum BalancingMessage {
    /// Balancer to backend, first on each connection: can you be heard? Also makes a backend notice
    /// that its own connection leads to a balancer that is gone.
    Hello {},
    /// Backend to balancer, in answer and first on each connection: from now on it can be heard.
    Here {},
    /// Balancer to backend: do this.
    Work {
        /// For the answer.
        id: WorkId,
        /// What it is about.
        key: String,
        /// The balancer waits for so long.
        patience: Duration,
    },
    /// Backend to balancer: done.
    Done {
        /// What.
        id: WorkId,
    },
    /// Backend to balancer: not done, the queue is full or the time is over.
    Refused {
        /// What.
        id: WorkId,
    },
    /// Balancer to backend: nobody needs this any more.
    Cancel {
        /// What.
        id: WorkId,
    },
}
