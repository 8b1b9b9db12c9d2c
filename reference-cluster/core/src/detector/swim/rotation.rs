//! Whom to probe next: every member once in a shuffled order, then all again in another.
//!
//! Drawing the target anew each time would leave some member unprobed for long now and then; round
//! robin in a shuffled order bounds the time between two probes of one member by 2n − 1 intervals
//! (SWIM 2002, section 4.3).
//!
//! The order is not kept but counted: a Feistel network (Luby & Rackoff 1988) with a key of its own
//! for each pass permutes the numbers below a power of four, and those that are no member are left
//! out. So a member of ten thousand needs no list of them.
//!
//! Invariant: a pass names each member once.

use shakedown_contracts::random::Random;

use crate::interface::Peer;

/// Enough for a permutation that looks random.
const ROUNDS: u64 = 4;

/// The order.
#[derive(Debug)]
pub struct Rotation {
    members: u32,
    /// Bits of each half of a permuted number.
    half: u32,
    keys: Random,
    pass: u64,
    next: u64,
}

impl Rotation {
    /// Of so many members, drawn from `keys`.
    pub fn new(members: u32, keys: Random) -> Self {
        let bits = u32::BITS - members.saturating_sub(1).leading_zeros();
        Rotation {
            members: members.max(1),
            half: bits.div_ceil(2).max(1),
            keys,
            pass: 0,
            next: 0,
        }
    }

    /// The next member.
    pub fn next(&mut self) -> Peer {
        loop {
            if self.next >> (2 * self.half) > 0 {
                self.pass += 1;
                self.next = 0;
            }
            let drawn = self.permuted(self.next);
            self.next += 1;
            if drawn < u64::from(self.members) {
                return Peer(drawn as u32);
            }
        }
    }

    fn permuted(&self, number: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half, number & mask);
        for round in 0..ROUNDS {
            let block = (self.pass * ROUNDS + round) << 32 | right;
            let drawn = self.keys.numbered(block).next_u64();
            (left, right) = (right, left ^ (drawn & mask));
        }
        left << self.half | right
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_pass_names_every_member_once_and_no_two_passes_are_alike() {
        for members in [2, 3, 5, 16, 17, 100, 1_000] {
            let mut rotation = Rotation::new(members, Random::keyed(1, "test", ""));
            let mut passes = BTreeSet::new();
            for _ in 0..20 {
                let pass: Vec<Peer> = (0..members).map(|_| rotation.next()).collect();
                let named: BTreeSet<Peer> = pass.iter().copied().collect();
                assert_eq!(named.len(), members as usize);
                assert!(named.iter().all(|peer| peer.0 < members));
                passes.insert(pass);
            }
            // Of a few members there are only a few orders.
            let least = if members < 16 { 2 } else { 19 };
            assert!(passes.len() >= least, "{members}: {}", passes.len());
        }
    }

    #[test]
    fn each_member_is_as_often_first_as_any_other() {
        let mut first = [0_u32; 5];
        for seed in 0..5_000 {
            let peer = Rotation::new(5, Random::keyed(seed, "test", "")).next();
            first[peer.0 as usize] += 1;
        }
        // 1000 ± 28 each; five standard deviations.
        assert!(
            first.iter().all(|count| (860..1_140).contains(count)),
            "{first:?}"
        );
    }
}
