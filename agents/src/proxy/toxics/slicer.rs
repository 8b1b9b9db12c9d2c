//! Bytes arrive in pieces of `average_size` ± `size_variation`, with `delay` microseconds between two.

use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Kind, Stage, Waiting, bytes_met};

pub(super) const KIND: Kind = Kind {
    name: "slicer",
    attributes: &["average_size", "size_variation", "delay"],
    refuse: |values| {
        (values[0] == 0 || values[1] >= values[0]).then(|| {
            "`slicer` needs an `average_size` above its `size_variation`, such as `average_size=64`"
                .to_owned()
        })
    },
    stage: |values, random, _now| {
        Box::new(Slicer {
            average: values[0],
            variation: values[1],
            delay: Duration::from_micros(values[2]),
            random,
            waiting: Waiting::default(),
            next: Moment(0),
        })
    },
    seen: bytes_met,
};

/// The queue in front of it: slices are made as they leave, and what waits stays with the sender.
const QUEUE_BYTES: usize = 256 << 10;

struct Slicer {
    average: u64,
    variation: u64,
    delay: Duration,
    random: Random,
    waiting: Waiting,
    next: Moment,
}

impl Stage for Slicer {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn give(&mut self, now: Moment) -> Given {
        if self.waiting.is_empty() {
            return Given::Nothing;
        }
        if self.next > now {
            return Given::Until(self.next);
        }
        let drawn = self.random.below(2 * self.variation + 1);
        let size = self.average + drawn - self.variation;
        self.next = now.after(self.delay);
        let piece = self.waiting.pop_bytes(size as usize);
        piece.map_or(Given::Nothing, Given::Item)
    }

    fn room_bytes(&self) -> usize {
        QUEUE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{played, stage};
    use super::super::{Body, Item};
    use super::*;

    #[test]
    fn pieces_have_the_size_asked_for_and_come_apart() {
        let of = [
            ("average_size", "10"),
            ("size_variation", "4"),
            ("delay", "7"),
        ];
        let mut stage = stage("slicer", &of);
        stage.take(Item::bytes((0..100).collect(), Moment(0)));
        let out = played(stage.as_mut(), Moment(0), Moment(1_000_000));
        let mut bytes = Vec::new();
        for (number, (at, given)) in out.iter().enumerate() {
            let Given::Item(Item {
                body: Body::Bytes(piece),
                ..
            }) = given
            else {
                panic!("{given:?}");
            };
            assert_eq!(*at, Moment(number as u64 * 7_000));
            let last = number == out.len() - 1;
            assert!((6..=14).contains(&piece.len()) || last, "{}", piece.len());
            bytes.extend_from_slice(piece.bytes());
        }
        assert_eq!(bytes, (0..100).collect::<Vec<u8>>());
    }
}
