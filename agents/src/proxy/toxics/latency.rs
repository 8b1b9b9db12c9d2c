//! Everything arrives later, in order.

use std::collections::VecDeque;

use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Item, Stage, Waiting};

pub(super) struct Latency {
    latency: Duration,
    jitter: Duration,
    random: Random,
    waiting: Waiting,
    /// When each is due.
    due: VecDeque<Moment>,
}

impl Latency {
    pub fn new(latency: Duration, jitter: Duration, random: Random) -> Self {
        Latency {
            latency,
            jitter,
            random,
            waiting: Waiting::default(),
            due: VecDeque::new(),
        }
    }

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
    fn take(&mut self, item: Item, _now: Moment) {
        let due = item.arrived().after(self.draw());
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

    fn held_bytes(&self) -> usize {
        self.waiting.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn each_item_is_as_late_as_asked_and_none_overtakes_another() {
        let random = Random::keyed(1, "test", "latency");
        let (latency, jitter) = (Duration::from_millis(10), Duration::from_millis(5));
        let mut stage = Latency::new(latency, jitter, random);
        for millis in 0..100 {
            let now = Moment(millis * 1_000_000);
            stage.take(Item::Bytes(vec![millis as u8], now), now);
        }
        let out = run(&mut stage, Moment(0), Moment(1_000_000_000));
        assert_eq!(out.len(), 100);
        for (number, (at, given)) in out.iter().enumerate() {
            let Given::Item(Item::Bytes(bytes, arrived)) = given else {
                panic!("{given:?}");
            };
            assert_eq!(bytes[0] as usize, number);
            let late = at - arrived.0;
            assert!((5_000_000..=15_000_000).contains(&late), "{late}");
        }
    }
}
