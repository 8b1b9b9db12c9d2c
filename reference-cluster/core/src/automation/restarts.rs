//! When is a dead node started again, and when no more?
//!
//! A node that dies from what it finds at its start dies again at each. So every attempt waits
//! twice as long as the one before (binary exponential backoff, as in Kubernetes'
//! CrashLoopBackOff), and after so many in a row none is made any more (as systemd's
//! `StartLimitBurst`). A node that has stayed up for a while has recovered: its next death is a
//! first one.
//!
//! Invariant: between two times in which the node was up long enough, it is started at most
//! `crash_loop_limit` times, and each wait is at least as long as the one before.

use shakedown_contracts::strategy::Supervisor as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::flaw::{Flaw, Planted};

/// What is to be done about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Start it; the number of this attempt in a row.
    Start(u32),
    /// Start it no more, after so many attempts.
    GiveUp(u32),
}

/// One node's restarts.
#[derive(Debug)]
pub(super) struct Restarts {
    options: Options,
    planted: Planted,
    /// In a row, without the node having been up for long.
    attempts: u32,
    /// `Some` while the node is held for dead and is to be started then.
    due: Option<Moment>,
    /// Since when it is up again; `None` while it is down, and before it ever was.
    up_since: Option<Moment>,
    given_up: bool,
}

impl Restarts {
    /// Of a node that is up for as long as anybody knows.
    pub(super) fn new(options: &Options, planted: Planted) -> Self {
        Restarts {
            options: options.clone(),
            planted,
            attempts: 0,
            due: None,
            up_since: None,
            given_up: false,
        }
    }

    /// The node is held for dead.
    pub(super) fn down(&mut self, now: Moment) {
        self.forgive(now);
        self.up_since = None;
        if !self.given_up && self.due.is_none() {
            self.due = Some(now.after(self.wait()));
        }
    }

    /// The node is heard again.
    pub(super) fn up(&mut self, now: Moment) {
        self.due = None;
        self.up_since = Some(now);
    }

    /// What is to be done now.
    pub(super) fn decide(&mut self, now: Moment) -> Option<Decision> {
        self.forgive(now);
        self.due.filter(|due| now >= *due)?;
        let endless = self.planted.has(Flaw::CrashLoopEndless);
        if self.attempts >= self.options.crash_loop_limit && !endless {
            self.due = None;
            self.given_up = true;
            return Some(Decision::GiveUp(self.attempts));
        }
        self.attempts += 1;
        self.due = Some(now.after(self.wait()));
        Some(Decision::Start(self.attempts))
    }

    /// True when the node is started no more.
    pub(super) fn given_up(&self) -> bool {
        self.given_up
    }

    /// A node that has been up for long enough begins anew.
    fn forgive(&mut self, now: Moment) {
        let stable = |since: Moment| now.since(since) >= self.options.stable_after;
        if self.up_since.is_some_and(stable) {
            self.attempts = 0;
            self.given_up = false;
        }
    }

    /// Before the next attempt.
    fn wait(&self) -> Duration {
        let backoff = self.options.backoff;
        let doubled = 1_u64.checked_shl(self.attempts).unwrap_or(u64::MAX);
        let nanos = backoff.low().as_nanos().saturating_mul(doubled);
        Duration::from_nanos(nanos).min(backoff.high())
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::random::Random;
    use shakedown_contracts::range::DurationRange;

    use super::*;

    fn restarts(limit: u32) -> Restarts {
        let options = Options {
            backoff: DurationRange::between(Duration::from_millis(200), Duration::from_secs(1)),
            crash_loop_limit: limit,
            stable_after: Duration::from_secs(3),
            ..Options::default()
        };
        Restarts::new(&options, Planted::default())
    }

    fn at(millis: u64) -> Moment {
        Moment(1_000_000_000).after(Duration::from_millis(millis))
    }

    #[test]
    fn each_attempt_waits_twice_as_long_up_to_the_limit_and_then_none_is_made() {
        let mut restarts = restarts(5);
        restarts.down(at(0));
        let mut decided = Vec::new();
        for millis in (0..20_000).step_by(10) {
            if let Some(decision) = restarts.decide(at(millis)) {
                decided.push((millis, decision));
            }
        }
        let expected = [
            (200, Decision::Start(1)),
            (600, Decision::Start(2)),
            (1_400, Decision::Start(3)),
            (2_400, Decision::Start(4)),
            (3_400, Decision::Start(5)),
            (4_400, Decision::GiveUp(5)),
        ];
        assert_eq!(decided, expected);
        assert!(restarts.given_up());
    }

    #[test]
    fn a_node_that_lives_too_short_goes_on_counting_and_one_that_lives_long_begins_anew() {
        let mut restarts = restarts(5);
        restarts.down(at(0));
        assert_eq!(restarts.decide(at(200)), Some(Decision::Start(1)));
        restarts.up(at(300));
        restarts.down(at(1_000));
        assert_eq!(restarts.decide(at(1_399)), None);
        assert_eq!(restarts.decide(at(1_400)), Some(Decision::Start(2)));
        restarts.up(at(1_500));
        restarts.down(at(4_500));
        assert_eq!(restarts.decide(at(4_700)), Some(Decision::Start(1)));
    }

    #[test]
    fn a_node_that_was_given_up_and_is_brought_back_is_looked_after_again() {
        let mut restarts = restarts(1);
        restarts.down(at(0));
        restarts.decide(at(200));
        assert_eq!(restarts.decide(at(600)), Some(Decision::GiveUp(1)));
        restarts.up(at(10_000));
        assert!(restarts.given_up(), "it may die again at once");
        assert_eq!(restarts.decide(at(13_000)), None);
        assert!(!restarts.given_up());
        restarts.down(at(14_000));
        assert_eq!(restarts.decide(at(14_200)), Some(Decision::Start(1)));
    }

    #[test]
    fn however_a_node_flaps_it_is_started_at_most_as_often_as_the_limit_says() {
        for seed in 0..500 {
            let mut random = Random::keyed(seed, "flapping", "");
            let limit = 1 + random.below(6) as u32;
            let mut restarts = restarts(limit);
            let (mut started, mut last, mut up_since) = (0, 0, None);
            for millis in (0..60_000).step_by(50) {
                if up_since.is_some_and(|since| millis - since >= 3_000) {
                    started = 0;
                    last = 0;
                }
                if random.chance(0.05) {
                    match up_since {
                        Some(_) => restarts.down(at(millis)),
                        None => restarts.up(at(millis)),
                    }
                    up_since = match up_since {
                        Some(_) => None,
                        None => Some(millis),
                    };
                }
                if let Some(Decision::Start(attempt)) = restarts.decide(at(millis)) {
                    started += 1;
                    assert!(started <= limit, "seed {seed}: start {started} of {limit}");
                    assert!(attempt > last, "seed {seed}: attempts are counted");
                    assert!(up_since.is_none(), "seed {seed}: a live node is left alone");
                    last = attempt;
                }
            }
        }
    }
}
