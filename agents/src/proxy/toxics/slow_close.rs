//! The end of the stream arrives later.

use std::collections::VecDeque;

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Item, Stage, Waiting};

pub(super) struct SlowClose {
    delay: Duration,
    waiting: Waiting,
}

impl SlowClose {
    pub fn new(delay: Duration) -> Self {
        SlowClose {
            delay,
            waiting: Waiting::default(),
        }
    }
}

impl Stage for SlowClose {
    fn take(&mut self, item: Item, _now: Moment) {
        self.waiting.push(item);
    }

    fn give(&mut self, now: Moment) -> Given {
        match self.waiting.front() {
            Some(Item::End(arrived)) if arrived.after(self.delay) > now => {
                Given::Until(arrived.after(self.delay))
            }
            _ => self.waiting.pop().map_or(Given::Nothing, Given::Item),
        }
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
    fn bytes_pass_at_once_and_the_end_when_its_delay_is_over() {
        let mut stage = SlowClose::new(Duration::from_nanos(50));
        stage.take(Item::Bytes(vec![1], Moment(10)), Moment(10));
        stage.take(Item::End(Moment(20)), Moment(20));
        let out = run(&mut stage, Moment(20), Moment(1000));
        let at: Vec<u64> = out.iter().map(|(at, _)| *at).collect();
        assert_eq!(at, [20, 70]);
    }
}
