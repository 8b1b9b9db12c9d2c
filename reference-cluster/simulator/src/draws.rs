//! Draws that come out the same on every machine: no logarithm of the system's library takes part.

use shakedown_contracts::random::Random;
use shakedown_contracts::units::Duration;

/// Exponential with the given mean, from a single draw.
///
/// Leading zeros of a random word are a geometric draw of whole half-lives; the bits below place the
/// draw within the last one by a cubic with the value and slope of −log₂(1 − u/2) at both ends,
/// which is off by less than 1 % of a half-life. At most 64 half-lives, 44 means.
pub(crate) fn exponential(random: &mut Random, mean: Duration) -> Duration {
    if mean.is_zero() {
        return mean;
    }
    let word = random.next_u64();
    let halvings = word.leading_zeros();
    let below = word << 1 << halvings.min(63);
    let unit = (below >> 11) as f64 / (1_u64 << 53) as f64;
    let within = unit * (0.7213 + unit * (0.1147 + unit * 0.164));
    let half_lives = f64::from(halvings) + within;
    let means = half_lives * std::f64::consts::LN_2;
    Duration::from_nanos((means * mean.as_nanos() as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exponential_has_its_mean_and_its_tail() {
        let mut random = Random::keyed(1, "test", "");
        let mean = Duration::from_micros(100);
        let draws: Vec<f64> = (0..100_000)
            .map(|_| exponential(&mut random, mean).as_millis_f64() * 10.0)
            .collect();
        let average = draws.iter().sum::<f64>() / draws.len() as f64;
        // Standard error 1/√100000 = 0.3 %, and half a percent for the cubic.
        assert!((average - 1.0).abs() < 0.02, "{average}");
        for means in [0.1, 0.5, 1.0, 2.0, 4.0] {
            let share = draws.iter().filter(|draw| **draw > means).count() as f64 / 100_000.0;
            let expected = (-means).exp();
            assert!(
                (share - expected).abs() < 0.01,
                "{means}: {share}, not {expected}"
            );
        }
        assert_eq!(exponential(&mut random, Duration::ZERO), Duration::ZERO);
    }
}
