//! What clients see: where to go, reads that are not stale, and a log that a node far behind gets.

use shakedown_contracts::node::ApiErrorKind;
use shakedown_contracts::strategy::{Checkpoint, Fsync, LogOptions, Raft, Reads, RecoveryLog};
use shakedown_contracts::units::{Bytes, Duration};
use shakedown_core::interface::{ClientReply, ClientRequest};

use super::{done, group, put, strategy, violations};
use crate::world::World;

fn get(world: &mut World, node: u32, key: &str) -> Option<ClientReply> {
    let key = key.to_owned();
    let id = world.request(node, ClientRequest::Get { key });
    world.run_for(Duration::from_millis(100));
    world.replies.get(&id).map(|(_, _, reply)| reply.clone())
}

fn value(reply: Option<ClientReply>) -> Option<u64> {
    match reply {
        Some(ClientReply::Value(answer)) => answer.value,
        other => panic!("expected a value, not {other:?}"),
    }
}

#[test]
fn a_follower_names_the_leader() {
    let (mut world, leader) = group(3, Raft::default(), 1);
    for node in (0..3).filter(|node| *node != leader) {
        let Some(ClientReply::Error(error)) = get(&mut world, node, "k") else {
            panic!("a follower answers no read");
        };
        assert_eq!(error.error, ApiErrorKind::NotPrimary);
        assert_eq!(error.primary, Some(format!("n{}", leader + 1)));
    }
}

/// What a leader that was deposed without noticing answers to a read.
fn deposed(reads: Reads) -> Option<ClientReply> {
    let raft = Raft {
        reads,
        check_quorum: false,
        ..Raft::default()
    };
    let (mut world, old) = group(3, raft, 5);
    let first = put(&mut world, old, "k", 1);
    world.run_for(Duration::from_millis(100));
    assert!(done(&world, first));
    world.isolate(old);
    world.run_for(Duration::from_secs(1));
    let new = world.primary().expect("the others are a majority");
    assert_ne!(new, old);
    let second = put(&mut world, new, "k", 2);
    world.run_for(Duration::from_millis(100));
    assert!(done(&world, second));
    assert_eq!(value(get(&mut world, new, "k")), Some(2));
    get(&mut world, old, "k")
}

#[test]
fn a_deposed_leader_answers_local_reads_with_the_past_and_read_index_reads_not_at_all() {
    assert_eq!(value(deposed(Reads::Local)), Some(1));
    assert_eq!(deposed(Reads::ReadIndex), None);
}

#[test]
fn a_follower_far_behind_gets_the_whole_state_and_can_then_lead() {
    let (mut world, leader) = group(3, Raft::default(), 9);
    let (behind, other) = ((leader + 1) % 3, (leader + 2) % 3);
    world.crash(behind);
    for number in 0..10_000 {
        put(&mut world, leader, &format!("k{}", number % 50), number);
        if number % 100 == 0 {
            world.run_for(Duration::from_millis(10));
        }
    }
    world.run_for(Duration::from_millis(500));
    world.traced = true;
    world.start(behind);
    world.run_for(Duration::from_millis(500));
    let sent = world.trace.iter().filter(|line| line.contains("Snapshot"));
    assert_eq!(sent.count(), 1);
    world.crash(other);
    let last = put(&mut world, leader, "last", 1);
    world.run_for(Duration::from_millis(100));
    assert!(done(&world, last));
    world.start(other);
    world.crash(leader);
    world.run_for(Duration::from_millis(1_500));
    let new = world.primary().expect("a majority lives");
    assert_eq!(value(get(&mut world, new, "last")), Some(1));
    assert_eq!(value(get(&mut world, new, "k49")), Some(9_999));
    assert_eq!(violations(&world), [""; 0]);
}

#[test]
fn a_group_whose_every_host_dies_has_what_it_acknowledged_from_logs_and_checkpoints() {
    for checkpoint in [Checkpoint::None, Checkpoint::Bytes(Bytes(2048))] {
        let mut strategy = strategy(Raft::default());
        strategy.recovery_log = RecoveryLog::Redo(LogOptions {
            fsync: Fsync::Group,
            checkpoint,
            ..LogOptions::default()
        });
        let mut world = World::new(3, strategy, 3);
        world.run_for(Duration::from_secs(1));
        let leader = world.primary().expect("a healthy group elects a leader");
        for number in 0..100 {
            put(&mut world, leader, "k", number);
            world.run_for(Duration::from_millis(5));
        }
        let last = put(&mut world, leader, "k", 100);
        world.run_for(Duration::from_millis(20));
        assert!(done(&world, last));
        (0..3).for_each(|node| world.crash(node));
        let written = world.machines.iter().map(|m| m.disk.checkpoints.len());
        assert_eq!(written.sum::<usize>() > 0, checkpoint != Checkpoint::None);
        (0..3).for_each(|node| world.start(node));
        world.run_for(Duration::from_secs(1));
        let leader = world.primary().expect("all are back");
        assert_eq!(value(get(&mut world, leader, "k")), Some(100));
    }
}

#[test]
fn a_group_of_one_leads_at_once_and_remembers() {
    let (mut world, leader) = group(1, Raft::default(), 2);
    let write = put(&mut world, leader, "k", 7);
    world.run_for(Duration::from_millis(20));
    assert!(done(&world, write));
    world.crash(0);
    world.start(0);
    world.run_for(Duration::from_millis(20));
    assert_eq!(value(get(&mut world, 0, "k")), Some(7));
}
