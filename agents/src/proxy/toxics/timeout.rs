//! Nothing passes, and after `timeout` milliseconds the connection ends; never if that is 0.
//!
//! Toxiproxy drops the bytes, and ends the connection when the toxic is removed. Ours holds them and lets go of them when it
//! is taken away: a stream with a hole in it would be a fault that nobody asked for.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Kind, Stage, Waiting, any_numbers};

pub(super) const KIND: Kind = Kind {
    name: "timeout",
    attributes: &["timeout"],
    refuse: any_numbers,
    stage: |values, _random, now| {
        Box::new(Timeout {
            ends: (values[0] > 0).then(|| now.after(Duration::from_millis(values[0]))),
            waiting: Waiting::default(),
        })
    },
    seen: |tally| tally.held_bytes + tally.ends + tally.ended_connections > 0,
};

struct Timeout {
    ends: Option<Moment>,
    waiting: Waiting,
}

impl Stage for Timeout {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn give(&mut self, now: Moment) -> Given {
        match self.ends {
            Some(ends) if ends <= now => Given::Close,
            Some(ends) => Given::Until(ends),
            None => Given::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::super::tests::{played, stage};
    use super::*;

    #[test]
    fn nothing_passes_and_the_connection_ends_in_time_or_never() {
        let mut ending = stage("timeout", &[("timeout", "3")]);
        ending.take(Item::bytes(vec![1], Moment(0)));
        let out = played(ending.as_mut(), Moment(0), Moment(1_000_000_000));
        assert_eq!(out, [(Moment(3_000_000), Given::Close)]);
        let mut holding = stage("timeout", &[]);
        holding.take(Item::bytes(vec![1], Moment(0)));
        assert_eq!(holding.give(Moment(u64::MAX)), Given::Nothing);
    }
}
