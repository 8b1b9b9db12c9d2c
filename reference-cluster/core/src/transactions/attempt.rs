//! One attempt to carry a transfer out, as its coordinator sees it.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::node::TransferRequest;
use shakedown_contracts::time::Moment;

use super::clock::TransactionId;
use crate::interface::{Peer, RequestId};

/// Where an attempt stands.
#[derive(Debug)]
pub(super) enum Stage {
    /// Votes are missing.
    Preparing,
    /// All are there, and the decision is held back until then.
    Holding(Moment),
    /// Three-phase commit: these know that all have promised.
    PreCommitting(BTreeSet<Peer>),
    /// The commit is being written down.
    Deciding,
    /// Paxos Commit: a ballot of this node ends it.
    Ending,
    /// Aborted; the next attempt begins then.
    BackingOff(Moment),
}

/// One attempt to carry a transfer out.
#[derive(Debug)]
pub(super) struct Attempt {
    pub request: RequestId,
    pub transfer: TransferRequest,
    /// The name of the first attempt.
    pub age: TransactionId,
    pub began: Moment,
    pub participants: Vec<Peer>,
    /// Positions of those that voted YES.
    pub votes: BTreeMap<Peer, u64>,
    /// Paxos Commit: who keeps whose vote.
    pub keepers: BTreeMap<Peer, BTreeSet<Peer>>,
    pub stage: Stage,
    pub deadline: Moment,
    pub retry_at: Moment,
}

impl Attempt {
    /// When it must be looked at.
    pub fn due(&self) -> Option<Moment> {
        match self.stage {
            Stage::Preparing | Stage::PreCommitting(_) => Some(self.deadline.min(self.retry_at)),
            Stage::Holding(until) | Stage::BackingOff(until) => Some(until),
            Stage::Deciding | Stage::Ending => None,
        }
    }

    /// Where it commits: the earliest position that suits everybody.
    pub fn position(&self) -> u64 {
        self.votes.values().copied().max().unwrap_or_default()
    }

    /// True when the attempt of this name was aborted, and its transfer waits for the next.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::BackingOff(_))
    }
}
