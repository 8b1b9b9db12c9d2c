//! Chain replication in virtual time: what it promises under faults, what each death costs, and that
//! planted mistakes are noticed.

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::strategy::{
    Acknowledge, Chain, ChainReads, Fencing, Replication, Strategy,
};
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Flaw;
use shakedown_core::interface::{ClientReply, ClientRequest, RequestId};

use crate::group::{Client, chaos_in, lost, shared_epochs};
use crate::ledger::Ledger;
use crate::raft::safety::chaos_of;
use crate::world::World;

fn strategy(reads: ChainReads) -> Strategy {
    Strategy {
        replication: Replication::Chain(Chain { reads }),
        ..crate::group::strategy(Acknowledge::Majority, Fencing::Epoch)
    }
}

/// A chain whose every step is checked.
fn chain(size: u32, seed: u64, flaw: Option<Flaw>) -> World {
    let mut world = World::flawed(size, strategy(ChainReads::default()), seed, flaw);
    world.ledger = Some(Ledger::default());
    world
}

fn violations(world: &World) -> &[String] {
    world
        .ledger
        .as_ref()
        .map_or(&[], |ledger| &ledger.violations)
}

fn chaos(seed: u64, flaw: Option<Flaw>) -> (World, Client) {
    let size = if seed.is_multiple_of(4) { 5 } else { 3 };
    let (mut world, client) = chaos_in(chain(size, seed, flaw));
    let World {
        machines, ledger, ..
    } = &mut world;
    let nodes = machines.iter().filter_map(|machine| machine.node.as_ref());
    ledger.get_or_insert_default().compare_logs(nodes);
    (world, client)
}

fn put(world: &mut World, node: u32, key: &str, value: u64) -> RequestId {
    let key = key.to_owned();
    world.request(node, ClientRequest::Put { key, value })
}

fn done(world: &World, id: RequestId) -> bool {
    matches!(world.replies.get(&id), Some((_, _, ClientReply::Done(_))))
}

fn changes(world: &World) -> usize {
    let is_head = |event: &Event| {
        let role = Role::Primary;
        matches!(event, Event::RoleChanged { role: one, .. } if *one == role)
    };
    let notes = world.notes.iter();
    notes.filter(|(_, _, event)| is_head(event)).count()
}

#[test]
fn under_faults_nothing_acknowledged_is_lost_no_read_is_stale_and_an_epoch_has_one_head() {
    let (mut acknowledged, mut chains) = (0, 0);
    for seed in 0..200 {
        let (mut world, client) = chaos(seed, None);
        assert_eq!(violations(&world), [""; 0], "seed {seed}");
        let heads = world.primaries().len();
        assert_eq!(heads, 1, "seed {seed}: one head after healing");
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}: lost writes");
        assert_eq!(client.stale_reads(&world), 0, "seed {seed}: stale reads");
        assert_eq!(shared_epochs(&world), [0_u64; 0], "seed {seed}");
        acknowledged += client.acknowledged(&world).count();
        chains += changes(&world);
    }
    // The test would prove nothing if little was acknowledged, or no chain ever changed.
    assert!(acknowledged > 15_000, "{acknowledged} acknowledged writes");
    assert!(chains > 800, "{chains} chains");
}

#[test]
fn where_any_link_goes_dead_and_all_restart_at_once_it_holds_too() {
    let mut acknowledged = 0;
    for seed in 0..200 {
        let strategy = strategy(ChainReads::default());
        let (mut world, client) = chaos_of(strategy, seed, None);
        assert_eq!(violations(&world), [""; 0], "seed {seed}");
        assert_eq!(world.primaries().len(), 1, "seed {seed}");
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}: lost writes");
        assert_eq!(client.stale_reads(&world), 0, "seed {seed}: stale reads");
        acknowledged += client.acknowledged(&world).count();
    }
    assert!(acknowledged > 3_000, "{acknowledged} acknowledged writes");
}

/// How long nothing was acknowledged after a member died for good, in milliseconds; and then it is
/// back, and the chain is as long as before.
fn outage(victim: u32) -> u64 {
    let mut world = chain(3, 7, None);
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.primaries(), [0], "the first is head at first");
    let written = put(&mut world, 0, "before", 1);
    world.run_for(Duration::from_millis(50));
    assert!(done(&world, written));
    world.crash(victim);
    let began = world.now;
    let waited = loop {
        let head = world.primary().unwrap_or(0);
        let id = put(&mut world, head, "after", 2);
        world.run_for(Duration::from_millis(10));
        if done(&world, id) {
            break world.now.since(began);
        }
        assert!(world.now.since(began) < Duration::from_secs(5));
    };
    world.start(victim);
    world.run_for(Duration::from_millis(1_000));
    // With the one that came back, the chain bears the death of either of the others.
    let other = (victim + 1) % 3;
    world.crash(other);
    world.run_for(Duration::from_millis(1_500));
    let head = world.primary().expect("two of three are a chain");
    let read = crate::group::read(&mut world, head, "after");
    assert_eq!(read, Some(2));
    assert_eq!(violations(&world), [""; 0]);
    waited.as_nanos() / 1_000_000
}

#[test]
fn the_death_of_head_middle_or_tail_stops_writes_until_it_is_noticed_and_no_longer() {
    for victim in 0..3 {
        let waited = outage(victim);
        // Noticed within 200 ms of the last heartbeat; then a majority promises and the chain meets.
        assert!((140..450).contains(&waited), "n{}: {waited} ms", victim + 1);
    }
}

#[test]
fn two_dead_of_three_stop_the_chain_and_it_goes_on_when_one_is_back() {
    let mut world = chain(3, 9, None);
    world.run_for(Duration::from_millis(500));
    world.crash(1);
    world.run_for(Duration::from_millis(1_000));
    world.crash(2);
    world.run_for(Duration::from_millis(1_000));
    let refused = put(&mut world, 0, "k", 1);
    world.run_for(Duration::from_millis(500));
    assert!(!done(&world, refused), "one of three is no chain");
    world.start(1);
    world.run_for(Duration::from_millis(1_500));
    let head = world.primary().expect("two of three are a chain");
    let taken = put(&mut world, head, "k", 2);
    world.run_for(Duration::from_millis(100));
    assert!(done(&world, taken));
}

/// The head of five stops for a while, and with the tail is cut off from the others, which write on;
/// then the old head is asked to read. It takes its own stop for nobody's silence.
fn read_at_a_cut_off_head(reads: ChainReads) -> Option<u64> {
    let mut world = World::new(5, strategy(reads), 3);
    world.run_for(Duration::from_millis(500));
    let first = put(&mut world, 0, "x", 1);
    world.run_for(Duration::from_millis(50));
    assert!(done(&world, first));
    world.pause(0);
    for end in [0, 4] {
        for other in 1..4 {
            world.cut_between(end, other);
        }
    }
    // Long enough for the others to notice.
    world.run_for(Duration::from_millis(600));
    let head = world.primary().filter(|head| *head != 0);
    let second = put(&mut world, head.expect("three of five are a chain"), "x", 2);
    world.run_for(Duration::from_millis(100));
    assert!(done(&world, second));
    world.resume(0);
    let key = "x".to_owned();
    let read = world.request(0, ClientRequest::Get { key });
    world.run_for(Duration::from_millis(300));
    match world.replies.get(&read) {
        Some((_, _, ClientReply::Value(answer))) => answer.value,
        _ => None,
    }
}

#[test]
fn only_a_read_that_passed_the_whole_chain_is_not_stale_where_the_living_are_cut_off() {
    assert_eq!(read_at_a_cut_off_head(ChainReads::Local), Some(1));
    assert_eq!(read_at_a_cut_off_head(ChainReads::Tail), Some(1));
    assert_eq!(read_at_a_cut_off_head(ChainReads::ThroughChain), None);
}

/// The first two seeds that notice a mistake: one could be luck.
fn noticed(flaw: Flaw) -> Vec<u64> {
    let notices = |seed: &u64| {
        let (mut world, client) = chaos(*seed, Some(flaw));
        let loses = |world: &mut World| world.primary().is_some() && lost(world, &client) > 0;
        !violations(&world).is_empty()
            || client.stale_reads(&world) > 0
            || !shared_epochs(&world).is_empty()
            || loses(&mut world)
    };
    (0..200).filter(notices).take(2).collect()
}

#[test]
fn acknowledging_before_the_tail_has_it_is_noticed() {
    assert_eq!(noticed(Flaw::AcknowledgesBeforeTail).len(), 2);
}

#[test]
fn a_tail_that_answers_before_it_has_caught_up_is_noticed() {
    assert_eq!(noticed(Flaw::ReadsIgnoreIndex).len(), 2);
}

#[test]
fn a_head_whose_log_is_behind_is_noticed() {
    assert_eq!(noticed(Flaw::IgnoresLogs).len(), 2);
}

#[test]
fn a_chain_of_less_than_a_majority_is_noticed() {
    assert_eq!(noticed(Flaw::TakesOverAlone).len(), 2);
}
