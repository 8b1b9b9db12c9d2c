//! What a transfer costs, counted.

use shakedown_contracts::strategy::{Concurrency, TransactionKind};
use shakedown_contracts::units::Duration;

use super::{Bank, held_by, options, strategy};
use crate::world::World;

/// Messages between nodes, and syncs, of one transfer from an account of the second node to one of
/// the third, coordinated by this node.
fn cost(kind: TransactionKind, coordinator: u32) -> usize {
    let mut world = World::new(3, strategy(options(kind, Concurrency::Snapshot)), 1);
    world.run_for(Duration::from_millis(50));
    let (from, to) = (held_by(1, 3), held_by(2, 3));
    let mut bank = Bank::open(&mut world, vec![from.clone(), to.clone()]);
    world.traced = true;
    let id = bank.transfer(&mut world, coordinator, &from, &to);
    // Longer than any pause after which something would be said again.
    world.run_for(Duration::from_millis(400));
    assert_eq!(Bank::told(&world, id), Some(true));
    let sent = world.trace.iter();
    sent.filter(|line| line.contains("Send {") && line.contains("Transactions("))
        .count()
}

#[test]
fn two_phase_commit_costs_what_gray_and_lamport_count() {
    // N = 2 participants. With the coordinator at one of them 3N - 3: a question, a vote, a decision.
    assert_eq!(cost(TransactionKind::TwoPhaseCommit, 1), 3 * 2 - 3);
    assert_eq!(cost(TransactionKind::TwoPhaseCommit, 2), 3 * 2 - 3);
    // Apart from them, 3N - 1 and the question to the participant that, in the paper, begins the
    // commit by itself and is not asked.
    assert_eq!(cost(TransactionKind::TwoPhaseCommit, 0), 3 * 2 - 1 + 1);
}

#[test]
fn three_phase_commit_costs_a_round_more() {
    assert_eq!(cost(TransactionKind::ThreePhaseCommit, 1), 5);
    assert_eq!(cost(TransactionKind::ThreePhaseCommit, 0), 5 * 2);
}

#[test]
fn paxos_commit_costs_a_message_to_and_from_every_acceptor_for_each_vote() {
    // A question and a decision; each of 2 votes goes to 2 other acceptors, and from 2 acceptors to
    // the coordinator.
    assert_eq!(cost(TransactionKind::PaxosCommit, 1), 2 + 2 * 2 + 2 * 2);
}

#[test]
fn without_a_protocol_each_side_costs_a_change_and_an_answer() {
    assert_eq!(cost(TransactionKind::None, 1), 2);
    assert_eq!(cost(TransactionKind::Saga, 1), 2);
}
