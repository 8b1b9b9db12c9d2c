//! Statistics of the draws, with bounds that say why.

use crate::fault::Loss;
use crate::units::Ratio;

use super::*;

const PACKETS: usize = 20_000;

fn id(fault: &str) -> FaultId {
    FaultId {
        fault: fault.to_owned(),
        occurrence: 0,
    }
}

fn ratio(share: f64) -> Ratio {
    Ratio::new(share).expect("a share")
}

fn delay(distribution: Distribution, correlation: f64) -> Delay {
    Delay {
        latency: Duration::from_millis(100),
        jitter: Duration::from_millis(10),
        correlation: ratio(correlation),
        distribution,
    }
}

fn loss(share: f64, correlation: f64) -> LinkEffect {
    LinkEffect::Loss(Loss {
        loss: ratio(share),
        correlation: ratio(correlation),
    })
}

fn fate(seed: u64, effects: &[(&str, LinkEffect)]) -> Fate {
    let mut fate = Fate::default();
    let effects = effects.iter().map(|(name, effect)| (id(name), *effect));
    fate.set(seed, "n1>n2", &effects.collect());
    fate
}

/// Milliseconds.
fn draws(distribution: Distribution, correlation: f64) -> Vec<f64> {
    let mut fate = fate(
        7,
        &[("slow", LinkEffect::Delay(delay(distribution, correlation)))],
    );
    let next = |_| fate.next_packet().expect("nothing is lost")[0].added;
    (0..PACKETS)
        .map(next)
        .map(Duration::as_millis_f64)
        .collect()
}

fn mean_and_deviation(draws: &[f64]) -> (f64, f64) {
    let count = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / count;
    let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

#[test]
fn every_distribution_has_the_mean_that_was_asked_for() {
    // Standard error of the mean is at most 10 ms / √20000 = 0.07 ms; five of them are allowed.
    // Cutting the pareto tail at six deviations lowers its mean by 0.13 ms, three quarters of that
    // with a quarter normal.
    for (distribution, expected) in [
        (Distribution::Uniform, 100.0),
        (Distribution::Normal, 100.0),
        (Distribution::Pareto, 99.87),
        (Distribution::Paretonormal, 99.93),
    ] {
        let (mean, _) = mean_and_deviation(&draws(distribution, 0.0));
        assert!((mean - expected).abs() < 0.36, "{distribution:?}: {mean}");
    }
}

#[test]
fn jitter_is_half_width_of_uniform_and_standard_deviation_of_normal_at_any_correlation() {
    // A uniform distribution of half-width w has deviation w/√3. 20,000 draws know a deviation to
    // 1/√(2·20000) = 0.5 %; at correlation c they are worth (1−c)/(1+c) as many: 0.9 % at 0.5.
    for correlation in [0.0, 0.5] {
        let (_, uniform) = mean_and_deviation(&draws(Distribution::Uniform, correlation));
        let (_, normal) = mean_and_deviation(&draws(Distribution::Normal, correlation));
        let uniform = uniform / (10.0 / 3.0_f64.sqrt());
        assert!(
            (uniform - 1.0).abs() < 0.045,
            "uniform at {correlation}: {uniform}"
        );
        assert!(
            (normal / 10.0 - 1.0).abs() < 0.045,
            "normal at {correlation}: {normal}"
        );
    }
}

#[test]
fn pareto_leans_to_the_right_and_no_draw_is_beyond_the_limit() {
    let drawn = draws(Distribution::Pareto, 0.0);
    // The median of a pareto of shape 3 is 2^(1/3) = 1.26, 0.28 deviations below its mean.
    let below = drawn.iter().filter(|draw| **draw < 100.0 - 2.0).count();
    assert!(
        below > PACKETS / 2,
        "{below} of {PACKETS} draws 0.2 deviations below the mean"
    );
    assert!(drawn.iter().any(|draw| *draw > 140.0), "no tail");
    assert!(
        drawn
            .iter()
            .all(|draw| *draw <= 100.0 + 10.0 * DEVIATIONS_MAX)
    );
}

#[test]
fn correlation_is_that_of_neighbouring_packets() {
    let drawn = draws(Distribution::Normal, 0.5);
    let (mean, deviation) = mean_and_deviation(&drawn);
    let products = drawn
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean));
    let correlation = products.sum::<f64>() / drawn.len() as f64 / deviation.powi(2);
    // The estimate's standard error is about 1/√20000 = 0.007.
    assert!((correlation - 0.5).abs() < 0.04, "{correlation}");
}

#[test]
fn losses_come_as_often_as_asked_at_any_correlation_and_add_up_as_a_union() {
    let cases = [
        (vec![("a", loss(0.3, 0.0))], 0.3, 1.0),
        // Correlation c makes the variance (1+c)/(1−c) times as large.
        (vec![("a", loss(0.05, 0.5))], 0.05, 3.0),
        (
            vec![("a", loss(0.5, 0.0)), ("b", loss(0.5, 0.0))],
            0.75,
            1.0,
        ),
    ];
    for (effects, expected, inflation) in cases {
        let mut fate = fate(7, &effects);
        let lost = (0..PACKETS).filter(|_| fate.next_packet().is_none());
        let share = lost.count() as f64 / PACKETS as f64;
        let error = (expected * (1.0 - expected) * inflation / PACKETS as f64).sqrt();
        assert!(
            (share - expected).abs() < 5.0 * error,
            "{share} of {expected}"
        );
    }
}

#[test]
fn every_packet_is_lost_at_100_percent_and_none_at_0() {
    let mut all = fate(1, &[("a", loss(1.0, 0.0))]);
    let mut none = fate(1, &[("a", loss(0.0, 0.0))]);
    assert!((0..1_000).all(|_| all.next_packet().is_none()));
    assert!((0..1_000).all(|_| none.next_packet().is_some()));
}

#[test]
fn equal_seeds_draw_equally_and_another_fault_shifts_no_draw() {
    let normal = LinkEffect::Delay(delay(Distribution::Normal, 0.2));
    let first = |seed| fate(seed, &[("slow", normal)]).next_packet();
    assert_eq!(first(3), first(3));
    assert_ne!(first(3), first(4));

    let mut alone = fate(3, &[("slow", normal)]);
    let mut joined = fate(3, &[("slow", normal)]);
    for packet in 0..30 {
        let mut effects = BTreeMap::from([(id("slow"), normal)]);
        if (10..20).contains(&packet) {
            effects.insert(id("lossy"), loss(0.0, 0.0));
        }
        joined.set(3, "n1>n2", &effects);
        assert_eq!(joined.next_packet(), alone.next_packet(), "packet {packet}");
    }
}
