//! The connection ends once `bytes` have passed from when the toxic met it.

use shakedown_contracts::time::Moment;

use super::{Given, Kind, Stage, Waiting, any_numbers};

pub(super) const KIND: Kind = Kind {
    name: "limit_data",
    attributes: &["bytes"],
    refuse: any_numbers,
    stage: |values, _random, _now| {
        Box::new(LimitData {
            left: values[0],
            waiting: Waiting::default(),
        })
    },
    seen: |tally| tally.ended_connections > 0,
};

struct LimitData {
    left: u64,
    waiting: Waiting,
}

impl Stage for LimitData {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
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
}

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::super::tests::{bytes_of, played, stage};
    use super::*;

    #[test]
    fn the_last_byte_that_is_allowed_passes_and_then_it_ends() {
        let mut stage = stage("limit_data", &[("bytes", "5")]);
        for _ in 0..2 {
            stage.take(Item::bytes(vec![1; 4], Moment(0)));
        }
        let out = played(stage.as_mut(), Moment(0), Moment(1000));
        let lengths: Vec<usize> = out.iter().map(|(_, given)| bytes_of(given)).collect();
        assert_eq!(lengths, [4, 1, 0]);
        assert_eq!(out.last(), Some(&(Moment(0), Given::Close)));
    }
}
