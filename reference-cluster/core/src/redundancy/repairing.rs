//! How copies that are behind, missing or damaged are given back.
//!
//! Three ways lead back to all copies. What a write did not reach is noted, kept as a hint where
//! that is the strategy, and handed over when the node is back. What a read finds behind it brings up
//! to date. What nobody noted is found by comparing (`comparing`), and then a node gives its own copy
//! back to itself: it asks another for a whole copy, or any `k` for their shards, and stops there.
//!
//! A damaged copy is given back only from as many others as a read takes: fewer might all lack the
//! version that this node once said it holds.
//! Invariant: a repair stores what a write wrote and nothing else, so dying in it does no harm.

use shakedown_contracts::event::Event;

use super::keeper::Keeper;
use super::message::{NO_OPERATION, RedundancyMessage};
use super::notes::Note;
use super::operation::{Choice, Operation, Purpose, Stage, Target, Written};
use super::share::Version;
use crate::flaw::Flaw;
use crate::interface::Peer;

/// Most things said to one node at a time, and most copies given back at a time.
const BATCH: usize = 256;

impl Keeper {
    /// True while the node has not been missing for longer than hints are kept.
    pub(super) fn keeps_hints_for(&self, peer: Peer) -> bool {
        let missing = self.suspected.get(&peer);
        let missing = missing.map(|since| self.now.since(*since));
        let handoff = self.setting.terms.handoff;
        handoff.is_some_and(|window| missing.is_none_or(|missing| missing <= window))
    }

    /// Takes note of whom a write did not reach.
    pub(super) fn note_absent(&mut self, operation: &Operation) {
        let Some(Written { version, value }) = operation.written else {
            return;
        };
        for target in &operation.targets {
            let peer = target.standing_in.unwrap_or(target.node);
            let put = matches!(operation.purpose, Purpose::Put(..));
            if !put || operation.stored.contains(&target.node) || peer == self.setting.me {
                continue;
            }
            let key = &operation.key;
            let share = self.setting.coding.share(key, version, target.place, value);
            let hint = self.keeps_hints_for(peer).then_some(share);
            if let Some(share) = &hint {
                self.write_down(&Note::Hint(peer, key.clone(), share.clone()));
            }
            self.absences.note(peer, key, version, hint);
        }
    }

    /// A node holds a version.
    pub(super) fn has_arrived(&mut self, peer: Peer, key: &str, version: Version) {
        if self.absences.arrived(peer, key, version) {
            self.write_down(&Note::HandedOver(peer, key.to_owned(), version));
        }
    }

    /// Hands over what is kept for nodes that are back, asks others whether they still lack what
    /// they lacked, and sees to this node's damaged copies.
    pub(super) fn reach_out(&mut self) {
        if self.now < self.reach_due {
            return;
        }
        self.reach_due = self.now.after(self.setting.terms.patience);
        let peers: Vec<Peer> = self.absences.peers().collect();
        for peer in peers {
            if self.is_suspected(peer) {
                continue;
            }
            for (key, absent) in self.absences.some(peer, BATCH) {
                match absent.hint {
                    Some(_) if self.has(Flaw::HintsNotDelivered) => {}
                    Some(share) => self.post(
                        peer,
                        RedundancyMessage::Write {
                            operation: NO_OPERATION,
                            key,
                            share,
                            standing_in: None,
                        },
                    ),
                    None => self.ask(NO_OPERATION, &key, peer),
                }
            }
        }
        let damaged: Vec<String> = self.holdings.damaged().take(BATCH).cloned().collect();
        for key in damaged {
            self.begin_repair(key, None);
        }
    }

    /// After the answer to a read: nodes that lack what it returned are told to hold it.
    pub(super) fn repair_stragglers(&mut self, operation: &mut Operation) {
        let Some(Written { version, .. }) = operation.written else {
            return;
        };
        for target in operation.targets.clone() {
            let node = target.node;
            let Some(answer) = operation.answers.get(&node) else {
                continue;
            };
            let behind = answer.newest() < Some(version);
            if behind && !operation.stored.contains(&node) && operation.told.insert(node) {
                self.tell(NO_OPERATION, operation, &target);
            }
        }
    }

    /// Begins to give this node's own copy of a key back; `holder` is known to have a newer one.
    pub(super) fn begin_repair(&mut self, key: String, holder: Option<Peer>) {
        if self.repairing.len() >= BATCH || !self.repairing.insert(key.clone()) {
            return;
        }
        let damaged = self.holdings.is_damaged(&key);
        let answers = match damaged {
            true => self.setting.terms.read,
            false => self.setting.terms.needed,
        };
        let mut others = self.others(&key);
        others.sort_by_key(|target| {
            let node = target.node;
            (Some(node) != holder, self.is_suspected(node), target.place)
        });
        if !damaged {
            others.truncate(self.setting.terms.needed);
        }
        self.begin(key, Purpose::Repair { answers }, others);
    }

    /// All nodes of a key but this one.
    fn others(&self, key: &str) -> Vec<Target> {
        let keep = self.setting.ranking(key).into_iter().enumerate();
        let keep = keep.take(self.setting.terms.copies);
        let targets = keep.map(|(place, node)| Target {
            node,
            place,
            standing_in: None,
        });
        targets
            .filter(|target| target.node != self.setting.me)
            .collect()
    }

    pub(super) fn look_at_repair(&mut self, number: u64, operation: &mut Operation) {
        let Choice::Found(version) = operation.choose(&self.setting.terms) else {
            return self.widen(number, operation);
        };
        let version = version.map(|version| {
            let value = self.setting.coding.value(operation.shares(version));
            (version, value)
        });
        match version {
            Some((_, None)) => return self.widen(number, operation),
            Some((version, Some(value))) => self.give_back(&operation.key, version, value),
            None => {}
        }
        if self.holdings.is_damaged(&operation.key) {
            self.holdings.repaired(&operation.key);
            self.write_down(&Note::Repaired(operation.key.clone()));
            let key = operation.key.clone();
            self.note(Event::CopyRepaired { key });
        }
        self.repairing.remove(&operation.key);
        operation.stage = Stage::Answered;
    }

    fn give_back(&mut self, key: &str, version: Version, value: u64) {
        let Some(place) = self.setting.place(key, self.setting.me) else {
            return;
        };
        let share = self.setting.coding.share(key, version, place, value);
        self.hold(key, share);
    }

    /// Those who were asked do not have enough: the others are asked, too.
    fn widen(&mut self, number: u64, operation: &mut Operation) {
        for target in self.others(&operation.key) {
            if operation.target(target.node).is_none() {
                operation.targets.push(target);
                self.ask(number, &operation.key, target.node);
            }
        }
    }
}
