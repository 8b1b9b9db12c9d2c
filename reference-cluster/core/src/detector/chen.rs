//! NFD-E: suspect when the next heartbeat is later than expected by more than a margin (Chen,
//! Toueg, Aguilera 2002, section 6).
//!
//! A timeout counted from the last heartbeat lets a heartbeat that happened to be late postpone
//! the suspicion. This detector asks instead when heartbeat l + 1 *should* arrive, and holds the
//! peer for live as long as the newest heartbeat is as fresh as is due by then. The expectation is
//! the mean over the window of what is left of each arrival A when the schedule is taken away, and
//! the schedule put back:
//! EA(l + 1) = 1/n · Σ (A(i) − interval · i) + interval · (l + 1); suspect at EA(l + 1) + margin.
//! So a crash is noticed at most interval + margin after it plus the mean delay, and a mean delay
//! that moves is followed within a window.
//!
//! Invariant: a heartbeat counts by its place in the schedule, not by when it came: one that comes
//! after its successor was due renews nothing. Sums are integers, the same on every machine.
//!
//! Not in the paper: when a process was stopped, what its socket held arrives at once, each piece
//! late by up to the whole stop. Of such a burst only the first is remembered, or the stop would be
//! taken for the network's delay.

use std::collections::VecDeque;

use shakedown_contracts::strategy::Detector as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Detector, Evidence};
use crate::node::ConfigError;

/// Longest window: memory stays within megabytes a peer.
const WINDOW_MAX: u32 = 1_000_000;

/// One peer's schedule, as it arrives here.
#[derive(Debug)]
pub struct Chen {
    interval: Duration,
    margin: Duration,
    window: usize,
    incarnation: u64,
    /// Sequence of the newest heartbeat.
    newest: u64,
    /// Arrivals without the schedule: A(i) − interval · i.
    offsets: VecDeque<i128>,
    sum: i128,
    last: Option<Moment>,
    deadline: Option<Moment>,
    /// The observer was stopped, and has not caught up with the arrivals since.
    catching_up: bool,
}

impl Chen {
    /// Of one peer.
    pub fn new(options: &Options) -> Result<Self, ConfigError> {
        let Options::Chen {
            heartbeat_interval,
            margin,
            window,
            ..
        } = options
        else {
            unreachable!("the registry hands over chen options alone");
        };
        if margin.is_zero() {
            return Err(ConfigError::Value {
                key: "detector.margin",
                value: margin.to_string(),
                hint: "give a margin above zero: half of all heartbeats come later than expected",
            });
        }
        if !(1..=WINDOW_MAX).contains(window) {
            return Err(ConfigError::Value {
                key: "detector.window",
                value: window.to_string(),
                hint: "remember 1 to 1000000 arrivals",
            });
        }
        Ok(Chen {
            interval: *heartbeat_interval,
            margin: *margin,
            window: *window as usize,
            incarnation: 0,
            newest: 0,
            offsets: VecDeque::new(),
            sum: 0,
            last: None,
            deadline: None,
            catching_up: false,
        })
    }

    /// When heartbeat `sequence` stands in the schedule, counted from the schedule's origin.
    fn scheduled(&self, sequence: u64) -> i128 {
        i128::from(self.interval.as_nanos()) * i128::from(sequence)
    }

    fn remember(&mut self, offset: i128) {
        self.offsets.push_back(offset);
        self.sum += offset;
        if self.offsets.len() > self.window
            && let Some(oldest) = self.offsets.pop_front()
        {
            self.sum -= oldest;
        }
    }

    /// EA(newest + 1) + margin.
    fn freshness_point(&self) -> Moment {
        let mean = self.sum / self.offsets.len().max(1) as i128;
        let expected = mean + self.scheduled(self.newest + 1);
        let at = expected + i128::from(self.margin.as_nanos());
        Moment(u64::try_from(at.max(0)).unwrap_or(u64::MAX))
    }

    /// Part of a burst after a stop of the peer or of this node.
    fn belongs_to_backlog(&self, now: Moment, suspected: bool) -> bool {
        let gap = self.last.map_or(self.interval, |last| now.since(last));
        (suspected || self.catching_up) && gap.as_nanos() < self.interval.as_nanos() / 2
    }
}

impl Detector for Chen {
    fn heard(&mut self, now: Moment, evidence: Evidence) {
        if evidence.incarnation != self.incarnation {
            // Another run has another schedule; one that is older is gone.
            if evidence.incarnation < self.incarnation {
                return;
            }
            self.incarnation = evidence.incarnation;
            self.newest = 0;
            self.offsets.clear();
            self.sum = 0;
            self.deadline = None;
        }
        if evidence.sequence <= self.newest {
            return;
        }
        self.newest = evidence.sequence;
        if !self.belongs_to_backlog(now, evidence.suspected) {
            self.remember(i128::from(now.0) - self.scheduled(evidence.sequence));
        }
        self.last = Some(now);
        let point = self.freshness_point();
        self.catching_up &= point <= now;
        self.deadline = self.deadline.max(Some(point));
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.deadline
    }

    fn shift(&mut self, slept: Duration) {
        // Only what is awaited moves: the peer's schedule went on meanwhile.
        self.deadline = self.deadline.map(|deadline| deadline.after(slept));
        self.catching_up = true;
    }

    fn nominal_silence(&self) -> Duration {
        self.interval.saturating_add(self.margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: u64 = 100_000_000;

    /// Heartbeat i is sent at i · 100 ms; the margin is 150 ms.
    fn detector(window: u32) -> Chen {
        Chen::new(&Options::Chen {
            heartbeat_interval: Duration::from_nanos(INTERVAL),
            margin: Duration::from_millis(150),
            window,
            ack: true,
        })
        .unwrap()
    }

    fn at(millis: u64) -> Moment {
        Moment(millis * 1_000_000)
    }

    fn hear(detector: &mut Chen, sequence: u64, delay_ms: u64) {
        let now = at(sequence * 100 + delay_ms);
        let suspected = detector.suspects(now);
        let evidence = Evidence {
            suspected,
            ..Evidence::beat(sequence)
        };
        detector.heard(now, evidence);
    }

    #[test]
    fn the_next_heartbeat_is_expected_at_the_mean_delay_and_suspected_a_margin_later() {
        let mut detector = detector(1000);
        assert_eq!(detector.next_deadline(), None);
        for (sequence, delay) in [(1, 10), (2, 30), (3, 20), (4, 0)] {
            hear(&mut detector, sequence, delay);
        }
        // Mean delay 15 ms; heartbeat 5 is sent at 500 ms.
        assert_eq!(detector.next_deadline(), Some(at(500 + 15 + 150)));
    }

    #[test]
    fn a_late_heartbeat_does_not_postpone_the_suspicion_as_it_does_with_a_timeout() {
        let mut detector = detector(1000);
        for sequence in 1..=500 {
            hear(&mut detector, sequence, 10);
        }
        hear(&mut detector, 501, 140);
        let deadline = detector.next_deadline().unwrap();
        // A timeout counted from that arrival would end at 50,240 + 250 ms. The one late arrival
        // moves the mean of 501 by 130 ÷ 501 = 0.26 ms.
        assert!((at(50_360)..at(50_361)).contains(&deadline), "{deadline}");
    }

    #[test]
    fn a_mean_delay_that_moves_is_followed_within_a_window() {
        let mut detector = detector(10);
        for sequence in 1..=20 {
            hear(&mut detector, sequence, 5);
        }
        for sequence in 21..=40 {
            hear(&mut detector, sequence, 400);
        }
        assert_eq!(detector.next_deadline(), Some(at(4_100 + 400 + 150)));
    }

    #[test]
    fn a_burst_after_the_peer_was_stopped_neither_clears_nor_teaches_patience() {
        let mut detector = detector(1000);
        for sequence in 1..=100 {
            hear(&mut detector, sequence, 10);
        }
        // Answers 101 to 200 come at once when the peer goes on at 20,050 ms.
        for sequence in 101..=200 {
            let now = at(20_050);
            let suspected = detector.suspects(now);
            detector.heard(
                now,
                Evidence {
                    suspected,
                    ..Evidence::beat(sequence)
                },
            );
            // The first to be fresh: its successor is due at 19,800 + 108 + 150 ms.
            let fresh = sequence >= 197;
            assert_eq!(detector.suspects(now), !fresh, "{sequence}");
        }
        // The first, late by 9,950 ms, moves the mean of a hundred by about 100 ms. All hundred,
        // late by 5 s on average, would move it by 2.5 s.
        let deadline = detector.next_deadline().unwrap();
        assert!(deadline < at(20_100 + 150 + 150), "{deadline}");
    }

    #[test]
    fn a_stop_of_the_observer_is_held_against_nobody() {
        let mut detector = detector(1000);
        for sequence in 1..=10 {
            hear(&mut detector, sequence, 10);
        }
        detector.shift(Duration::from_secs(5));
        assert!(!detector.suspects(at(6_200)));
        assert!(detector.suspects(at(6_260)));
    }

    #[test]
    fn another_run_of_the_peer_begins_anew_and_the_old_one_is_not_believed() {
        let mut detector = detector(1000);
        for sequence in 1..=10 {
            hear(&mut detector, sequence, 10);
        }
        let again = Evidence {
            incarnation: 2,
            ..Evidence::beat(1)
        };
        detector.heard(at(9_000), again);
        assert_eq!(detector.next_deadline(), Some(at(9_100 + 150)));
        detector.heard(at(9_001), Evidence::beat(80));
        assert_eq!(detector.next_deadline(), Some(at(9_100 + 150)));
    }

    #[test]
    fn no_margin_and_no_window_are_refused() {
        for (margin, window) in [(Duration::ZERO, 10), (Duration::from_millis(1), 0)] {
            let options = Options::Chen {
                heartbeat_interval: Duration::from_nanos(INTERVAL),
                margin,
                window,
                ack: true,
            };
            assert!(Chen::new(&options).is_err());
        }
    }
}
