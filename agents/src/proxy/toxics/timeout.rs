//! Nothing passes; after a time, if there is one, the connection ends. Taken away before, it lets go of what it
//! held: a stream with a hole in it would be a fault that nobody asked for.

use std::collections::VecDeque;

use shakedown_contracts::time::Moment;

use super::{Given, Item, Stage, Waiting};

pub(super) struct Timeout {
    ends: Option<Moment>,
    waiting: Waiting,
}

impl Timeout {
    pub fn new(ends: Option<Moment>) -> Self {
        Timeout {
            ends,
            waiting: Waiting::default(),
        }
    }
}

impl Stage for Timeout {
    fn take(&mut self, item: Item, _now: Moment) {
        self.waiting.push(item);
    }

    fn give(&mut self, now: Moment) -> Given {
        match self.ends {
            Some(ends) if ends <= now => Given::Close,
            Some(ends) => Given::Until(ends),
            None => Given::Nothing,
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
    fn nothing_passes_and_the_connection_ends_in_time_or_never() {
        let mut stage = Timeout::new(Some(Moment(100)));
        stage.take(Item::Bytes(vec![1], Moment(0)), Moment(0));
        let out = run(&mut stage, Moment(0), Moment(1000));
        assert_eq!(out, [(100, Given::Close)]);
        let mut stage = Timeout::new(None);
        stage.take(Item::Bytes(vec![1], Moment(0)), Moment(0));
        assert_eq!(stage.give(Moment(u64::MAX)), Given::Nothing);
    }
}
