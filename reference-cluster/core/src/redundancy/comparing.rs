//! Anti-entropy: one node after the other is compared with, and what differs is given back.
//!
//! The two trees are over the keys that both nodes keep. Digests go to and fro, each time of the
//! parts below those that differ; where leaves differ, both tell what they hold in them, and each
//! gives back to itself what the other has newer.
//! Invariant: a comparison only ever moves copies forward, so it may be broken off at any point.

use super::keeper::Keeper;
use super::merkle::{Tree, leaf_of};
use super::message::RedundancyMessage;
use super::share::Version;
use crate::flaw::Flaw;
use crate::interface::Peer;

/// Most leaves in which copies are given back after one comparison; the next finds the others.
const LEAVES_MAX: usize = 64;

impl Keeper {
    /// Sets the moment of the next comparison, where there are any.
    pub(super) fn plan_comparison(&mut self) {
        let shared = self.setting.terms.copies > 1;
        let interval = self.setting.terms.comparison.filter(|_| shared);
        self.comparison_due = interval.map(|interval| self.now.after(interval));
    }

    pub(super) fn compare_if_due(&mut self) {
        if self.comparison_due.is_none_or(|due| due > self.now) {
            return;
        }
        self.plan_comparison();
        let count = self.setting.names.len() as u32;
        let mut turn = (1..=count).map(|step| Peer((self.compared.0 + step) % count));
        let next = turn.find(|peer| *peer != self.setting.me && !self.is_suspected(*peer));
        if let Some(peer) = next {
            self.compared = peer;
            let digests = vec![self.tree(peer).root()];
            self.post(peer, RedundancyMessage::Compare { digests });
        }
    }

    /// Keys that both this node and the peer keep, with the newest versions here.
    fn shared(&self, peer: Peer) -> impl Iterator<Item = (&str, Version)> {
        let versions = self.holdings.versions();
        versions.filter(move |(key, _)| {
            let ranking = self.setting.ranking(key);
            let keep = &ranking[..self.setting.terms.copies];
            keep.contains(&peer) && keep.contains(&self.setting.me)
        })
    }

    fn tree(&self, peer: Peer) -> Tree {
        Tree::over(self.shared(peer))
    }

    pub(super) fn on_compare(&mut self, from: Peer, theirs: &[(u32, u64)]) {
        let difference = self.tree(from).compare(theirs);
        if !difference.below.is_empty() {
            let digests = difference.below;
            self.post(from, RedundancyMessage::Compare { digests });
        }
        if !difference.leaves.is_empty() {
            let mut leaves = difference.leaves;
            leaves.truncate(LEAVES_MAX);
            self.tell_leaves(from, leaves, false);
        }
    }

    fn tell_leaves(&mut self, to: Peer, leaves: Vec<u32>, answers: bool) {
        let in_them = |(key, _): &(&str, Version)| leaves.contains(&leaf_of(key));
        let held = self.shared(to).filter(in_them);
        let versions = held.map(|(key, version)| (key.to_owned(), version));
        let versions = versions.collect();
        let message = RedundancyMessage::Leaves {
            leaves,
            versions,
            answers,
        };
        self.post(to, message);
    }

    pub(super) fn on_leaves(
        &mut self,
        from: Peer,
        leaves: Vec<u32>,
        versions: &[(String, Version)],
        answers: bool,
    ) {
        if !answers {
            self.tell_leaves(from, leaves, true);
        }
        for (key, version) in versions {
            let behind = self.holdings.newest(key) < Some(*version);
            let kept = self.setting.place(key, self.setting.me).is_some();
            if behind && kept && !self.has(Flaw::DifferencesIgnored) {
                self.begin_repair(key.clone(), Some(from));
            }
        }
    }
}
