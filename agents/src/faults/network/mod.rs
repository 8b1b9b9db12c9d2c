//! Faults of links: one file each, one line in [`fault`]. `confirm` sees what links do.

mod confirm;
mod cut;
mod delay;
mod loss;

use shakedown_contracts::fault::{FaultId, Link, LinkEffect};

use super::Fault;
use crate::network_agent::links::Links;

/// The registry.
pub fn fault(effect: LinkEffect, links: Vec<Link>, id: FaultId) -> Box<dyn Fault<Links>> {
    match effect {
        LinkEffect::Cut(behavior) => Box::new(cut::Cut::new(id, links, behavior)),
        LinkEffect::Delay(delay) => Box::new(delay::Slow::new(id, links, delay)),
        LinkEffect::Loss(loss) => Box::new(loss::Lossy::new(id, links, loss)),
    }
}
