//! Partition shapes as directed links.
//!
//! A shape is a set of directed cuts between nodes. A client group that stands beside a node shares
//! its fate: what the node does not hear it does not hear. Groups outside stay connected to every
//! node unless an explicit grudge or from/to names them. Links between two client groups carry
//! nothing and are left alone. Shapes are those of Jepsen's `nemesis` (isolate, halves, bridge,
//! majorities-ring), in the names of this project.

use std::collections::BTreeSet;

use shakedown_contracts::fault::{Direction, Link, LinkSelection, PartitionShape};
use shakedown_contracts::plan::{ClientGroup, Plan};
use shakedown_contracts::random::Random;

use super::selectors::minority_third;
use super::view::View;

/// Who can stand in a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Nodes in file order.
    pub nodes: Vec<String>,
    /// Processes of the cluster that are no nodes: shapes pass them over.
    pub companions: Vec<String>,
    /// Client groups.
    pub groups: Vec<ClientGroup>,
}

/// Which links a partition cuts, and which nodes it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Directed links, each once.
    pub links: Vec<Link>,
    /// The nodes on the side that is cut off; all where there are no sides.
    pub nodes: Vec<String>,
}

type Cuts = BTreeSet<Link>;

impl Topology {
    /// Of a plan.
    pub fn of(plan: &Plan) -> Self {
        let companions = plan.target.companions.iter();
        Topology {
            nodes: plan.target.nodes.clone(),
            companions: companions.map(|one| one.name.clone()).collect(),
            groups: plan.workload.groups.clone(),
        }
    }

    /// Links of `shape`; `selected` are the nodes of the fault's selector.
    ///
    /// # Errors
    /// When a name is unknown or the shape cuts nothing in this topology.
    pub fn partition(
        &self,
        shape: &PartitionShape,
        selected: &[String],
        view: &View,
        random: &mut Random,
    ) -> Result<Cut, String> {
        let mut shuffled = self.nodes.clone();
        random.shuffle(&mut shuffled);
        let half = self.nodes.len() / 2;
        let (nodes, links) = match shape {
            PartitionShape::Isolate => (selected.to_vec(), self.isolate(selected)),
            PartitionShape::OneWay => (selected.to_vec(), self.one_way(selected)),
            PartitionShape::Halves => self.split_off(&self.nodes[..half]),
            PartitionShape::RandomHalves => self.split_off(&shuffled[..half]),
            PartitionShape::MinorityThird => {
                self.split_off(&shuffled[..minority_third(self.nodes.len()).min(shuffled.len())])
            }
            PartitionShape::Bridge => self.bridge(half),
            PartitionShape::MajoritiesRing => (self.nodes.clone(), self.ring(&shuffled)),
            PartitionShape::Grudge(grudge) => {
                let heard = grudge
                    .iter()
                    .flat_map(|(to, from)| from.iter().map(move |f| (f, to)));
                let links = heard.map(|(from, to)| link(from, to)).collect();
                self.explicit(links)?
            }
            PartitionShape::FromTo { from, to } => {
                let (from, to) = (self.named(from, view)?, self.named(to, view)?);
                self.explicit(product(&from, &to))?
            }
        };
        if links.is_empty() {
            return Err(format!(
                "the partition cuts no link among {}",
                self.nodes.join(", ")
            ));
        }
        Ok(Cut {
            links: links.into_iter().collect(),
            nodes,
        })
    }

    /// Links of `selected` in the direction and to the peers that a delay or loss asks for.
    ///
    /// # Errors
    /// When a peer is unknown or no link is left.
    pub fn links_of(
        &self,
        selected: &[String],
        selection: &LinkSelection,
        view: &View,
    ) -> Result<Vec<Link>, String> {
        let peers = match selection.peers.is_empty() {
            true => self.nodes.clone(),
            false => self.named(&selection.peers.join(","), view)?,
        };
        let mut links = Cuts::new();
        if selection.direction != Direction::To {
            links.extend(product(selected, &peers));
        }
        if selection.direction != Direction::From {
            links.extend(product(&peers, selected));
        }
        match links.is_empty() {
            true => Err(format!(
                "there is no link between {} and its peers",
                selected.join(", ")
            )),
            false => Ok(links.into_iter().collect()),
        }
    }

    /// Every link from and to `node`, clients included: its host is off the network.
    pub fn all_links_of(&self, node: &str) -> Vec<Link> {
        let processes = self.nodes.iter().chain(&self.companions);
        let others = processes.chain(self.groups.iter().map(|group| &group.name));
        let both = others.filter(|other| *other != node);
        both.flat_map(|other| [link(node, other), link(other, node)])
            .collect()
    }

    /// Each selected node alone on its side.
    fn isolate(&self, selected: &[String]) -> Cuts {
        let mut links = product(selected, &self.nodes);
        links.extend(product(&self.nodes, selected));
        self.with_groups(links)
    }

    /// The selected are not heard by the others, but hear them.
    fn one_way(&self, selected: &[String]) -> Cuts {
        self.with_groups(product(selected, &self.others(selected)))
    }

    fn split_off(&self, side: &[String]) -> (Vec<String>, Cuts) {
        let others = self.others(side);
        let mut links = product(side, &others);
        links.extend(product(&others, side));
        let nodes = self
            .nodes
            .iter()
            .filter(|node| side.contains(node))
            .cloned()
            .collect();
        (nodes, self.with_groups(links))
    }

    /// Two halves that do not hear each other, and one node between that hears both.
    fn bridge(&self, half: usize) -> (Vec<String>, Cuts) {
        let first = &self.nodes[..half];
        let second = self.nodes.get(half + 1..).unwrap_or_default();
        let mut links = product(first, second);
        links.extend(product(second, first));
        (first.to_vec(), self.with_groups(links))
    }

    /// Each node hears its neighbours on a ring, as few as make a majority with itself. Of three
    /// nodes a symmetric ring leaves out nobody, so there each hears the next one alone.
    fn ring(&self, ring: &[String]) -> Cuts {
        let count = ring.len();
        let reach = (count / 2).div_ceil(2);
        let hears = |hearer: usize, speaker: usize| {
            let ahead = (speaker + count - hearer) % count;
            let behind = count - ahead;
            if count <= 2 * reach + 1 {
                ahead <= count / 2
            } else {
                ahead.min(behind) <= reach
            }
        };
        let mut links = Cuts::new();
        for hearer in 0..count {
            for speaker in (0..count).filter(|speaker| *speaker != hearer) {
                if !hears(hearer, speaker) {
                    links.insert(link(&ring[speaker], &ring[hearer]));
                }
            }
        }
        self.with_groups(links)
    }

    /// Links that were given by name; the nodes among their ends.
    fn explicit(&self, links: Cuts) -> Result<(Vec<String>, Cuts), String> {
        let ends: BTreeSet<&String> = links
            .iter()
            .flat_map(|link| [&link.from, &link.to])
            .collect();
        if let Some(unknown) = ends.iter().find(|name| !self.has(name)) {
            return Err(format!("there is no node or client group {unknown}"));
        }
        let nodes = self
            .nodes
            .iter()
            .chain(&self.companions)
            .filter(|node| ends.contains(node))
            .cloned()
            .collect();
        Ok((nodes, links))
    }

    /// Groups beside a node share its cuts.
    fn with_groups(&self, cuts: Cuts) -> Cuts {
        let mut links = cuts.clone();
        for group in &self.groups {
            let Some(beside) = &group.beside else {
                continue;
            };
            for cut in &cuts {
                if cut.from == *beside {
                    links.insert(link(&group.name, &cut.to));
                }
                if cut.to == *beside {
                    links.insert(link(&cut.from, &group.name));
                }
            }
        }
        links
    }

    fn others(&self, side: &[String]) -> Vec<String> {
        self.nodes
            .iter()
            .filter(|node| !side.contains(node))
            .cloned()
            .collect()
    }

    fn has(&self, name: &str) -> bool {
        let mut processes = self.nodes.iter().chain(&self.companions);
        processes.any(|process| process == name)
            || self.groups.iter().any(|group| group.name == name)
    }

    /// Names, comma-separated: nodes, groups, `all`, `clients`, `primary`, `backups`, or a role
    /// whose members are numbered.
    fn named(&self, text: &str, view: &View) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for word in text.split(',').map(str::trim) {
            match word {
                _ if self.has(word) => names.push(word.to_owned()),
                "all" => names.extend(self.nodes.iter().cloned()),
                "clients" => names.extend(self.groups.iter().map(|group| group.name.clone())),
                "primary" => names.push(view.primary()?),
                "backups" => {
                    let primary = view.primary()?;
                    let mut live = view.live();
                    live.retain(|name| *name != primary && self.nodes.contains(name));
                    names.extend(live);
                }
                role => names.extend(self.members(role)?),
            }
        }
        Ok(names)
    }

    fn members(&self, role: &str) -> Result<Vec<String>, String> {
        let numbered = |name: &&String| {
            name.strip_prefix(role)
                .is_some_and(|rest| rest.parse::<u32>().is_ok())
        };
        let members: Vec<String> = self.nodes.iter().filter(numbered).cloned().collect();
        match members.is_empty() {
            true => Err(format!("there is no node, client group or role {role}")),
            false => Ok(members),
        }
    }
}

fn link(from: &str, to: &str) -> Link {
    Link {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// From each of the first to each of the second, never to itself.
fn product(from: &[String], to: &[String]) -> Cuts {
    let pairs = from
        .iter()
        .flat_map(|from| to.iter().map(move |to| (from, to)));
    pairs
        .filter(|(from, to)| from != to)
        .map(|(from, to)| link(from, to))
        .collect()
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod tests;
