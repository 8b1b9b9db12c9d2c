//! What each kind is chosen for, or warned of: one fault in the one window that matters.

use shakedown_contracts::event::Event;
use shakedown_contracts::strategy::{Concurrency, InDoubt, TransactionKind, Transactions};
use shakedown_contracts::units::Duration;

use super::{Bank, held_by, options, strategy, unresolved};
use crate::world::World;

/// A decision is held back for 40 ms, and a fault comes into that window.
fn held(kind: TransactionKind) -> Transactions {
    Transactions {
        hold_before_decision: Some(Duration::from_millis(40)),
        ..options(kind, Concurrency::TwoPhaseLocking)
    }
}

/// One transfer from an account of node 0 to one of node 1, coordinated by node 0, up to where all
/// have promised.
fn promised(options: Transactions) -> (World, Bank) {
    let mut world = World::new(3, strategy(options), 7);
    world.run_for(Duration::from_millis(100));
    let (from, to) = (held_by(0, 3), held_by(1, 3));
    let mut bank = Bank::open(&mut world, vec![from.clone(), to.clone()]);
    bank.transfer(&mut world, 0, &from, &to);
    world.run_for(Duration::from_millis(20));
    let prepared = world.notes.iter();
    let prepared = prepared.filter(|note| matches!(note.2, Event::TransactionPrepared { .. }));
    assert_eq!(prepared.count(), 2);
    (world, bank)
}

/// How long the doubt of node 1 lasted after its coordinator died for half a second.
fn doubt_of_the_other(options: Transactions) -> (bool, Vec<String>) {
    let (mut world, mut bank) = promised(options);
    world.crash(0);
    world.run_for(Duration::from_millis(500));
    let blocked = unresolved(&world) > 0;
    world.start(0);
    world.run_for(Duration::from_millis(300));
    assert_eq!(unresolved(&world), 0, "everybody knows it in the end");
    (blocked, bank.violations(&mut world))
}

#[test]
fn two_phase_commit_blocks_while_its_coordinator_is_gone_and_others_do_not() {
    for (kind, blocks) in [
        (TransactionKind::TwoPhaseCommit, true),
        (TransactionKind::ThreePhaseCommit, false),
        (TransactionKind::PaxosCommit, false),
    ] {
        let (blocked, wrong) = doubt_of_the_other(held(kind));
        assert_eq!((blocked, wrong), (blocks, Vec::new()), "{kind:?}");
    }
}

/// What is wrong after the coordinator was cut off in the window.
fn cut_off(options: Transactions) -> Vec<String> {
    let (mut world, mut bank) = promised(options);
    world.isolate(0);
    world.run_for(Duration::from_millis(800));
    world.heal();
    world.run_for(Duration::from_millis(500));
    bank.violations(&mut world)
}

#[test]
fn a_partition_splits_three_phase_commit_and_impatient_participants_alone() {
    let impatient = Transactions {
        in_doubt: Some(InDoubt::HeuristicAbort),
        ..held(TransactionKind::TwoPhaseCommit)
    };
    assert!(!cut_off(held(TransactionKind::ThreePhaseCommit)).is_empty());
    assert!(!cut_off(impatient).is_empty());
    for kind in [
        TransactionKind::TwoPhaseCommit,
        TransactionKind::PaxosCommit,
    ] {
        assert_eq!(cut_off(held(kind)), Vec::<String>::new(), "{kind:?}");
    }
}

#[test]
fn a_participant_that_dies_after_its_promise_commits_when_it_is_back() {
    for kind in [
        TransactionKind::TwoPhaseCommit,
        TransactionKind::ThreePhaseCommit,
        TransactionKind::PaxosCommit,
    ] {
        let (mut world, mut bank) = promised(held(kind));
        world.crash(1);
        world.run_for(Duration::from_millis(300));
        assert_eq!(bank.acknowledged(&world), 1, "{kind:?}: all have promised");
        world.start(1);
        world.run_for(Duration::from_millis(300));
        assert_eq!(
            bank.violations(&mut world),
            Vec::<String>::new(),
            "{kind:?}"
        );
    }
}

#[test]
fn cooperative_participants_learn_the_decision_from_each_other() {
    for (cooperative, blocks) in [(false, true), (true, false)] {
        let mut options = held(TransactionKind::TwoPhaseCommit);
        options.cooperative_termination = Some(cooperative);
        let mut world = World::new(3, strategy(options), 3);
        world.run_for(Duration::from_millis(100));
        let (from, to) = (held_by(0, 3), held_by(1, 3));
        let mut bank = Bank::open(&mut world, vec![from.clone(), to.clone()]);
        bank.transfer(&mut world, 2, &from, &to);
        world.run_for(Duration::from_millis(20));
        // Node 0 is told, node 1 is not, and then the coordinator is gone.
        world.cut_between(1, 2);
        world.run_for(Duration::from_millis(40));
        world.crash(2);
        world.run_for(Duration::from_millis(500));
        assert_eq!(unresolved(&world) > 0, blocks, "cooperative: {cooperative}");
    }
}

#[test]
fn a_transfer_that_is_asked_for_again_is_answered_and_not_done_again() {
    let mut world = World::new(
        3,
        strategy(options(TransactionKind::PaxosCommit, Concurrency::Snapshot)),
        5,
    );
    world.run_for(Duration::from_millis(100));
    let (from, to) = (held_by(0, 3), held_by(1, 3));
    let mut bank = Bank::open(&mut world, vec![from.clone(), to.clone()]);
    let first = bank.transfer(&mut world, 0, &from, &to);
    world.run_for(Duration::from_millis(50));
    let again = bank.transfers[&1].1.clone();
    let again = world.request(2, shakedown_core::interface::ClientRequest::Transfer(again));
    world.run_for(Duration::from_millis(50));
    assert_eq!(
        [first, again].map(|id| Bank::told(&world, id)),
        [Some(true); 2]
    );
    assert_eq!(bank.violations(&mut world), Vec::<String>::new());
}

/// What is wrong after a node died so long into a transfer, and came back a quarter of a second later.
fn died_at(kind: TransactionKind, victim: u32, step: u64) -> Vec<String> {
    let mut options = options(kind, Concurrency::TwoPhaseLocking);
    if kind.is_atomic() {
        options.hold_before_decision = Some(Duration::from_millis(4));
    }
    let mut world = World::new(3, strategy(options), step);
    world.run_for(Duration::from_millis(100));
    let (from, to) = (held_by(0, 3), held_by(1, 3));
    let mut bank = Bank::open(&mut world, vec![from.clone(), to.clone()]);
    // The coordinator is one of the participants, or neither.
    let coordinator = if step.is_multiple_of(2) { 0 } else { 2 };
    bank.transfer(&mut world, coordinator, &from, &to);
    world.run_for(Duration::from_micros(500 * step));
    world.crash(victim);
    world.run_for(Duration::from_millis(250));
    world.start(victim);
    world.run_for(Duration::from_millis(400));
    let mut wrong = bank.violations(&mut world);
    if unresolved(&world) > 0 {
        wrong.push("somebody is in doubt".to_owned());
    }
    wrong
}

#[test]
fn whoever_dies_at_whatever_step_a_transfer_is_whole_in_the_end() {
    for kind in [
        TransactionKind::TwoPhaseCommit,
        TransactionKind::ThreePhaseCommit,
        TransactionKind::PaxosCommit,
        TransactionKind::Saga,
    ] {
        for victim in 0..3 {
            // Each protocol is done within 15 ms.
            for step in 0..30 {
                let wrong = died_at(kind, victim, step);
                assert!(
                    wrong.is_empty(),
                    "{kind:?}, n{victim} at {step}: {wrong:#?}"
                );
            }
        }
    }
}
