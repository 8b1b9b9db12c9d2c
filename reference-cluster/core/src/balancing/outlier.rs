//! Outlier ejection: backends that fail so many times in a row get nothing for a while.
//!
//! Ejecting helps those that are left only as long as they can carry the load, so a cap bounds how
//! many may be out at a time. The other side of the cap: what fails beyond it keeps its share of
//! the requests.
//!
//! Invariant: never more are out than `max_ejection_percent` allows, where one always may be.
//! Source: Envoy's outlier detection (`consecutive_5xx`): the n-th ejection lasts n times the base
//! time, at most 300 s; looks are taken every `interval`, and one interval without ejection takes
//! one from n.

use shakedown_contracts::strategy::OutlierEjection;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

/// Longest ejection (Envoy's `max_ejection_time`).
const EJECTION_MAX: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, Default)]
struct Suspect {
    failures: u32,
    ejections: u32,
    out_since: Option<Moment>,
}

/// Who is out.
#[derive(Debug)]
pub(super) struct Outliers {
    options: OutlierEjection,
    backends: Vec<Suspect>,
    next_look: Moment,
}

impl Outliers {
    pub fn new(options: OutlierEjection, backends: usize) -> Self {
        Outliers {
            options,
            backends: vec![Suspect::default(); backends],
            next_look: Moment(0),
        }
    }

    /// The first look comes an interval later.
    pub fn begin(&mut self, now: Moment) {
        self.next_look = now.after(self.options.interval);
    }

    pub fn is_out(&self, backend: usize) -> bool {
        self.backends[backend].out_since.is_some()
    }

    pub fn next_deadline(&self) -> Moment {
        self.next_look
    }

    pub fn succeeded(&mut self, backend: usize) {
        self.backends[backend].failures = 0;
    }

    /// True when the backend is ejected for it.
    pub fn failed(&mut self, now: Moment, backend: usize) -> bool {
        let suspect = &mut self.backends[backend];
        suspect.failures = suspect.failures.saturating_add(1);
        let due = suspect.failures >= self.options.consecutive_5xx && suspect.out_since.is_none();
        let out = self.backends.iter().filter(|one| one.out_since.is_some());
        if !due || out.count() >= most_out(&self.options, self.backends.len()) {
            return false;
        }
        let suspect = &mut self.backends[backend];
        suspect.failures = 0;
        suspect.ejections += 1;
        suspect.out_since = Some(now);
        true
    }

    /// Takes a look, where one is due; the backends that return.
    pub fn look(&mut self, now: Moment) -> Vec<usize> {
        let mut returning = Vec::new();
        if now < self.next_look {
            return returning;
        }
        self.next_look = now.after(self.options.interval);
        let base = self.options.base_ejection_time.as_nanos();
        for (backend, suspect) in self.backends.iter_mut().enumerate() {
            let Some(since) = suspect.out_since else {
                suspect.ejections = suspect.ejections.saturating_sub(1);
                continue;
            };
            let nanos = base.saturating_mul(u64::from(suspect.ejections));
            if now.since(since) >= Duration::from_nanos(nanos).min(EJECTION_MAX) {
                suspect.out_since = None;
                suspect.failures = 0;
                returning.push(backend);
            }
        }
        returning
    }
}

/// Most backends out at a time, of so many.
pub(super) fn most_out(options: &OutlierEjection, backends: usize) -> usize {
    // Rounded, so that 40 % of 5 are 2 although 0.4 × 5.0 may come out below.
    let share = (options.max_ejection_percent.as_f64() * backends as f64 * 1e6).round() / 1e6;
    (share as usize).max(1)
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::random::Random;
    use shakedown_contracts::units::Ratio;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000_000)
    }

    fn options(percent: f64) -> OutlierEjection {
        OutlierEjection {
            max_ejection_percent: Ratio::new(percent / 100.0).unwrap(),
            ..OutlierEjection::default()
        }
    }

    #[test]
    fn the_fifth_failure_in_a_row_ejects_and_a_success_in_between_forgives() {
        let mut outliers = Outliers::new(options(50.0), 5);
        for failure in 1..=4 {
            assert!(!outliers.failed(at(0), 2), "{failure}");
        }
        outliers.succeeded(2);
        let ejected: Vec<bool> = (0..5).map(|_| outliers.failed(at(0), 2)).collect();
        assert_eq!(ejected, [false, false, false, false, true]);
        assert!(outliers.is_out(2));
    }

    #[test]
    fn a_second_ejection_lasts_twice_as_long_and_good_behaviour_shortens_the_next() {
        let mut outliers = Outliers::new(options(50.0), 5);
        outliers.begin(at(0));
        let eject = |outliers: &mut Outliers, now| {
            assert!((0..5).any(|_| outliers.failed(now, 0)));
        };
        let returned = |outliers: &mut Outliers, from: u64| {
            let mut looks = (from..from + 400).filter(|now| outliers.look(at(*now)) == [0]);
            looks.next().unwrap()
        };
        eject(&mut outliers, at(1));
        assert_eq!(returned(&mut outliers, 2), 40, "30 s, then the next look");
        eject(&mut outliers, at(41));
        assert_eq!(returned(&mut outliers, 42), 110, "60 s, then the next look");
        // Two looks without ejection take both away.
        assert!(outliers.look(at(120)).is_empty() && outliers.look(at(130)).is_empty());
        eject(&mut outliers, at(131));
        assert_eq!(returned(&mut outliers, 132), 170);
    }

    #[test]
    fn never_more_are_out_than_the_cap_allows() {
        for seed in 0..200 {
            let mut random = Random::keyed(seed, "outlier", "");
            let backends = 1 + random.below(12) as usize;
            let percent = random.below(101);
            let mut outliers = Outliers::new(options(percent as f64), backends);
            outliers.begin(at(0));
            let most = (percent as usize * backends / 100).max(1);
            let mut seen = 0;
            for second in 0..400 {
                outliers.look(at(second));
                for _ in 0..10 {
                    let backend = random.below(backends as u64) as usize;
                    match random.chance(0.05) {
                        true => outliers.succeeded(backend),
                        false => drop(outliers.failed(at(second), backend)),
                    }
                }
                let out = (0..backends).filter(|one| outliers.is_out(*one)).count();
                assert!(
                    out <= most,
                    "seed {seed}: {out} of {backends} at {percent} %"
                );
                seen = seen.max(out);
            }
            assert_eq!(seen, most, "the cap is reached (seed {seed})");
        }
    }
}
