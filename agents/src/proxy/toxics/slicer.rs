//! Bytes arrive in small pieces, with a pause between two.

use std::collections::VecDeque;

use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Item, Stage, Waiting};

pub(super) struct Slicer {
    average: u64,
    variation: u64,
    delay: Duration,
    random: Random,
    waiting: Waiting,
    next: Moment,
}

impl Slicer {
    pub fn new(average: u64, variation: u64, delay: Duration, random: Random) -> Self {
        Slicer {
            average,
            variation,
            delay,
            random,
            waiting: Waiting::default(),
            next: Moment(0),
        }
    }
}

impl Stage for Slicer {
    fn take(&mut self, item: Item, _now: Moment) {
        self.waiting.push(item);
    }

    fn give(&mut self, now: Moment) -> Given {
        if self.waiting.front().is_none() {
            return Given::Nothing;
        }
        if self.next > now {
            return Given::Until(self.next);
        }
        let drawn = self.random.below(2 * self.variation + 1);
        let size = (self.average + drawn - self.variation).max(1);
        self.next = now.after(self.delay);
        let piece = self.waiting.pop_bytes(size as usize);
        piece.map_or(Given::Nothing, Given::Item)
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
    fn pieces_have_the_size_asked_for_and_come_apart() {
        let random = Random::keyed(1, "test", "slicer");
        let mut stage = Slicer::new(10, 4, Duration::from_nanos(7), random);
        stage.take(Item::Bytes((0..100).collect(), Moment(0)), Moment(0));
        let out = run(&mut stage, Moment(0), Moment(10_000));
        let mut bytes = Vec::new();
        for (number, (at, given)) in out.iter().enumerate() {
            let Given::Item(Item::Bytes(piece, _)) = given else {
                panic!("{given:?}");
            };
            assert_eq!(*at, number as u64 * 7);
            let last = number == out.len() - 1;
            assert!((6..=14).contains(&piece.len()) || last, "{}", piece.len());
            bytes.extend_from_slice(piece);
        }
        assert_eq!(bytes, (0..100).collect::<Vec<u8>>());
    }
}
