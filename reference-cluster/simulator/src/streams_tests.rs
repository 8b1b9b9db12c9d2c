//! Connections under faults, seen from inside the world.

use shakedown_contracts::fault::{CutBehavior, FaultId, Link, LinkEffect};
use shakedown_contracts::node::{Member, NODE_CONFIG_FORMAT, NodeConfig};
use shakedown_contracts::strategy::{Detector, Replication, Strategy};

use super::*;
use crate::setup::Setup;

/// From n2 to n1.
const WAY: Way = Way { from: 1, to: 0 };

/// Two connected nodes that say nothing to each other by themselves.
fn world() -> World {
    let member = |name: &str| Member {
        name: name.to_owned(),
        address: [127, 0, 0, 1].into(),
        peer_port: 7001,
        heartbeat_port: 7002,
        kind: Default::default(),
    };
    let strategy = Strategy {
        detector: Detector::None {},
        replication: Replication::None {},
        ..Strategy::default()
    };
    let config = |name: &str| NodeConfig {
        format: NODE_CONFIG_FORMAT,
        name: name.to_owned(),
        members: vec![member("n1"), member("n2")],
        data_directory: "data".into(),
        strategy: strategy.clone(),
        seed: 1,
        hold_unsynced: false,
        client_port: 7000,
    };
    let setup = Setup::new(vec![config("n1"), config("n2")], Vec::new(), 1);
    let mut world = World::new(setup).unwrap();
    world.start("n1");
    world.start("n2");
    run(&mut world, 500);
    assert_eq!(world.connection(WAY).phase, Phase::Open);
    world
}

fn run(world: &mut World, millis: u64) {
    let end = world.now().after(Duration::from_millis(millis));
    while world.now() < end {
        world.run_until(end);
        world.take_happenings();
    }
}

/// Something harmless; how many messages were handed over before.
fn say(world: &mut World) -> u64 {
    let before = world.connection(WAY).delivered();
    world.send(WAY, Message::Joined { fresh: false });
    before
}

fn cut(world: &mut World, name: &str, (from, to): (&str, &str)) {
    let link = Link {
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let effect = LinkEffect::Cut(CutBehavior::Drop);
    world.apply(&id(name), &[link], effect);
}

fn id(name: &str) -> FaultId {
    FaultId {
        fault: name.to_owned(),
        occurrence: 0,
    }
}

#[test]
fn a_killed_peer_is_noticed_at_once_and_dialled_until_it_is_back() {
    let mut world = world();
    let epoch = world.connection(WAY).epoch;
    world.kill("n1");
    run(&mut world, 1);
    assert_eq!(world.connection(WAY).phase, Phase::Dialling);
    world.start("n1");
    // Ready after at most 5 ms; refused attempts are at most 200 ms apart.
    run(&mut world, 210);
    assert_eq!(world.connection(WAY).phase, Phase::Open);
    assert_eq!(world.connection(WAY).epoch, epoch + 1);
}

#[test]
fn a_dead_host_is_noticed_a_second_after_something_was_said_to_it() {
    let mut world = world();
    world.crash("n1");
    run(&mut world, 5_000);
    assert_eq!(world.connection(WAY).phase, Phase::Open, "nobody has asked");
    say(&mut world);
    run(&mut world, 999);
    assert_eq!(world.connection(WAY).phase, Phase::Open);
    run(&mut world, 2);
    assert_ne!(world.connection(WAY).phase, Phase::Open);
}

#[test]
fn without_the_way_back_messages_arrive_and_the_connection_is_given_up_all_the_same() {
    let mut world = world();
    cut(&mut world, "back", ("n1", "n2"));
    let before = say(&mut world);
    run(&mut world, 999);
    assert_eq!(world.connection(WAY).delivered(), before + 1);
    assert_eq!(world.connection(WAY).phase, Phase::Open);
    run(&mut world, 2);
    assert_ne!(world.connection(WAY).phase, Phase::Open);
    // Nor can a new one be made until the way back is whole.
    run(&mut world, 5_000);
    assert_eq!(world.connection(WAY).phase, Phase::Dialling);
    world.withdraw(&id("back"));
    run(&mut world, 301);
    assert_eq!(world.connection(WAY).phase, Phase::Open);
}

#[test]
fn after_a_short_cut_the_oldest_fills_the_gap_and_the_rest_follow_at_once() {
    let mut world = world();
    cut(&mut world, "there", ("n2", "n1"));
    let before = say(&mut world);
    say(&mut world);
    say(&mut world);
    run(&mut world, 100);
    world.withdraw(&id("there"));
    run(&mut world, 99);
    assert_eq!(world.connection(WAY).delivered(), before);
    // The retransmission after 200 ms, and a round trip for each further gap.
    run(&mut world, 2);
    assert_eq!(world.connection(WAY).delivered(), before + 3);
    run(&mut world, 2_000);
    assert_eq!(world.connection(WAY).phase, Phase::Open);
}

#[test]
fn a_rejecting_cut_breaks_the_connection_at_the_first_word() {
    let mut world = world();
    let link = Link {
        from: "n2".to_owned(),
        to: "n1".to_owned(),
    };
    let effect = LinkEffect::Cut(CutBehavior::Reject);
    world.apply(&id("reject"), &[link], effect);
    run(&mut world, 10);
    assert_eq!(world.connection(WAY).phase, Phase::Open);
    say(&mut world);
    run(&mut world, 1);
    assert_eq!(world.connection(WAY).phase, Phase::Dialling);
}
