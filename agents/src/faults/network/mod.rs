//! Faults of links: one file each, one line in [`fault`]. `confirm` sees what links do; `queued` is
//! what all have in common whose packets pass through the agent; `refusal` sees that a sender is told.

mod bandwidth;
mod confirm;
mod corrupt;
mod cut;
mod delay;
mod duplicate;
mod loss;
mod queued;
mod refusal;
mod reorder;
mod reset;

use shakedown_contracts::fault::{FaultId, LinkEffect};
use shakedown_contracts::packet_fault::PacketFault;

use self::queued::Queued;
use super::Fault;
use crate::network_agent::links::{Links, Scope};

/// The registry.
pub fn fault(effect: LinkEffect, scope: Scope, id: FaultId) -> Box<dyn Fault<Links>> {
    let look = match effect {
        LinkEffect::Cut(behavior) => return Box::new(cut::Cut::new(id, scope, behavior)),
        LinkEffect::Reset => return Box::new(reset::Reset::new(id, scope)),
        LinkEffect::Delay(_) => delay::LOOK,
        LinkEffect::Loss(_) => loss::LOOK,
        LinkEffect::Packets(PacketFault::Duplicate { .. }) => duplicate::LOOK,
        LinkEffect::Packets(PacketFault::Corrupt { .. }) => corrupt::LOOK,
        LinkEffect::Packets(PacketFault::Reorder { .. }) => reorder::LOOK,
        LinkEffect::Packets(PacketFault::Bandwidth { .. }) => bandwidth::LOOK,
    };
    Box::new(Queued::new(id, scope, effect, look))
}
