//! No detector: the control group, in which nobody notices anything.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Detector, Evidence};

/// Suspects nobody.
#[derive(Debug)]
pub struct Never;

impl Detector for Never {
    fn heard(&mut self, _now: Moment, _evidence: Evidence) {}

    fn next_deadline(&self) -> Option<Moment> {
        None
    }

    fn shift(&mut self, _slept: Duration) {}

    fn nominal_silence(&self) -> Duration {
        Duration::from_millis(500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_ever_suspected() {
        let mut never = Never;
        never.heard(Moment(1), Evidence::beat(1));
        assert!(!never.suspects(Moment(u64::MAX)));
    }
}
