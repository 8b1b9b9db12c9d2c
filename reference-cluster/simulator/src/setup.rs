//! What a world is made of: its nodes, its clients, and how fast its network, disks and processes
//! are when nothing is wrong.
//!
//! The defaults are about what one Linux machine with veth pairs and a virtual disk shows, so that
//! a run in virtual time and one with real processes differ in small change alone: both are far
//! below any heartbeat interval.

use shakedown_contracts::node::NodeConfig;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Planted;

/// Everything a world begins with. The same setup gives the same run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// One node each; names are unique. A member that is none of these is a host that never answers.
    pub nodes: Vec<NodeConfig>,
    /// Names of client groups: endpoints of links, like nodes.
    pub clients: Vec<String>,
    /// Seeds everything that the world draws.
    pub seed: u64,
    /// Links without a fault.
    pub network: NetworkModel,
    /// Every node's disk.
    pub disk: DiskModel,
    /// Mean time from the order to start until the process reads its disk; each start draws between
    /// three and five quarters of it, so that nodes do not beat in step for ever.
    pub start: Duration,
    /// The mistake that every node makes; in tests of checks alone.
    pub planted: Planted,
}

impl Setup {
    /// With the default models.
    pub fn new(nodes: Vec<NodeConfig>, clients: Vec<String>, seed: u64) -> Self {
        Setup {
            nodes,
            clients,
            seed,
            network: NetworkModel::default(),
            disk: DiskModel::default(),
            start: Duration::from_millis(4),
            planted: Planted::default(),
        }
    }
}

/// One way over a healthy link: `latency` plus an exponential draw with mean `jitter`.
///
/// Exponential, because what is added on one machine is waiting for a scheduler or a softirq: most
/// packets wait hardly at all, some long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkModel {
    /// Least time of a packet.
    pub latency: Duration,
    /// Mean of what is added.
    pub jitter: Duration,
}

impl Default for NetworkModel {
    /// 30 µs and 20 µs: two veth pairs, a router's forwarding and the wake-up of the receiver take
    /// 50 to 100 µs there and back on one machine.
    fn default() -> Self {
        NetworkModel {
            latency: Duration::from_micros(30),
            jitter: Duration::from_micros(20),
        }
    }
}

/// How long a disk takes, and what a host crash leaves of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskModel {
    /// One append into the page cache. Appends that wait together are one.
    pub append: Duration,
    /// Least time of a sync.
    pub sync: Duration,
    /// Mean of what is added to a sync (exponential): other writers of the same device.
    pub sync_jitter: Duration,
    /// Writing a MiB, on top: of appends, and of a checkpoint, which also syncs four times.
    pub write_mib: Duration,
    /// Reading a MiB at start.
    pub read_mib: Duration,
    /// What a host crash leaves of bytes that were appended and not synced.
    pub unsynced: Unsynced,
}

impl Default for DiskModel {
    /// A virtual disk with a write cache: 400 µs and more for a sync, 1 GB/s.
    fn default() -> Self {
        DiskModel {
            append: Duration::from_micros(8),
            sync: Duration::from_micros(400),
            sync_jitter: Duration::from_micros(200),
            write_mib: Duration::from_millis(1),
            read_mib: Duration::from_millis(1),
            unsynced: Unsynced::Torn,
        }
    }
}

/// What a host crash leaves of bytes that were appended and not synced. Synced bytes always stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// A drawn prefix, to the byte.
    Prefix,
    /// A drawn prefix whose last sector (512 bytes) is, by another draw, whole, or from some byte on
    /// zeros (the length of the file was written before its bytes), or garbage.
    Torn,
}
