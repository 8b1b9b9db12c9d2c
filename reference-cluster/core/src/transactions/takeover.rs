//! Paxos Commit: ending a transaction in place of its coordinator.
//!
//! A participant in doubt, or a coordinator that misses votes, leads a ballot of its own: a majority
//! promises to listen to no smaller one and tells which votes it keeps; what it keeps is proposed
//! again, and "aborted" for every participant of which nothing is kept.
//! Invariant: if a majority kept a vote before, one of any majority tells of it, so that no ballot
//! proposes another.
//! Source: Gray & Lamport 2006, section 4.2.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::clock::TransactionId;
use super::message::{Decision, TransactionMessage};
use super::paxos::{Acceptance, Ballot, Opinion};
use super::transactor::Transactor;
use crate::flaw::Flaw;
use crate::interface::Peer;

/// A ballot that this node leads.
#[derive(Debug)]
pub(super) struct Takeover {
    ballot: Ballot,
    participants: Vec<Peer>,
    promises: BTreeMap<Peer, Vec<Acceptance>>,
    proposal: Option<Vec<Opinion>>,
    keepers: BTreeSet<Peer>,
    /// When a greater ballot is tried.
    pub(super) retry_at: Moment,
}

impl Takeover {
    /// What must be proposed: of each participant the vote of the greatest ballot, or abort.
    fn choose(&self) -> Vec<Opinion> {
        let kept = self.promises.values().flatten();
        let of = |participant: &Peer| {
            let theirs = kept
                .clone()
                .filter(|one| one.opinion.participant == *participant);
            let newest = theirs.max_by_key(|acceptance| acceptance.ballot);
            newest.map_or(
                Opinion {
                    participant: *participant,
                    position: None,
                },
                |acceptance| acceptance.opinion,
            )
        };
        self.participants.iter().map(of).collect()
    }
}

/// How a transaction ends by the votes of all its participants.
fn outcome(opinions: &[Opinion]) -> Decision {
    let positions: Option<Vec<u64>> = opinions.iter().map(|opinion| opinion.position).collect();
    match positions.and_then(|positions| positions.into_iter().max()) {
        Some(position) => Decision::Commit { position },
        None => Decision::Abort,
    }
}

impl Transactor {
    /// Leads a ballot above all that are known here.
    pub(super) fn take_over(&mut self, id: TransactionId, participants: Vec<Peer>) {
        let before = self.takeovers.get(&id).map(|takeover| takeover.ballot);
        let ballot = before.unwrap_or_default().next(self.setting.me);
        let spread = self.random.duration_up_to(self.setting.retry);
        let takeover = Takeover {
            ballot,
            participants,
            promises: BTreeMap::new(),
            proposal: None,
            keepers: BTreeSet::new(),
            retry_at: self.now.after(self.setting.retry).after(spread),
        };
        self.takeovers.insert(id, takeover);
        for acceptor in self.setting.all() {
            self.post(acceptor, TransactionMessage::AskPromise { id, ballot });
        }
    }

    /// Tries a greater ballot where the present one got no majority in time.
    pub(super) fn retry_takeovers(&mut self) {
        let due = |(id, takeover): (&TransactionId, &Takeover)| {
            (takeover.retry_at <= self.now).then(|| (*id, takeover.participants.clone()))
        };
        let due: Vec<_> = self.takeovers.iter().filter_map(due).collect();
        for (id, participants) in due {
            self.take_over(id, participants);
        }
    }

    /// An acceptor listens to this node's ballot.
    pub(super) fn on_promised(
        &mut self,
        from: Peer,
        id: TransactionId,
        ballot: Ballot,
        kept: Vec<Acceptance>,
    ) {
        let majority = self.setting.majority();
        let forgets = self.has(Flaw::TakeoverForgetsVotes);
        let Some(takeover) = self.takeovers.get_mut(&id) else {
            return;
        };
        if takeover.ballot != ballot || takeover.proposal.is_some() {
            return;
        }
        let kept = if forgets { Vec::new() } else { kept };
        takeover.promises.insert(from, kept);
        if takeover.promises.len() < majority {
            return;
        }
        let opinions = takeover.choose();
        takeover.proposal = Some(opinions.clone());
        for acceptor in self.setting.all() {
            let message = TransactionMessage::Accept {
                id,
                ballot,
                opinions: opinions.clone(),
            };
            self.post(acceptor, message);
        }
    }

    /// An acceptor keeps what this node proposed.
    pub(super) fn on_proposal_kept(&mut self, from: Peer, id: TransactionId, ballot: Ballot) {
        let majority = self.setting.majority();
        let Some(takeover) = self.takeovers.get_mut(&id) else {
            return;
        };
        let Some(opinions) = takeover
            .proposal
            .as_ref()
            .filter(|_| takeover.ballot == ballot)
        else {
            return;
        };
        takeover.keepers.insert(from);
        if takeover.keepers.len() < majority {
            return;
        }
        let decision = outcome(opinions);
        let mut told: BTreeSet<Peer> = takeover.participants.iter().copied().collect();
        told.insert(id.coordinator());
        told.insert(self.setting.me);
        self.takeovers.remove(&id);
        for peer in told {
            self.post(peer, TransactionMessage::Decided { id, decision });
        }
    }

    /// An acceptor has promised a greater ballot to somebody else: theirs comes first.
    pub(super) fn on_outvoted(&mut self, id: TransactionId, ballot: Ballot) {
        let spread = Duration::from_nanos(self.setting.retry.as_nanos() / 4);
        let pause = self.random.duration_up_to(spread);
        if let Some(takeover) = self.takeovers.get_mut(&id)
            && takeover.ballot < ballot
        {
            takeover.ballot = ballot;
            takeover.proposal = None;
            takeover.promises.clear();
            takeover.retry_at = takeover
                .retry_at
                .min(self.now.after(self.setting.retry).after(pause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_proposed_again_and_what_is_not_aborts() {
        let kept = |ballot, participant, position| Acceptance {
            ballot,
            opinion: Opinion {
                participant: Peer(participant),
                position,
            },
        };
        let (zero, one) = (Ballot::default(), Ballot::default().next(Peer(2)));
        let mut takeover = Takeover {
            ballot: one.next(Peer(0)),
            participants: vec![Peer(0), Peer(1)],
            promises: BTreeMap::new(),
            proposal: None,
            keepers: BTreeSet::new(),
            retry_at: Moment(0),
        };
        takeover
            .promises
            .insert(Peer(0), vec![kept(zero, 0, Some(5))]);
        assert_eq!(outcome(&takeover.choose()), Decision::Abort);
        takeover
            .promises
            .insert(Peer(1), vec![kept(zero, 1, Some(7))]);
        assert_eq!(
            outcome(&takeover.choose()),
            Decision::Commit { position: 7 }
        );
        takeover.promises.insert(Peer(2), vec![kept(one, 1, None)]);
        assert_eq!(outcome(&takeover.choose()), Decision::Abort);
    }
}
