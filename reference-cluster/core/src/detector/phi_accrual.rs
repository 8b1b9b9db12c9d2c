//! φ accrual: suspect when a silence this long is improbable after the arrivals so far
//! (Hayashibara, Défago, Yared, Katayama 2004).
//!
//! φ(silence) = −log10 P(silence this long or longer), with arrivals taken as normally distributed
//! and the tail of the normal distribution by the logistic approximation that Akka uses:
//! P = e ÷ (1 + e), e = exp(−y·(1.5976 + 0.070566·y²)), y = (silence − mean) ÷ σ.
//! φ > threshold is therefore y > z for a z that depends on the threshold alone. z is found once,
//! by bisection with nothing but + − × ÷, and sums are kept in integers: `exp` and `ln` of the
//! platform's mathematical library differ in the last bit between machines, these do not.

use std::collections::VecDeque;

use shakedown_contracts::strategy::Detector as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::{Detector, Evidence};
use crate::flaw::{Flaw, Planted};
use crate::node::ConfigError;

/// Longest silence that is counted as such (1000 s): keeps the sums far from overflow.
const SAMPLE_MAX: u64 = 1_000_000_000_000;

/// One peer's rhythm.
#[derive(Debug)]
pub struct PhiAccrual {
    /// Standard deviations above the mean at which φ is the threshold.
    z: f64,
    min_std_deviation: Duration,
    acceptable_pause: Duration,
    window: usize,
    samples: VecDeque<u64>,
    sum: u128,
    sum_of_squares: u128,
    last: Option<Moment>,
    nominal: Duration,
    planted: Planted,
}

impl PhiAccrual {
    /// Of one peer.
    pub fn new(options: &Options, planted: Planted) -> Result<Self, ConfigError> {
        let Options::PhiAccrual {
            heartbeat_interval,
            threshold,
            min_std_deviation,
            acceptable_pause,
            window,
            ..
        } = options
        else {
            unreachable!("the registry hands over phi-accrual options alone");
        };
        if !(*threshold > 0.0 && *threshold <= 300.0) {
            return Err(refused(
                "detector.threshold",
                threshold,
                "give a φ between 0 and 300",
            ));
        }
        if !(2..=1_000_000).contains(window) {
            return Err(refused(
                "detector.window",
                window,
                "remember 2 to 1000000 arrivals",
            ));
        }
        let mut detector = PhiAccrual {
            z: standard_deviations(*threshold),
            min_std_deviation: *min_std_deviation,
            acceptable_pause: *acceptable_pause,
            window: *window as usize,
            samples: VecDeque::new(),
            sum: 0,
            sum_of_squares: 0,
            last: None,
            nominal: Duration::ZERO,
            planted,
        };
        // As Akka begins: the configured interval, give or take a quarter of it.
        let interval = heartbeat_interval.as_nanos();
        detector.remember(interval - interval / 4);
        detector.remember(interval + interval / 4);
        detector.nominal = detector.critical_silence();
        Ok(detector)
    }

    fn remember(&mut self, sample: u64) {
        let sample = sample.min(SAMPLE_MAX);
        if self.planted.has(Flaw::PhiForgetsWindow) {
            self.samples.clear();
            (self.sum, self.sum_of_squares) = (0, 0);
        }
        self.samples.push_back(sample);
        self.sum += u128::from(sample);
        self.sum_of_squares += u128::from(sample).pow(2);
        if self.samples.len() > self.window
            && let Some(oldest) = self.samples.pop_front()
        {
            self.sum -= u128::from(oldest);
            self.sum_of_squares -= u128::from(oldest).pow(2);
        }
    }

    fn critical_silence(&self) -> Duration {
        let count = self.samples.len().max(1) as u128;
        let mean = self.sum as f64 / count as f64;
        // n·Σx² ≥ (Σx)² always, and both fit: 10⁶ · 10⁶ · 10²⁴ < 2¹²⁸.
        let spread = (count * self.sum_of_squares).saturating_sub(self.sum * self.sum);
        // IEEE 754 demands the exact square root, so this is the same everywhere.
        let deviation = (spread as f64).sqrt() / count as f64;
        let deviation = deviation.max(self.min_std_deviation.as_nanos() as f64);
        let nanos = mean + self.acceptable_pause.as_nanos() as f64 + self.z * deviation;
        Duration::from_nanos(nanos.max(0.0) as u64)
    }
}

fn refused(key: &'static str, value: &impl ToString, hint: &'static str) -> ConfigError {
    ConfigError::Value {
        key,
        value: value.to_string(),
        hint,
    }
}

/// z with φ(mean + z·σ) = threshold: z·(1.5976 + 0.070566·z²) = ln(10^threshold − 1).
fn standard_deviations(threshold: f64) -> f64 {
    const LN_10: f64 = std::f64::consts::LN_10;
    // ln(10^t − 1) = t·ln 10 + ln(1 − p) with p = 10^−t, and ln(1 − p) = −Σ pᵏ ÷ k.
    let p = power_of_e(-threshold * LN_10);
    let mut logarithm = 0.0;
    let mut power = 1.0;
    for k in 1..=10_000 {
        power *= p;
        logarithm -= power / f64::from(k);
    }
    let target = threshold * LN_10 + logarithm;
    let (mut low, mut high) = (-50.0, 50.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if middle * (1.5976 + 0.070566 * middle * middle) < target {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// eˣ for x ≤ 0: the series for x ÷ 1024, squared ten times.
fn power_of_e(x: f64) -> f64 {
    let x = x / 1024.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..=20 {
        term *= x / f64::from(k);
        sum += term;
    }
    for _ in 0..10 {
        sum *= sum;
    }
    sum
}

impl Detector for PhiAccrual {
    fn heard(&mut self, now: Moment, evidence: Evidence) {
        if let Some(last) = self.last
            && !evidence.suspected
        {
            self.remember(now.since(last).as_nanos());
        }
        self.last = self.last.max(Some(now));
    }

    fn next_deadline(&self) -> Option<Moment> {
        // φ must exceed the threshold: one nanosecond past the silence at which it equals it.
        let silence = self
            .critical_silence()
            .saturating_add(Duration::from_nanos(1));
        self.last.map(|last| last.after(silence))
    }

    fn shift(&mut self, slept: Duration) {
        self.last = self.last.map(|last| last.after(slept));
    }

    fn nominal_silence(&self) -> Duration {
        self.nominal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(threshold: f64) -> Options {
        Options::PhiAccrual {
            heartbeat_interval: Duration::from_millis(100),
            threshold,
            min_std_deviation: Duration::from_millis(10),
            acceptable_pause: Duration::ZERO,
            window: 100,
            ack: true,
        }
    }

    #[test]
    fn the_critical_silence_is_where_the_published_formula_reaches_the_threshold() {
        for threshold in [0.5, 1.0, 3.0, 8.0, 12.0, 16.0] {
            let y = standard_deviations(threshold);
            let e = (-y * (1.5976 + 0.070566 * y * y)).exp();
            let phi = -(e / (1.0 + e)).log10();
            assert!(
                (phi - threshold).abs() < 1e-9,
                "threshold {threshold}: φ = {phi}"
            );
        }
    }

    #[test]
    fn a_regular_peer_is_suspected_after_mean_plus_z_deviations() {
        let mut detector = PhiAccrual::new(&options(8.0), Planted::default()).unwrap();
        assert_eq!(detector.next_deadline(), None);
        for beat in 0..=200 {
            detector.heard(Moment(beat * 100_000_000), Evidence::beat(beat));
        }
        let silence = detector
            .next_deadline()
            .unwrap()
            .since(Moment(200 * 100_000_000));
        let expected = 100.0 + 10.0 * standard_deviations(8.0);
        assert!(
            (silence.as_millis_f64() - expected).abs() < 0.001,
            "{silence}"
        );
    }

    #[test]
    fn an_outage_does_not_teach_patience() {
        let mut detector = PhiAccrual::new(&options(8.0), Planted::default()).unwrap();
        for beat in 0..=200 {
            detector.heard(Moment(beat * 100_000_000), Evidence::beat(beat));
        }
        let before = detector.critical_silence();
        let after_an_outage = Evidence {
            suspected: true,
            ..Evidence::beat(600)
        };
        detector.heard(Moment(60_000_000_000), after_an_outage);
        assert_eq!(detector.critical_silence(), before);
    }

    #[test]
    fn thresholds_and_windows_that_cannot_work_are_refused() {
        for threshold in [0.0, -1.0, f64::NAN, 301.0] {
            assert!(
                PhiAccrual::new(&options(threshold), Planted::default()).is_err(),
                "{threshold}"
            );
        }
    }
}
