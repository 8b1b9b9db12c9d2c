//! Suspect after a fixed silence: the textbook detector.
//!
//! With heartbeats every `interval`, the last evidence before a crash is at most one interval old,
//! so a crash is noticed within `[timeout − interval, timeout]`, plus the network's delay.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Detector, Evidence};
use crate::node::ConfigError;

/// Suspects exactly `timeout` after the last evidence.
#[derive(Debug)]
pub struct FixedTimeout {
    timeout: Duration,
    last: Option<Moment>,
}

impl FixedTimeout {
    /// Of one peer.
    pub fn new(timeout: Duration) -> Result<Self, ConfigError> {
        if timeout.is_zero() {
            return Err(ConfigError::Value {
                key: "detector.timeout",
                value: timeout.to_string(),
                hint: "give a time longer than the heartbeat interval",
            });
        }
        Ok(FixedTimeout {
            timeout,
            last: None,
        })
    }
}

impl Detector for FixedTimeout {
    fn heard(&mut self, now: Moment, _evidence: Evidence) {
        self.last = self.last.max(Some(now));
    }

    fn next_deadline(&self) -> Option<Moment> {
        self.last.map(|last| last.after(self.timeout))
    }

    fn shift(&mut self, slept: Duration) {
        self.last = self.last.map(|last| last.after(slept));
    }

    fn nominal_silence(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_suspected_exactly_at_the_timeout_and_never_before_it_was_heard() {
        let mut detector = FixedTimeout::new(Duration::from_nanos(100)).unwrap();
        assert!(!detector.suspects(Moment(1_000)));
        detector.heard(Moment(1_000), Evidence::beat(1));
        assert!(!detector.suspects(Moment(1_099)));
        assert!(detector.suspects(Moment(1_100)));
        detector.shift(Duration::from_nanos(50));
        assert!(!detector.suspects(Moment(1_149)));
        assert!(FixedTimeout::new(Duration::ZERO).is_err());
    }
}
