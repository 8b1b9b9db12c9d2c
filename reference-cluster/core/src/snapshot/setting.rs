//! What does not change while a node runs.

use shakedown_contracts::strategy::Snapshot as Options;
use shakedown_contracts::units::Duration;

use crate::flaw::{Flaw, Planted};
use crate::interface::Peer;

/// Nodes, options, and a planted mistake.
#[derive(Debug)]
pub struct Setting {
    /// Names of all nodes, in rank order.
    pub names: Vec<String>,
    /// This one.
    pub me: Peer,
    /// The step in which retries are counted.
    pub beat: Duration,
    /// Which checkpoints are written.
    pub options: Options,
    /// In tests alone.
    pub planted: Planted,
}

impl Setting {
    /// All nodes, in rank order.
    pub fn nodes(&self) -> impl Iterator<Item = Peer> + use<> {
        (0..self.names.len() as u32).map(Peer)
    }

    /// All nodes but this one.
    pub fn others(&self) -> Vec<Peer> {
        self.nodes().filter(|peer| *peer != self.me).collect()
    }

    /// A node's name.
    pub fn name(&self, peer: Peer) -> String {
        let name = self.names.get(peer.0 as usize);
        name.cloned().unwrap_or_default()
    }

    /// The node that holds an account: the same on every node and in every run.
    pub fn owner(&self, account: &str) -> Peer {
        // FNV-1a: spreads short keys, and is the same everywhere.
        let hash = account
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Peer((hash % self.names.len().max(1) as u64) as u32)
    }

    /// The node that begins coordinated snapshots.
    pub fn initiator(&self) -> Peer {
        Peer(0)
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
