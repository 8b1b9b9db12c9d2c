//! The connection is reset at both ends, after a time; until then everything passes.

use std::collections::VecDeque;

use shakedown_contracts::time::Moment;

use super::{Given, Item, Stage, Waiting};

pub(super) struct ResetPeer {
    due: Moment,
    waiting: Waiting,
}

impl ResetPeer {
    pub fn new(due: Moment) -> Self {
        ResetPeer {
            due,
            waiting: Waiting::default(),
        }
    }
}

impl Stage for ResetPeer {
    fn take(&mut self, item: Item, _now: Moment) {
        self.waiting.push(item);
    }

    fn give(&mut self, now: Moment) -> Given {
        if self.due <= now {
            return Given::Reset;
        }
        match self.waiting.pop() {
            Some(item) => Given::Item(item),
            None => Given::Until(self.due),
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
    fn bytes_pass_until_the_reset() {
        let mut stage = ResetPeer::new(Moment(100));
        stage.take(Item::Bytes(vec![1], Moment(0)), Moment(0));
        let out = run(&mut stage, Moment(0), Moment(1000));
        assert_eq!(out.len(), 2);
        assert_eq!(out[1], (100, Given::Reset));
    }
}
