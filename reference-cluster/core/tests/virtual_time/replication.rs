//! The group as a whole, in virtual time: what it promises under faults, and that it breaks without.

use crate::group::{Client, chaos, lost, read, shared_epochs, strategy};
use crate::world::World;
use shakedown_contracts::strategy::{
    Acknowledge, Checkpoint, Detector, Election, Fallback, Fencing, Fsync, LogOptions, RecoveryLog,
    Replication, Strategy,
};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::{ClientReply, ClientRequest};

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn under_epochs_and_majorities_nothing_acknowledged_is_lost_and_no_epoch_is_shared() {
    let mut acknowledged = 0;
    let mut takeovers = 0;
    for seed in 0..200 {
        let acknowledge = if seed % 5 == 0 {
            Acknowledge::All
        } else {
            Acknowledge::Majority
        };
        let (mut world, client) = chaos(seed, strategy(acknowledge, Fencing::Epoch));
        assert_eq!(
            world.primaries().len(),
            1,
            "seed {seed}: one primary after healing"
        );
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}: lost writes");
        assert_eq!(client.stale_reads(&world), 0, "seed {seed}: stale reads");
        assert_eq!(
            shared_epochs(&world),
            [0_u64; 0],
            "seed {seed}: two primaries in an epoch"
        );
        acknowledged += client.acknowledged(&world).count();
        takeovers += world
            .notes
            .iter()
            .filter(|(_, _, e)| e.name() == "takeover.started")
            .count();
    }
    // The test would prove nothing if little was acknowledged or nobody ever took over.
    assert!(acknowledged > 20_000, "{acknowledged} acknowledged writes");
    assert!(takeovers > 300, "{takeovers} takeovers");
}

/// The primary is cut off from its backups, acknowledges what it can, and dies for good.
fn cut_and_kill(acknowledge: Acknowledge, fallback: Option<Fallback>) -> (usize, usize) {
    let mut strategy = strategy(acknowledge, Fencing::Epoch);
    if let Replication::PrimaryBackup {
        fallback: option, ..
    } = &mut strategy.replication
    {
        *option = fallback;
    }
    let mut world = World::new(3, strategy, 11);
    world.run_for(Duration::from_millis(300));
    let mut client = Client::default();
    assert_eq!(world.primaries(), [0]);
    for _ in 0..10 {
        client.put(&mut world, 0, format!("k{}", client.writes));
        world.run_for(MILLISECOND);
    }
    world.run_for(Duration::from_millis(100));
    world.isolate(0);
    for _ in 0..10 {
        client.put(&mut world, 0, format!("k{}", client.writes));
        world.run_for(Duration::from_millis(5));
    }
    world.crash(0);
    world.heal();
    world.run_for(Duration::from_millis(1_500));
    world.start(0);
    world.run_for(Duration::from_millis(1_500));
    let acknowledged = client.acknowledged(&world).count();
    (acknowledged, lost(&mut world, &client))
}

#[test]
fn async_loses_what_only_the_dead_primary_had_and_majority_does_not() {
    assert_eq!(cut_and_kill(Acknowledge::Async, None), (20, 10));
    assert_eq!(cut_and_kill(Acknowledge::Majority, None), (10, 0));
}

#[test]
fn semi_sync_that_falls_back_loses_what_it_acknowledged_alone_and_the_strict_one_blocks() {
    // The cut lasts 50 ms before the death, in which ten writes are asked for.
    let fallback = Some(Fallback::After(Duration::from_millis(20)));
    let (acknowledged, lost) = cut_and_kill(Acknowledge::SemiSync, fallback);
    assert_eq!((acknowledged, lost), (20, 10));
    assert_eq!(
        cut_and_kill(Acknowledge::SemiSync, Some(Fallback::Never)),
        (10, 0)
    );
}

/// How long a write waits for its acknowledgement, in milliseconds; `None`: more than 150.
fn wait_of_a_write(world: &mut World, client: &mut Client) -> Option<f64> {
    let asked = world.now;
    client.put(world, 0, format!("k{}", client.writes));
    let (id, _, _) = client.puts.last().expect("just asked").clone();
    world.run_for(Duration::from_millis(150));
    let (at, _, reply) = world.replies.get(&id)?;
    let done = matches!(reply, ClientReply::Done(_));
    done.then(|| at.since(asked).as_millis_f64())
}

#[test]
fn a_semi_sync_primary_waits_once_then_goes_on_alone_and_waits_again_after_a_backup_was_back() {
    let mut strategy = strategy(Acknowledge::SemiSync, Fencing::Epoch);
    // Nobody is suspected meanwhile: it is the fallback alone that decides.
    strategy.detector = Detector::None {};
    if let Replication::PrimaryBackup { fallback, .. } = &mut strategy.replication {
        *fallback = Some(Fallback::After(Duration::from_millis(100)));
    }
    let mut world = World::new(3, strategy, 8);
    let mut client = Client::default();
    world.run_for(Duration::from_millis(300));
    for _ in 0..2 {
        let with_backups = wait_of_a_write(&mut world, &mut client).unwrap();
        assert!(with_backups < 10.0, "{with_backups} ms");
        world.isolate(0);
        // Counted from when the write is durable at the primary, up to 2 ms after it was asked for.
        let first = wait_of_a_write(&mut world, &mut client).unwrap();
        assert!((100.0..105.0).contains(&first), "{first} ms");
        let second = wait_of_a_write(&mut world, &mut client).unwrap();
        assert!(second < 10.0, "{second} ms");
        world.heal();
        world.run_for(Duration::from_millis(500));
    }
}

#[test]
fn a_strict_semi_sync_primary_blocks_until_a_backup_is_back() {
    let mut strategy = strategy(Acknowledge::SemiSync, Fencing::Epoch);
    strategy.detector = Detector::None {};
    if let Replication::PrimaryBackup { fallback, .. } = &mut strategy.replication {
        *fallback = Some(Fallback::Never);
    }
    let mut world = World::new(3, strategy, 8);
    let mut client = Client::default();
    world.run_for(Duration::from_millis(300));
    world.isolate(0);
    assert_eq!(wait_of_a_write(&mut world, &mut client), None);
    world.run_for(Duration::from_secs(60));
    assert_eq!(client.acknowledged(&world).count(), 0);
    world.heal();
    world.run_for(Duration::from_millis(500));
    assert_eq!(client.acknowledged(&world).count(), 1);
}

/// A primary is cut off and writes a long tail that nobody acknowledges; its successor acknowledges
/// a little and dies; the first comes back. Acknowledged and lost.
fn return_with_a_longer_log(rule: Election) -> (usize, usize) {
    let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    if let Replication::PrimaryBackup { election, .. } = &mut strategy.replication {
        *election = rule;
    }
    let mut world = World::new(3, strategy, 6);
    world.run_for(Duration::from_millis(300));
    world.isolate(0);
    let mut unheard = Client::default();
    for _ in 0..50 {
        unheard.put(&mut world, 0, "tail".to_owned());
    }
    world.run_for(Duration::from_millis(1_000));
    assert_eq!(unheard.acknowledged(&world).count(), 0);
    let successor = world.primary().expect("the others took over");
    assert_ne!(successor, 0);
    let mut client = Client::default();
    for _ in 0..5 {
        client.put(&mut world, successor, format!("k{}", client.writes));
    }
    world.run_for(Duration::from_millis(100));
    world.crash(successor);
    world.heal();
    world.run_for(Duration::from_millis(2_000));
    world.start(successor);
    world.run_for(Duration::from_millis(1_000));
    let acknowledged = client.acknowledged(&world).count();
    (acknowledged, lost(&mut world, &client))
}

#[test]
fn electing_the_longest_log_erases_acknowledged_writes_and_the_most_recent_one_keeps_them() {
    assert_eq!(return_with_a_longer_log(Election::LongestLog), (5, 5));
    assert_eq!(return_with_a_longer_log(Election::UpToDate), (5, 0));
}

/// The primary is isolated, the others take over, the partition heals.
fn isolate_and_heal(fencing: Fencing) -> (usize, usize) {
    let mut world = World::new(3, strategy(Acknowledge::Async, fencing), 3);
    world.run_for(Duration::from_millis(300));
    world.isolate(0);
    world.run_for(Duration::from_millis(1_000));
    let during = (0..3).filter(|node| {
        let id = world.request(
            *node,
            ClientRequest::Put {
                key: "k".into(),
                value: 1,
            },
        );
        world.run_for(Duration::from_millis(20));
        matches!(world.replies.get(&id), Some((_, _, ClientReply::Done(_))))
    });
    let during = during.count();
    world.heal();
    world.run_for(Duration::from_millis(1_000));
    (during, world.primaries().len())
}

#[test]
fn without_fencing_two_primaries_acknowledge_and_stay_and_with_epochs_one_does() {
    assert_eq!(isolate_and_heal(Fencing::None), (2, 2));
    assert_eq!(isolate_and_heal(Fencing::Epoch), (1, 1));
}

#[test]
fn a_crash_is_detected_within_timeout_minus_interval_and_timeout() {
    // An ACK may have been on its way for up to 2 ms (there and back).
    let strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    detected_within(&strategy, 150.0..=202.0);
}

#[test]
fn chen_detects_a_crash_within_margin_and_margin_plus_interval() {
    let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    strategy.detector = Detector::Chen {
        heartbeat_interval: Duration::from_millis(50),
        margin: Duration::from_millis(150),
        window: 1000,
        ack: true,
    };
    // From a crash just before the next heartbeat to one just after the last, plus the delay.
    detected_within(&strategy, 150.0..=202.0);
}

/// Both backups suspect a primary that crashes at any phase of its heartbeats so long after, in
/// milliseconds.
fn detected_within(strategy: &Strategy, bounds: std::ops::RangeInclusive<f64>) {
    for seed in 0..100 {
        let mut world = World::new(3, strategy.clone(), seed);
        let phase = world.draw(50_000);
        world.run_for(Duration::from_millis(500).saturating_add(Duration::from_micros(phase)));
        let crash = world.now;
        world.crash(0);
        world.run_for(Duration::from_millis(400));
        let suspicions: Vec<Moment> = world
            .notes
            .iter()
            .filter(|(at, _, event)| *at > crash && event.name() == "suspicion")
            .map(|(at, _, _)| *at)
            .collect();
        assert_eq!(suspicions.len(), 2, "seed {seed}: both backups suspect");
        for at in suspicions {
            let delay = at.since(crash).as_millis_f64();
            assert!(bounds.contains(&delay), "seed {seed}: {delay} ms");
        }
    }
}

/// False suspicions in 20 s of delays between 30 and 90 ms, after a second to get used to them.
fn false_suspicions(detector: Detector) -> usize {
    let strategy = Strategy {
        detector,
        ..strategy(Acknowledge::Majority, Fencing::Epoch)
    };
    let mut world = World::new(3, strategy, 5);
    world.delay = (Duration::from_millis(30), Duration::from_millis(60));
    world.run_for(Duration::from_secs(1));
    let used_to_it = world.now;
    world.run_for(Duration::from_secs(20));
    world
        .notes
        .iter()
        .filter(|(at, _, event)| *at > used_to_it && event.name() == "suspicion")
        .count()
}

#[test]
fn under_jitter_phi_accrual_and_chen_suspect_nobody_where_a_tight_timeout_does() {
    let heartbeat_interval = Duration::from_millis(100);
    let phi = false_suspicions(Detector::PhiAccrual {
        heartbeat_interval,
        threshold: 8.0,
        min_std_deviation: Duration::from_millis(10),
        acceptable_pause: Duration::ZERO,
        window: 1000,
        ack: false,
    });
    let timeout = Duration::from_millis(150);
    let fixed = false_suspicions(Detector::FixedTimeout {
        heartbeat_interval,
        timeout,
        ack: false,
    });
    // A crash is noticed within 150 ms + the last delay (240 ms) by the timeout, and within 100 ms +
    // the mean delay + margin (225 ms) by this one: it is the faster of the two.
    let chen = false_suspicions(Detector::Chen {
        heartbeat_interval,
        margin: Duration::from_millis(65),
        window: 1000,
        ack: false,
    });
    assert_eq!((phi, chen), (0, 0));
    assert!(fixed > 0);
}

#[test]
fn the_same_seed_gives_the_same_outputs_to_the_byte() {
    let trace = |seed| {
        let mut world = World::new(3, strategy(Acknowledge::Majority, Fencing::Epoch), seed);
        world.traced = true;
        world.run_for(Duration::from_millis(300));
        world.crash(0);
        world.run_for(Duration::from_millis(700));
        world.trace
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn a_primary_that_restarts_before_it_is_suspected_serves_again() {
    for detector in [None, Some(Detector::None {})] {
        let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
        strategy.detector = detector.unwrap_or(strategy.detector);
        let mut world = World::new(3, strategy, 2);
        world.run_for(Duration::from_millis(300));
        let id = world.request(
            0,
            ClientRequest::Put {
                key: "k".into(),
                value: 7,
            },
        );
        world.run_for(Duration::from_millis(20));
        assert!(matches!(world.replies[&id].2, ClientReply::Done(_)));
        world.crash(0);
        world.run_for(Duration::from_millis(20));
        world.start(0);
        world.run_for(Duration::from_millis(1_500));
        let primary = world.primary().unwrap();
        assert_eq!(read(&mut world, primary, "k"), Some(7));
    }
}

#[test]
fn without_a_detector_a_dead_primary_is_an_outage() {
    let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    strategy.detector = Detector::None {};
    let mut world = World::new(3, strategy, 2);
    world.run_for(Duration::from_millis(300));
    world.crash(0);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.primaries(), [0_u32; 0]);
}

#[test]
fn a_backup_far_behind_is_brought_up_to_date_and_can_then_take_over() {
    let mut world = World::new(3, strategy(Acknowledge::Majority, Fencing::Epoch), 9);
    world.run_for(Duration::from_millis(300));
    world.crash(2);
    for value in 0..10_000 {
        world.request(
            0,
            ClientRequest::Put {
                key: format!("k{}", value % 50),
                value,
            },
        );
        if value % 100 == 0 {
            world.run_for(Duration::from_millis(10));
        }
    }
    world.run_for(Duration::from_millis(500));
    world.start(2);
    world.run_for(Duration::from_millis(500));
    world.crash(1);
    world.request(
        0,
        ClientRequest::Put {
            key: "last".into(),
            value: 1,
        },
    );
    world.run_for(Duration::from_millis(100));
    world.start(1);
    world.run_for(Duration::from_millis(500));
    world.crash(0);
    world.run_for(Duration::from_millis(1_500));
    let primary = world.primary().unwrap();
    assert_eq!(read(&mut world, primary, "last"), Some(1));
    assert_eq!(read(&mut world, primary, "k49"), Some(9_999));
}

#[test]
fn a_group_of_one_and_no_replication_survive_a_restart_with_a_log_and_are_empty_without() {
    for (recovery_log, expected) in [
        (RecoveryLog::default(), Some(7)),
        (RecoveryLog::None {}, None),
    ] {
        for size in [1, 3] {
            let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
            strategy.recovery_log = recovery_log.clone();
            strategy.replication = Replication::None {};
            let mut world = World::new(size, strategy, 4);
            world.run_for(Duration::from_millis(100));
            let id = world.request(
                0,
                ClientRequest::Put {
                    key: "k".into(),
                    value: 7,
                },
            );
            world.run_for(Duration::from_millis(20));
            assert!(matches!(world.replies[&id].2, ClientReply::Done(_)));
            world.crash(0);
            world.start(0);
            world.run_for(Duration::from_millis(100));
            assert_eq!(read(&mut world, 0, "k"), expected);
        }
    }
}

/// Of 50 groups whose every host dies right after a write was acknowledged: how many forget it.
fn forgotten(fsync: Fsync) -> usize {
    let forgets = |seed: &u64| {
        let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
        strategy.recovery_log = RecoveryLog::Redo(LogOptions {
            fsync,
            checkpoint: Checkpoint::None,
            ..LogOptions::default()
        });
        let mut world = World::new(3, strategy, *seed);
        world.run_for(Duration::from_millis(500));
        let id = world.request(
            0,
            ClientRequest::Put {
                key: "k".into(),
                value: 7,
            },
        );
        // Bounded: two seconds of virtual time.
        for _ in 0..20_000 {
            if world.replies.contains_key(&id) {
                break;
            }
            world.run_for(Duration::from_micros(100));
        }
        assert!(matches!(world.replies[&id].2, ClientReply::Done(_)));
        (0..3).for_each(|node| world.crash(node));
        (0..3).for_each(|node| world.start(node));
        world.run_for(Duration::from_millis(2_000));
        let primary = world
            .primary()
            .expect("a group whose members are back has a primary");
        read(&mut world, primary, "k").is_none()
    };
    (0..50).filter(forgets).count()
}

#[test]
fn a_write_synced_before_it_is_acknowledged_outlives_all_hosts_and_one_that_is_not_may_not() {
    assert_eq!(forgotten(Fsync::Group), 0);
    assert_eq!(forgotten(Fsync::PerOperation), 0);
    assert!(forgotten(Fsync::Interval) > 0);
    assert!(forgotten(Fsync::Never) > 0);
}
