//! Faults drawn from a seed while nodes are started, lost and replaced.

use std::collections::BTreeSet;

use shakedown_core::flaw::Flaw;

use super::{bring_back, lose, millis, replaced, steps, world};
use crate::group::{Client, lost, shared_epochs};
use crate::world::World;

const NODES: u32 = 5;
const SUPERVISOR: u32 = 5;

fn disturb(world: &mut World, gone: &mut BTreeSet<u32>) {
    let node = world.draw(u64::from(NODES)) as u32;
    match world.draw(9) {
        0 | 1 if gone.len() < 2 && !gone.contains(&node) => {
            lose(world, node);
            gone.insert(node);
        }
        2 | 3 if !gone.contains(&node) => world.kill(node),
        4 => world.isolate(node),
        5 if !gone.contains(&node) => world.pause(node),
        6 => world.heal(),
        7 => {
            // The supervisor dies, or comes back.
            match world.machines[SUPERVISOR as usize].node {
                Some(_) => world.kill(SUPERVISOR),
                None => world.start(SUPERVISOR),
            }
        }
        _ => {
            (0..NODES).for_each(|node| world.resume(node));
            for node in std::mem::take(gone) {
                bring_back(world, node);
            }
        }
    }
}

/// Three voters and two spares under faults for five seconds, then healed.
fn chaos(seed: u64, flaw: Option<Flaw>) -> (World, Client) {
    let mut world = world(2, seed, flaw);
    world.loss = 0.01;
    let mut client = Client::default();
    let mut gone = BTreeSet::new();
    for turn in 0..500 {
        if turn % 25 == 0 {
            disturb(&mut world, &mut gone);
        }
        let any = world.draw(u64::from(NODES)) as u32;
        let asked = world.primary().filter(|_| turn % 4 != 0);
        client.turn(&mut world, asked.unwrap_or(any));
        world.run_for(millis(10));
    }
    world.heal();
    (0..NODES).for_each(|node| world.resume(node));
    for index in 0..=SUPERVISOR {
        bring_back(&mut world, index);
    }
    world.run_for(millis(4_000));
    (world, client)
}

#[test]
fn nothing_acknowledged_is_lost_whoever_is_replaced_when() {
    let (mut acknowledged, mut swaps) = (0, 0);
    for seed in 0..60 {
        let (mut world, client) = chaos(seed, None);
        assert_eq!(world.primaries().len(), 1, "seed {seed}: one primary");
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}: lost writes");
        assert_eq!(client.stale_reads(&world), 0, "seed {seed}: stale reads");
        assert_eq!(shared_epochs(&world), [0_u64; 0], "seed {seed}: epochs");
        for (before, after) in steps(&world) {
            let moved = before.symmetric_difference(&after).count();
            assert_eq!(moved, 1, "seed {seed}: {before:?} to {after:?}");
        }
        acknowledged += client.acknowledged(&world).count();
        swaps += replaced(&world).len();
    }
    // Little would be proved if little was acknowledged or hardly anybody was replaced.
    assert!(acknowledged > 15_000, "{acknowledged} acknowledged writes");
    assert!(swaps > 30, "{swaps} swaps");
}

#[test]
fn a_swap_in_one_step_is_noticed() {
    let wrong = (0..10).any(|seed| {
        let (world, _) = chaos(seed, Some(Flaw::SwapsInOneStep));
        let mut steps = steps(&world).into_iter();
        steps.any(|(before, after)| before.symmetric_difference(&after).count() != 1)
    });
    assert!(wrong, "the check above can fail");
}
