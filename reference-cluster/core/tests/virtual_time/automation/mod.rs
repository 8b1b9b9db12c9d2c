//! A group with spares and a supervisor.

mod chaos;
mod restarts;
mod swaps;

use std::collections::BTreeSet;

use shakedown_contracts::event::Event;
use shakedown_contracts::range::DurationRange;
use shakedown_contracts::strategy::{Acknowledge, Automation, Fencing, Strategy, Supervisor};
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Flaw;
use shakedown_core::interface::Peer;
use shakedown_core::message::Point;

use crate::group::strategy as group_strategy;
use crate::world::World;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Three voters and the spares; lost after 300 ms beyond the detector's 200.
fn strategy(spares: u32) -> Strategy {
    Strategy {
        automation: Some(Automation::Supervisor(Supervisor {
            backoff: DurationRange::between(millis(50), millis(400)),
            crash_loop_limit: 4,
            stable_after: millis(1_000),
            spares,
            replace_after: millis(300),
            ..Supervisor::default()
        })),
        ..group_strategy(Acknowledge::Majority, Fencing::Epoch)
    }
}

/// Three voters, the spares and the supervisor, up for 300 ms.
fn world(spares: u32, seed: u64, flaw: Option<Flaw>) -> World {
    let mut world = World::supervised(3 + spares, strategy(spares), seed, flaw);
    world.run_for(millis(300));
    world
}

/// The host is gone until it is brought back.
fn lose(world: &mut World, index: u32) {
    world.down_hosts.insert(index);
    world.crash(index);
}

fn bring_back(world: &mut World, index: u32) {
    world.down_hosts.remove(&index);
    if world.machines[index as usize].node.is_none() {
        world.start(index);
    }
}

fn noted(world: &World, name: &str) -> usize {
    let notes = world.notes.iter();
    notes.filter(|(_, _, event)| event.name() == name).count()
}

fn replaced(world: &World) -> Vec<(String, String)> {
    let notes = world.notes.iter();
    let swaps = notes.filter_map(|(_, _, event)| match event {
        Event::MemberReplaced { node, spare } => Some((node.clone(), spare.clone())),
        _ => None,
    });
    swaps.collect()
}

/// Changes of the voters that are in the primary's log, each with those before it. What the log
/// holds no more is left out.
fn steps(world: &World) -> Vec<(BTreeSet<Peer>, BTreeSet<Peer>)> {
    let primary = world.primary().expect("a healed group has a primary");
    let node = world.machines[primary as usize].node.as_ref();
    let node = node.expect("a primary lives");
    let stands = |point: &Point| node.point(point.position) == Some(*point);
    let whole = node.point(0).is_some();
    let mut before: Option<BTreeSet<Peer>> = whole.then(|| (0..3).map(Peer).collect());
    let changes = world.voters.iter().filter(|(point, _)| stands(point));
    // In one log the order of positions is that of points.
    changes
        .filter_map(|(_, voters)| {
            let after: BTreeSet<Peer> = voters.iter().copied().collect();
            Some((before.replace(after.clone())?, after))
        })
        .collect()
}
