//! How long elections take, and what PreVote and CheckQuorum buy.

use shakedown_contracts::event::Role;
use shakedown_contracts::range::DurationRange;
use shakedown_contracts::strategy::Raft;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::ClientReply;

use super::{basic, done, elections, group, put, violations};
use crate::world::World;

fn between(low: u64, high: u64) -> DurationRange {
    DurationRange::between(Duration::from_millis(low), Duration::from_millis(high))
}

fn epoch(world: &World, node: u32) -> u64 {
    let node = world.machines[node as usize].node.as_ref();
    node.map_or(0, |node| node.status().epoch)
}

fn role(world: &World, node: u32) -> Option<Role> {
    let node = world.machines[node as usize].node.as_ref();
    node.map(|node| node.status().role)
}

/// Time from the leader's death, at a random moment between two heartbeats, to the next leader.
fn time_to_elect(raft: Raft, size: u32, seed: u64, patience: Duration) -> Option<f64> {
    let (mut world, _) = group(size, raft, seed);
    let phase = world.draw(50_000);
    world.run_for(Duration::from_micros(phase));
    let leader = world.primary().expect("nothing has happened to the leader");
    let death = world.now;
    world.crash(leader);
    world.run_for(patience);
    assert_eq!(violations(&world), [""; 0], "seed {seed}");
    let elected = elections(&world).into_iter().find(|at| *at > death)?;
    Some(elected.since(death).as_millis_f64())
}

#[test]
fn after_a_leaders_death_another_is_elected_within_bounds() {
    let mut times: Vec<f64> = (0..100)
        .map(|seed| {
            let patience = Duration::from_millis(2_000);
            time_to_elect(Raft::default(), 3, seed, patience).expect("a majority lives")
        })
        .collect();
    times.sort_by(f64::total_cmp);
    // The last heartbeat left at most 50 ms before the death: nobody stands before 100 ms.
    assert!(times[0] >= 100.0, "{} ms", times[0]);
    // One of two timeouts is over after 300 ms for certain; asking, writing and voting takes 3
    // messages of 1 ms there and back and 2 syncs of 2 ms. A split vote costs one more timeout, and
    // two in a row are rare.
    assert!(times[90] <= 310.0, "{} ms at the 9th decile", times[90]);
    assert!(times[99] <= 910.0, "{} ms", times[99]);
}

/// A group of five with broadcasts of about 15 ms, as in figure 16 of the paper.
fn time_to_elect_far_apart(election_timeout: DurationRange, pre_vote: bool, seed: u64) -> f64 {
    let raft = Raft {
        election_timeout,
        pre_vote,
        ..basic()
    };
    let (mut world, leader) = far_apart(raft, seed);
    let death = world.now;
    world.crash(leader);
    world.run_for(Duration::from_secs(12));
    let elected = elections(&world).into_iter().find(|at| *at > death);
    elected.map_or(f64::INFINITY, |at| at.since(death).as_millis_f64())
}

/// Elected while messages are quick, so that there is a leader whatever the timeouts; then they
/// are slow for a second.
fn far_apart(raft: Raft, seed: u64) -> (World, u32) {
    let (mut world, _) = group(5, raft, seed);
    world.delay = (Duration::from_micros(7_000), Duration::from_micros(1_000));
    world.run_for(Duration::from_secs(1));
    let phase = world.draw(50_000);
    world.run_for(Duration::from_micros(phase));
    let leader = world.primary().expect("nothing has happened to the leader");
    (world, leader)
}

#[test]
fn without_randomness_votes_stay_split_and_with_it_they_do_not() {
    for pre_vote in [false, true] {
        let longest = |range| {
            let times = (0..8).map(|seed| time_to_elect_far_apart(range, pre_vote, seed));
            times.fold(0.0, f64::max)
        };
        // All four stand within the millisecond by which heartbeats differ, and a vote needs seven.
        let never = longest(between(150, 150));
        assert!(never > 10_000.0, "{never} ms, pre_vote {pre_vote}");
        let soon = longest(between(150, 300));
        assert!(soon < 2_000.0, "{soon} ms, pre_vote {pre_vote}");
    }
}

/// A follower is cut off and comes back: by how much the term has grown, and whether the leader is
/// the same.
fn rejoin(raft: Raft, seed: u64) -> (u64, bool) {
    let (mut world, leader) = group(3, raft, seed);
    let before = epoch(&world, leader);
    world.isolate((leader + 1) % 3);
    world.run_for(Duration::from_secs(2));
    world.heal();
    world.run_for(Duration::from_secs(1));
    assert_eq!(violations(&world), [""; 0], "seed {seed}");
    let after = world.primary().expect("a healed group has a leader");
    let stayed = after == leader && epoch(&world, after) == before;
    (epoch(&world, after) - before, stayed)
}

#[test]
fn a_node_that_comes_back_deposes_the_leader_only_without_pre_vote() {
    for seed in 0..20 {
        assert_eq!(rejoin(Raft::default(), seed), (0, true), "seed {seed}");
        for check_quorum in [false, true] {
            let raft = Raft {
                check_quorum,
                ..basic()
            };
            let (terms, stayed) = rejoin(raft, seed);
            // Two seconds are at least six election timeouts.
            assert!(terms >= 6 && !stayed, "seed {seed}: {terms} terms");
        }
    }
}

#[test]
fn a_leader_without_a_majority_steps_down_only_with_check_quorum() {
    for check_quorum in [false, true] {
        let raft = Raft {
            check_quorum,
            ..Raft::default()
        };
        let (mut world, leader) = group(3, raft, 4);
        world.isolate(leader);
        let write = put(&mut world, leader, "k", 1);
        // The longest election timeout, a heartbeat to notice it by, and one that was under way.
        world.run_for(Duration::from_millis(300 + 50 + 5));
        let expected = if check_quorum {
            Role::Backup
        } else {
            Role::Primary
        };
        assert_eq!(role(&world, leader), Some(expected));
        // Its client is told that the write may have been done, or nothing at all.
        let reply = world.replies.get(&write).map(|(_, _, reply)| reply);
        assert_eq!(
            matches!(reply, Some(ClientReply::Error(_))),
            check_quorum,
            "{reply:?}"
        );
        world.run_for(Duration::from_secs(1));
        let led = world.primary().expect("the others are a majority");
        assert_ne!(led, leader);
        assert_eq!(world.primaries().len(), if check_quorum { 1 } else { 2 });
    }
}

/// Whether a write succeeds at the newest leader within four election timeouts of a partition in
/// which the leader and all others hear one node alone, and how often leaders changed in 5 s.
fn only_a_hub_has_a_quorum(raft: Raft, seed: u64) -> (bool, usize) {
    let (mut world, leader) = group(5, raft, seed);
    let hub = (leader + 1) % 5;
    let elected = elections(&world).len();
    for (from, to) in (0..5).flat_map(|from| (0..5).map(move |to| (from, to))) {
        if from != to && from != hub && to != hub {
            world.cut(from, to);
        }
    }
    world.run_for(Duration::from_millis(1_200));
    let writes: Vec<_> = world
        .primaries()
        .into_iter()
        .map(|node| put(&mut world, node, "k", 1))
        .collect();
    world.run_for(Duration::from_millis(50));
    let written = writes.into_iter().any(|write| done(&world, write));
    world.run_for(Duration::from_millis(3_750));
    assert_eq!(violations(&world), [""; 0], "seed {seed}");
    (written, elections(&world).len() - elected)
}

/// The last of three nodes loses sight of the leader, which the one between them still hears: how
/// often leaders changed in 5 s.
fn chained(raft: Raft, seed: u64) -> usize {
    let (mut world, leader) = group(3, raft, seed);
    let elected = elections(&world).len();
    let last = (leader + 2) % 3;
    world.cut(leader, last);
    world.cut(last, leader);
    world.run_for(Duration::from_secs(5));
    assert_eq!(violations(&world), [""; 0], "seed {seed}");
    elections(&world).len() - elected
}

#[test]
fn under_partial_partitions_raft_without_its_options_stalls_or_deposes_its_leader() {
    let only_pre_vote = Raft {
        check_quorum: false,
        ..Raft::default()
    };
    for seed in 0..10 {
        // The hub hears the old leader, and so nobody is ever elected.
        let stalled = only_a_hub_has_a_quorum(only_pre_vote.clone(), seed);
        assert_eq!(stalled, (false, 0), "seed {seed}");
        let (written, elected) = only_a_hub_has_a_quorum(Raft::default(), seed);
        assert!(written, "seed {seed}");
        assert_eq!(elected, 1, "seed {seed}");
        // Whoever is at an end of the chain deposes whoever is at the other, until luck has it that
        // the one between them is elected.
        assert!(chained(basic(), seed) > 0, "seed {seed}");
        assert_eq!(chained(Raft::default(), seed), 0, "seed {seed}");
    }
}
