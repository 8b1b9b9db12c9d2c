//! Each judgement rejects a planted violation.

use shakedown_contracts::fault::{Delay, Distribution, LinkEffect, Loss};
use shakedown_contracts::units::Ratio;

use super::*;

fn link(to: &str) -> Link {
    Link {
        from: "n1".to_owned(),
        to: to.to_owned(),
    }
}

fn delay(latency_ms: u64, jitter_ms: u64) -> LinkEffect {
    LinkEffect::Delay(Delay {
        latency: Duration::from_millis(latency_ms),
        jitter: Duration::from_millis(jitter_ms),
        correlation: Ratio::default(),
        distribution: Distribution::Uniform,
    })
}

fn loss(share: f64, correlation: f64) -> LinkEffect {
    LinkEffect::Loss(Loss {
        loss: Ratio::new(share).expect("a share"),
        correlation: Ratio::new(correlation).expect("a share"),
        bursts: None,
    })
}

fn arrivals(sent: u32, arrived: usize, ms: f64) -> Arrivals {
    let time = Duration::from_nanos((ms * 1e6) as u64);
    Arrivals {
        sent,
        times: vec![time; arrived],
        ..Arrivals::default()
    }
}

fn latency_judged(effects: &[LinkEffect], ms: f64) -> bool {
    let unions = BTreeMap::from([(link("n2"), Union::of(effects))]);
    let seen = BTreeMap::from([(link("n2"), arrivals(16, 16, ms))]);
    judge_latency(&unions, &seen).is_ok()
}

#[test]
fn a_delay_that_is_not_the_one_asked_for_is_not_verified() {
    for right in [20.0, 19.95, 21.5] {
        assert!(latency_judged(&[delay(20, 0)], right), "{right} ms");
    }
    for wrong in [0.02, 10.0, 19.8, 22.1, 200.0] {
        assert!(!latency_judged(&[delay(20, 0)], wrong), "{wrong} ms");
    }
    // Four standard errors of 16 draws are one jitter.
    for (ms, right) in [(43.0, true), (57.0, true), (41.0, false), (61.0, false)] {
        assert_eq!(latency_judged(&[delay(50, 8)], ms), right, "{ms} ms");
    }
}

#[test]
fn one_look_that_fits_is_enough_and_a_packet_too_soon_is_never_forgiven() {
    let unions = BTreeMap::from([(link("n2"), Union::of(&[delay(20, 0)]))]);
    let judged = |means: &[f64]| {
        let mut means = means.iter();
        let mut look = || {
            let ms = *means.next().expect("no look more than these");
            Ok(BTreeMap::from([(link("n2"), arrivals(16, 16, ms))]))
        };
        let outcome = latency_in_one_of_some_looks(&unions, &mut look);
        (outcome.is_ok(), means.len())
    };
    assert_eq!(judged(&[20.1, 0.0]), (true, 1));
    assert_eq!(
        judged(&[29.9, 24.0, 20.1]),
        (true, 0),
        "the machine stalled twice"
    );
    assert_eq!(
        judged(&[30.0; 5]),
        (false, 0),
        "a delay of 30 ms is no stall"
    );
    assert_eq!(judged(&[29.9, 19.0, 20.1]), (false, 1));
}

#[test]
fn a_delay_of_one_millisecond_that_does_nothing_is_not_verified() {
    assert!(!latency_judged(&[delay(1, 0)], 0.03));
    assert!(latency_judged(&[delay(1, 0)], 1.1));
}

#[test]
fn a_delay_that_is_still_there_after_its_heal_is_not_verified() {
    assert!(latency_judged(&[], 0.03));
    assert!(!latency_judged(&[], 20.0));
    // And under another delay the remaining one is what must be seen.
    assert!(latency_judged(&[delay(10, 0)], 10.1));
    assert!(!latency_judged(&[delay(10, 0)], 30.1));
    assert!(!latency_judged(&[delay(10, 0)], 0.03));
}

#[test]
fn one_link_without_the_delay_is_found_among_many_with_it() {
    let names = ["n2", "n3", "n4", "n5"];
    let unions = names.map(|to| (link(to), Union::of(&[delay(20, 10)])));
    let mut seen = BTreeMap::from(names.map(|to| (link(to), arrivals(16, 16, 20.0))));
    let unions = BTreeMap::from(unions);
    assert!(judge_latency(&unions, &seen).is_ok());
    seen.insert(link("n3"), arrivals(16, 16, 0.03));
    let wrong = judge_latency(&unions, &seen).unwrap_err();
    let told = |reason: &str| reason.contains("from n1 to n3");
    assert!(
        matches!(&wrong, WrongLatency::Other(reason) if told(reason)),
        "{wrong:?}"
    );
    seen.insert(link("n3"), arrivals(16, 0, 0.0));
    assert!(judge_latency(&unions, &seen).is_err());
}

fn losses_judged(effects: &[LinkEffect], lost: usize) -> bool {
    let unions = BTreeMap::from([(link("n2"), Union::of(effects))]);
    let seen = BTreeMap::from([(link("n2"), arrivals(600, 600 - lost, 0.03))]);
    judge_losses(&unions, &seen).is_ok()
}

#[test]
fn a_share_that_is_not_the_one_asked_for_is_not_verified() {
    // 30 ± 4 × 5.3 + 3 of 600 at 5 %; 180 ± 4 × 11.2 + 3 at 30 %.
    for (share, right, wrong) in [
        (0.05, [10, 30, 50], [0, 5, 55, 600]),
        (0.3, [140, 180, 220], [0, 120, 240, 600]),
    ] {
        for lost in right {
            assert!(
                losses_judged(&[loss(share, 0.0)], lost),
                "{lost} at {share}"
            );
        }
        for lost in wrong {
            assert!(
                !losses_judged(&[loss(share, 0.0)], lost),
                "{lost} at {share}"
            );
        }
    }
    assert!(losses_judged(&[loss(1.0, 0.0)], 600));
    assert!(!losses_judged(&[loss(1.0, 0.0)], 599));
}

#[test]
fn correlation_widens_what_is_allowed_and_does_not_allow_everything() {
    // Variance three times as large: 180 ± 81.
    assert!(losses_judged(&[loss(0.3, 0.5)], 250));
    assert!(!losses_judged(&[loss(0.3, 0.5)], 0));
    assert!(!losses_judged(&[loss(0.3, 0.5)], 300));
}

#[test]
fn a_loss_that_goes_on_after_its_heal_is_not_verified() {
    assert!(losses_judged(&[], 0));
    assert!(!losses_judged(&[], 1));
    // Two losses of 50 %, one healed.
    assert!(losses_judged(&[loss(0.5, 0.0)], 300));
    assert!(!losses_judged(&[loss(0.5, 0.0)], 450));
}

#[test]
fn a_healed_link_on_which_nothing_arrives_is_not_verified() {
    let mut seen = BTreeMap::from([
        (link("n2"), arrivals(1, 1, 0.03)),
        (link("n3"), arrivals(1, 1, 0.03)),
    ]);
    assert!(judge_arrivals(&seen).is_ok());
    seen.insert(link("n3"), arrivals(1, 0, 0.0));
    let reason = judge_arrivals(&seen).unwrap_err().reason;
    assert!(reason.contains("from n1 to n3"), "{reason}");
}

#[test]
fn a_lossy_link_gets_as_many_probes_as_it_needs_to_show() {
    // 0.5ⁿ = 10⁻⁹ at n = 29.9; at 99 % the limit holds.
    for (share, probes) in [(0.0, 1), (0.5, 30), (0.99, PROBES_MAX)] {
        assert_eq!(probes_to_show(share), probes, "at {share}");
    }
}
