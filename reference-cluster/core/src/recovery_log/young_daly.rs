//! `checkpoint = "young-daly"`: how often to write a checkpoint, so that checkpoints and what has to
//! be replayed after a failure together cost least.
//!
//! A checkpoint every T costs C ÷ T of the time; a failure, every M on average, costs half an
//! interval of replay, T ÷ 2M of the time. The sum is least at T = √(2·C·M) (Young 1974; what
//! Daly 2006 adds is small while C is far below M). C is measured from the node's
//! own checkpoints, from handing one to the disk to its completion, in the node's own time: a disk
//! that becomes slow, or a state that grows, makes checkpoints rarer by the square root.
//!
//! Invariant: integers only, so the same measurements give the same interval on every machine.

use shakedown_contracts::units::Duration;

/// Assumed of the first checkpoint, before one was measured: a small state on a disk.
const COST_ASSUMED: Duration = Duration::from_millis(10);
/// Checkpoints are not more frequent than this, however little they cost.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The rule with its last measurement.
#[derive(Debug, Clone, Copy)]
pub struct YoungDaly {
    mean_time_between_failures: Duration,
    cost: Duration,
}

impl YoungDaly {
    /// Nothing is measured yet.
    pub fn new(mean_time_between_failures: Duration) -> Self {
        YoungDaly {
            mean_time_between_failures,
            cost: COST_ASSUMED,
        }
    }

    /// A checkpoint took this long.
    pub fn measured(&mut self, cost: Duration) {
        self.cost = cost;
    }

    /// From the end of one checkpoint to the beginning of the next.
    pub fn interval(&self) -> Duration {
        let cost = u128::from(self.cost.as_nanos());
        let between = u128::from(self.mean_time_between_failures.as_nanos());
        // Two factors below 2⁶⁴ may be doubled beyond 2¹²⁸: that is for ever all the same.
        let square = cost.saturating_mul(between).saturating_mul(2);
        let nanos = u64::try_from(square.isqrt()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos).max(INTERVAL_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_the_root_of_twice_cost_times_time_between_failures() {
        let mut rule = YoungDaly::new(Duration::from_secs(3600));
        // √(2 · 10 ms · 1 h) = √72 s.
        let assumed = rule.interval().as_secs_f64();
        assert!((assumed - 72.0_f64.sqrt()).abs() < 1e-6, "{assumed}");
        rule.measured(Duration::from_millis(50));
        // √(2 · 50 ms · 1 h) = √360 s.
        let measured = rule.interval().as_secs_f64();
        assert!((measured - 360.0_f64.sqrt()).abs() < 1e-6, "{measured}");
    }

    #[test]
    fn no_other_interval_wastes_less() {
        let (cost, between) = (0.02, 500.0);
        let mut rule = YoungDaly::new(Duration::from_secs(500));
        rule.measured(Duration::from_millis(20));
        let waste = |interval: f64| cost / interval + interval / (2.0 * between);
        let best = rule.interval().as_secs_f64();
        for factor in [0.25, 0.5, 0.9, 1.1, 2.0, 4.0] {
            assert!(waste(best) < waste(best * factor), "{factor}");
        }
    }

    #[test]
    fn extremes_stay_within_bounds() {
        let mut rule = YoungDaly::new(Duration::from_nanos(u64::MAX));
        rule.measured(Duration::from_nanos(u64::MAX));
        assert!(rule.interval() > Duration::from_secs(1_000_000));
        rule.measured(Duration::ZERO);
        assert_eq!(rule.interval(), INTERVAL_MIN);
    }
}
