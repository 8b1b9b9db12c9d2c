//! Seeded randomness, keyed by (seed, purpose, entity).
//!
//! Each decision draws from a stream of its own, so that removing one fault or adding one node
//! changes no other draw: schedules stay comparable and can be shrunk. The generator is
//! SplitMix64 (Steele, Lea, Flood 2014); the key is hashed with FNV-1a. Not for secrets.

use crate::units::Duration;

/// A stream of pseudo-random numbers, the same on every machine for the same key.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `purpose` for `entity` under `seed`.
    pub fn keyed(seed: u64, purpose: &str, entity: &str) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let separated = purpose.bytes().chain([0]).chain(entity.bytes()).chain([0]);
        for byte in separated.chain(seed.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Random { state: hash }
    }

    /// The stream of entity `number` under this one's key: for entities too many to have names. To
    /// be asked of a stream that is drawn from in no other way.
    pub fn numbered(&self, number: u64) -> Self {
        let mut random = Random {
            state: self.state ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93),
        };
        random.state = random.next_u64();
        random
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift: the bias is below bound / 2^64, far under anything a trial can see.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `0.0..1.0` with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with probability `share` (`0.0..=1.0`).
    pub fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Uniform in `0..=bound`.
    pub fn duration_up_to(&mut self, bound: Duration) -> Duration {
        Duration::from_nanos(self.below(bound.as_nanos().saturating_add(1)))
    }

    /// One item, or `None` of an empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Fisher–Yates shuffle in place.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_every_part_of_the_key() {
        let first = |seed, purpose, entity| Random::keyed(seed, purpose, entity).next_u64();
        assert_eq!(first(7, "jitter", "n1"), first(7, "jitter", "n1"));
        assert_ne!(first(7, "jitter", "n1"), first(8, "jitter", "n1"));
        assert_ne!(first(7, "jitter", "n1"), first(7, "loss", "n1"));
        assert_ne!(first(7, "jitter", "n1"), first(7, "jitter", "n2"));
        assert_ne!(first(7, "a", "bc"), first(7, "ab", "c"));
    }

    #[test]
    fn numbered_streams_differ_and_leave_their_origin_as_it_is() {
        let mut origin = Random::keyed(7, "latency", "");
        let first = |number| origin.numbered(number).next_u64();
        assert_eq!(first(1), first(1));
        let drawn: std::collections::BTreeSet<u64> = (0..1_000).map(first).collect();
        assert_eq!(drawn.len(), 1_000);
        let other = Random::keyed(8, "latency", "").numbered(1).next_u64();
        assert_ne!(first(1), other);
        assert_eq!(
            origin.next_u64(),
            Random::keyed(7, "latency", "").next_u64()
        );
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_each_value() {
        let mut random = Random::keyed(1, "test", "below");
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(0), 0);
    }
}
