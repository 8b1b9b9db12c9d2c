//! The requests workload: calls for keys, of which nothing is kept.
//!
//! What counts is whether and how soon they are answered. One key may be hot: a share of all calls
//! is for it, as real load is seldom spread evenly.

use shakedown_contracts::history::Operation;
use shakedown_contracts::random::Random;
use shakedown_contracts::units::Ratio;

use super::share::Share;
use super::{Generator, Request};

/// Called before the load to see that the cluster serves; no part of the history.
const WARM_UP_KEY: &str = "warm-up";

/// Generates a group's calls.
#[derive(Debug)]
pub(crate) struct RequestsGenerator {
    keys: u64,
    hot: f64,
    random: Random,
}

impl RequestsGenerator {
    /// Over `keys` keys; `hot` of the calls are for the first.
    pub fn new(keys: u32, hot: Ratio, share: &Share, seed: u64) -> Self {
        RequestsGenerator {
            keys: u64::from(keys.max(1)),
            hot: hot.as_f64(),
            random: Random::keyed(seed, "workload", &share.name),
        }
    }
}

impl Generator for RequestsGenerator {
    fn next_operation(&mut self) -> Operation {
        let key = match self.random.chance(self.hot) {
            true => 0,
            false => self.random.below(self.keys),
        };
        Operation::Call(format!("k{key}"))
    }

    fn observe(&mut self, _completed: &Operation) {}

    fn request(&self, operation: &Operation) -> Request {
        Request::Operation(operation.clone())
    }

    fn preparation(&self) -> Request {
        Request::Operation(Operation::Call(WARM_UP_KEY.to_owned()))
    }

    /// None: nothing was kept.
    fn final_reads(&self) -> Vec<(Operation, Request)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::share::tests::workload;
    use super::*;

    #[test]
    fn the_hot_key_gets_its_share_and_the_others_the_rest_evenly() {
        let share = Share::of(&workload(&[1]), "c1").unwrap();
        let hot = Ratio::new(0.4).unwrap();
        let mut generator = RequestsGenerator::new(4, hot, &share, 7);
        let mut counts = [0_u32; 4];
        for _ in 0..10_000 {
            let Operation::Call(key) = generator.next_operation() else {
                panic!("a call is all there is");
            };
            counts[key[1..].parse::<usize>().unwrap()] += 1;
        }
        // 40 % and a quarter of 60 %; a count strays by 50 (one sigma); 6 sigma.
        for (count, expected) in counts.iter().zip([5_500, 1_500, 1_500, 1_500_u32]) {
            assert!(count.abs_diff(expected) < 300, "{counts:?}");
        }
    }
}
