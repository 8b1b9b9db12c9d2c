//! Only `rate` kilobytes pass in a second, in pieces so small that the rate is even. A `rate` of 0 lets nothing pass, as in
//! Toxiproxy.
//!
//! A slow line has a short queue: what does not fit into it stays with the sender, who notices.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Given, Kind, Stage, Waiting, any_numbers, bytes_met};

pub(super) const KIND: Kind = Kind {
    name: "bandwidth",
    attributes: &["rate"],
    refuse: any_numbers,
    stage: |values, _random, _now| {
        Box::new(Bandwidth {
            rate: values[0] * 1000,
            waiting: Waiting::default(),
            free: Moment(0),
        })
    },
    seen: bytes_met,
};

/// Pieces a second: the rate is even over a hundredth of a second.
const PIECES: u64 = 500;
/// So late a piece may be and the next still keep to the plan: as late as a busy machine's scheduler is.
const CATCH_UP: Duration = Duration::from_millis(20);
/// The queue in front of the line: a twentieth of a second, within these bounds.
const QUEUE_BYTES: (u64, u64) = (64 << 10, 8 << 20);

struct Bandwidth {
    /// Bytes a second.
    rate: u64,
    waiting: Waiting,
    /// When the line is free again.
    free: Moment,
}

impl Stage for Bandwidth {
    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn give(&mut self, now: Moment) -> Given {
        let Some(first) = self.waiting.front() else {
            return Given::Nothing;
        };
        if self.rate == 0 {
            return Given::Nothing;
        }
        if self.free > now {
            return Given::Until(self.free);
        }
        // The line was idle until the bytes came; a timer that is late must not make it slower.
        let from = self.free.max(first.entered).max(now.before(CATCH_UP));
        let piece = (self.rate / PIECES).max(1);
        let Some(item) = self.waiting.pop_bytes(piece as usize) else {
            return Given::Nothing;
        };
        let nanos = u128::from(item.len() as u64) * 1_000_000_000 / u128::from(self.rate);
        self.free = from.after(Duration::from_nanos(nanos as u64));
        Given::Item(item)
    }

    fn room_bytes(&self) -> usize {
        (self.rate / 20).clamp(QUEUE_BYTES.0, QUEUE_BYTES.1) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::super::tests::{bytes_of, played, stage};
    use super::*;

    #[test]
    fn as_many_bytes_pass_in_a_second_as_asked() {
        let mut stage = stage("bandwidth", &[("rate", "100")]);
        let now = Moment(1_000_000_000);
        stage.take(Item::bytes(vec![0; 300_000], now));
        let out = played(stage.as_mut(), now, now.after(Duration::from_secs(1)));
        let passed: usize = out.iter().map(|(_, given)| bytes_of(given)).sum();
        // One piece of 200 bytes at either end of the second.
        assert!((99_800..=100_200).contains(&passed), "{passed}");
        assert!(out.iter().all(|(_, given)| bytes_of(given) <= 200));
    }

    #[test]
    fn a_late_timer_costs_no_rate_and_an_idle_line_saves_none_up() {
        let mut stage = stage("bandwidth", &[("rate", "100")]);
        let mut now = Moment(5_000_000_000);
        stage.take(Item::bytes(vec![0; 300_000], now));
        let mut passed = 0;
        for _ in 0..100 {
            // Asked only every 10 ms, in which 1000 bytes are due.
            now = now.after(Duration::from_millis(10));
            while let Given::Item(item) = stage.give(now) {
                passed += item.len();
            }
        }
        assert!((99_000..=101_000).contains(&passed), "{passed}");
        stage.release();
        now = now.after(Duration::from_secs(10));
        stage.take(Item::bytes(vec![0; 10_000], now));
        let mut at_once = 0;
        while let Given::Item(item) = stage.give(now) {
            at_once += item.len();
        }
        assert_eq!(at_once, 200, "ten idle seconds are lost");
    }

    #[test]
    fn a_rate_of_nothing_holds_everything() {
        let mut stage = stage("bandwidth", &[]);
        stage.take(Item::bytes(vec![0; 10], Moment(0)));
        assert_eq!(stage.give(Moment(u64::MAX)), Given::Nothing);
        assert_eq!(stage.release().len(), 1);
    }
}
