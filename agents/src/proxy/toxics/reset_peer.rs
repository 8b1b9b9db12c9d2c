//! The connection is reset at both ends `timeout` milliseconds after the toxic meets it; until then everything passes.
//!
//! Toxiproxy's waits for the first bytes after that, so that an idle connection is never reset. Ours acts on that, too.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Kind, Stage, Waiting, any_numbers};

pub(super) const KIND: Kind = Kind {
    name: "reset_peer",
    attributes: &["timeout"],
    refuse: any_numbers,
    stage: |values, _random, now| {
        Box::new(ResetPeer {
            due: now.after(Duration::from_millis(values[0])),
            waiting: Waiting::default(),
        })
    },
    seen: |tally| tally.ended_connections > 0,
};

struct ResetPeer {
    due: Moment,
    waiting: Waiting,
}

impl Stage for ResetPeer {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
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
}

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::super::tests::{played, stage};
    use super::*;

    #[test]
    fn bytes_pass_until_the_reset() {
        let mut stage = stage("reset_peer", &[("timeout", "2")]);
        stage.take(Item::bytes(vec![1], Moment(0)));
        let out = played(stage.as_mut(), Moment(0), Moment(1_000_000_000));
        assert_eq!(out.len(), 2);
        assert_eq!(out[1], (Moment(2_000_000), Given::Reset));
    }
}
