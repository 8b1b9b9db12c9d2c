//! Median and bootstrap interval of ratios.

use shakedown_contracts::random::Random;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// The middle one; the mean of the two in the middle of an even number.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let half = numbers.len() / 2;
    match numbers.len() % 2 {
        0 => (numbers[half - 1] + numbers[half]) / 2.0,
        _ => numbers[half],
    }
}

/// 95 % interval of the median, by percentile bootstrap (Efron 1979) over rounds.
pub fn interval(ratios: &[f64]) -> (f64, f64) {
    let mut random = Random::keyed(1, "bootstrap", "overhead");
    let mut resample = || {
        let draw = |_| ratios[random.below(ratios.len() as u64) as usize];
        median((0..ratios.len()).map(draw).collect())
    };
    let mut medians: Vec<f64> = (0..RESAMPLES).map(|_| resample()).collect();
    medians.sort_by(f64::total_cmp);
    (
        medians[RESAMPLES / 40],
        medians[RESAMPLES - RESAMPLES / 40 - 1],
    )
}
