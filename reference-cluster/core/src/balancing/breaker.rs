//! A circuit breaker: a backend that keeps failing is left alone for a while, then tried with care.
//!
//! Closed, all goes through. After so many failures in a row it opens and nothing does. When its
//! time is over it is half open: a few requests at a time go through as trials, and the first that
//! ends decides.
//!
//! Invariant: half open, at most `half_open_requests` are under way. Source: Nygard, "Release It!",
//! section "Circuit Breaker".

use shakedown_contracts::strategy::CircuitBreaker;
use shakedown_contracts::time::Moment;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Answered.
    Well,
    /// Refused, timed out, or its connection broke.
    Badly,
    /// Nobody waited for its end.
    Unjudged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Moment },
    HalfOpen { trials: u32 },
}

/// The breaker of one backend.
#[derive(Debug)]
pub(super) struct Breaker {
    options: CircuitBreaker,
    state: State,
    /// How often it has been half open.
    round: u64,
}

/// A request that went through while half open, and in which round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trial(u64);

/// What changed for the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It gets nothing more.
    Opened,
    /// It is as any other.
    Closed,
}

impl Breaker {
    pub fn new(options: CircuitBreaker) -> Self {
        Breaker {
            options,
            state: State::Closed { failures: 0 },
            round: 0,
        }
    }

    /// Whether one more request may go to a backend with so many open ones.
    pub fn admits(&self, now: Moment, open: u32) -> bool {
        let state = match self.state {
            State::Closed { .. } => true,
            State::Open { until } => now >= until,
            State::HalfOpen { trials } => trials < self.options.half_open_requests,
        };
        state && open < self.options.max_requests
    }

    /// A request went to the backend, maybe as a trial.
    pub fn sent(&mut self, now: Moment) -> Option<Trial> {
        match &mut self.state {
            State::Closed { .. } => return None,
            State::Open { until } if now < *until => return None,
            State::Open { .. } => {
                self.round += 1;
                self.state = State::HalfOpen { trials: 1 };
            }
            State::HalfOpen { trials } => *trials += 1,
        }
        Some(Trial(self.round))
    }

    /// A request ended; `trial` is what [`Breaker::sent`] said of it.
    pub fn ended(&mut self, now: Moment, trial: Option<Trial>, how: Ended) -> Option<Change> {
        let trial = trial == Some(Trial(self.round));
        match (&mut self.state, how) {
            (State::Closed { failures }, Ended::Well) => *failures = 0,
            (State::Closed { failures }, Ended::Badly) => {
                *failures += 1;
                if *failures >= self.options.failures {
                    return self.open(now);
                }
            }
            (State::HalfOpen { .. }, Ended::Well) if trial => {
                self.state = State::Closed { failures: 0 };
                return Some(Change::Closed);
            }
            (State::HalfOpen { .. }, Ended::Badly) if trial => {
                self.open(now);
            }
            (State::HalfOpen { trials }, Ended::Unjudged) if trial => {
                *trials = trials.saturating_sub(1);
            }
            // What was sent before the breaker opened says nothing new.
            _ => {}
        }
        None
    }

    fn open(&mut self, now: Moment) -> Option<Change> {
        self.state = State::Open {
            until: now.after(self.options.open_for),
        };
        Some(Change::Opened)
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::random::Random;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000_000)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(CircuitBreaker::default());
        for failure in 1..=5 {
            assert!(breaker.admits(at(0), 0));
            assert_eq!(breaker.sent(at(0)), None);
            let change = breaker.ended(at(0), None, Ended::Badly);
            assert_eq!(change, (failure == 5).then_some(Change::Opened));
        }
        breaker
    }

    #[test]
    fn after_failures_in_a_row_nothing_goes_through_until_its_time_is_over() {
        let breaker = opened();
        assert!(!breaker.admits(at(4), 0));
        assert!(breaker.admits(at(5), 0));
    }

    #[test]
    fn a_trial_that_succeeds_closes_and_one_that_fails_opens_again() {
        for (how, change, admits) in [
            (Ended::Well, Some(Change::Closed), true),
            (Ended::Badly, None, false),
        ] {
            let mut breaker = opened();
            let trial = breaker.sent(at(5));
            assert!(!breaker.admits(at(5), 1), "one trial at a time");
            assert_eq!(breaker.ended(at(6), trial, how), change);
            assert_eq!(breaker.admits(at(7), 0), admits);
        }
    }

    #[test]
    fn a_success_in_between_keeps_it_closed_and_so_many_open_requests_are_the_most() {
        let mut breaker = Breaker::new(CircuitBreaker::default());
        for _ in 0..20 {
            for _ in 0..4 {
                assert_eq!(breaker.ended(at(0), None, Ended::Badly), None);
            }
            assert_eq!(breaker.ended(at(0), None, Ended::Well), None);
        }
        assert!(breaker.admits(at(0), 1023));
        assert!(!breaker.admits(at(0), 1024));
    }

    #[test]
    fn half_open_it_never_lets_more_through_than_it_says() {
        for seed in 0..200 {
            let mut random = Random::keyed(seed, "breaker", "");
            let options = CircuitBreaker {
                half_open_requests: 1 + random.below(4) as u32,
                ..CircuitBreaker::default()
            };
            let mut breaker = Breaker::new(options);
            let (mut open, mut now) = (Vec::new(), at(0));
            for _ in 0..500 {
                now = Moment(now.0 + random.below(2_000_000_000));
                if random.chance(0.5) && breaker.admits(now, open.len() as u32) {
                    open.push(breaker.sent(now));
                } else if !open.is_empty() {
                    let trial = open.swap_remove(random.below(open.len() as u64) as usize);
                    let how = [Ended::Well, Ended::Badly, Ended::Badly, Ended::Unjudged];
                    breaker.ended(now, trial, *random.pick(&how).unwrap());
                }
                let newest = Some(Trial(breaker.round));
                let trials = open.iter().filter(|trial| **trial == newest).count();
                assert!(trials <= options.half_open_requests as usize, "seed {seed}");
            }
        }
    }
}
