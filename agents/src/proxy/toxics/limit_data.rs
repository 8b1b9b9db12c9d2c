//! The connection ends after so many bytes.

use std::collections::VecDeque;

use shakedown_contracts::time::Moment;

use super::{Given, Item, Stage, Waiting};

pub(super) struct LimitData {
    left: u64,
    waiting: Waiting,
}

impl LimitData {
    pub fn new(bytes: u64) -> Self {
        LimitData {
            left: bytes,
            waiting: Waiting::default(),
        }
    }
}

impl Stage for LimitData {
    fn take(&mut self, item: Item, _now: Moment) {
        self.waiting.push(item);
    }

    fn give(&mut self, _now: Moment) -> Given {
        if self.left == 0 {
            return Given::Close;
        }
        match self.waiting.pop_bytes(self.left as usize) {
            Some(item) => {
                self.left -= item.len() as u64;
                Given::Item(item)
            }
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
    fn the_last_byte_that_is_allowed_passes_and_then_it_ends() {
        let mut stage = LimitData::new(5);
        for _ in 0..2 {
            stage.take(Item::Bytes(vec![1; 4], Moment(0)), Moment(0));
        }
        let out = run(&mut stage, Moment(0), Moment(1000));
        let lengths: Vec<usize> = out
            .iter()
            .filter_map(|(_, given)| match given {
                Given::Item(item) => Some(item.len()),
                _ => None,
            })
            .collect();
        assert_eq!(lengths, [4, 1]);
        assert_eq!(out.last(), Some(&(0, Given::Close)));
    }
}
