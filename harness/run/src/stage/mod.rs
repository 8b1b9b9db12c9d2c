//! Where nodes live.
//!
//! A stage owns the processes of one trial (an agent for the network, one for each node, a worker
//! for each group of clients), gives them orders and hands on what they report.

mod cluster;
pub mod connection;
pub mod local;
pub mod simulation;

use std::fmt;

use shakedown_contracts::control::{ClientReport, NetworkReport, NodeReport};
use shakedown_contracts::time::Moment;

pub use cluster::{Cluster, log_of};

/// A process that the harness started for a trial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// The network agent.
    NetworkAgent,
    /// The agent of the node with this name.
    NodeAgent(String),
    /// The worker of the client group with this name.
    Clients(String),
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Process::NetworkAgent => f.write_str("network-agent"),
            Process::NodeAgent(node) => write!(f, "node-agent {node}"),
            Process::Clients(group) => write!(f, "clients {group}"),
        }
    }
}

/// A report and when the harness heard of it.
#[derive(Debug)]
pub struct Arrival {
    /// Stamped right after the frame was whole.
    pub received: Moment,
    /// It.
    pub report: Report,
}

/// Whatever a process of the trial says.
#[derive(Debug)]
pub enum Report {
    /// The network agent's.
    Network(NetworkReport),
    /// A node agent's.
    Node {
        /// Its node.
        node: String,
        /// What it says.
        report: NodeReport,
    },
    /// A client worker's.
    Client {
        /// Its group.
        group: String,
        /// What it says.
        report: ClientReport,
    },
    /// The process's output has ended: it is gone, or cannot be understood.
    Closed {
        /// Which.
        process: Process,
        /// How.
        reason: String,
    },
}
