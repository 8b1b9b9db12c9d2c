//! What the supervisor does about dead nodes, and about those that only seem dead.

use shakedown_contracts::event::Event;

use super::{bring_back, lose, millis, noted, replaced, world};
use crate::world::World;

const SUPERVISOR: u32 = 3;

fn attempts(world: &World) -> Vec<(u64, u32)> {
    let notes = world.notes.iter();
    let attempts = notes.filter_map(|(at, _, event)| match event {
        Event::SupervisorRestart { attempt, .. } => Some((at.0 / 1_000_000, *attempt)),
        _ => None,
    });
    attempts.collect()
}

#[test]
fn a_killed_node_is_started_again_and_all_copies_are_back() {
    let mut world = world(0, 1, None);
    let restored = noted(&world, "redundancy.restored");
    world.kill(2);
    world.run_for(millis(600));
    assert_eq!(world.started.get(&2), Some(&1));
    assert!(noted(&world, "redundancy.degraded") >= 1);
    assert_eq!(noted(&world, "redundancy.restored"), restored + 1);
}

#[test]
fn a_killed_primary_is_started_again_too() {
    let mut world = world(0, 2, None);
    world.kill(0);
    world.run_for(millis(1_500));
    assert_eq!(world.started.get(&0), Some(&1));
    assert_eq!(world.primaries().len(), 1);
}

#[test]
fn a_node_that_dies_at_every_start_is_started_ever_later_and_at_last_no_more() {
    let mut world = world(1, 3, None);
    world.kill(2);
    // Long enough for many more attempts than the limit of four.
    for _ in 0..1_000 {
        world.run_for(millis(10));
        world.kill(2);
    }
    let attempts = attempts(&world);
    let numbers: Vec<u32> = attempts.iter().map(|(_, attempt)| *attempt).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let waits: Vec<u64> = attempts.windows(2).map(|two| two[1].0 - two[0].0).collect();
    assert!(waits.is_sorted() && waits[2] >= 3 * waits[0], "{waits:?}");
    assert_eq!(noted(&world, "supervisor.gave_up"), 1);
    assert_eq!(replaced(&world), [("n3".to_owned(), "n4".to_owned())]);
}

#[test]
fn a_node_that_only_seems_dead_is_not_started_a_second_time() {
    let mut world = world(0, 4, None);
    for _ in 0..3 {
        world.pause(1);
        world.run_for(millis(700));
        world.resume(1);
        world.run_for(millis(1_500));
    }
    assert!(attempts(&world).len() >= 3, "it was held for dead");
    assert_eq!(world.started.len(), 0, "and it lives");
    assert_eq!(world.primaries().len(), 1);
}

#[test]
fn a_supervisor_that_dies_and_comes_back_picks_up_what_is_wrong() {
    let mut world = world(0, 5, None);
    world.kill(SUPERVISOR);
    world.kill(2);
    world.run_for(millis(1_000));
    assert_eq!(world.started.len(), 0, "nobody looks");
    world.start(SUPERVISOR);
    // A peer that was never heard is dead only after ten timeouts.
    world.run_for(millis(3_000));
    assert_eq!(world.started.get(&2), Some(&1));
}

#[test]
fn the_nodes_do_not_miss_a_supervisor() {
    let mut world = world(0, 6, None);
    let quiet = noted(&world, "suspicion");
    lose(&mut world, SUPERVISOR);
    world.run_for(millis(3_000));
    assert_eq!(noted(&world, "suspicion"), quiet);
    bring_back(&mut world, SUPERVISOR);
    world.run_for(millis(3_000));
    assert_eq!(attempts(&world), []);
}
