//! Statistics of the draws, with bounds that say why.

use crate::fault::Loss;
use crate::packet_fault::GilbertElliott;
use crate::units::{Bytes, Ratio};

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
        bursts: None,
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
    let next = |_| {
        fate.next_packet(Moment(0), 100)
            .expect("nothing is lost")
            .parts[0]
            .added
    };
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
        let lost = (0..PACKETS).filter(|_| fate.next_packet(Moment(0), 100).is_none());
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
    assert!((0..1_000).all(|_| all.next_packet(Moment(0), 100).is_none()));
    assert!((0..1_000).all(|_| none.next_packet(Moment(0), 100).is_some()));
}

#[test]
fn equal_seeds_draw_equally_and_another_fault_shifts_no_draw() {
    let normal = LinkEffect::Delay(delay(Distribution::Normal, 0.2));
    let first = |seed| fate(seed, &[("slow", normal)]).next_packet(Moment(0), 100);
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
        assert_eq!(
            joined.next_packet(Moment(0), 100),
            alone.next_packet(Moment(0), 100),
            "packet {packet}"
        );
    }
}

fn packets(fault: PacketFault) -> LinkEffect {
    LinkEffect::Packets(fault)
}

fn share_of(fate: &mut Fate, befallen: impl Fn(&Passing) -> bool) -> f64 {
    let met = (0..PACKETS).filter(|_| befallen(&fate.next_packet(Moment(0), 100).unwrap()));
    met.count() as f64 / PACKETS as f64
}

#[test]
fn as_many_packets_are_doubled_and_altered_as_is_asked_for() {
    // One standard error is 0.0028 at a fifth.
    let doubled = packets(PacketFault::Duplicate {
        duplicate: ratio(0.2),
        correlation: ratio(0.0),
    });
    let mut fate_of_doubled = fate(1, &[("double", doubled)]);
    assert!((share_of(&mut fate_of_doubled, |passing| passing.twice) - 0.2).abs() < 0.012);
    let altered = packets(PacketFault::Corrupt {
        corrupt: ratio(0.2),
        correlation: ratio(0.0),
    });
    let mut fate_of_altered = fate(1, &[("alter", altered)]);
    let share = share_of(&mut fate_of_altered, |passing| passing.flipped.is_some());
    assert!((share - 0.2).abs() < 0.012, "{share}");
}

#[test]
fn with_a_gap_a_packet_goes_at_once_only_after_others_waited() {
    let reorder = packets(PacketFault::Reorder {
        latency: Duration::from_millis(10),
        reorder: ratio(1.0),
        correlation: ratio(0.0),
        gap: 4,
    });
    let mut fate = fate(1, &[("overtake", reorder)]);
    let waits = (0..8).map(|_| !fate.next_packet(Moment(0), 100).unwrap().parts.is_empty());
    let waits: Vec<bool> = waits.collect();
    assert_eq!(waits, [true, true, true, false, true, true, true, false]);
}

#[test]
fn losses_in_bursts_are_as_many_and_as_long_as_is_asked_for() {
    let bursts = GilbertElliott {
        p: ratio(0.02),
        r: ratio(0.2),
        bad_loss: ratio(1.0),
        good_loss: ratio(0.0),
    };
    let effect = LinkEffect::Loss(Loss {
        loss: ratio(bursts.share()),
        correlation: ratio(0.0),
        bursts: Some(bursts),
    });
    let mut fate = fate(3, &[("bursts", effect)]);
    let lost: Vec<bool> = (0..PACKETS)
        .map(|_| fate.next_packet(Moment(0), 100).is_none())
        .collect();
    let count = lost.iter().filter(|lost| **lost).count() as f64;
    let deviation = bursts.lost_variance(PACKETS as u32).sqrt();
    let expected = bursts.share() * PACKETS as f64;
    assert!((count - expected).abs() < 4.0 * deviation, "{count}");
    let begun = lost.windows(2).filter(|two| !two[0] && two[1]).count() as f64;
    let mean = count / begun;
    assert!(
        (4.0..6.5).contains(&mean),
        "bursts of {mean} where 5 are asked for"
    );
}

#[test]
fn a_narrow_link_saves_up_its_buffer_then_keeps_its_rate_then_loses_what_does_not_fit() {
    let narrow = packets(PacketFault::Bandwidth {
        rate: "8mbit".parse().unwrap(),
        buffer: Bytes(2_000),
        limit: Bytes(3_000),
    });
    // A byte a microsecond.
    let mut fate = fate(1, &[("narrow", narrow)]);
    let now = Moment(1_000_000_000);
    let waits: Vec<Option<u64>> = (0..7)
        .map(|_| fate.next_packet(now, 1_000))
        .map(|passing| passing.map(|passing| passing.parts[0].added.as_nanos() / 1_000))
        .collect();
    let full = None;
    assert_eq!(
        waits,
        [
            Some(0),
            Some(0),
            Some(1_000),
            Some(2_000),
            Some(3_000),
            Some(4_000),
            full
        ]
    );
    let later = Moment(now.0 + 10_000_000);
    assert_eq!(
        fate.next_packet(later, 1_000).unwrap().parts[0].added,
        Duration::ZERO
    );
}
