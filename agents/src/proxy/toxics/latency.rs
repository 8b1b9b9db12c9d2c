//! Everything arrives later, in order: `latency` ± `jitter` milliseconds after it came.

use std::collections::VecDeque;

use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Item, Kind, Stage, Waiting, any_numbers, bytes_met};

pub(super) const KIND: Kind = Kind {
    name: "latency",
    attributes: &["latency", "jitter"],
    refuse: any_numbers,
    stage: |values, random, _now| {
        Box::new(Latency {
            latency: Duration::from_millis(values[0]),
            jitter: Duration::from_millis(values[1]),
            random,
            waiting: Waiting::default(),
            due: VecDeque::new(),
        })
    },
    seen: bytes_met,
};

struct Latency {
    latency: Duration,
    jitter: Duration,
    random: Random,
    waiting: Waiting,
    /// When each is due.
    due: VecDeque<Moment>,
}

impl Latency {
    /// Latency ± jitter, evenly; not below zero.
    fn draw(&mut self) -> Duration {
        let spread = Duration::from_nanos(2 * self.jitter.as_nanos());
        let drawn = self.random.duration_up_to(spread);
        self.latency
            .saturating_add(drawn)
            .saturating_sub(self.jitter)
    }
}

impl Stage for Latency {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn take(&mut self, item: Item) {
        let due = item.entered.after(self.draw());
        // A stream cannot overtake itself.
        let due = self.due.back().map_or(due, |last| due.max(*last));
        self.due.push_back(due);
        self.waiting.push(item);
    }

    fn give(&mut self, now: Moment) -> Given {
        match self.due.front() {
            Some(due) if *due <= now => {
                self.due.pop_front();
                self.waiting.pop().map_or(Given::Nothing, Given::Item)
            }
            Some(due) => Given::Until(*due),
            None => Given::Nothing,
        }
    }

    fn release(&mut self) -> VecDeque<Item> {
        self.due.clear();
        self.waiting.release()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{first_byte, played, stage};
    use super::*;

    #[test]
    fn each_item_is_as_late_as_asked_and_none_overtakes_another() {
        let mut stage = stage("latency", &[("latency", "10"), ("jitter", "5")]);
        for millis in 0..100 {
            stage.take(Item::bytes(vec![millis as u8], Moment(millis * 1_000_000)));
        }
        let out = played(stage.as_mut(), Moment(0), Moment(1_000_000_000));
        assert_eq!(out.len(), 100);
        let mut spread = Vec::new();
        for (number, (at, given)) in out.iter().enumerate() {
            assert_eq!(first_byte(given), number as u8);
            spread.push(at.0 - number as u64 * 1_000_000);
        }
        assert!(
            spread
                .iter()
                .all(|late| (5_000_000..=15_000_000).contains(late))
        );
        // Evenly drawn from 10 ms: a hundred that all fell into one half would be no jitter.
        assert!(spread.iter().any(|late| *late < 9_000_000), "{spread:?}");
        assert!(spread.iter().any(|late| *late > 11_000_000), "{spread:?}");
    }
}
