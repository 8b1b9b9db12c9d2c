//! Nodes without a primary in virtual time: what their quorums promise under faults, how copies are
//! given back, and that planted mistakes are noticed.

mod availability;
mod register;
mod repair;
mod safety;

use shakedown_contracts::event::Event;
use shakedown_contracts::strategy::{
    Acknowledge, AntiEntropy, Erasure, Fencing, Quorum, ReadRepair, Redundancy, Strategy,
};
use shakedown_contracts::units::Duration;

use crate::world::World;

fn strategy(redundancy: Redundancy) -> Strategy {
    Strategy {
        redundancy: Some(redundancy),
        ..crate::group::strategy(Acknowledge::Majority, Fencing::Epoch)
    }
}

/// Quorums of three nodes that nothing repairs, and that soon give up a write half done.
fn bare(r: u32, w: u32) -> Quorum {
    Quorum {
        r,
        w,
        hinted_handoff: false,
        read_repair: ReadRepair::None,
        anti_entropy: AntiEntropy::None,
        patience: Duration::from_millis(60),
        ..Quorum::default()
    }
}

fn quorum(r: u32, w: u32) -> Quorum {
    Quorum {
        r,
        w,
        ..Quorum::default()
    }
}

fn erasure(k: u32, m: u32) -> Erasure {
    Erasure {
        k,
        m,
        anti_entropy: AntiEntropy::Every(Duration::from_millis(200)),
        ..Erasure::default()
    }
}

/// Nodes that have found each other.
fn nodes(size: u32, redundancy: Redundancy, seed: u64) -> World {
    let mut world = World::new(size, strategy(redundancy), seed);
    world.run_for(Duration::from_millis(300));
    world
}

fn notes(world: &World, name: &str) -> usize {
    let named = |event: &Event| event.name() == name;
    world
        .notes
        .iter()
        .filter(|(_, _, event)| named(event))
        .count()
}
