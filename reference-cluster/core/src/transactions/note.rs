//! Notes: everything that a node writes down about transactions.
//!
//! Invariant: a note says all that its consequence needs, so that reading it back does the same as
//! writing it did.

use serde::{Deserialize, Serialize};
use shakedown_contracts::node::TransferRequest;

use super::accounts::Change;
use super::clock::TransactionId;
use super::message::{Decision, Part};
use super::paxos::{Ballot, Opinion};

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// Accounts were opened.
    Opened(Vec<(String, i64)>),
    /// This participant promised to commit at `position` or later, when told to.
    Prepared {
        /// Which transaction.
        id: TransactionId,
        /// Its part of it.
        part: Part,
        /// The earliest position it can have.
        position: u64,
    },
    /// Three-phase commit: every participant has promised.
    PreCommitted {
        /// Which transaction.
        id: TransactionId,
        /// Where it will commit.
        position: u64,
    },
    /// This participant's part is over.
    Decided {
        /// Which transaction.
        id: TransactionId,
        /// How.
        decision: Decision,
    },
    /// This coordinator decided to commit. (An abort is not written: who asks about a transaction
    /// that is unknown is told that it was aborted.)
    Coordinated {
        /// Which transaction.
        id: TransactionId,
        /// Where it commits.
        position: u64,
    },
    /// Paxos Commit: this acceptor listens to no smaller ballot any more.
    Promised {
        /// Which transaction.
        id: TransactionId,
        /// The ballot.
        ballot: Ballot,
    },
    /// Paxos Commit: this acceptor keeps these votes.
    Accepted {
        /// Which transaction.
        id: TransactionId,
        /// In which ballot.
        ballot: Ballot,
        /// Whose votes.
        opinions: Vec<Opinion>,
    },
    /// A change that is done for good: one side of a transfer, or a step of a saga.
    Changed {
        /// Which transaction.
        id: TransactionId,
        /// The client's transfer.
        transfer: u64,
        /// What changed.
        change: Change,
        /// At what time.
        position: u64,
    },
    /// A step of a saga was undone, or will not be done; `refund` is what that changed.
    Compensated {
        /// Which transaction.
        id: TransactionId,
        /// The client's transfer.
        transfer: u64,
        /// The account.
        key: String,
        /// The reverse change, where the step had been done.
        refund: Option<Change>,
        /// At what time.
        position: u64,
    },
    /// This coordinator began a saga.
    SagaBegun {
        /// Which transaction.
        id: TransactionId,
        /// What it does.
        transfer: TransferRequest,
    },
    /// A saga of this coordinator is over, one way or the other.
    SagaEnded(TransactionId),
}

/// A note and its place among all of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// What it says.
    pub note: Note,
}
