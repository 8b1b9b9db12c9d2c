//! The group as a whole, in virtual time: what it promises under faults, and that it breaks without.

mod raft;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::strategy::{
    Acknowledge, Checkpoint, Detector, Fencing, Fsync, Reads, RecoveryLog, Replication, Strategy,
};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::{Bytes, Duration};
use shakedown_core::interface::{ClientReply, ClientRequest, RequestId};
use world::World;

const MILLISECOND: Duration = Duration::from_millis(1);

fn strategy(acknowledge: Acknowledge, fencing: Fencing) -> Strategy {
    Strategy {
        detector: Detector::FixedTimeout {
            heartbeat_interval: Duration::from_millis(50),
            timeout: Duration::from_millis(200),
            ack: true,
        },
        recovery_log: RecoveryLog::Redo {
            fsync: Fsync::Group,
            checkpoint: Checkpoint::Bytes(Bytes(8192)),
        },
        replication: Replication::PrimaryBackup {
            acknowledge,
            fencing,
            reads: Reads::ReadIndex,
        },
    }
}

/// A client that writes unique keys and one growing register, and remembers what it was told.
#[derive(Default)]
struct Client {
    puts: Vec<(RequestId, String, u64)>,
    reads: Vec<(RequestId, u64)>,
    writes: u64,
}

impl Client {
    fn put(&mut self, world: &mut World, node: u32, key: String) {
        self.writes += 1;
        let value = self.writes;
        let request = ClientRequest::Put {
            key: key.clone(),
            value,
        };
        self.puts.push((world.request(node, request), key, value));
    }

    /// Writes, and reads the register, which then has to hold at least what was acknowledged.
    fn turn(&mut self, world: &mut World, node: u32) {
        self.put(world, node, format!("k{}", self.writes));
        self.put(world, node, "x".to_owned());
        let floor = self
            .acknowledged(world)
            .filter(|(key, _)| *key == "x")
            .map(|(_, v)| v)
            .max();
        let id = world.request(
            node,
            ClientRequest::Get {
                key: "x".to_owned(),
            },
        );
        self.reads.push((id, floor.unwrap_or(0)));
    }

    fn acknowledged<'a>(&'a self, world: &'a World) -> impl Iterator<Item = (&'a str, u64)> {
        let done = |id| matches!(world.replies.get(id), Some((_, _, ClientReply::Done(_))));
        let acknowledged = self.puts.iter().filter(move |(id, _, _)| done(id));
        acknowledged.map(|(_, key, value)| (key.as_str(), *value))
    }

    fn stale_reads(&self, world: &World) -> usize {
        let stale = |(id, floor): &&(RequestId, u64)| match world.replies.get(id) {
            Some((_, _, ClientReply::Value(answer))) => answer.value.unwrap_or(0) < *floor,
            _ => false,
        };
        self.reads.iter().filter(stale).count()
    }
}

fn read(world: &mut World, node: u32, key: &str) -> Option<u64> {
    let id = world.request(
        node,
        ClientRequest::Get {
            key: key.to_owned(),
        },
    );
    world.run_for(Duration::from_millis(50));
    match &world.replies[&id].2 {
        ClientReply::Value(answer) => answer.value,
        other => panic!("a healed group answers reads, not {other:?}"),
    }
}

/// Acknowledged unique keys that are not there after everything was healed.
fn lost(world: &mut World, client: &Client) -> usize {
    let primary = world.primary().expect("a healed group has a primary");
    let keys: Vec<String> = client
        .acknowledged(world)
        .filter(|(key, _)| *key != "x")
        .map(|(key, _)| key.to_owned())
        .collect();
    let ids: Vec<RequestId> = keys
        .into_iter()
        .map(|key| world.request(primary, ClientRequest::Get { key }))
        .collect();
    world.run_for(Duration::from_millis(200));
    let missing = |id: &&RequestId| match &world.replies[id].2 {
        ClientReply::Value(answer) => answer.value.is_none(),
        other => panic!("a healed group answers reads, not {other:?}"),
    };
    ids.iter().filter(missing).count()
}

/// Epochs in which two nodes acknowledged.
fn shared_epochs(world: &World) -> Vec<u64> {
    let mut nodes: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
    for (_, node, reply) in world.replies.values() {
        if let ClientReply::Done(answer) = reply {
            nodes.entry(answer.epoch).or_default().insert(*node);
        }
    }
    nodes
        .into_iter()
        .filter(|(_, nodes)| nodes.len() > 1)
        .map(|(epoch, _)| epoch)
        .collect()
}

/// Faults drawn from the seed for a second and a half, then one without.
fn chaos(seed: u64, strategy: Strategy) -> (World, Client) {
    let size = if seed.is_multiple_of(4) { 5 } else { 3 };
    let mut world = World::new(size, strategy, seed);
    world.loss = 0.02;
    let mut client = Client::default();
    let mut down = BTreeSet::new();
    world.run_for(Duration::from_millis(300));
    for turn in 0..150 {
        let node = world.draw(u64::from(size)) as u32;
        if turn % 10 == 0 {
            match world.draw(6) {
                0 | 1 if down.len() * 2 + 2 <= size as usize && !down.contains(&node) => {
                    world.crash(node);
                    down.insert(node);
                }
                2 => world.isolate(node),
                3 if !down.contains(&node) => world.pause(node),
                4 => world.heal(),
                _ => {
                    for node in std::mem::take(&mut down) {
                        world.start(node);
                    }
                    (0..size).for_each(|node| world.resume(node));
                }
            }
        }
        let asked = if turn % 3 == 0 {
            Some(node)
        } else {
            world.primary()
        };
        client.turn(&mut world, asked.unwrap_or(node));
        world.run_for(Duration::from_millis(10));
    }
    world.heal();
    (0..size).for_each(|node| world.resume(node));
    down.into_iter().for_each(|node| world.start(node));
    world.run_for(Duration::from_millis(2_500));
    (world, client)
}

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
fn cut_and_kill(acknowledge: Acknowledge) -> (usize, usize) {
    let mut world = World::new(3, strategy(acknowledge, Fencing::Epoch), 11);
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
    assert_eq!(cut_and_kill(Acknowledge::Async), (20, 10));
    assert_eq!(cut_and_kill(Acknowledge::Majority), (10, 0));
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
    for seed in 0..100 {
        let mut world = World::new(3, strategy(Acknowledge::Majority, Fencing::Epoch), seed);
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
            // An ACK may have been on its way for up to 2 ms (there and back).
            assert!((150.0..=202.0).contains(&delay), "seed {seed}: {delay} ms");
        }
    }
}

/// False suspicions in 20 s of delays between 30 and 90 ms.
fn false_suspicions(detector: Detector) -> usize {
    let strategy = Strategy {
        detector,
        ..strategy(Acknowledge::Majority, Fencing::Epoch)
    };
    let mut world = World::new(3, strategy, 5);
    world.delay = (Duration::from_millis(30), Duration::from_millis(60));
    world.run_for(Duration::from_secs(20));
    world
        .notes
        .iter()
        .filter(|(_, _, event)| event.name() == "suspicion")
        .count()
}

#[test]
fn under_jitter_phi_accrual_suspects_nobody_where_a_tight_timeout_does() {
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
    assert_eq!(phi, 0);
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
        strategy.recovery_log = RecoveryLog::Redo {
            fsync,
            checkpoint: Checkpoint::None,
        };
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
