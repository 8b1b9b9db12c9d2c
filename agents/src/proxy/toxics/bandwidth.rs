//! Only so much passes in a second, in pieces so small that the rate is even.

use std::collections::VecDeque;

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Item, Stage, Waiting};

/// Pieces a second: the rate is even over a hundredth of a second.
const PIECES: u64 = 500;
/// So late a piece may be and the next still keep to the plan; more than any timer's lateness.
const CATCH_UP: Duration = Duration::from_millis(5);

pub(super) struct Bandwidth {
    /// Bytes a second.
    rate: u64,
    waiting: Waiting,
    /// When the line is free again.
    free: Moment,
}

impl Bandwidth {
    /// In kilobytes a second; 0: nothing passes.
    pub fn new(rate: u64) -> Self {
        Bandwidth {
            rate: rate.saturating_mul(1000),
            waiting: Waiting::default(),
            free: Moment(0),
        }
    }
}

impl Stage for Bandwidth {
    fn take(&mut self, item: Item, _now: Moment) {
        self.waiting.push(item);
    }

    fn give(&mut self, now: Moment) -> Given {
        if self.waiting.front().is_none() || self.rate == 0 {
            return Given::Nothing;
        }
        if self.free > now {
            return Given::Until(self.free);
        }
        let piece = (self.rate / PIECES).max(1);
        let Some(item) = self.waiting.pop_bytes(piece as usize) else {
            return Given::Nothing;
        };
        let nanos = u128::from(item.len() as u64) * 1_000_000_000 / u128::from(self.rate);
        // A timer that is late a little must not make the line slower.
        let from = self.free.max(now.before(CATCH_UP));
        self.free = from.after(Duration::from_nanos(nanos as u64));
        Given::Item(item)
    }

    fn release(&mut self) -> VecDeque<Item> {
        self.waiting.release()
    }

    fn held_bytes(&self) -> usize {
        self.waiting.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn as_many_bytes_pass_in_a_second_as_asked() {
        let mut stage = Bandwidth::new(100);
        let now = Moment(1_000_000_000);
        stage.take(Item::Bytes(vec![0; 300_000], now), now);
        let out = run(&mut stage, now, now.after(Duration::from_secs(1)));
        let bytes = |(_, given): &(u64, Given)| match given {
            Given::Item(item) => item.len(),
            _ => 0,
        };
        let passed: usize = out.iter().map(bytes).sum();
        // The line may have been idle for a moment.
        assert!((100_000..=101_000).contains(&passed), "{passed}");
        assert!(out.iter().all(|one| bytes(one) <= 200));
    }

    #[test]
    fn a_rate_of_nothing_holds_everything() {
        let mut stage = Bandwidth::new(0);
        stage.take(Item::Bytes(vec![0; 10], Moment(0)), Moment(0));
        assert_eq!(stage.give(Moment(u64::MAX)), Given::Nothing);
        assert_eq!(stage.release().len(), 1);
    }
}
