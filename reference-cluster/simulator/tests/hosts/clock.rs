//! What each fault of a clock does to who is suspected, and when.

use shakedown_contracts::host_fault::{BumpDirection, HostFault};
use shakedown_contracts::strategy::{Acknowledge, Detector, Fencing};
use shakedown_contracts::units::Duration;

use crate::group::{Group, HEARTBEAT, TIMEOUT, id, strategy};

#[test]
fn a_fast_clock_suspects_the_healthy_unless_its_own_beats_are_answered() {
    for (rate, ack, suspects) in [
        (8.0, false, true),
        (8.0, true, false),
        (1.02, false, false),
        (0.5, false, false),
    ] {
        let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
        strategy.detector = Detector::FixedTimeout {
            heartbeat_interval: HEARTBEAT,
            timeout: TIMEOUT,
            ack,
        };
        let mut group = Group::new(3, &strategy, 4);
        let before = group.world.now();
        let fault = HostFault::ClockRate { rate };
        group.world.disturb("n3", &id("clock"), &fault).unwrap();
        group.run_millis(1_000);
        let seen = group.world.effect("n3", &id("clock")).expect("it was read");
        assert!(
            (seen.achieved[0].achieved - rate).abs() < 1e-6,
            "{}",
            seen.observed
        );
        let suspicions = group.moments("suspicion", before);
        let by_it = suspicions.iter().any(|(_, node)| *node == "n3");
        assert_eq!(by_it, suspects, "rate {rate}: {suspicions:?}");
    }
}

#[test]
fn a_slow_clock_stretches_the_timeout_as_it_says() {
    let mut group = Group::new(3, &strategy(Acknowledge::Majority, Fencing::Epoch), 5);
    let fault = HostFault::ClockRate { rate: 0.5 };
    group.world.disturb("n3", &id("clock"), &fault).unwrap();
    group.run_millis(500);
    let killed = group.world.now();
    group.world.kill("n1");
    group.run_millis(1_000);
    let late = group.moments("suspicion", killed);
    let after = |name: &str| {
        let suspicion = late.iter().find(|(_, node)| *node == name);
        suspicion.map(|(at, _)| at.since(killed).as_millis_f64())
    };
    let timeout = TIMEOUT.as_millis_f64();
    let (sound, slow) = (after("n2").unwrap(), after("n3").unwrap());
    assert!(
        (timeout - 60.0..=timeout + 10.0).contains(&sound),
        "{sound} ms"
    );
    // The last ACK it counts from may be an interval of the slow clock old.
    assert!(
        (2.0 * timeout - 120.0..=2.0 * timeout + 10.0).contains(&slow),
        "{slow} ms"
    );
}

#[test]
fn a_bump_is_seen_at_once_and_a_group_survives_it_either_way() {
    for direction in [BumpDirection::Forward, BumpDirection::Back] {
        let mut group = Group::new(3, &strategy(Acknowledge::Majority, Fencing::Epoch), 6);
        let fault = HostFault::ClockBump {
            delta: Duration::from_millis(150),
            direction,
        };
        group.world.disturb("n1", &id("bump"), &fault).unwrap();
        let seen = group.world.effect("n1", &id("bump")).expect("at once");
        assert!((seen.achieved[0].achieved - 150.0).abs() < 1e-6);
        group.run_millis(1_000);
        group.world.mend("n1", &id("bump"));
        group.run_millis(1_000);
        assert_eq!(group.primaries().len(), 1);
        let primary = group.primary().unwrap();
        let write = group.put(&primary, "k", 1);
        group.run_millis(100);
        assert!(group.is_done(write), "{direction:?}");
    }
}
