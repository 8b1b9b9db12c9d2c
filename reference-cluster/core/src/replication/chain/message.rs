//! What the members of a chain say to each other, and what a chain is.
//!
//! Everything about the log names the chain it belongs to, so that a member of a newer one refuses
//! it where the data is stored; whoever takes entries learns with them where it stands.
//! Invariant: of an epoch there is one [`Configuration`].

use serde::{Deserialize, Serialize};

use crate::interface::{ClientReply, ClientRequest, Peer};
use crate::message::{Entry, Point};
use crate::store::Store;

/// A chain: who is in it, in which order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The epoch that a majority has promised to the head.
    pub epoch: u64,
    /// From the head to the tail; at least a majority of all members.
    pub order: Vec<Peer>,
}

impl Configuration {
    /// Takes writes.
    pub fn head(&self) -> Option<Peer> {
        self.order.first().copied()
    }

    /// Has what all have.
    pub fn tail(&self) -> Option<Peer> {
        self.order.last().copied()
    }

    /// To whom a member passes on what it has.
    pub fn successor(&self, of: Peer) -> Option<Peer> {
        let place = self.order.iter().position(|peer| *peer == of)?;
        self.order.get(place + 1).copied()
    }

    /// From whom a member takes what it gets: that before it in the chain; outside of the chain the
    /// head, which brings it up to date.
    pub fn source(&self, of: Peer) -> Option<Peer> {
        match self.order.iter().position(|peer| *peer == of) {
            Some(place) => self.order.get(place.checked_sub(1)?).copied(),
            None => self.head(),
        }
    }

    /// True when the member is in the chain.
    pub fn holds(&self, peer: Peer) -> bool {
        self.order.contains(&peer)
    }
}

/// A message between two members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "chain", rename_all = "kebab-case")]
pub enum ChainMessage {
    /// Down the chain: entries that follow `previous`, or none; on disk at the sender.
    Append {
        /// The chain.
        configuration: Configuration,
        /// The entry before the first one sent.
        previous: Point,
        /// Consecutive entries.
        entries: Vec<Entry>,
    },
    /// Down the chain: the whole state.
    Snapshot {
        /// The chain.
        configuration: Configuration,
        /// Last entry applied in `store`.
        point: Point,
        /// The state.
        store: Store,
    },
    /// Up the chain: how far the receiver's log is here, and how far from here to the tail.
    Held {
        /// Of the chain.
        epoch: u64,
        /// Up to here the log is the same.
        received: u64,
        /// Up to here everyone from the sender to the tail has it on disk.
        held: u64,
    },
    /// Up the chain: `previous` is not in this log.
    Mismatch {
        /// Of the chain.
        epoch: u64,
        /// Last position at which the logs may agree.
        hint: u64,
        /// The logs disagree about something already applied here: only the whole state helps.
        snapshot: bool,
    },
    /// To whoever speaks for an older chain: refused.
    Stale {
        /// The newest epoch known here.
        epoch: u64,
    },
    /// Who wants to be head, to all: promise me this epoch.
    Ask {
        /// The wanted epoch.
        epoch: u64,
        /// The last entry of its log.
        last: Point,
        /// True: only say whether you would (nothing is written down, nobody is disturbed).
        trial: bool,
    },
    /// Promised, and on disk unless it was a trial.
    Promise {
        /// The wanted epoch.
        epoch: u64,
        /// As asked.
        trial: bool,
    },
    /// Not promised.
    Refuse {
        /// The newest epoch known here.
        epoch: u64,
    },
    /// Down the chain, or from the head to the tail: a client reads.
    Read {
        /// Of the chain.
        epoch: u64,
        /// Names the read at the head.
        number: u64,
        /// What the tail must have applied.
        index: u64,
        /// What is read.
        request: ClientRequest,
    },
    /// Tail to head: the answer.
    Answer {
        /// Of the chain.
        epoch: u64,
        /// Of the read.
        number: u64,
        /// What the client is told.
        reply: ClientReply,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_chain_one_takes_from_the_one_before_and_outside_of_it_from_the_head() {
        let chain = Configuration {
            epoch: 3,
            order: vec![Peer(2), Peer(0), Peer(3)],
        };
        let ends = (chain.head(), chain.tail());
        assert_eq!(ends, (Some(Peer(2)), Some(Peer(3))));
        let sources = [0, 1, 2, 3].map(|peer| chain.source(Peer(peer)));
        assert_eq!(sources, [Some(Peer(2)), Some(Peer(2)), None, Some(Peer(0))]);
        let successors = [0, 1, 2, 3].map(|peer| chain.successor(Peer(peer)));
        assert_eq!(successors, [Some(Peer(3)), None, Some(Peer(0)), None]);
    }
}
