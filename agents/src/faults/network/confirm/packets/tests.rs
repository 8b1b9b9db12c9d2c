//! Each judgement rejects a planted violation.

use shakedown_contracts::fault::LinkEffect;
use shakedown_contracts::packet_fault::PacketFault;
use shakedown_contracts::units::Ratio;

use super::*;

fn link() -> Link {
    Link {
        from: "n1".to_owned(),
        to: "n2".to_owned(),
    }
}

fn ratio(share: f64) -> Ratio {
    Ratio::new(share).expect("a share")
}

fn twice(share: f64) -> LinkEffect {
    LinkEffect::Packets(PacketFault::Duplicate {
        duplicate: ratio(share),
        correlation: ratio(0.0),
    })
}

fn doubled_judged(effects: &[LinkEffect], arrived: usize, twice: u32) -> bool {
    let unions = BTreeMap::from([(link(), Union::of(effects))]);
    let arrivals = Arrivals {
        sent: 600,
        times: vec![Duration::ZERO; arrived],
        twice,
        ..Arrivals::default()
    };
    let seen = BTreeMap::from([(link(), arrivals)]);
    let befalling = Befalling {
        how: "twice",
        name: "duplicate",
        asked: Union::doubled,
        seen: |arrivals| arrivals.twice,
    };
    judge_share(&unions, &seen, &befalling).is_ok()
}

#[test]
fn a_share_that_is_not_the_one_asked_for_is_not_verified() {
    // One standard error of 600 draws at a tenth is 7.3 packets.
    for (count, right) in [
        (60, true),
        (85, true),
        (35, true),
        (95, false),
        (20, false),
        (0, false),
    ] {
        assert_eq!(doubled_judged(&[twice(0.1)], 600, count), right, "{count}");
    }
    assert!(doubled_judged(&[], 600, 0));
    assert!(!doubled_judged(&[], 600, 1), "nobody asked for it");
    assert!(!doubled_judged(&[twice(0.1)], 0, 0), "nothing arrived");
    assert!(doubled_judged(&[twice(0.5), twice(0.5)], 600, 450));
}

fn narrow() -> Narrow {
    let effect = LinkEffect::Packets(PacketFault::Bandwidth {
        rate: "8mbit".parse().expect("a rate"),
        buffer: Bytes(LARGE_BYTES * 10),
        limit: Bytes(1 << 20),
    });
    Narrow::of(&Union::of([&effect])).expect("the link is narrow")
}

#[test]
fn a_rate_that_is_not_the_one_asked_for_is_not_verified() {
    // A byte a microsecond: 100 probes after the buffer take 142.8 ms.
    let judged = |ms: f64, foreign: u64| {
        let times = vec![Duration::from_nanos((ms * 1e6) as u64); 110];
        let arrivals = Arrivals {
            sent: 110,
            times,
            ..Arrivals::default()
        };
        narrow().judge(&link(), &arrivals, 110 * LARGE_BYTES + foreign)
    };
    let achieved = judged(142.8, 0).expect("it is right");
    assert!((achieved - 8e6).abs() < 1e3, "{achieved}");
    assert!(matches!(judged(130.0, 0), Err(WrongRate::TooFast(_))));
    assert!(matches!(judged(0.1, 0), Err(WrongRate::TooFast(_))));
    assert!(matches!(judged(180.0, 0), Err(WrongRate::TooSlow(_))));
    assert!(judged(180.0, 20_000).is_ok(), "others sent too");
}

#[test]
fn a_look_at_a_rate_sends_what_the_link_may_hold() {
    let narrow = narrow();
    assert!((100..130).contains(&narrow.probes), "{}", narrow.probes);
    let tiny = LinkEffect::Packets(PacketFault::Bandwidth {
        rate: "8kbit".parse().expect("a rate"),
        buffer: Bytes(LARGE_BYTES),
        limit: Bytes(LARGE_BYTES * 3),
    });
    assert_eq!(
        Narrow::of(&Union::of([&tiny])).map(|narrow| narrow.probes),
        Some(4)
    );
    assert_eq!(Narrow::of(&Union::default()), None);
}
