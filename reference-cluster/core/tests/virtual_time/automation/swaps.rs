//! How a spare takes a lost node's place, whatever happens on the way.

use shakedown_contracts::event::Role;
use shakedown_contracts::strategy::Automation;
use shakedown_core::automation::message::{AutomationMessage, Swap};
use shakedown_core::flaw::Flaw;
use shakedown_core::interface::{ClientReply, Peer};
use shakedown_core::message::Message;

use super::{bring_back, lose, millis, noted, replaced, steps, strategy, world};
use crate::group::{Client, lost};
use crate::world::World;

fn write(world: &mut World, client: &mut Client, turns: u32) {
    for turn in 0..turns {
        let node = world.primary().unwrap_or(turn % 3);
        client.put(world, node, format!("k{}", client.writes));
        world.run_for(millis(10));
    }
}

/// Whether the group still takes a write.
fn serves(world: &mut World, client: &mut Client) -> bool {
    let Some(primary) = world.primary() else {
        return false;
    };
    client.put(world, primary, format!("k{}", client.writes));
    let id = client.puts.last().expect("just asked").0;
    world.run_for(millis(300));
    matches!(world.replies.get(&id), Some((_, _, ClientReply::Done(_))))
}

fn swap_n3_for_n4() -> [(String, String); 1] {
    [("n3".to_owned(), "n4".to_owned())]
}

#[test]
fn a_lost_node_is_replaced_by_the_spare_and_the_service_outlives_the_next_loss() {
    for seed in 0..20 {
        let mut world = world(1, seed, None);
        let mut client = Client::default();
        write(&mut world, &mut client, 20);
        lose(&mut world, 2);
        write(&mut world, &mut client, 150);
        assert_eq!(replaced(&world), swap_n3_for_n4(), "seed {seed}");
        assert_eq!(noted(&world, "redundancy.restored"), 2, "seed {seed}");
        lose(&mut world, seed as u32 % 2);
        world.run_for(millis(1_500));
        assert!(serves(&mut world, &mut client), "seed {seed}");
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}");
        assert_eq!(steps(&world).len(), 2, "seed {seed}: two steps");
    }
}

#[test]
fn whoever_is_primary_by_then_takes_the_second_step() {
    let mut finished_by_another = 0;
    for seed in 0..40 {
        let mut world = world(1, seed, None);
        let mut client = Client::default();
        lose(&mut world, 2);
        // Until the first step is in somebody's log.
        while world.voters.is_empty() {
            world.run_for(millis(1));
        }
        world.kill(0);
        // The platform starts it again; all of the four but one have to agree meanwhile.
        write(&mut world, &mut client, 250);
        assert_eq!(steps(&world).len(), 2, "seed {seed}");
        assert!(
            replaced(&world).contains(&swap_n3_for_n4()[0]),
            "seed {seed}"
        );
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}");
        finished_by_another += u32::from(world.primaries() != [0]);
    }
    assert!(finished_by_another > 10, "{finished_by_another}");
}

/// After a swap all processes die and come back, then the first is lost for good.
fn remembers(flaw: Option<Flaw>) -> bool {
    let mut world = world(1, 7, flaw);
    let mut client = Client::default();
    lose(&mut world, 2);
    write(&mut world, &mut client, 150);
    assert_eq!(replaced(&world), swap_n3_for_n4());
    for index in [0, 1, 3] {
        world.crash(index);
    }
    for index in [0, 1, 3] {
        bring_back(&mut world, index);
    }
    world.run_for(millis(1_500));
    lose(&mut world, 0);
    world.run_for(millis(2_000));
    serves(&mut world, &mut client)
}

#[test]
fn nodes_that_were_all_dead_remember_who_votes() {
    assert!(remembers(None));
    assert!(!remembers(Some(Flaw::ForgetsVoters)), "the check can fail");
}

#[test]
fn a_node_that_was_replaced_comes_back_as_a_spare_that_nobody_counts() {
    let mut world = world(1, 8, None);
    let mut client = Client::default();
    write(&mut world, &mut client, 20);
    lose(&mut world, 2);
    write(&mut world, &mut client, 150);
    bring_back(&mut world, 2);
    write(&mut world, &mut client, 100);
    // Of n1, n2 and n4 one is left: with n3 it would be half of all machines, and is no majority.
    for index in [1, 3] {
        lose(&mut world, index);
    }
    let since = world.now;
    world.run_for(millis(2_000));
    assert!(!serves(&mut world, &mut client));
    let roles = world
        .notes
        .iter()
        .filter(|(at, node, _)| *at > since && *node == 2);
    let stood = roles.filter(|(_, _, event)| {
        let name = event.name();
        name == "takeover.started" || name == "role.changed"
    });
    assert_eq!(stood.count(), 0, "it does not even try");
    // It can be called again: by now it was, and waits for a majority to agree.
    bring_back(&mut world, 1);
    write(&mut world, &mut client, 250);
    let called = replaced(&world).into_iter().any(|(_, spare)| spare == "n3");
    assert!(called, "{:?}", replaced(&world));
    assert_eq!(lost(&mut world, &client), 0);
}

#[test]
fn a_primary_that_is_to_be_replaced_hands_over_and_steps_down() {
    let mut world = world(1, 9, None);
    let mut client = Client::default();
    write(&mut world, &mut client, 20);
    let swap = Some(Swap {
        lost: Peer(0),
        spare: Peer(3),
    });
    for _ in 0..30 {
        let message = Message::Automation(AutomationMessage::Ask { swap });
        world.tell(4, 0, message);
        write(&mut world, &mut client, 2);
    }
    world.run_for(millis(1_500));
    let status = |index: usize| world.machines[index].node.as_ref().unwrap().status();
    assert_eq!(status(0).role, Role::Backup);
    assert_eq!(replaced(&world)[0], ("n1".to_owned(), "n4".to_owned()));
    assert_eq!(world.primaries().len(), 1);
    assert_eq!(lost(&mut world, &client), 0);
}

#[test]
fn a_swap_that_nobody_asks_for_any_more_is_forgotten() {
    let mut world = world(1, 10, None);
    lose(&mut world, 3);
    let swap = Some(Swap {
        lost: Peer(2),
        spare: Peer(3),
    });
    let message = Message::Automation(AutomationMessage::Ask { swap });
    world.tell(4, 0, message);
    world.run_for(millis(3_000));
    bring_back(&mut world, 3);
    world.run_for(millis(2_000));
    assert_eq!(replaced(&world), []);
    assert!(world.voters.is_empty(), "nothing came into the log");
}

#[test]
fn a_spare_that_dies_on_the_way_is_followed_by_the_next() {
    let mut world = world(2, 11, None);
    let mut client = Client::default();
    lose(&mut world, 2);
    while noted(&world, "supervisor.replace") == 0 {
        world.run_for(millis(1));
    }
    lose(&mut world, 3);
    write(&mut world, &mut client, 300);
    let last = replaced(&world).last().cloned();
    assert_eq!(last.map(|(_, spare)| spare), Some("n5".to_owned()));
    assert_eq!(lost(&mut world, &client), 0);
}

/// A spare is called whose disk answers nothing; whether the group serves meanwhile.
fn serves_while_a_spare_hangs(flaw: Option<Flaw>) -> bool {
    let mut world = world(1, 12, flaw);
    let mut client = Client::default();
    write(&mut world, &mut client, 20);
    world.hang_disk(3);
    lose(&mut world, 2);
    write(&mut world, &mut client, 100);
    assert_eq!(noted(&world, "supervisor.replace"), 1);
    serves(&mut world, &mut client)
}

#[test]
fn writes_do_not_wait_for_a_spare_that_catches_up() {
    assert!(serves_while_a_spare_hangs(None));
    let flawed = serves_while_a_spare_hangs(Some(Flaw::SpareVotesEarly));
    assert!(!flawed, "the check can fail");
}

#[test]
fn without_spares_nobody_is_replaced() {
    let mut strategy = strategy(0);
    if let Some(Automation::Supervisor(options)) = &mut strategy.automation {
        options.spares = 0;
    }
    let mut world = World::supervised(3, strategy, 13, None);
    world.run_for(millis(300));
    lose(&mut world, 2);
    world.run_for(millis(3_000));
    assert_eq!(noted(&world, "supervisor.replace"), 0);
}
