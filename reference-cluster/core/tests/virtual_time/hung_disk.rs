//! A disk that hangs while its node lives: who notices, and what becomes of the writes.

use shakedown_contracts::strategy::{Acknowledge, Detector, Fencing, Strategy};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::ClientReply;

use crate::group::{Client, lost, strategy};
use crate::world::World;

const INTERVAL: Duration = Duration::from_millis(50);
const TIMEOUT: Duration = Duration::from_millis(400);

/// A primary whose writes need its own disk as well.
fn group(detector: Detector, seed: u64) -> (World, Client) {
    let strategy = Strategy {
        detector,
        ..strategy(Acknowledge::All, Fencing::Epoch)
    };
    let mut world = World::new(3, strategy, seed);
    let phase = world.draw(50_000);
    world.run_for(Duration::from_millis(500).saturating_add(Duration::from_micros(phase)));
    assert_eq!(world.primaries(), [0]);
    (world, Client::default())
}

fn probes() -> Detector {
    Detector::ProgressProbe {
        probe_interval: INTERVAL,
        timeout: TIMEOUT,
    }
}

fn opinions(world: &World, name: &str, since: Moment) -> Vec<(Moment, u32)> {
    world
        .notes
        .iter()
        .filter(|(at, _, event)| *at > since && event.name() == name)
        .map(|(at, node, _)| (*at, *node))
        .collect()
}

/// Writes acknowledged in the five seconds after the primary's disk hung.
fn acknowledged_after_a_hang(detector: Detector) -> (usize, usize) {
    let (mut world, mut client) = group(detector, 1);
    world.hang_disk(0);
    let hung = world.now;
    for _ in 0..50 {
        if let Some(primary) = world.primary() {
            client.put(&mut world, primary, format!("k{}", client.writes));
        }
        world.run_for(Duration::from_millis(100));
    }
    let suspicions = opinions(&world, "suspicion", hung).len();
    (client.acknowledged(&world).count(), suspicions)
}

#[test]
fn heartbeats_never_notice_a_hung_disk_and_progress_probes_do() {
    let heartbeats = Detector::FixedTimeout {
        heartbeat_interval: INTERVAL,
        timeout: TIMEOUT,
        ack: true,
    };
    assert_eq!(acknowledged_after_a_hang(heartbeats), (0, 0));
    let (acknowledged, suspicions) = acknowledged_after_a_hang(probes());
    assert!(suspicions >= 2, "{suspicions} suspicions");
    // Less than a second passes until another is primary.
    assert!(acknowledged > 40, "{acknowledged} of 50 writes");
}

#[test]
fn a_hang_is_noticed_within_the_timeout_after_the_last_probe_that_passed() {
    for seed in 0..50 {
        let (mut world, _) = group(probes(), seed);
        world.hang_disk(0);
        let hung = world.now;
        world.run_for(Duration::from_millis(700));
        let suspicions = opinions(&world, "suspicion", hung);
        for observer in [1, 2] {
            let first = suspicions.iter().find(|(_, node)| *node == observer);
            let (at, _) = first.expect("both observers suspect");
            let delay = at.since(hung).as_millis_f64();
            // The last probe passed at most an interval before, and was first heard of in the next
            // heartbeat's ACK: within another interval and 2 ms. A sync takes up to 2 ms.
            assert!((346.0..=454.0).contains(&delay), "seed {seed}: {delay} ms");
        }
    }
}

#[test]
fn a_disk_that_goes_on_is_trusted_again_and_nothing_is_lost() {
    let (mut world, mut client) = group(probes(), 3);
    for _ in 0..10 {
        client.put(&mut world, 0, format!("k{}", client.writes));
        world.run_for(Duration::from_millis(10));
    }
    world.hang_disk(0);
    for _ in 0..20 {
        if let Some(primary) = world.primary() {
            client.put(&mut world, primary, format!("k{}", client.writes));
        }
        world.run_for(Duration::from_millis(100));
    }
    world.unhang_disk(0);
    let went_on = world.now;
    world.run_for(Duration::from_millis(1_000));
    let observers = opinions(&world, "trust", went_on);
    assert_eq!(observers.len(), 2, "{observers:?}");
    let acknowledged = client.acknowledged(&world).count();
    assert!(acknowledged > 20, "{acknowledged} acknowledged");
    assert_eq!(lost(&mut world, &client), 0);
}

#[test]
fn a_disk_that_works_is_suspected_of_nothing() {
    let (mut world, mut client) = group(probes(), 4);
    let start = world.now;
    for _ in 0..200 {
        client.put(&mut world, 0, "k".to_owned());
        world.run_for(Duration::from_millis(20));
    }
    assert!(opinions(&world, "suspicion", start).is_empty());
    let done = |id| matches!(world.replies.get(id), Some((_, _, ClientReply::Done(_))));
    assert!(client.puts.iter().take(190).all(|(id, _, _)| done(id)));
}
