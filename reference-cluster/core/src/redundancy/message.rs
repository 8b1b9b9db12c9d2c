//! What nodes say to each other about copies.
//!
//! All of it may be said twice: storing a version again changes nothing, and an answer that nobody
//! waits for any more is passed over. Invariant: [`RedundancyMessage::Held`] and
//! [`RedundancyMessage::Stored`] speak only of what is written down.

use serde::{Deserialize, Serialize};

use super::share::{Share, Version};
use crate::interface::Peer;

/// The number of no operation: what is said beside all of them.
pub const NO_OPERATION: u64 = 0;

/// A message between two nodes that keep keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "redundancy", rename_all = "kebab-case")]
pub enum RedundancyMessage {
    /// Coordinator to a node: what do you hold?
    Read {
        /// Which operation asks.
        operation: u64,
        /// The key.
        key: String,
    },
    /// The answer. A node whose copy is damaged says nothing.
    Held {
        /// That of the question.
        operation: u64,
        /// The key.
        key: String,
        /// Every version held, oldest first; none for an absent key.
        shares: Vec<Share>,
        /// A version that enough nodes hold: what is older may have been held here once.
        complete: Option<Version>,
    },
    /// Coordinator to a node: hold this.
    Write {
        /// Which operation writes.
        operation: u64,
        /// The key.
        key: String,
        /// What to hold.
        share: Share,
        /// For whom, where that is not the receiver.
        standing_in: Option<Peer>,
    },
    /// The answer: this version, or a newer one, is held and durable.
    Stored {
        /// That of the order.
        operation: u64,
        /// The key.
        key: String,
        /// The version of the order.
        version: Version,
    },
    /// Enough nodes hold this version: older ones may go.
    Complete {
        /// The key.
        key: String,
        /// The version.
        version: Version,
    },
    /// Digests of parts of the sender's tree, to be compared with one's own.
    Compare {
        /// Number of the part and its digest.
        digests: Vec<(u32, u64)>,
    },
    /// What the sender holds in leaves in which the trees differ.
    Leaves {
        /// Numbers of the leaves.
        leaves: Vec<u32>,
        /// Keys in them and the newest version of each.
        versions: Vec<(String, Version)>,
        /// True when this answers the receiver's own list.
        answers: bool,
    },
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::time::Moment;

    use super::*;
    use crate::message::Message;

    #[test]
    fn a_message_survives_json() {
        let version = Version {
            counter: 1,
            node: Peer(2),
            stamp: Moment(3),
        };
        let message = Message::Redundancy(RedundancyMessage::Write {
            operation: 9,
            key: "k".into(),
            share: Share::new("k", version, 0, vec![7]),
            standing_in: Some(Peer(1)),
        });
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
    }
}
