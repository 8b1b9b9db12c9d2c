//! The end of the stream arrives `delay` milliseconds later; bytes pass at once.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Kind, Stage, Waiting, any_numbers};

pub(super) const KIND: Kind = Kind {
    name: "slow_close",
    attributes: &["delay"],
    refuse: any_numbers,
    stage: |values, _random, _now| {
        Box::new(SlowClose {
            delay: Duration::from_millis(values[0]),
            waiting: Waiting::default(),
        })
    },
    seen: |tally| tally.ends > 0,
};

struct SlowClose {
    delay: Duration,
    waiting: Waiting,
}

impl Stage for SlowClose {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn give(&mut self, now: Moment) -> Given {
        match self.waiting.front() {
            Some(item) if item.is_last() && item.entered.after(self.delay) > now => {
                Given::Until(item.entered.after(self.delay))
            }
            _ => self.waiting.pop().map_or(Given::Nothing, Given::Item),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::super::tests::{played, stage};
    use super::*;

    #[test]
    fn bytes_pass_at_once_and_the_end_when_its_delay_is_over() {
        let mut stage = stage("slow_close", &[("delay", "5")]);
        stage.take(Item::bytes(vec![1], Moment(10)));
        stage.take(Item::end(Moment(20)));
        let out = played(stage.as_mut(), Moment(20), Moment(1_000_000_000));
        let at: Vec<u64> = out.iter().map(|(at, _)| at.0).collect();
        assert_eq!(at, [20, 5_000_020]);
    }
}
