//! The faults that can be injected, with their parameters, in the field's standard names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host_fault::HostFault;
use crate::packet_fault::{GilbertElliott, PacketFault};
use crate::ports::Ports;
use crate::units::{Duration, Ratio};

/// Identity of one injection in one trial: the fault's name and its occurrence, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FaultId {
    /// The name given in the experiment file.
    pub fault: String,
    /// Which occurrence of it; faults at a fixed time have only 0.
    pub occurrence: u32,
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.occurrence == 0 {
            f.write_str(&self.fault)
        } else {
            write!(f, "{}#{}", self.fault, self.occurrence)
        }
    }
}

/// What a fault does, with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FaultKind {
    /// SIGKILL; healing starts the node again.
    Kill {
        /// How much dies with the process.
        crash: Crash,
    },
    /// SIGTERM: the node ends in its own way; healing starts it again.
    Terminate {},
    /// SIGSTOP; healing is SIGCONT.
    Pause {},
    /// SIGKILL and an immediate start; healed when the node is ready again.
    Restart {},
    /// Directed links go dead.
    Partition {
        /// Which links.
        shape: PartitionShape,
        /// What happens to packets on them.
        behavior: CutBehavior,
        /// To which of them.
        #[serde(default, skip_serializing_if = "Ports::is_all")]
        ports: Ports,
    },
    /// Packets of the links arrive later.
    Delay {
        /// The delay itself, and which links.
        #[serde(flatten)]
        delay: Delay,
        /// Which links of the selected nodes.
        #[serde(flatten)]
        links: LinkSelection,
    },
    /// Packets of the links are lost at random.
    Loss {
        /// How many.
        #[serde(flatten)]
        loss: Loss,
        /// Which links of the selected nodes.
        #[serde(flatten)]
        links: LinkSelection,
    },
    /// Live connections over the links end.
    Reset {
        /// Which links of the selected nodes; the connections end at the senders'.
        #[serde(flatten)]
        links: LinkSelection,
    },
    /// Disk or clock of the selected nodes fail them.
    #[serde(untagged)]
    Host(HostFault),
    /// Packets of the links are doubled, altered, overtaken or held up.
    #[serde(untagged)]
    Packets {
        /// How.
        #[serde(flatten)]
        fault: PacketFault,
        /// Which links of the selected nodes.
        #[serde(flatten)]
        links: LinkSelection,
    },
}

impl FaultKind {
    /// The name an experiment file uses.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Kill { .. } => "kill",
            FaultKind::Terminate {} => "terminate",
            FaultKind::Pause {} => "pause",
            FaultKind::Restart {} => "restart",
            FaultKind::Partition { .. } => "partition",
            FaultKind::Delay { .. } => "delay",
            FaultKind::Loss { .. } => "loss",
            FaultKind::Reset { .. } => "reset",
            FaultKind::Host(fault) => fault.name(),
            FaultKind::Packets { fault, .. } => fault.name(),
        }
    }

    /// Whether it meets packets on their way rather than processes.
    pub fn acts_on_links(&self) -> bool {
        match self {
            FaultKind::Kill { .. }
            | FaultKind::Terminate {}
            | FaultKind::Pause {}
            | FaultKind::Restart {}
            | FaultKind::Host(_) => false,
            FaultKind::Partition { .. }
            | FaultKind::Delay { .. }
            | FaultKind::Loss { .. }
            | FaultKind::Reset { .. }
            | FaultKind::Packets { .. } => true,
        }
    }
}

impl FaultKind {
    /// Whether it needs disks that can fail.
    pub fn acts_on_disk(&self) -> bool {
        matches!(self, FaultKind::Host(fault) if fault.name().starts_with("disk-"))
    }

    /// Whether it needs a resolver of the node's own.
    pub fn acts_on_names(&self) -> bool {
        matches!(self, FaultKind::Host(HostFault::Dns(_)))
    }

    /// Whether it is over at once, so that it has no duration.
    pub fn is_instant(&self) -> bool {
        matches!(self, FaultKind::Restart {} | FaultKind::Reset { .. })
    }

    /// Which traffic of its links it meets; all where it does not act on links.
    pub fn ports(&self) -> Ports {
        match self {
            FaultKind::Partition { ports, .. } => ports.clone(),
            kind => kind
                .on_links()
                .map_or_else(Ports::all, |(_, links)| links.ports.clone()),
        }
    }

    /// What it does to each of its links, and which links of the selected nodes those are; `None`
    /// for what does not act on chosen links (a partition's shape says more).
    pub fn on_links(&self) -> Option<(LinkEffect, &LinkSelection)> {
        match self {
            FaultKind::Delay { delay, links } => Some((LinkEffect::Delay(*delay), links)),
            FaultKind::Loss { loss, links } => Some((LinkEffect::Loss(*loss), links)),
            FaultKind::Packets { fault, links } => Some((LinkEffect::Packets(*fault), links)),
            FaultKind::Reset { links } => Some((LinkEffect::Reset, links)),
            FaultKind::Kill { .. }
            | FaultKind::Terminate {}
            | FaultKind::Pause {}
            | FaultKind::Restart {}
            | FaultKind::Partition { .. }
            | FaultKind::Host(_) => None,
        }
    }
}

/// What a kill takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crash {
    /// The process alone: the kernel closes its sockets, the page cache survives.
    Process,
    /// The host: the network is cut first, then the process is killed, and bytes not synced are lost.
    Host,
}

/// What happens to a packet on a cut link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutBehavior {
    /// It vanishes.
    Drop,
    /// The sender is told: TCP reset, ICMP port unreachable.
    Reject,
}

/// Which directed links a partition cuts. Names are nodes and client groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionShape {
    /// The selected nodes lose every link to all other nodes (and to clients beside those).
    Isolate,
    /// The nodes in file order, cut in two halves, the first the smaller.
    Halves,
    /// Two halves drawn from the seed.
    RandomHalves,
    /// Fewer than a third of the nodes, drawn from the seed, cut off from the rest.
    MinorityThird,
    /// Two halves joined by one node that hears both.
    Bridge,
    /// Every node hears a majority, no two the same one.
    MajoritiesRing,
    /// The selected nodes are not heard by the others, but hear them.
    OneWay,
    /// Explicit: node → the nodes and client groups it does not hear.
    Grudge(Grudge),
    /// Links from each name of the first set to each of the second, one way.
    FromTo {
        /// Senders: names or a role.
        from: String,
        /// Receivers: names or a role.
        to: String,
    },
}

/// A grudge maps each endpoint to those it does not hear.
pub type Grudge = BTreeMap<String, BTreeSet<String>>;

/// Added one-way delay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    /// Mean added delay.
    pub latency: Duration,
    /// Spread: half-width of `uniform`, standard deviation of `normal`.
    #[serde(default)]
    pub jitter: Duration,
    /// How much of a packet's deviation is that of the packet before.
    #[serde(default)]
    pub correlation: Ratio,
    /// Shape of the jitter.
    #[serde(default)]
    pub distribution: Distribution,
}

/// Shape of a delay's jitter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Even over latency ± jitter.
    #[default]
    Uniform,
    /// Gaussian with standard deviation jitter, cut at zero delay.
    Normal,
    /// Heavy-tailed.
    Pareto,
    /// A quarter normal, three quarters pareto, as in netem.
    Paretonormal,
}

/// Random loss of packets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Share of packets lost, in the long run.
    pub loss: Ratio,
    /// How much a packet's fate is that of the packet before.
    #[serde(default)]
    pub correlation: Ratio,
    /// They come in bursts; `loss` follows from this then, and there is no correlation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bursts: Option<GilbertElliott>,
}

/// Which links of the selected nodes a delay or loss acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkSelection {
    /// Seen from the selected node.
    #[serde(default)]
    pub direction: Direction,
    /// The other ends: names; empty means all other nodes (clients only when they are named).
    #[serde(default)]
    pub peers: Vec<String>,
    /// Which of their traffic.
    #[serde(default, skip_serializing_if = "Ports::is_all")]
    pub ports: Ports,
}

/// Direction of traffic, seen from the selected node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// What it sends.
    From,
    /// What it receives.
    To,
    /// Both.
    #[default]
    Both,
}

/// Which nodes a fault acts on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selector {
    /// These nodes.
    Names(Vec<String>),
    /// One, drawn from the seed.
    One,
    /// Every node.
    All,
    /// The largest number below half, drawn from the seed.
    Minority,
    /// The smallest number above half, drawn from the seed.
    Majority,
    /// The largest number below a third, at least one, drawn from the seed.
    MinorityThird,
    /// The node that claims the role in the newest epoch when the fault is injected.
    Primary,
    /// All live nodes but the primary.
    Backups,
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Selector::Names(names) => return f.write_str(&names.join(", ")),
            Selector::One => "one",
            Selector::All => "all",
            Selector::Minority => "minority",
            Selector::Majority => "majority",
            Selector::MinorityThird => "minority-third",
            Selector::Primary => "primary",
            Selector::Backups => "backups",
        })
    }
}

/// A directed link between two endpoints (nodes or client groups).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    /// Who sends.
    pub from: String,
    /// Who receives.
    pub to: String,
}

/// What happens on a directed link.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkEffect {
    /// Nothing arrives.
    Cut(CutBehavior),
    /// Everything arrives later.
    Delay(Delay),
    /// Some of it does not arrive.
    Loss(Loss),
    /// Live connections end.
    Reset,
    /// Some of it arrives twice, altered, out of order, or all of it at a rate.
    Packets(PacketFault),
}
