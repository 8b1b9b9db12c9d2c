//! What one request has heard so far, and what follows from it.
//!
//! **Which value a reader takes.** The newest version heard of, where enough of its shares are there.
//! One that too few nodes can hold (those heard of and all that were not heard) was never
//! acknowledged and never returned by a read: it is passed over, and the next older one looked at.
//! In between nothing can be said yet. Nor is anything older than a version that some node knows to
//! be complete: who knew it may have let go of shares that it held when it was acknowledged. Whole
//! copies are the case of one share being enough: the newest version heard of is taken.
//!
//! Invariant: a version that a read returned before, or a write was acknowledged with, is held by
//! `write` nodes, so a later read of `read` nodes hears of it and never passes it over.
//!
//! Source: Cadambe, Lynch, Médard & Musial 2014 (CAS), with counting in the place of its
//! finalizing round.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::time::Moment;

use super::setting::Terms;
use super::share::{Share, Version};
use crate::interface::{Peer, RequestId};

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client reads.
    Get(RequestId),
    /// A client writes this.
    Put(RequestId, u64),
    /// This node's own copy is to be given back.
    Repair {
        /// Answers that it takes at least.
        answers: usize,
    },
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nodes were asked what they hold.
    Asking,
    /// Nodes were told what to hold.
    Writing,
    /// The client was answered; some nodes were not heard yet.
    Answered,
}

/// A node that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    /// The node.
    pub node: Peer,
    /// The place in the key's ranking that it has, or stands in for.
    pub place: usize,
    /// Whose place it is.
    pub standing_in: Option<Peer>,
}

/// What the nodes are told to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub version: Version,
    pub value: u64,
}

/// Which version a reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one; `None`: the key is absent.
    Found(Option<Version>),
    /// More must be heard.
    Undecided,
}

/// What a node said that it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub shares: Vec<Share>,
    /// What is older than this may have been held and let go.
    pub complete: Option<Version>,
}

impl Answer {
    /// The newest version that the node knows to be there.
    pub fn newest(&self) -> Option<Version> {
        let shares = self.shares.iter().map(|share| share.version);
        shares.chain(self.complete).max()
    }
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Operation {
    pub key: String,
    pub purpose: Purpose,
    pub stage: Stage,
    pub targets: Vec<Target>,
    /// What nodes said that they hold.
    pub answers: BTreeMap<Peer, Answer>,
    /// Nodes that hold what was written.
    pub stored: BTreeSet<Peer>,
    /// Nodes that were told to hold it after all, when the client had its answer.
    pub told: BTreeSet<Peer>,
    pub written: Option<Written>,
    pub deadline: Moment,
}

impl Operation {
    /// One that has heard nothing.
    pub fn new(key: String, purpose: Purpose, targets: Vec<Target>, deadline: Moment) -> Self {
        Operation {
            key,
            purpose,
            stage: Stage::Asking,
            targets,
            answers: BTreeMap::new(),
            stored: BTreeSet::new(),
            told: BTreeSet::new(),
            written: None,
            deadline,
        }
    }

    /// The part a node has in it.
    pub fn target(&self, node: Peer) -> Option<&Target> {
        self.targets.iter().find(|target| target.node == node)
    }

    /// The newest version that any node said it holds.
    pub fn newest(&self) -> Option<Version> {
        self.answers.values().filter_map(Answer::newest).max()
    }

    /// Nodes that said they hold this version.
    pub fn holders(&self, version: Version) -> BTreeSet<Peer> {
        let mut holders: BTreeSet<Peer> = BTreeSet::new();
        for (node, answer) in &self.answers {
            if answer.shares.iter().any(|share| share.version == version) {
                holders.insert(*node);
            }
        }
        holders
    }

    /// The shares of a version that were heard of.
    pub fn shares(&self, version: Version) -> impl Iterator<Item = &Share> {
        let shares = self.answers.values().flat_map(|answer| &answer.shares);
        shares.filter(move |share| share.version == version)
    }

    /// The version that a reader takes.
    pub fn choose(&self, terms: &Terms) -> Choice {
        let mut holders: BTreeMap<Version, usize> = BTreeMap::new();
        for share in self.answers.values().flat_map(|answer| &answer.shares) {
            *holders.entry(share.version).or_default() += 1;
        }
        let complete = self.answers.values().filter_map(|answer| answer.complete);
        let complete = complete.max();
        let silent = terms.copies.saturating_sub(self.answers.len());
        for (version, holders) in holders.into_iter().rev() {
            if Some(version) < complete {
                return Choice::Undecided;
            }
            if holders >= terms.needed {
                return Choice::Found(Some(version));
            }
            if holders + silent >= terms.write {
                return Choice::Undecided;
            }
        }
        match complete {
            Some(_) => Choice::Undecided,
            None => Choice::Found(None),
        }
    }

    /// True when every node that takes part is among these, or is not waited for.
    pub fn all(&self, among: impl Fn(Peer) -> bool, given_up: impl Fn(Peer) -> bool) -> bool {
        let mut targets = self.targets.iter();
        targets.all(|target| among(target.node) || given_up(target.node))
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::strategy::{Erasure, Redundancy};

    use super::super::setting::Setting;
    use super::*;
    use crate::flaw::Planted;

    fn version(counter: u64) -> Version {
        Version {
            counter,
            node: Peer(0),
            stamp: Moment(counter),
        }
    }

    /// Four and two: a write is held by four, and four answers are waited for.
    fn chosen(answers: &[&[u64]]) -> Choice {
        chosen_beside(answers, None)
    }

    fn chosen_beside(answers: &[&[u64]], complete: Option<u64>) -> Choice {
        let names = (0..6).map(|number| format!("n{number}")).collect();
        let options = Redundancy::Erasure(Erasure::default());
        let setting = Setting::new(&options, names, Peer(0), Planted::default()).unwrap();
        let mut operation = Operation::new(
            "k".into(),
            Purpose::Repair { answers: 4 },
            Vec::new(),
            Moment(0),
        );
        for (node, versions) in (0..).zip(answers) {
            let share = |counter: &u64| Share::new("k", version(*counter), node, Vec::new());
            let shares = versions.iter().map(share).collect();
            let complete = complete.map(version);
            let answer = Answer { shares, complete };
            operation.answers.insert(Peer(node), answer);
        }
        operation.choose(&setting.terms)
    }

    #[test]
    fn a_version_is_taken_when_its_shares_are_there_and_passed_over_when_they_cannot_be() {
        let found = |counter| Choice::Found(Some(version(counter)));
        assert_eq!(chosen(&[&[1], &[1], &[1], &[1]]), found(1));
        // Two of it were heard of, and two nodes not heard may have it too.
        assert_eq!(chosen(&[&[1, 2], &[1, 2], &[1], &[1]]), Choice::Undecided);
        // One was heard of: with two more it is still not four.
        assert_eq!(chosen(&[&[1, 2], &[1], &[1], &[1]]), found(1));
        assert_eq!(
            chosen(&[&[1, 2], &[1, 2], &[1], &[1], &[1], &[1]]),
            found(1)
        );
        assert_eq!(
            chosen(&[&[1, 2], &[1, 2], &[1, 2], &[1, 2], &[1], &[1]]),
            found(2)
        );
        assert_eq!(chosen(&[&[], &[], &[], &[]]), Choice::Found(None));
        assert_eq!(chosen_beside(&[&[1], &[1], &[1], &[1]], Some(1)), found(1));
        assert_eq!(
            chosen_beside(&[&[1], &[1], &[1], &[1]], Some(2)),
            Choice::Undecided
        );
        assert_eq!(
            chosen_beside(&[&[], &[], &[], &[]], Some(2)),
            Choice::Undecided
        );
        assert_eq!(chosen(&[&[], &[], &[3], &[]]), Choice::Found(None));
    }
}
