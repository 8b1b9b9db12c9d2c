//! What the agents must do for a fault.
//!
//! A fault is a row of groups of parts. The parts of one group are ordered at once; the next group
//! waits until all of them are verified. Healing goes through the groups in the same order: the
//! network of a crashed host is back before its node starts.

use shakedown_contracts::control::{NetworkOrder, NodeOrder, ProcessFault};
use shakedown_contracts::fault::{Crash, CutBehavior, FaultId, FaultKind, Link, LinkEffect};
use shakedown_contracts::host_fault::HostFault;
use shakedown_contracts::plan::Fault;
use shakedown_contracts::ports::Ports;
use shakedown_contracts::random::Random;

use super::selectors;
use super::shapes::Topology;
use super::view::View;
use crate::stage::Process;

/// Something one agent must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// The network agent, to links.
    Links {
        /// Which.
        links: Vec<Link>,
        /// What.
        effect: LinkEffect,
        /// To which of their traffic.
        ports: Ports,
    },
    /// A node agent, to its node.
    Node {
        /// Which.
        node: String,
        /// What.
        action: ProcessFault,
    },
    /// A node agent, to its node's host.
    Host {
        /// Which.
        node: String,
        /// What.
        fault: HostFault,
    },
}

/// An order to an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// To the network agent.
    Network(NetworkOrder),
    /// To the agent of a node.
    Node {
        /// Which.
        node: String,
        /// What.
        order: NodeOrder,
    },
}

/// A fault as resolved at the moment of its injection.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Nodes it acts on.
    pub nodes: Vec<String>,
    /// What must be done, group after group.
    pub groups: Vec<Vec<Part>>,
}

impl Part {
    /// Who does it.
    pub fn agent(&self) -> Process {
        match self {
            Part::Links { .. } => Process::NetworkAgent,
            Part::Node { node, .. } | Part::Host { node, .. } => Process::NodeAgent(node.clone()),
        }
    }

    /// The order that does it.
    pub fn inject(&self, id: &FaultId) -> Order {
        let id = id.clone();
        match self {
            Part::Links {
                links,
                effect,
                ports,
            } => Order::Network(NetworkOrder::Inject {
                id,
                links: links.clone(),
                effect: *effect,
                ports: ports.clone(),
            }),
            Part::Node { node, action } => {
                let order = NodeOrder::Inject {
                    id,
                    action: *action,
                };
                Order::Node {
                    node: node.clone(),
                    order,
                }
            }
            Part::Host { node, fault } => {
                let (node, fault) = (node.clone(), fault.clone());
                let order = NodeOrder::Disturb { id, fault };
                Order::Node { node, order }
            }
        }
    }

    /// The order that undoes it.
    pub fn heal(&self, id: &FaultId) -> Order {
        let id = id.clone();
        match self {
            Part::Links { .. } => Order::Network(NetworkOrder::Heal { id }),
            Part::Node { node, .. } | Part::Host { node, .. } => Order::Node {
                node: node.clone(),
                order: NodeOrder::Heal { id },
            },
        }
    }
}

/// What `fault` means now. `seed` is the trial's.
///
/// # Errors
/// The reason why it cannot be decided or would do nothing.
pub fn resolve(
    fault: &Fault,
    id: &FaultId,
    seed: u64,
    topology: &Topology,
    view: &View,
) -> Result<Resolved, String> {
    let mut random = Random::keyed(seed, "selector", &id.to_string());
    let mut select = || {
        let processes = (&topology.nodes[..], &topology.companions[..]);
        selectors::resolve(&fault.nodes, processes, view, &mut random)
    };
    match &fault.kind {
        FaultKind::Kill {
            crash: Crash::Process,
        } => Ok(on_nodes(select()?, ProcessFault::Kill)),
        FaultKind::Kill { crash: Crash::Host } => Ok(host_crash(select()?, topology)),
        FaultKind::Terminate {} => Ok(on_nodes(select()?, ProcessFault::Terminate)),
        FaultKind::Pause {} => Ok(on_nodes(select()?, ProcessFault::Pause)),
        FaultKind::Host(fault) => Ok(on_hosts(select()?, fault)),
        FaultKind::Restart {} => Ok(on_nodes(select()?, ProcessFault::Restart)),
        FaultKind::Partition {
            shape,
            behavior,
            ports,
        } => {
            use shakedown_contracts::fault::PartitionShape::{Isolate, OneWay};
            let selected = match shape {
                Isolate | OneWay => select()?,
                _ => Vec::new(),
            };
            let mut random = Random::keyed(seed, "shape", &id.to_string());
            let cut = topology.partition(shape, &selected, view, &mut random)?;
            let effect = LinkEffect::Cut(*behavior);
            Ok(Resolved {
                nodes: cut.nodes,
                groups: vec![vec![on_links(cut.links, effect, ports)]],
            })
        }
        FaultKind::Delay { .. }
        | FaultKind::Loss { .. }
        | FaultKind::Packets { .. }
        | FaultKind::Reset { .. } => {
            let nodes = select()?;
            let chosen = fault.kind.on_links();
            let (effect, chosen) = chosen.ok_or("the fault acts on no links")?;
            let links = topology.links_of(&nodes, chosen, view)?;
            Ok(Resolved {
                nodes,
                groups: vec![vec![on_links(links, effect, &chosen.ports)]],
            })
        }
    }
}

fn on_links(links: Vec<Link>, effect: LinkEffect, ports: &Ports) -> Part {
    Part::Links {
        links,
        effect,
        ports: ports.clone(),
    }
}

fn on_nodes(nodes: Vec<String>, action: ProcessFault) -> Resolved {
    let parts = nodes.iter().map(|node| Part::Node {
        node: node.clone(),
        action,
    });
    Resolved {
        groups: vec![parts.collect()],
        nodes,
    }
}

fn on_hosts(nodes: Vec<String>, fault: &HostFault) -> Resolved {
    let parts = nodes.iter().map(|node| Part::Host {
        node: node.clone(),
        fault: fault.clone(),
    });
    Resolved {
        groups: vec![parts.collect()],
        nodes,
    }
}

/// The network is cut first, so that no FIN or RST of the dying process tells anybody.
fn host_crash(nodes: Vec<String>, topology: &Topology) -> Resolved {
    let mut links: Vec<Link> = nodes
        .iter()
        .flat_map(|node| topology.all_links_of(node))
        .collect();
    links.sort();
    links.dedup();
    let cut = on_links(links, LinkEffect::Cut(CutBehavior::Drop), &Ports::all());
    let mut killed = on_nodes(nodes, ProcessFault::CrashHost);
    killed.groups.insert(0, vec![cut]);
    killed
}
