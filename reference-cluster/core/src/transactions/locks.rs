//! Locks on accounts, and who waits for whom.
//!
//! Whoever meets a lock waits when it is older than everybody in its way, and gives up otherwise
//! (wait-die). So waiting goes from old to young alone and never in a circle, on one node or over
//! many. One that waits is in the way of younger ones as if it held: else it might wait for ever.
//! Invariant: two that hold one account both only read it.
//! Source: Rosenkrantz, Stearns, Lewis 1978, "System Level Concurrency Control for Distributed
//! Database Systems", section 5.

use std::collections::{BTreeMap, BTreeSet};

use super::clock::TransactionId;

/// What a transaction wants of this node's accounts, all at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who.
    pub id: TransactionId,
    /// Its age, which an attempt has from the first one.
    pub age: TransactionId,
    /// Which accounts.
    pub keys: BTreeSet<String>,
    /// To change them.
    pub exclusive: bool,
}

impl Claim {
    fn meets(&self, other: &Claim) -> bool {
        self.id != other.id
            && (self.exclusive || other.exclusive)
            && !self.keys.is_disjoint(&other.keys)
    }
}

/// What comes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It holds all its locks.
    Holds,
    /// It waits for younger ones.
    Waits,
    /// An older one is in its way.
    Dies,
}

/// The locks of one node.
#[derive(Debug, Default)]
pub struct Locks {
    held: BTreeMap<TransactionId, Claim>,
    /// By age and name.
    waiting: BTreeMap<(TransactionId, TransactionId), Claim>,
}

impl Locks {
    /// Takes a claim: at once, later, or not.
    pub fn claim(&mut self, claim: Claim) -> Turn {
        let turn = self.turn(&claim);
        match turn {
            Turn::Holds => {
                self.held.insert(claim.id, claim);
            }
            Turn::Waits => {
                self.waiting.insert((claim.age, claim.id), claim);
            }
            Turn::Dies => {}
        }
        turn
    }

    /// Takes a lock that was promised before a restart.
    pub fn restore(&mut self, claim: Claim) {
        self.held.insert(claim.id, claim);
    }

    fn turn(&self, claim: &Claim) -> Turn {
        let held = self.held.values();
        let mut in_the_way = held.filter(|holder| holder.meets(claim)).peekable();
        let mut older = self.waiting.range(..(claim.age, claim.id));
        if older.any(|(_, waiting)| waiting.meets(claim)) {
            return Turn::Dies;
        }
        if in_the_way.peek().is_none() {
            // One that overtook a younger one here would be waited for by it.
            let mut younger = self.waiting.range((claim.age, claim.id)..);
            return match younger.any(|(_, waiting)| waiting.meets(claim)) {
                true => Turn::Waits,
                false => Turn::Holds,
            };
        }
        match in_the_way.all(|holder| holder.age > claim.age) {
            true => Turn::Waits,
            false => Turn::Dies,
        }
    }

    /// True when somebody else holds the account to change it.
    pub fn is_taken(&self, key: &str) -> bool {
        let mut held = self.held.values();
        held.any(|holder| holder.exclusive && holder.keys.contains(key))
    }

    /// True when this transaction holds its locks.
    pub fn holds(&self, id: TransactionId) -> bool {
        self.held.contains_key(&id)
    }

    /// Ends a claim, held or waiting; what becomes of those that waited, oldest first.
    pub fn release(&mut self, id: TransactionId) -> Vec<(TransactionId, Turn)> {
        self.held.remove(&id);
        self.waiting.retain(|(_, waiting), _| *waiting != id);
        let mut turns = Vec::new();
        for claim in std::mem::take(&mut self.waiting).into_values() {
            let id = claim.id;
            match self.claim(claim) {
                Turn::Waits => {}
                turn => turns.push((id, turn)),
            }
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::random::Random;

    use super::*;
    use crate::interface::Peer;

    fn id(age: u64) -> TransactionId {
        TransactionId::new(age, Peer(0))
    }

    fn claim(age: u64, keys: &[&str], exclusive: bool) -> Claim {
        Claim {
            id: id(age),
            age: id(age),
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            exclusive,
        }
    }

    #[test]
    fn the_older_waits_and_the_younger_gives_up() {
        let mut locks = Locks::default();
        assert_eq!(locks.claim(claim(5, &["a", "b"], true)), Turn::Holds);
        assert_eq!(locks.claim(claim(6, &["b"], true)), Turn::Dies);
        assert_eq!(locks.claim(claim(6, &["c"], true)), Turn::Holds);
        assert_eq!(locks.claim(claim(3, &["b", "c"], true)), Turn::Waits);
        assert_eq!(locks.release(id(5)), []);
        assert_eq!(
            locks.claim(claim(7, &["b"], true)),
            Turn::Dies,
            "3 waits there"
        );
        assert_eq!(locks.release(id(6)), [(id(3), Turn::Holds)]);
    }

    #[test]
    fn an_older_one_does_not_pass_a_younger_one_that_waits() {
        let mut locks = Locks::default();
        assert_eq!(locks.claim(claim(9, &["b"], true)), Turn::Holds);
        assert_eq!(locks.claim(claim(5, &["a", "b"], true)), Turn::Waits);
        assert_eq!(locks.claim(claim(3, &["a"], true)), Turn::Waits);
        let turns = locks.release(id(9));
        assert_eq!(turns, [(id(3), Turn::Holds), (id(5), Turn::Dies)]);
    }

    #[test]
    fn readers_share_and_a_waiting_reader_is_not_overtaken() {
        let mut locks = Locks::default();
        assert_eq!(locks.claim(claim(1, &["a"], false)), Turn::Holds);
        assert_eq!(locks.claim(claim(2, &["a"], false)), Turn::Holds);
        assert!(!locks.is_taken("a"));
        assert_eq!(locks.claim(claim(9, &["b"], true)), Turn::Holds);
        assert!(locks.is_taken("b"));
        assert_eq!(locks.claim(claim(3, &["a", "b"], false)), Turn::Waits);
        assert_eq!(locks.claim(claim(8, &["a"], true)), Turn::Dies);
        assert_eq!(locks.release(id(9)), [(id(3), Turn::Holds)]);
        assert!(locks.holds(id(3)));
    }

    #[test]
    fn whatever_is_claimed_no_two_writers_share_and_nobody_waits_for_an_older_one() {
        for seed in 0..200 {
            let mut random = Random::keyed(seed, "locks", "");
            let mut locks = Locks::default();
            for _ in 0..100 {
                let age = 1 + random.below(40);
                if random.chance(0.4) {
                    locks.release(id(age));
                    continue;
                }
                if locks.holds(id(age)) || locks.waiting.contains_key(&(id(age), id(age))) {
                    continue;
                }
                let keys = ["a", "b", "c", "d"];
                let from = random.below(3) as usize;
                locks.claim(claim(age, &keys[from..from + 2], random.chance(0.6)));
                for holder in locks.held.values() {
                    assert!(locks.held.values().all(|other| !holder.meets(other)));
                    let mut waiting = locks.waiting.values().filter(|one| one.meets(holder));
                    assert!(waiting.all(|one| one.age < holder.age), "seed {seed}");
                }
            }
        }
    }
}
