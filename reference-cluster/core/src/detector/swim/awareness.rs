//! Lifeguard's local health multiplier: who gets no answers doubts itself first (Lifeguard 2018,
//! section IV.A).
//!
//! A member that is slow to hear takes its own slowness for the death of others. So it keeps a score
//! of how badly things go for itself: an unanswered probe, a helper that did not even say that it
//! heard nothing, and a suspicion of itself that it has to refute each add a point, an answered
//! probe takes one away. Its probe interval and timeout are multiplied by the score and one.
//!
//! Invariant: the score stays from 0 to the greatest multiplier less one; without self-awareness it
//! is always 0.

use shakedown_contracts::units::Duration;

/// The score.
#[derive(Debug)]
pub struct Awareness {
    score: u32,
    score_max: u32,
}

impl Awareness {
    /// With multipliers from 1 to `multiplier_max`; with 1 there is no self-awareness.
    pub fn new(multiplier_max: u32) -> Self {
        Awareness {
            score: 0,
            score_max: multiplier_max.saturating_sub(1),
        }
    }

    /// Something speaks against this member's own health, by so many points.
    pub fn worsen(&mut self, points: u32) {
        self.score = self.score.saturating_add(points).min(self.score_max);
    }

    /// Something speaks for it.
    pub fn improve(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// A time of the configuration as this member takes it now.
    pub fn scaled(&self, duration: Duration) -> Duration {
        let factor = u64::from(self.score) + 1;
        Duration::from_nanos(duration.as_nanos().saturating_mul(factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_multiplier_grows_to_its_greatest_and_falls_back_to_one() {
        let mut awareness = Awareness::new(8);
        assert_eq!(awareness.scaled(SECOND), SECOND);
        awareness.worsen(3);
        assert_eq!(awareness.scaled(SECOND), Duration::from_secs(4));
        awareness.worsen(30);
        assert_eq!(awareness.scaled(SECOND), Duration::from_secs(8));
        (0..20).for_each(|_| awareness.improve());
        assert_eq!(awareness.scaled(SECOND), SECOND);
    }

    #[test]
    fn without_self_awareness_nothing_is_multiplied() {
        let mut awareness = Awareness::new(1);
        awareness.worsen(5);
        assert_eq!(awareness.scaled(SECOND), SECOND);
    }
}
