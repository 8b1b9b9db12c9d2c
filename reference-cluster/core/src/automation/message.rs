//! What a supervisor and a primary say to each other, and a primary to nodes that do not vote.
//!
//! The supervisor repeats what it wants until it sees that it is so; the primary answers with what
//! is so. No message has to arrive, and none does harm when it arrives late or twice.

use serde::{Deserialize, Serialize};

use crate::interface::Peer;

/// A node's place among the voters goes to a spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// Whose place.
    pub lost: Peer,
    /// To whom.
    pub spare: Peer,
}

/// A message about who votes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "automation", rename_all = "kebab-case")]
pub enum AutomationMessage {
    /// Supervisor to primary: who votes? Answered by `Voters`.
    Ask {
        /// And let this be done, as long as it is asked for.
        swap: Option<Swap>,
    },
    /// Primary to whoever asks, and to nodes that do not vote: who does.
    Voters {
        /// The primary's epoch.
        epoch: u64,
        /// Where this stands in the group's log, committed; 0: it is so from the beginning.
        position: u64,
        /// The voters in rank order.
        voters: Vec<Peer>,
    },
}
