//! How copies come back: hints, comparisons, damaged copies, and death in between.

use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{
    AntiEntropy, Checksum, Quorum, RecoveryLog, Redundancy, Strategy,
};
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Flaw;
use shakedown_core::interface::ClientReply;

use super::register::Clients;
use super::{bare, erasure, nodes, notes, strategy};
use crate::world::World;

const KEYS: u32 = 12;
const SOON: Duration = Duration::from_millis(100);

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Reads take what one node says, so that a node left alone shows what it has.
fn one_answer() -> Quorum {
    bare(1, 2)
}

fn handing_over() -> Quorum {
    Quorum {
        hinted_handoff: true,
        ..one_answer()
    }
}

fn comparing() -> Quorum {
    Quorum {
        anti_entropy: AntiEntropy::Every(SOON),
        ..one_answer()
    }
}

/// Writes every key once, at node 0; the values.
fn write_all(world: &mut World, clients: &mut Clients) -> Vec<u64> {
    let values = (0..KEYS).map(|key| clients.put(world, 0, &format!("k{key}")));
    let values = values.collect();
    world.run_for(SOON);
    values
}

/// How many of the values a node has, when no other is there to help it.
fn alone_with(world: &mut World, node: u32, values: &[u64]) -> usize {
    for other in (0..3).filter(|other| *other != node) {
        world.kill(other);
    }
    let mut clients = Clients::default();
    let reads: Vec<_> = (0..KEYS)
        .map(|key| clients.get(world, node, &format!("k{key}")))
        .collect();
    world.run_for(milliseconds(20));
    let right = reads.iter().zip(values).filter(|(id, value)| {
        let reply = world.replies.get(id).map(|(_, _, reply)| reply);
        matches!(reply, Some(ClientReply::Value(answer)) if answer.value == Some(**value))
    });
    right.count()
}

/// Node 2 is away for `outage` while all keys are written again; how many it has a second later.
fn after_outage(quorum: Quorum, outage: Duration, seed: u64, flaw: Option<Flaw>) -> (usize, World) {
    let redundancy = Redundancy::Quorum(quorum);
    let mut world = World::flawed(3, strategy(redundancy), seed, flaw);
    world.run_for(milliseconds(300));
    let mut clients = Clients::default();
    write_all(&mut world, &mut clients);
    world.kill(2);
    world.run_for(outage);
    let values = write_all(&mut world, &mut clients);
    world.run_for(milliseconds(400));
    world.start(2);
    world.run_for(Duration::from_secs(1));
    let right = alone_with(&mut world, 2, &values);
    (right, world)
}

#[test]
fn what_a_node_missed_is_handed_over_and_not_without_hints() {
    for seed in 0..20 {
        let (right, world) = after_outage(handing_over(), milliseconds(500), seed, None);
        assert_eq!(right, KEYS as usize, "seed {seed}");
        assert!(notes(&world, "redundancy.restored") > 0, "seed {seed}");
        let (right, _) = after_outage(one_answer(), milliseconds(500), seed, None);
        assert_eq!(right, 0, "seed {seed}");
    }
    let flaw = Some(Flaw::HintsNotDelivered);
    let (right, _) = after_outage(handing_over(), milliseconds(500), 1, flaw);
    assert_eq!(right, 0);
}

#[test]
fn after_an_outage_beyond_the_hint_window_comparing_mends() {
    for seed in 0..20 {
        let short = |quorum: Quorum| Quorum {
            hinted_handoff: true,
            hint_window: milliseconds(300),
            ..quorum
        };
        let outage = Duration::from_secs(1);
        let (right, _) = after_outage(short(one_answer()), outage, seed, None);
        assert_eq!(right, 0, "seed {seed}: the window was over");
        let (right, world) = after_outage(short(comparing()), outage, seed, None);
        assert_eq!(right, KEYS as usize, "seed {seed}");
        assert!(notes(&world, "redundancy.restored") > 0, "seed {seed}");
    }
    let flaw = Some(Flaw::DifferencesIgnored);
    let (right, _) = after_outage(comparing(), milliseconds(500), 1, flaw);
    assert_eq!(right, 0);
}

#[test]
fn hints_outlive_the_node_that_keeps_them() {
    for seed in 0..20 {
        let mut world = nodes(3, Redundancy::Quorum(handing_over()), seed);
        let mut clients = Clients::default();
        world.kill(2);
        world.run_for(milliseconds(400));
        let values = write_all(&mut world, &mut clients);
        world.run_for(milliseconds(400));
        world.crash(0);
        world.start(0);
        world.start(2);
        world.run_for(Duration::from_secs(1));
        assert_eq!(
            alone_with(&mut world, 2, &values),
            KEYS as usize,
            "seed {seed}"
        );
    }
}

#[test]
fn a_repair_that_is_cut_short_by_death_is_done_again() {
    for seed in 0..40 {
        let mut random = Random::keyed(seed, "death", "");
        let quorum = if seed % 2 == 0 {
            comparing()
        } else {
            handing_over()
        };
        let mut world = nodes(3, Redundancy::Quorum(quorum), seed);
        let mut clients = Clients::default();
        world.kill(2);
        world.run_for(milliseconds(400));
        let values = write_all(&mut world, &mut clients);
        world.run_for(milliseconds(400));
        for _ in 0..5 {
            world.start(2);
            let life = random.duration_up_to(milliseconds(150));
            world.run_for(life);
            world.crash(2);
        }
        world.start(2);
        world.run_for(Duration::from_secs(1));
        assert_eq!(
            alone_with(&mut world, 2, &values),
            KEYS as usize,
            "seed {seed}"
        );
    }
}

/// Node 2's disk changes one byte of every value while it is down; how many it has afterwards.
fn after_damage(seed: u64, flaw: Option<Flaw>) -> (usize, World) {
    let mut strategy: Strategy = strategy(Redundancy::Quorum(one_answer()));
    let RecoveryLog::Redo(options) = &mut strategy.recovery_log else {
        panic!("the group has a log");
    };
    // With a checksum over each record the log itself refuses what was changed in its middle.
    options.checksum = Checksum::None;
    let mut world = World::flawed(3, strategy, seed, flaw);
    world.run_for(milliseconds(300));
    let values = write_all(&mut world, &mut Clients::default());
    world.kill(2);
    let log = &mut world.machines[2].disk.log;
    let mut changed = 0;
    for index in 0..log.len() - 5 {
        // `"bytes":[0,0,…` of each share: its second byte.
        if log[index..].starts_with(b"[0,0,") {
            log[index + 3] = b'7';
            changed += 1;
        }
    }
    assert!(changed >= KEYS, "{changed} of {KEYS} values were changed");
    world.start(2);
    world.run_for(Duration::from_secs(1));
    let right = alone_with(&mut world, 2, &values);
    (right, world)
}

#[test]
fn a_copy_that_changed_on_the_disk_is_noticed_and_given_back_by_others() {
    for seed in 0..10 {
        let (right, world) = after_damage(seed, None);
        assert_eq!(right, KEYS as usize, "seed {seed}");
        assert_eq!(notes(&world, "copy.damaged"), KEYS as usize);
        assert_eq!(notes(&world, "copy.repaired"), KEYS as usize);
    }
    let (right, _) = after_damage(1, Some(Flaw::DamageBelieved));
    assert_eq!(
        right, 0,
        "whoever looks at no checksum answers what nobody wrote"
    );
}

#[test]
fn giving_back_a_shard_reads_k_shards() {
    for (k, m) in [(4, 2), (2, 1), (3, 3)] {
        let mut options = erasure(k, m);
        options.hinted_handoff = false;
        let mut world = nodes(k + m, Redundancy::Erasure(options), 5);
        let mut clients = Clients::default();
        world.kill(1);
        world.run_for(milliseconds(500));
        clients.put(&mut world, 0, "k");
        world.run_for(milliseconds(600));
        assert_eq!(clients.successes(&world), 1, "{k}+{m}");
        world.start(1);
        world.traced = true;
        world.run_for(Duration::from_secs(2));
        let shards = world.trace.iter().filter(|line| {
            line.contains("to: Peer(1)") && line.contains("Held") && !line.contains("operation: 0,")
        });
        assert_eq!(shards.count(), k as usize, "{k}+{m}");
        let status = world.machines[1].node.as_ref().map(|node| node.status());
        assert_eq!(status.map(|status| status.position), Some(1));
    }
}

#[test]
fn nodes_that_agree_exchange_one_digest_a_comparison() {
    let mut world = nodes(3, Redundancy::Quorum(comparing()), 3);
    write_all(&mut world, &mut Clients::default());
    world.run_for(milliseconds(500));
    world.traced = true;
    world.run_for(Duration::from_secs(1));
    let compares = world
        .trace
        .iter()
        .filter(|line| line.contains("Compare {"))
        .count();
    // Three nodes, one comparison each 100 ms, each of one message.
    assert!((27..=33).contains(&compares), "{compares} messages");
    assert!(!world.trace.iter().any(|line| line.contains("Leaves {")));
}
