//! Raft in virtual time: what it promises under faults, what each of its options buys, and that
//! planted mistakes are noticed.

mod elections;
pub mod safety;
mod service;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::strategy::{Acknowledge, Fencing, Raft, Reads, Replication, Strategy};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::{ClientReply, ClientRequest, RequestId};

use crate::ledger::Ledger;
use crate::world::World;

fn strategy(raft: Raft) -> Strategy {
    Strategy {
        replication: Replication::Raft(raft),
        ..crate::group::strategy(Acknowledge::Majority, Fencing::Epoch)
    }
}

/// Raft without what was added to it since.
fn basic() -> Raft {
    Raft {
        pre_vote: false,
        check_quorum: false,
        reads: Reads::ReadIndex,
        ..Raft::default()
    }
}

/// A group with a leader, whose every step is checked.
fn group(size: u32, raft: Raft, seed: u64) -> (World, u32) {
    let mut world = World::new(size, strategy(raft), seed);
    world.ledger = Some(Ledger::default());
    world.run_for(Duration::from_millis(1_500));
    let leader = world.primary().expect("a healthy group elects a leader");
    (world, leader)
}

fn put(world: &mut World, node: u32, key: &str, value: u64) -> RequestId {
    let key = key.to_owned();
    world.request(node, ClientRequest::Put { key, value })
}

fn done(world: &World, id: RequestId) -> bool {
    matches!(world.replies.get(&id), Some((_, _, ClientReply::Done(_))))
}

fn violations(world: &World) -> &[String] {
    world
        .ledger
        .as_ref()
        .map_or(&[], |ledger| &ledger.violations)
}

/// Moments at which somebody became leader.
fn elections(world: &World) -> Vec<Moment> {
    let elected = |event: &Event| {
        matches!(
            event,
            Event::RoleChanged {
                role: Role::Primary,
                ..
            }
        )
    };
    let notes = world.notes.iter().filter(|(_, _, event)| elected(event));
    notes.map(|(at, _, _)| *at).collect()
}
