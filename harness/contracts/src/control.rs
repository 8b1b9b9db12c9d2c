//! What harness, agents and client workers say to each other, in frames on standard input and
//! output. Nobody listens on anything, but a node's resolver on the node's own loopback.
//!
//! The harness speaks first with `hello`; a reader refuses another [`CONTROL_VERSION`]. Requests
//! that inject or heal are answered by exactly one report with the same fault id. When the
//! harness's end of the stream closes, an agent heals everything and ends.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::{Evidence, StampedEvent};
use crate::fault::{FaultId, Link, LinkEffect};
use crate::history::OperationRecord;
use crate::host_fault::HostFault;
use crate::plan::{Workload, WorkloadKind};
use crate::ports::Ports;
use crate::time::{Bracket, Moment};
use crate::units::Duration;

/// Version of everything in this module.
pub const CONTROL_VERSION: u32 = 1;

/// The network agent's orders. It stands in the router namespace and rules all links.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum NetworkOrder {
    /// First message: build the topology.
    Hello {
        /// [`CONTROL_VERSION`].
        version: u32,
        /// One namespace each, wired to the router.
        endpoints: Vec<Endpoint>,
        /// Where the agent keeps its ledger.
        ledger: PathBuf,
        /// Seeds per-packet randomness.
        seed: u64,
    },
    /// Apply `effect` to each link, verify by probes, report `effective` or `unverified`.
    Inject {
        /// Which fault.
        id: FaultId,
        /// On these directed links.
        links: Vec<Link>,
        /// This.
        effect: LinkEffect,
        /// To packets with one of these ports; the rest of each link is left alone, and seen to be.
        #[serde(default, skip_serializing_if = "Ports::is_all")]
        ports: Ports,
    },
    /// Take the fault's effects away (others on the same links stay), verify, report `healed`.
    Heal {
        /// Which fault.
        id: FaultId,
    },
    /// Heal everything, take the topology down, end.
    Shutdown,
}

/// A node or client group and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `n1`, `c1`, …
    pub name: String,
    /// Its address, alone on its link.
    pub address: Ipv4Addr,
}

/// What a node's resolver knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// All nodes and client groups of the run.
    pub endpoints: Vec<Endpoint>,
    /// Seeds the addresses that a fault draws.
    pub seed: u64,
}

/// A namespace that is ready to be entered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name of the endpoint.
    pub endpoint: String,
    /// A path to open and hand to `setns`, such as `/proc/<agent's pid>/fd/7`.
    pub path: PathBuf,
}

/// What an agent of either kind reports about faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum FaultReport {
    /// In effect and verified.
    Effective {
        /// Which fault.
        id: FaultId,
        /// When it took effect.
        at: Bracket,
        /// How that is known.
        evidence: Evidence,
    },
    /// Gone and verified.
    Healed {
        /// Which fault.
        id: FaultId,
        /// When it was gone.
        at: Bracket,
        /// How that is known.
        evidence: Evidence,
    },
    /// Not done, or not seen to be done. What was half applied has been undone.
    Unverified {
        /// Which fault.
        id: FaultId,
        /// Why.
        reason: String,
    },
}

/// The network agent's reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum NetworkReport {
    /// The topology stands and every pair of endpoints was probed.
    Ready {
        /// [`CONTROL_VERSION`].
        version: u32,
        /// A namespace for each endpoint.
        namespaces: Vec<Namespace>,
        /// How long building took.
        took: Duration,
    },
    /// About a fault.
    Fault(FaultReport),
    /// The agent cannot go on; the message says what failed and what to do.
    Failed {
        /// What failed.
        message: String,
    },
}

/// A node agent's orders. It stands in its node's network namespace and owns the node's process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum NodeOrder {
    /// First message: whom to care for.
    Hello {
        /// [`CONTROL_VERSION`].
        version: u32,
        /// The node's name.
        node: String,
        /// Network namespace to enter.
        namespace: PathBuf,
        /// Where the agent keeps its ledger.
        ledger: PathBuf,
        /// The node's program.
        program: Program,
        /// Serve the program's directory as a disk that can fail, with draws from this seed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<u64>,
        /// Give the node a resolver of its own that knows these names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        names: Option<Names>,
    },
    /// Start the node; reported as `event node.started`. Nothing where it runs already.
    Start,
    /// Do this to the process, verify, report `effective` or `unverified`.
    Inject {
        /// Which fault.
        id: FaultId,
        /// What.
        action: ProcessFault,
    },
    /// Do this to the node's host, report `effective` once it was seen, or `unverified`.
    Disturb {
        /// Which fault.
        id: FaultId,
        /// What.
        fault: HostFault,
    },
    /// Undo it, verify, report `healed`: a killed node is started and healed once it is ready.
    Heal {
        /// Which fault.
        id: FaultId,
    },
    /// End the node (SIGKILL to its whole pid namespace) and the agent.
    Shutdown,
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessFault {
    /// SIGKILL; verified by the process's end.
    Kill,
    /// The same, and a served disk forgets what was not synced.
    CrashHost,
    /// SIGTERM; verified by the process's end.
    Terminate,
    /// SIGSTOP; verified by the state of every thread.
    Pause,
    /// SIGKILL and start at once; effective once the old process is gone.
    Restart,
}

/// How to start a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Executable.
    pub executable: PathBuf,
    /// Arguments after it.
    pub arguments: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Its output goes here, appended.
    pub log: PathBuf,
    /// When set, the program inherits the write end of a pipe under this descriptor number and
    /// writes [`StampedEvent`]s to it, one JSON object a line; `node.ready` means it serves.
    pub events_descriptor: Option<i32>,
    /// A node that is not ready by then has failed.
    pub ready_timeout: Duration,
}

/// A node agent's reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum NodeReport {
    /// The agent is in place; nothing has been started.
    Ready {
        /// [`CONTROL_VERSION`].
        version: u32,
    },
    /// About the node's process (source: the agent).
    Agent(StampedEvent),
    /// The node's own event, as it wrote it.
    Node(StampedEvent),
    /// About a fault.
    Fault(FaultReport),
    /// The agent cannot go on; the message says what failed and what to do.
    Failed {
        /// What failed.
        message: String,
    },
}

/// A client worker's orders. It stands in its group's namespace and runs the group's clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum ClientOrder {
    /// First message: the work.
    Hello {
        /// [`CONTROL_VERSION`].
        version: u32,
        /// Name of the group, such as `c1`.
        group: String,
        /// Network namespace to enter.
        namespace: PathBuf,
        /// The whole workload; the worker runs its group's share.
        workload: Workload,
        /// The nodes' client API, in node order.
        nodes: Vec<Endpoint>,
        /// Port of the client API on each node.
        port: u16,
        /// The trial's seed.
        seed: u64,
    },
    /// Write the initial data (the first group only); answered by `prepared`.
    Prepare {
        /// Give up after this.
        timeout: Duration,
    },
    /// Offer operations from this moment on.
    Start {
        /// When.
        at: Moment,
    },
    /// Offer nothing new; answer `stopped` when no operation is open any more.
    Stop,
    /// Read everything back, answered by `stopped`. Sent to every group: each reads the registers
    /// it used; the bank's accounts are read by the first group alone, for all.
    FinalReads {
        /// Give up after this.
        timeout: Duration,
    },
    /// End.
    Shutdown,
}

/// A client worker's reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum ClientReport {
    /// The worker is in its namespace.
    Ready {
        /// [`CONTROL_VERSION`].
        version: u32,
    },
    /// The initial data is written.
    Prepared,
    /// What happened since the last report, in order of time.
    Operations {
        /// The records; the recorder numbers them.
        records: Vec<OperationRecord>,
    },
    /// Nothing is open any more.
    Stopped {
        /// Largest lateness of the open loop: due moment to the moment it was offered.
        pacing_lateness_max: Duration,
    },
    /// The worker cannot go on; the message says what failed and what to do.
    Failed {
        /// What failed.
        message: String,
    },
}

/// First keys of a workload, written before the warm-up: bank accounts `a0`, `a1`, ….
pub fn initial_accounts(kind: &WorkloadKind) -> Vec<(String, i64)> {
    match kind {
        WorkloadKind::Bank {
            keys,
            initial_balance,
            ..
        } => (0..*keys)
            .map(|number| (format!("a{number}"), *initial_balance))
            .collect(),
        WorkloadKind::Register { .. } | WorkloadKind::Requests { .. } => Vec::new(),
    }
}
