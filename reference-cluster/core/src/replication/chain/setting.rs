//! What does not change while a member runs.

use shakedown_contracts::strategy::ChainReads;
use shakedown_contracts::units::Duration;

use crate::flaw::{Flaw, Planted};
use crate::interface::Peer;

/// Members, options, and a planted mistake.
#[derive(Debug)]
pub struct Setting {
    /// Names of all members, in rank order: that of the first chain.
    pub names: Vec<String>,
    /// This one.
    pub me: Peer,
    /// The step in which links show themselves, and in which retries and staggers are counted.
    pub beat: Duration,
    /// How long a member without a head waits for one to show itself.
    pub patience: Duration,
    /// Who answers a read.
    pub reads: ChainReads,
    /// In tests alone.
    pub planted: Planted,
}

impl Setting {
    /// The smallest number of members above half.
    pub fn majority(&self) -> usize {
        self.names.len() / 2 + 1
    }

    /// All members, in rank order.
    pub fn members(&self) -> impl Iterator<Item = Peer> + use<> {
        (0..self.names.len() as u32).map(Peer)
    }

    /// All members but this one.
    pub fn others(&self) -> Vec<Peer> {
        self.members().filter(|peer| *peer != self.me).collect()
    }

    /// A member's name.
    pub fn name(&self, peer: Peer) -> String {
        let name = self.names.get(peer.0 as usize);
        name.cloned().unwrap_or_default()
    }

    /// So many beats.
    pub fn beats(&self, count: u64) -> Duration {
        Duration::from_nanos(self.beat.as_nanos().saturating_mul(count))
    }

    /// True when the mistake is planted here.
    pub fn has(&self, flaw: Flaw) -> bool {
        self.planted.has(flaw)
    }
}
