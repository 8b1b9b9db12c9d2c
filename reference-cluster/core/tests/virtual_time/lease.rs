//! Leases in virtual time, on clocks that run at different rates.

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::{ApiErrorKind, Member, NODE_CONFIG_FORMAT, NodeConfig};
use shakedown_contracts::strategy::{
    Acknowledge, Detector, Election, Fencing, Reads, Replication, Strategy,
};
use shakedown_contracts::units::{Duration, Ratio};
use shakedown_core::interface::{ClientReply, ClientRequest};
use shakedown_core::node::Node;

use crate::group::{Client, chaos_in, lost, shared_epochs, strategy};
use crate::world::World;

fn leased(fencing: Fencing, reads: Reads, lease: Duration, drift_bound: f64) -> Strategy {
    Strategy {
        replication: Replication::PrimaryBackup {
            acknowledge: Acknowledge::Majority,
            fallback: None,
            fencing,
            election: Election::UpToDate,
            reads,
            lease: Some(lease),
            drift_bound: Ratio::new(drift_bound),
        },
        ..strategy(Acknowledge::Majority, fencing)
    }
}

/// Stale reads at an isolated primary whose clock runs 10 % slow, until it notices. Its lease and
/// its detector are of the same length, so that only the lease decides how soon another takes over.
fn stale_reads(reads: Reads, drift_bound: f64) -> (usize, usize) {
    let length = Duration::from_secs(2);
    let mut strategy = leased(Fencing::Epoch, reads, length, drift_bound);
    strategy.detector = Detector::FixedTimeout {
        heartbeat_interval: Duration::from_millis(50),
        timeout: length,
        ack: true,
    };
    let mut world = World::new(3, strategy, 7);
    world.set_clock_rate(0, 900);
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.primaries(), [0]);
    let mut client = Client::default();
    client.put(&mut world, 0, "x".to_owned());
    world.run_for(Duration::from_millis(50));
    world.isolate(0);
    for _ in 0..800 {
        if let Some(successor) = world.primaries().into_iter().find(|node| *node != 0) {
            client.put(&mut world, successor, "x".to_owned());
        }
        client.read_register(&mut world, 0);
        world.run_for(Duration::from_millis(5));
    }
    let written = client.acknowledged(&world).count();
    (client.stale_reads(&world), written)
}

#[test]
fn a_lease_without_a_drift_bound_gives_stale_reads_on_a_slow_clock_and_with_one_gives_none() {
    // The others' clocks gain 11 % on the primary's: it serves until 2.22 s by theirs.
    let (stale, written) = stale_reads(Reads::Lease, 0.0);
    assert!(stale > 10, "{stale} stale reads with a bound of 0 %");
    assert!(written > 100, "the successor serves: {written} writes");
    // They take over 2.3 s after the last message: no read is served then.
    let (stale, written) = stale_reads(Reads::Lease, 0.15);
    assert_eq!(stale, 0);
    assert!(written > 100, "the successor serves: {written} writes");
    // Between the two, the bound is there and too small: what it says is what it is worth.
    assert!(stale_reads(Reads::Lease, 0.05).0 > 0);
}

#[test]
fn without_leases_a_local_read_is_stale_and_a_read_index_is_not() {
    assert!(stale_reads(Reads::Local, 0.0).0 > 10);
    assert_eq!(stale_reads(Reads::ReadIndex, 0.0).0, 0);
}

#[test]
fn leased_reads_are_served_without_asking_while_all_is_well() {
    let confirmations = |reads| {
        let length = Duration::from_millis(400);
        let mut world = World::new(3, leased(Fencing::Epoch, reads, length, 0.01), 1);
        world.run_for(Duration::from_millis(500));
        world.traced = true;
        let mut client = Client::default();
        for _ in 0..20 {
            client.put(&mut world, 0, "x".to_owned());
            client.read_register(&mut world, 0);
            world.run_for(Duration::from_millis(10));
        }
        let answered = client
            .reads
            .iter()
            .filter(|(id, _)| matches!(world.replies.get(id), Some((_, _, ClientReply::Value(_)))));
        assert_eq!(answered.count(), 20);
        let asks = |line: &&String| line.contains("Confirm {");
        world.trace.iter().filter(asks).count()
    };
    assert_eq!(confirmations(Reads::Lease), 0);
    assert!(confirmations(Reads::ReadIndex) >= 40);
}

/// How long after the primary was isolated somebody else became it; leases are of a second, and
/// after 200 ms everybody suspects.
fn takeover_after(before: impl Fn(&mut World), after: impl Fn(&mut World)) -> f64 {
    let length = Duration::from_secs(1);
    let mut world = World::new(3, leased(Fencing::Epoch, Reads::Lease, length, 0.01), 3);
    world.run_for(Duration::from_millis(500));
    before(&mut world);
    world.isolate(0);
    let isolated = world.now;
    after(&mut world);
    world.run_for(Duration::from_secs(3));
    let taken = world.notes.iter().find(|(at, node, event)| {
        let role = match event {
            Event::RoleChanged { role, .. } => Some(*role),
            _ => None,
        };
        *at > isolated && *node != 0 && role == Some(Role::Primary)
    });
    let (at, _, _) = taken.expect("the others take over");
    at.since(isolated).as_secs_f64()
}

#[test]
fn a_takeover_waits_for_leases_that_a_candidate_never_granted_or_has_forgotten() {
    // A second from the last message, up to a beat before; then at most two tries of a few beats.
    let in_time = 0.95..2.0;
    let plain = takeover_after(|_| {}, |_| {});
    assert!(in_time.contains(&plain), "{plain} s");
    // n3 has not heard the primary for long: it is n2 that must keep what it granted.
    let long_cut = |world: &mut World| {
        world.cut_between(0, 2);
        world.run_for(Duration::from_secs(2));
    };
    let ungranted = takeover_after(long_cut, |_| {});
    assert!(in_time.contains(&ungranted), "{ungranted} s");
    // Both restart at once, and know of no primary.
    let restart = |world: &mut World| {
        for node in [1, 2] {
            world.crash(node);
            world.start(node);
        }
    };
    let forgotten = takeover_after(|_| {}, restart);
    assert!(in_time.contains(&forgotten), "{forgotten} s");
}

/// What a primary says that was cut off and stopped, and goes on after others took over.
fn answer_after_a_stop(fencing: Fencing) -> ClientReply {
    let length = Duration::from_millis(200);
    let mut world = World::new(3, leased(fencing, Reads::Local, length, 0.01), 5);
    world.run_for(Duration::from_millis(500));
    let put = |value| ClientRequest::Put {
        key: "k".into(),
        value,
    };
    world.request(0, put(1));
    world.run_for(Duration::from_millis(50));
    world.isolate(0);
    world.pause(0);
    world.run_for(Duration::from_millis(1_500));
    let successor = world.primary().expect("the others took over");
    let id = world.request(successor, put(2));
    world.run_for(Duration::from_millis(50));
    assert!(matches!(world.replies[&id].2, ClientReply::Done(_)));
    let id = world.request(0, ClientRequest::Get { key: "k".into() });
    world.run_for(Duration::from_millis(1));
    world.resume(0);
    world.run_for(Duration::from_millis(20));
    world.replies[&id].2.clone()
}

#[test]
fn a_primary_that_slept_through_its_lease_serves_nothing_where_an_epoch_alone_lets_it() {
    let stale = answer_after_a_stop(Fencing::Epoch);
    assert!(
        matches!(&stale, ClientReply::Value(answer) if answer.value == Some(1)),
        "{stale:?}"
    );
    let refused = answer_after_a_stop(Fencing::Lease);
    assert!(
        matches!(&refused, ClientReply::Error(error) if error.error == ApiErrorKind::Unavailable),
        "{refused:?}"
    );
}

/// A write reaches an asynchronous primary that is stopped and cut off before its disk answers, and
/// goes on long after others took over.
fn write_over_a_stop(fencing: Fencing) -> bool {
    let length = Duration::from_millis(200);
    let mut strategy = leased(fencing, Reads::Local, length, 0.01);
    if let Replication::PrimaryBackup { acknowledge, .. } = &mut strategy.replication {
        *acknowledge = Acknowledge::Async;
    }
    let mut world = World::new(3, strategy, 5);
    world.run_for(Duration::from_millis(500));
    let key = "k".to_owned();
    let id = world.request(0, ClientRequest::Put { key, value: 1 });
    world.isolate(0);
    world.run_for(Duration::ZERO);
    world.pause(0);
    world.run_for(Duration::from_millis(1_500));
    assert!(world.primary().is_some_and(|successor| successor != 0));
    world.resume(0);
    world.run_for(Duration::from_millis(20));
    matches!(world.replies.get(&id), Some((_, _, ClientReply::Done(_))))
}

#[test]
fn a_write_that_was_under_way_is_not_acknowledged_after_the_lease() {
    assert!(write_over_a_stop(Fencing::Epoch));
    assert!(!write_over_a_stop(Fencing::Lease));
}

#[test]
fn a_lease_that_no_beat_renews_in_time_is_refused() {
    let build = |millis| {
        let length = Duration::from_millis(millis);
        let strategy = leased(Fencing::Lease, Reads::Lease, length, 0.01);
        Node::new(&NodeConfig {
            format: NODE_CONFIG_FORMAT,
            name: "n1".into(),
            members: vec![Member {
                name: "n1".into(),
                address: [127, 0, 0, 1].into(),
                peer_port: 7001,
                heartbeat_port: 7002,
                kind: Default::default(),
            }],
            data_directory: "data".into(),
            strategy,
            seed: 1,
            hold_unsynced: false,
            client_port: 7000,
        })
    };
    // Heartbeats, and with them the primary's messages, go out every 50 ms.
    assert!(build(100).is_ok());
    assert!(build(99).is_err());
}

#[test]
fn with_leases_and_clocks_within_the_bound_nothing_is_lost_and_no_read_is_stale() {
    let mut acknowledged = 0;
    let mut read = 0;
    for seed in 0..60 {
        let fencing = if seed % 2 == 0 {
            Fencing::Epoch
        } else {
            Fencing::Lease
        };
        // Longer than the detector waits, so that it is the lease that holds a takeover back.
        let length = Duration::from_millis(400);
        let size = if seed % 4 == 0 { 5 } else { 3 };
        let mut world = World::new(size, leased(fencing, Reads::Lease, length, 0.05), seed);
        for node in 0..size {
            // The fastest gains 4.1 % on the slowest.
            let rate = 980 + world.draw(41);
            world.set_clock_rate(node, rate);
        }
        let (mut world, client) = chaos_in(world);
        assert_eq!(world.primaries().len(), 1, "seed {seed}: one primary");
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}: lost writes");
        assert_eq!(client.stale_reads(&world), 0, "seed {seed}: stale reads");
        assert_eq!(
            shared_epochs(&world),
            [0_u64; 0],
            "seed {seed}: shared epochs"
        );
        acknowledged += client.acknowledged(&world).count();
        let served = |id| matches!(world.replies.get(id), Some((_, _, ClientReply::Value(_))));
        read += client.reads.iter().filter(|(id, _)| served(id)).count();
    }
    // The test would prove nothing if little was served.
    assert!(acknowledged > 5_000, "{acknowledged} acknowledged writes");
    assert!(read > 2_500, "{read} reads");
}
