//! Whatever happens, a transfer is done whole or not at all, is seen so, and what was acknowledged is
//! there; and the same seeds notice planted mistakes.

use std::collections::BTreeSet;

use shakedown_contracts::strategy::{Concurrency, TransactionKind, Transactions};
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Flaw;

use super::{Bank, keys, options, strategy, unresolved};
use crate::world::World;

/// What may happen to nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    /// Hosts die and come back.
    Crashes,
    /// Also: processes die, nodes are paused or cut off, messages and disks are slow.
    All,
}

const ATOMIC: [TransactionKind; 2] = [
    TransactionKind::TwoPhaseCommit,
    TransactionKind::PaxosCommit,
];
const CONCURRENCIES: [Concurrency; 2] = [Concurrency::TwoPhaseLocking, Concurrency::Snapshot];

/// Options that a seed draws: every switch and a decision that is held back now and then.
fn drawn(kind: TransactionKind, seed: u64) -> Transactions {
    let concurrency = CONCURRENCIES[(seed % 2) as usize];
    let mut options = options(kind, concurrency);
    if seed % 4 >= 2 {
        options.hold_before_decision = Some(Duration::from_millis(15));
    }
    if options.cooperative_termination.is_some() {
        options.cooperative_termination = Some(seed % 8 >= 4);
    }
    options
}

fn strike(world: &mut World, faults: Faults, down: &mut BTreeSet<u32>) {
    let size = world.machines.len() as u32;
    let node = world.draw(u64::from(size)) as u32;
    let kinds = if faults == Faults::All { 11 } else { 3 };
    match world.draw(kinds) {
        0 | 1 if !down.contains(&node) && down.len() + 1 < size as usize => {
            world.crash(node);
            down.insert(node);
        }
        2 => {
            for node in std::mem::take(down) {
                world.start(node);
            }
            (0..size).for_each(|node| world.resume(node));
        }
        3 if !down.contains(&node) => {
            world.kill(node);
            world.start(node);
        }
        4 if !down.contains(&node) => {
            world.crash(node);
            world.start(node);
        }
        5 => world.isolate(node),
        6 => world.cut_between(node, (node + 1) % size),
        7 if !down.contains(&node) => world.pause(node),
        8 => world.delay.1 = Duration::from_millis([1, 10, 40][world.draw(3) as usize]),
        9 => world.sync = Duration::from_millis([2, 15][world.draw(2) as usize]),
        _ => world.heal(),
    }
}

/// A bank under faults drawn from the seed for one and a half seconds, then in peace.
fn chaos(options: Transactions, seed: u64, faults: Faults, flaw: Option<Flaw>) -> (World, Bank) {
    let size = if seed.is_multiple_of(3) { 5 } else { 3 };
    let mut world = World::flawed(size, strategy(options), seed, flaw);
    world.run_for(Duration::from_millis(100));
    let mut bank = Bank::open(&mut world, keys(14));
    let mut down = BTreeSet::new();
    for turn in 0..150 {
        if turn % 6 == 5 {
            strike(&mut world, faults, &mut down);
        }
        for _ in 0..2 {
            let node = world.draw(u64::from(size)) as u32;
            bank.transfer_any(&mut world, node);
        }
        if turn % 3 == 0 {
            let node = world.draw(u64::from(size)) as u32;
            bank.read(&mut world, node);
        }
        world.run_for(Duration::from_millis(10));
    }
    world.heal();
    world.delay.1 = Duration::from_millis(1);
    (0..size).for_each(|node| world.resume(node));
    down.into_iter().for_each(|node| world.start(node));
    world.run_for(Duration::from_millis(1_500));
    (world, bank)
}

fn violations(options: Transactions, seed: u64, faults: Faults, flaw: Option<Flaw>) -> Vec<String> {
    let (mut world, mut bank) = chaos(options, seed, faults, flaw);
    let mut wrong = bank.violations(&mut world);
    if unresolved(&world) > 0 {
        wrong.push(format!("{} are still in doubt", unresolved(&world)));
    }
    wrong
}

#[test]
fn two_phase_and_paxos_commit_tear_and_lose_nothing_under_any_faults() {
    for seed in 0..40 {
        for kind in ATOMIC {
            let options = drawn(kind, seed);
            let wrong = violations(options, seed, Faults::All, None);
            assert!(wrong.is_empty(), "seed {seed}, {kind:?}: {wrong:#?}");
        }
    }
}

#[test]
fn three_phase_commit_tears_nothing_while_nodes_only_crash() {
    for seed in 0..40 {
        let options = drawn(TransactionKind::ThreePhaseCommit, seed);
        let wrong = violations(options, seed, Faults::Crashes, None);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}

#[test]
fn the_bank_is_busy_enough_for_that_to_mean_something() {
    let (mut done, mut shown) = (0, 0);
    for seed in [1, 2, 3, 4] {
        for kind in ATOMIC {
            let (world, bank) = chaos(drawn(kind, seed), seed, Faults::All, None);
            done += bank.acknowledged(&world);
            shown += bank.shown(&world);
        }
    }
    assert!(
        done >= 150 && shown >= 10,
        "{done} transfers, {shown} reads"
    );
}

fn caught(kind: TransactionKind, flaw: Flaw) -> bool {
    let mut seeds = 0..40;
    seeds.any(|seed| {
        let options = drawn(kind, seed);
        !violations(options, seed, Faults::All, Some(flaw)).is_empty()
    })
}

#[test]
fn mistakes_of_two_phase_commit_are_noticed() {
    for flaw in [
        Flaw::VotesBeforeSync,
        Flaw::DecisionNotWritten,
        Flaw::DecidesOnFirstVote,
        Flaw::PresumesCommit,
        Flaw::ForgetsLocks,
        Flaw::ReadsWithoutLocks,
    ] {
        assert!(caught(TransactionKind::TwoPhaseCommit, flaw), "{flaw:?}");
    }
}

#[test]
fn mistakes_of_paxos_commit_are_noticed() {
    for flaw in [Flaw::TakeoverForgetsVotes, Flaw::DecidesOnFirstVote] {
        assert!(caught(TransactionKind::PaxosCommit, flaw), "{flaw:?}");
    }
}

#[test]
fn sagas_are_whole_at_rest_and_without_a_protocol_nothing_is() {
    let at_rest = |kind, seed, flaw| {
        let options = options(kind, Concurrency::default());
        let (mut world, mut bank) = chaos(options, seed, Faults::All, flaw);
        let accounts = bank.read_at_rest(&mut world);
        bank.judge_snapshot("at rest", &accounts)
    };
    for seed in 0..40 {
        let wrong = at_rest(TransactionKind::Saga, seed, None);
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
    let broken = |kind, flaw| (0..40).any(|seed| !at_rest(kind, seed, flaw).is_empty());
    assert!(broken(TransactionKind::Saga, Some(Flaw::SagasForgotten)));
    assert!(broken(TransactionKind::None, None));
}
