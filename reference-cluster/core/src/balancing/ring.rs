//! A hash ring: each key has its order of backends, which no other backend's coming or going changes.
//!
//! Each backend has many points on a ring; a key belongs to the backend of the next point, and
//! where that one may not be asked, to the next that may. So a backend that is gone moves its own
//! keys alone.
//!
//! Sources: Karger et al. 1997; the bound on each backend's load is Mirrokni, Thorup and
//! Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2018).

use std::collections::BTreeSet;

use shakedown_contracts::random::Random;

/// Points of each backend: shares then stray by some 10 %.
const POINTS: u64 = 100;

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    /// Position and backend, in order.
    points: Vec<(u64, usize)>,
    backends: usize,
}

impl Ring {
    /// Of backends by name: the same names make the same ring, whatever the seed.
    pub fn new(names: &[String]) -> Self {
        let points = names.iter().enumerate().flat_map(|(backend, name)| {
            let stream = Random::keyed(0, "ring", name);
            (0..POINTS).map(move |number| (stream.numbered(number).next_u64(), backend))
        });
        let mut points: Vec<(u64, usize)> = points.collect();
        points.sort_unstable();
        Ring {
            points,
            backends: names.len(),
        }
    }

    /// The backends in the order in which this key asks them.
    pub fn order(&self, key: &str) -> Vec<usize> {
        let place = position(key);
        let first = self.points.partition_point(|(point, _)| *point < place);
        let (before, after) = self.points.split_at(first);
        let (mut seen, mut order) = (BTreeSet::new(), Vec::with_capacity(self.backends));
        for (_, backend) in after.iter().chain(before) {
            if order.len() == self.backends {
                break;
            }
            if seen.insert(*backend) {
                order.push(*backend);
            }
        }
        order
    }
}

/// Where a key stands.
pub(super) fn position(key: &str) -> u64 {
    Random::keyed(0, "key", key).next_u64()
}

/// With so many requests open at so many backends: the most that one may have with the next one.
/// Some backend is always below it, because all at the bound would be more than are open.
pub(super) fn most_open(bound: f64, open: u32, backends: usize) -> u32 {
    let mean = f64::from(open + 1) / backends.max(1) as f64;
    (bound * mean).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("n{number}")).collect()
    }

    #[test]
    fn each_key_asks_every_backend_and_shares_are_fair() {
        let ring = Ring::new(&names(5));
        let mut first = [0; 5];
        for key in 0..10_000 {
            let mut order = ring.order(&format!("k{key}"));
            first[order[0]] += 1;
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4]);
        }
        // 100 points each: a share strays by 10 % (one sigma); 4 sigma.
        assert!(
            first.iter().all(|count| (1_200..=2_800).contains(count)),
            "{first:?}"
        );
    }

    #[test]
    fn a_backend_that_is_gone_moves_its_own_keys_alone() {
        let (five, four) = (Ring::new(&names(5)), Ring::new(&names(4)));
        for key in 0..2_000 {
            let key = format!("k{key}");
            let mut order = five.order(&key);
            order.retain(|backend| *backend != 4);
            assert_eq!(order, four.order(&key), "{key}");
        }
    }

    #[test]
    fn there_is_always_room_below_the_bound() {
        for seed in 0..200 {
            let mut random = Random::keyed(seed, "bound", "");
            let backends = 1 + random.below(10) as usize;
            let mut open = vec![0_u32; backends];
            for _ in 0..500 {
                let total = open.iter().sum();
                let most = most_open(1.25, total, backends);
                let backend = open.iter().position(|count| *count < most);
                open[backend.expect("below the bound")] += 1;
                let done = random.below(backends as u64) as usize;
                open[done] = open[done].saturating_sub(random.below(3) as u32);
            }
        }
    }
}
