//! What the nodes of a transaction say to each other.
//!
//! Connections lose messages when they break, so whatever needs an answer is said again until it
//! has one, and everything may arrive twice.
//! Invariant: what an answer promises is on the sender's disk, as far as its fsync policy wants.

use serde::{Deserialize, Serialize};
use shakedown_contracts::history::Account;

use super::accounts::Change;
use super::clock::TransactionId;
use super::paxos::{Acceptance, Ballot, Opinion};
use crate::interface::Peer;

/// A participant's part of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The client's name for the transfer.
    pub transfer: u64,
    /// Everybody who has a part.
    pub participants: Vec<Peer>,
    /// What changes here.
    pub changes: Vec<Change>,
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Everywhere.
    Commit {
        /// The time it has in every journal.
        position: u64,
    },
    /// Nowhere.
    Abort,
}

/// A participant's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vote {
    /// It will commit when told to, at this position or later.
    Yes {
        /// The earliest position.
        position: u64,
    },
    /// It will not.
    No(Refusal),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// An account does not exist or holds too little.
    Funds,
    /// Another transaction is in the way; a later attempt may succeed.
    Conflict {
        /// The newest time known here: a snapshot after it may see what was in the way.
        newest: u64,
    },
    /// The transfer was carried out before.
    Done,
    /// The transaction was aborted already.
    Aborted,
}

/// How a read sees the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// As they are, whatever is under way.
    Plain,
    /// As they are, locked.
    Locked,
    /// As they were at a time.
    At(u64),
}

/// What a participant of a three-phase commit knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The coordinator lives and has not decided.
    UnderWay,
    /// It has promised, and knows nothing of the others.
    Uncertain,
    /// It knows that all have promised.
    PreCommitted(u64),
}

/// A message between two nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transaction", rename_all = "kebab-case")]
pub enum TransactionMessage {
    /// Coordinator to participant: will you commit this?
    Prepare {
        /// Which transaction.
        id: TransactionId,
        /// The first attempt's name, which is the transaction's age.
        age: TransactionId,
        /// The participant's part.
        part: Part,
        /// With snapshots: since when nobody else may have changed the accounts.
        since: Option<u64>,
    },
    /// Participant to coordinator.
    Voted {
        /// Which transaction.
        id: TransactionId,
        /// Its vote.
        vote: Vote,
    },
    /// To a participant, or to a coordinator that was overtaken: so it ended.
    Decided {
        /// Which transaction.
        id: TransactionId,
        /// How.
        decision: Decision,
    },
    /// Participant in doubt to its coordinator, or to another participant: how did it end?
    Ask {
        /// Which transaction.
        id: TransactionId,
    },
    /// Three-phase commit: all have promised.
    PreCommit {
        /// Which transaction.
        id: TransactionId,
        /// Where it will commit.
        position: u64,
    },
    /// Participant: written down.
    PreCommitted {
        /// Which transaction.
        id: TransactionId,
    },
    /// Participant without a coordinator to the others: what do you know?
    AskStanding {
        /// Which transaction.
        id: TransactionId,
    },
    /// The answer, where it is not `Decided`.
    Stands {
        /// Which transaction.
        id: TransactionId,
        /// What it knows.
        standing: Standing,
    },
    /// Paxos Commit: keep these votes.
    Accept {
        /// Which transaction.
        id: TransactionId,
        /// In which ballot.
        ballot: Ballot,
        /// Whose votes.
        opinions: Vec<Opinion>,
    },
    /// Acceptor to the leader of the ballot: kept.
    Accepted {
        /// Which transaction.
        id: TransactionId,
        /// In which ballot.
        ballot: Ballot,
        /// Whose votes.
        opinions: Vec<Opinion>,
    },
    /// A node that ends what another began, to all acceptors: listen to no smaller ballot.
    AskPromise {
        /// Which transaction.
        id: TransactionId,
        /// In which ballot.
        ballot: Ballot,
    },
    /// Acceptor: promised; these votes are kept here.
    Promised {
        /// Which transaction.
        id: TransactionId,
        /// In which ballot.
        ballot: Ballot,
        /// All that are kept here.
        kept: Vec<Acceptance>,
    },
    /// Acceptor: a greater ballot was promised.
    Outvoted {
        /// Which transaction.
        id: TransactionId,
        /// In which ballot.
        ballot: Ballot,
    },
    /// Without a protocol, or as a step of a saga: change this for good.
    Change {
        /// Which transaction.
        id: TransactionId,
        /// The client's transfer.
        transfer: u64,
        /// The change.
        change: Change,
    },
    /// Changed, or refused.
    Changed {
        /// Which transaction.
        id: TransactionId,
        /// The account.
        key: String,
        /// It was made.
        done: bool,
    },
    /// Saga: undo this, or never do it.
    Compensate {
        /// Which transaction.
        id: TransactionId,
        /// The client's transfer.
        transfer: u64,
        /// The change.
        change: Change,
    },
    /// It is.
    Compensated {
        /// Which transaction.
        id: TransactionId,
        /// The account.
        key: String,
    },
    /// Show these accounts.
    Read {
        /// Which transaction.
        id: TransactionId,
        /// The first attempt's name, which is the transaction's age.
        age: TransactionId,
        /// Which, all of this node.
        keys: Vec<String>,
        /// How many of the latest changes of each; `None`: all.
        journal: Option<u32>,
        /// How they are seen.
        view: View,
    },
    /// The accounts; `None`: another transaction is in the way.
    Shown {
        /// Which transaction.
        id: TransactionId,
        /// Them.
        accounts: Option<Vec<Account>>,
    },
    /// A read is over.
    Unlock {
        /// Which transaction.
        id: TransactionId,
        /// Whether it matters that the locks were held until now.
        confirm: bool,
    },
    /// Whether they were.
    Unlocked {
        /// Which transaction.
        id: TransactionId,
        /// They were.
        held: bool,
    },
    /// Open these accounts.
    Open {
        /// Which transaction.
        id: TransactionId,
        /// Them.
        accounts: Vec<(String, i64)>,
    },
    /// They are.
    Opened {
        /// Which transaction.
        id: TransactionId,
    },
}
