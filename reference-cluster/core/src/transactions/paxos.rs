//! Paxos Commit: every vote is kept by a majority of acceptors, so that it outlives its voter and
//! its coordinator.
//!
//! Each participant's vote is an instance of consensus of its own. In ballot zero the participant
//! itself proposes "prepared at" to all nodes; the coordinator has decided to commit as soon as it
//! knows that a majority keeps each of the votes. It writes nothing down: the votes are the
//! decision. Whoever ends a transaction in its place ([`super::takeover`]) leads a greater ballot.
//! Invariants: an acceptor keeps nothing of a smaller ballot than it promised; what a majority keeps
//! of one ballot is what every greater ballot proposes.
//! Source: Gray & Lamport 2006, "Consensus on Transaction Commit", section 4.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attempt::Stage;
use super::clock::{NODES_MAX, TransactionId};
use super::message::TransactionMessage;
use super::note::Note;
use super::transactor::{After, Transactor};
use crate::interface::Peer;

/// A ballot, ordered; the smallest is that of the participants themselves.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Ballot(u64);

impl Ballot {
    /// The smallest ballot of `leader` above this one.
    pub fn next(self, leader: Peer) -> Ballot {
        let round = self.0 / NODES_MAX as u64 + 1;
        Ballot(round * NODES_MAX as u64 + u64::from(leader.0))
    }

    /// Who counts what is kept of this ballot.
    pub fn leader(self, id: TransactionId) -> Peer {
        match self == Ballot::default() {
            true => id.coordinator(),
            false => Peer((self.0 % NODES_MAX as u64) as u32),
        }
    }
}

/// What one participant's vote is, or is proposed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinion {
    /// Whose.
    pub participant: Peer,
    /// Prepared, and the earliest position; `None`: aborted.
    pub position: Option<u64>,
}

/// A vote that an acceptor keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// Since which ballot.
    pub ballot: Ballot,
    /// The vote.
    pub opinion: Opinion,
}

/// What an acceptor knows of one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptor {
    promised: Ballot,
    kept: BTreeMap<Peer, Acceptance>,
}

impl Acceptor {
    /// Listens to no smaller ballot from now on.
    pub fn promise(&mut self, ballot: Ballot) {
        self.promised = self.promised.max(ballot);
    }

    /// Keeps votes.
    pub fn accept(&mut self, ballot: Ballot, opinions: &[Opinion]) {
        debug_assert!(ballot >= self.promised, "a promise is kept");
        self.promise(ballot);
        for opinion in opinions {
            let acceptance = Acceptance {
                ballot,
                opinion: *opinion,
            };
            self.kept.insert(opinion.participant, acceptance);
        }
    }
}

impl Transactor {
    fn promised(&self, id: TransactionId) -> Ballot {
        let acceptor = self.ledger.acceptors.get(&id);
        acceptor.map_or_else(Ballot::default, |acceptor| acceptor.promised)
    }

    /// Has all acceptors keep this participant's vote, once it is on disk.
    pub(super) fn propose_own_vote(&mut self, id: TransactionId, position: u64) {
        let opinion = Opinion {
            participant: self.setting.me,
            position: Some(position),
        };
        for acceptor in self.setting.all() {
            let message = TransactionMessage::Accept {
                id,
                ballot: Ballot::default(),
                opinions: vec![opinion],
            };
            self.then(After::Post(acceptor, message));
        }
    }

    /// An acceptor is asked to keep votes.
    pub(super) fn on_accept(&mut self, id: TransactionId, ballot: Ballot, opinions: Vec<Opinion>) {
        let promised = self.promised(id);
        let leader = ballot.leader(id);
        if ballot < promised {
            let ballot = promised;
            return self.post(leader, TransactionMessage::Outvoted { id, ballot });
        }
        self.write(Note::Accepted {
            id,
            ballot,
            opinions: opinions.clone(),
        });
        let kept = TransactionMessage::Accepted {
            id,
            ballot,
            opinions,
        };
        self.then(After::Post(leader, kept));
    }

    /// An acceptor keeps what it was asked to.
    pub(super) fn on_accepted(
        &mut self,
        from: Peer,
        id: TransactionId,
        ballot: Ballot,
        opinions: &[Opinion],
    ) {
        if ballot > Ballot::default() {
            return self.on_proposal_kept(from, id, ballot);
        }
        let majority = self.setting.majority();
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        if !matches!(attempt.stage, Stage::Preparing) {
            return;
        }
        for opinion in opinions {
            let keepers = attempt.keepers.entry(opinion.participant).or_default();
            keepers.insert(from);
            if let (true, Some(position)) = (keepers.len() >= majority, opinion.position) {
                attempt.votes.insert(opinion.participant, position);
            }
        }
        self.count_votes(id);
    }

    /// An acceptor is asked to listen to nobody below a ballot.
    pub(super) fn on_ask_promise(&mut self, from: Peer, id: TransactionId, ballot: Ballot) {
        let promised = self.promised(id);
        if ballot <= promised {
            let ballot = promised;
            return self.post(from, TransactionMessage::Outvoted { id, ballot });
        }
        self.write(Note::Promised { id, ballot });
        let acceptor = self.ledger.acceptors.get(&id);
        let kept = acceptor.map(|acceptor| acceptor.kept.values().copied().collect());
        let message = TransactionMessage::Promised {
            id,
            ballot,
            kept: kept.unwrap_or_default(),
        };
        self.then(After::Post(from, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballots_grow_and_say_who_leads_them() {
        let id = TransactionId::new(9, Peer(3));
        let zero = Ballot::default();
        let (one, other) = (zero.next(Peer(1)), zero.next(Peer(2)));
        assert!(zero < one && one < other);
        assert!(other.next(Peer(0)) > other);
        assert_eq!(
            [zero, one, other].map(|ballot| ballot.leader(id).0),
            [3, 1, 2]
        );
    }
}
