//! When operations are due: evenly spaced, whatever the system under test does (open loop).
//!
//! Each due moment is computed from its number and not from the one before, so that lateness and
//! rounding never add up. The worker waits for them on an `Alarm`: a timer descriptor in the poll
//! set of its only thread is one wake-up, where a pacing thread would need two. A seeded phase lets the groups' arrivals interleave.

use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::share::Share;

/// The due moments of one group, in order.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    start: Moment,
    /// Part of an interval by which the first arrival comes after the start, in `0.0..1.0`.
    phase: f64,
    interval_nanos: f64,
    next: u64,
}

impl Schedule {
    /// From `start` on at the group's rate; `None` for a group that offers nothing.
    pub fn new(start: Moment, share: &Share, seed: u64) -> Option<Schedule> {
        let phase = Random::keyed(seed, "workload-phase", &share.name).unit();
        (share.rate > 0.0).then(|| Schedule {
            start,
            phase,
            interval_nanos: 1e9 / share.rate,
            next: 0,
        })
    }

    /// The next due moment.
    pub fn next_due(&self) -> Moment {
        let nanos = (self.next as f64 + self.phase) * self.interval_nanos;
        // Exact to the nanosecond for 2^53 ns = 104 days of load.
        self.start.after(Duration::from_nanos(nanos as u64))
    }

    /// Takes the next due moment if it has come.
    pub fn take_due(&mut self, now: Moment) -> Option<Moment> {
        let due = self.next_due();
        (due <= now).then(|| {
            self.next += 1;
            due
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::share::tests::workload;
    use super::*;

    fn schedule(group: &str, start: Moment) -> Schedule {
        let share = Share::of(&workload(&[3, 1]), group).unwrap();
        Schedule::new(start, &share, 7).unwrap()
    }

    fn due_before(mut schedule: Schedule, end: Moment) -> Vec<Moment> {
        std::iter::from_fn(|| schedule.take_due(end)).collect()
    }

    #[test]
    fn groups_together_offer_the_whole_rate_and_no_drift_adds_up() {
        let start = Moment(5_000_000_000);
        let hour = start.after(Duration::from_secs(3600));
        let first = due_before(schedule("c1", start), hour);
        let second = due_before(schedule("c2", start), hour);
        // 400 a second for an hour; the phase moves at most one arrival of each group past an end.
        assert!((1_439_998..=1_440_002).contains(&(first.len() + second.len())));
        assert_ne!(
            first[0].since(start).as_nanos() * 3,
            second[0].since(start).as_nanos()
        );
        let last = first.len() as u64 - 1;
        let expected_nanos = last as f64 * (1e9 / 300.0);
        let spanned = first[first.len() - 1].since(first[0]).as_nanos() as f64;
        assert!(
            (spanned - expected_nanos).abs() <= 2.0,
            "{spanned} against {expected_nanos}"
        );
    }

    #[test]
    fn arrivals_are_evenly_spaced_and_none_is_skipped_after_a_stall() {
        let start = Moment(1_000);
        let mut schedule = schedule("c2", start);
        assert_eq!(
            schedule.take_due(start.before(Duration::from_nanos(1))),
            None
        );
        let stalled = start.after(Duration::from_secs(1));
        let due = due_before(schedule, stalled);
        assert_eq!(due.len(), 100, "a rate of 100 over one second of stall");
        for pair in due.windows(2) {
            assert!(pair[1].since(pair[0]).as_nanos().abs_diff(10_000_000) <= 1);
        }
    }

    #[test]
    fn a_group_without_clients_offers_nothing() {
        let share = Share::of(&workload(&[3, 0]), "c2").unwrap();
        assert!(Schedule::new(Moment(0), &share, 7).is_none());
    }
}
