//! What the nodes of a spread bank say to each other.
//!
//! What changes accounts or cuts the channels in two travels in a [`SpreadMessage::Carry`], in order
//! and without gaps; what can be asked again travels by itself.
//! Invariant: a carried message belongs to one era, and is taken in no other.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shakedown_contracts::history::Account;
use shakedown_contracts::node::{ReadAccountsRequest, TransferRequest};

use crate::interface::{ClientReply, Peer};

/// Names a snapshot within an era.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotId {
    /// Who began it.
    pub initiator: Peer,
    /// Counts what it began.
    pub number: u64,
}

/// What a snapshot is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "kebab-case")]
pub enum Purpose {
    /// To be written to disk.
    Checkpoint,
    /// To be answered to a client of the initiator.
    Read(ReadAccountsRequest),
}

/// What comes in order and without gaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "body", rename_all = "kebab-case")]
pub enum Body {
    /// Money on its way.
    Credit {
        /// Of the transfer; both sides carry the same.
        position: u64,
        /// It.
        transfer: TransferRequest,
    },
    /// Accounts are opened, with their first balances.
    Open {
        /// Key and balance of each.
        accounts: Vec<(String, i64)>,
    },
    /// What was sent before this belongs to the snapshot, what is sent after it does not.
    Marker {
        /// Which snapshot.
        id: SnapshotId,
        /// What it is for.
        purpose: Purpose,
    },
    /// To the initiator of a read: what was recorded.
    Recorded {
        /// Of the snapshot.
        number: u64,
        /// Those of the accounts asked for that the sender holds, with what was on its way to them.
        accounts: Vec<Account>,
    },
    /// To the initiator: the snapshot is on disk here.
    Stored {
        /// Of the snapshot.
        number: u64,
    },
}

/// A message between two nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "spread", rename_all = "kebab-case")]
pub enum SpreadMessage {
    /// The next message of a channel.
    Carry {
        /// The era in which it was sent.
        era: u64,
        /// Counts the messages of the channel in the era, from 1.
        sequence: u64,
        /// It.
        content: Body,
    },
    /// Everything of the channel up to here was taken.
    Taken {
        /// Of the channel.
        era: u64,
        /// Up to here.
        sequence: u64,
    },
    /// From a restarted node to all: stop, and say what you can go back to.
    Recover {
        /// The era that begins with it.
        era: u64,
    },
    /// Stopped.
    Ready {
        /// The era.
        era: u64,
        /// The newest checkpoint here; 0 for none.
        newest: u64,
        /// All accounts this node has heard of.
        accounts: BTreeSet<String>,
    },
    /// To whoever speaks for an older era.
    Newer {
        /// The newest era known here.
        era: u64,
    },
    /// From the restarted node to all: go back, and go on.
    RollBack {
        /// The era.
        era: u64,
        /// To this checkpoint, which all have; 0: to the beginning.
        line: u64,
        /// The first number that no snapshot has had.
        next: u64,
        /// All accounts that anybody has heard of.
        accounts: BTreeSet<String>,
    },
    /// Gone back, and going on.
    Resumed {
        /// The era.
        era: u64,
    },
    /// To the node that holds the payer's account: a client asks for this.
    Forward {
        /// Names the request at the sender.
        number: u64,
        /// It.
        transfer: TransferRequest,
    },
    /// What the client is to be told.
    Answer {
        /// Of the request.
        number: u64,
        /// The answer.
        reply: ClientReply,
    },
}
