//! The links of a run: who has done what to which, rendered whole at each change.
//!
//! A link's effects are kept by fault. What the kernel and the delayer are told is their union, so
//! faults may overlap in any order, and healing one leaves the others. Only differences travel, in
//! one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use shakedown_contracts::control::Endpoint;
use shakedown_contracts::fault::{CutBehavior, FaultId, Link, LinkEffect};
use shakedown_contracts::ports::{PROBE_PORT, Ports};
use shakedown_contracts::time::Bracket;
use thiserror::Error;

use super::delayer::Delayer;
use super::holding::Ruling;
use super::probes::Prober;
use super::topology::{Topology, TopologyError};
use super::traffic::Traffic;
use super::union::{Laid, Union};
use crate::clock::now;
use crate::faults::guard::Ledgered;
use crate::ledger::{Ledger, LedgerError};
use crate::netlink::NetlinkError;
use crate::netlink::nftables::{Change, Pair, Place, QueueMechanism, Set, Table};
use crate::netlink::queue;

/// Why the links could not be ruled.
#[derive(Debug, Error)]
pub enum LinksError {
    /// The topology does not stand.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A socket or thread of the agent broke.
    #[error("probing the links: {0}")]
    Probe(#[from] io::Error),
    /// The order names something this run does not have.
    #[error("{0} is no endpoint of this run; name one that hello gave")]
    Unknown(String),
    /// From an endpoint to itself there is no link.
    #[error("{0} to itself is no link: such packets never leave the endpoint")]
    Itself(String),
    /// A fault of the port by which probes come could not be told from a fault of all.
    #[error("port {PROBE_PORT} is that of the agent's own probes; name others")]
    ProbePort,
    /// Nothing to act on, which must not pass for done.
    #[error("the order names no link; give at least one")]
    Nothing,
}

type Effects = BTreeMap<FaultId, Laid>;
/// All packets of a link, or those of a port.
type Part = (Link, Option<u16>);

/// Which packets a fault meets.
#[derive(Debug, Clone)]
pub struct Scope {
    /// On which links.
    pub links: Vec<Link>,
    /// Which of their packets.
    pub ports: Ports,
}

/// All links of a run.
#[derive(Debug)]
pub struct Links {
    /// The wires below them.
    pub topology: Topology,
    pub(super) prober: Prober,
    table: Table,
    delayer: Delayer,
    ledger: Ledger,
    effects: BTreeMap<Link, Effects>,
    rendered: BTreeMap<Part, Set>,
    ruled: BTreeMap<Pair, Ruling>,
}

impl Ledgered for Links {
    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

impl Links {
    /// Builds the topology and the table; the calling thread stays in the router namespace.
    ///
    /// # Errors
    /// [`LinksError`]; what was made until then is gone.
    pub fn build(endpoints: &[Endpoint], ledger: Ledger, seed: u64) -> Result<Self, LinksError> {
        let topology = Topology::build(endpoints)?;
        let delayer = Delayer::start(seed)?;
        let table = Table::create((endpoints.len() * endpoints.len()) as u32)?;
        Ok(Links {
            topology,
            prober: Prober::default(),
            table,
            delayer,
            ledger,
            effects: BTreeMap::new(),
            rendered: BTreeMap::new(),
            ruled: BTreeMap::new(),
        })
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger's file cannot be removed.
    pub fn end(self) -> Result<(), LedgerError> {
        self.ledger.close()
    }

    /// Every directed link between two endpoints.
    pub fn all(&self) -> Vec<Link> {
        let names = || self.topology.wires.iter().map(|wire| &wire.name);
        let pairs = names().flat_map(|from| names().map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| from != to)
            .map(|(from, to)| Link {
                from: from.clone(),
                to: to.clone(),
            })
            .collect()
    }

    /// Lays an effect on links; the bracket is the kernel's transaction.
    ///
    /// # Errors
    /// [`LinksError`]; nothing was changed then.
    pub fn apply(
        &mut self,
        id: &FaultId,
        scope: &Scope,
        effect: LinkEffect,
    ) -> Result<Bracket, LinksError> {
        self.check(scope)?;
        for link in &scope.links {
            let effects = self.effects.entry(link.clone()).or_default();
            let ports = scope.ports.clone();
            effects.insert(id.clone(), Laid { effect, ports });
        }
        let outcome = self.render();
        if outcome.is_err() {
            self.forget(id);
            // The delayer may have obeyed before the kernel refused; it is told again.
            self.render()?;
        }
        outcome
    }

    /// Whether these can be acted on.
    ///
    /// # Errors
    /// [`LinksError`] with the first that cannot.
    pub fn check(&self, scope: &Scope) -> Result<(), LinksError> {
        if scope.links.is_empty() {
            return Err(LinksError::Nothing);
        }
        if scope.ports.iter().any(|port| port == PROBE_PORT) {
            return Err(LinksError::ProbePort);
        }
        scope
            .links
            .iter()
            .try_for_each(|link| self.pair(link).map(drop))
    }

    /// Takes a fault's effects away; those of others stay.
    ///
    /// # Errors
    /// [`LinksError`] when the kernel refuses.
    pub fn withdraw(&mut self, id: &FaultId) -> Result<Bracket, LinksError> {
        self.forget(id);
        self.render()
    }

    fn forget(&mut self, id: &FaultId) {
        for effects in self.effects.values_mut() {
            effects.remove(id);
        }
        self.effects.retain(|_, effects| !effects.is_empty());
    }

    /// All that lies on a link, by fault.
    pub fn laid(&self, link: &Link) -> impl Iterator<Item = (&FaultId, &Laid)> {
        self.effects.get(link).into_iter().flatten()
    }

    /// The links as packets meet them that come from a port; `None` for packets without a port that a
    /// fault names.
    pub fn traffic(&mut self, port: Option<u16>) -> Traffic<'_> {
        Traffic::of(self, port)
    }

    /// Bytes that the kernel counted on each link and port since it joined this set.
    ///
    /// # Errors
    /// [`LinksError`] when the kernel refuses.
    pub fn counts(&mut self, set: Set) -> Result<BTreeMap<Part, u64>, LinksError> {
        let counts = self.table.counts(set)?;
        let mut by_part = BTreeMap::new();
        for part in self.rendered.keys() {
            if let Some(count) = counts.get(&self.place(part)?) {
                by_part.insert(part.clone(), *count);
            }
        }
        Ok(by_part)
    }

    /// Packets lost so far because the agent's queue was full or not read soon enough.
    ///
    /// # Errors
    /// [`LinksError`] when the kernel's table cannot be read.
    pub fn overflows(&self) -> Result<u64, LinksError> {
        Ok(queue::overflows()?)
    }

    /// How slow links are done, for evidence.
    pub fn slow_mechanism(&self) -> String {
        let queue = match self.table.queue_mechanism {
            QueueMechanism::Expression => "nftables queue expression",
            QueueMechanism::Target => "NFQUEUE target in nftables",
        };
        let priority = self.delayer.priority;
        format!("{queue} in the router, held by the agent at {priority}")
    }

    fn pair(&self, link: &Link) -> Result<Pair, LinksError> {
        let index = |name: &String| {
            let wire = self.topology.wires.iter().find(|wire| wire.name == *name);
            wire.map(|wire| wire.index)
                .ok_or_else(|| LinksError::Unknown(name.clone()))
        };
        let (incoming, outgoing) = (index(&link.from)?, index(&link.to)?);
        if incoming == outgoing {
            return Err(LinksError::Itself(link.from.clone()));
        }
        Ok(Pair { incoming, outgoing })
    }

    fn place(&self, (link, port): &Part) -> Result<Place, LinksError> {
        let (pair, port) = (self.pair(link)?, *port);
        Ok(Place { pair, port })
    }

    /// Tells the kernel and the delayer the union of all effects.
    fn render(&mut self) -> Result<Bracket, LinksError> {
        let wanted = wanted(&self.effects);
        let touched: BTreeSet<&Part> = wanted.keys().chain(self.rendered.keys()).collect();
        let mut changes = Vec::new();
        for part in touched {
            changes.push(Change {
                place: self.place(part)?,
                from: self.rendered.get(part).copied(),
                to: wanted.get(part).copied(),
            });
        }
        let rulings = self.rulings()?;
        // The delayer first: a packet that the table hands over finds its fate known, and packets
        // held on healed links go on before later ones pass by the healthy path.
        let before = now();
        if rulings != self.ruled {
            self.delayer.rule(rulings.clone())?;
            self.ruled = rulings;
        }
        self.table.change(&changes)?;
        let after = now();
        self.rendered = wanted;
        Ok(Bracket { before, after })
    }

    fn rulings(&self) -> Result<BTreeMap<Pair, Ruling>, LinksError> {
        let mut rulings = BTreeMap::new();
        for (link, effects) in &self.effects {
            if Union::of(effects.values().map(|laid| &laid.effect)).is_slow() {
                let ruling = Ruling {
                    link: format!("{}>{}", link.from, link.to),
                    effects: effects.clone(),
                };
                rulings.insert(self.pair(link)?, ruling);
            }
        }
        Ok(rulings)
    }
}

/// Where packets of each link belong, and those of each of its ports that a fault names.
fn wanted(effects: &BTreeMap<Link, Effects>) -> BTreeMap<Part, Set> {
    let mut wanted = BTreeMap::new();
    for (link, effects) in effects {
        let ports = effects.values().flat_map(|laid| laid.ports.iter());
        let parts: BTreeSet<Option<u16>> = ports.map(Some).chain([None]).collect();
        for port in parts {
            let met = effects
                .values()
                .filter(|laid| laid.ports.meet(port.map(|port| (port, port))));
            if let Some(set) = set_of(&Union::of(met.map(|laid| &laid.effect))) {
                wanted.insert((link.clone(), port), set);
            }
        }
    }
    wanted
}

fn set_of(union: &Union) -> Option<Set> {
    match union.cut {
        Some(CutBehavior::Drop) => Some(Set::Cut),
        Some(CutBehavior::Reject) => Some(Set::Refuse),
        None if union.is_late_alone() => Some(Set::Late),
        None => union.is_slow().then_some(Set::Slow),
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::fault::Delay;
    use shakedown_contracts::units::Duration;

    use super::*;

    #[test]
    fn a_port_meets_what_its_link_meets_and_more_and_the_rest_of_the_link_does_not() {
        let link = Link {
            from: "n1".to_owned(),
            to: "n2".to_owned(),
        };
        let slow = LinkEffect::Delay(Delay {
            latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            correlation: Default::default(),
            distribution: Default::default(),
        });
        let laid = |effect, ports: &[u16]| Laid {
            effect,
            ports: ports.iter().copied().collect(),
        };
        let id = |fault: &str| FaultId {
            fault: fault.to_owned(),
            occurrence: 0,
        };
        let cut = LinkEffect::Cut(CutBehavior::Drop);
        let mut effects = Effects::from([
            (id("cut"), laid(cut, &[80])),
            (id("slow"), laid(slow, &[80, 81])),
        ]);
        let part = |port| (link.clone(), port);
        let rendered =
            |effects: &Effects| wanted(&BTreeMap::from([(link.clone(), effects.clone())]));
        let of_ports = [(part(Some(80)), Set::Cut), (part(Some(81)), Set::Late)];
        assert_eq!(rendered(&effects), BTreeMap::from(of_ports.clone()));
        let refuse = LinkEffect::Cut(CutBehavior::Reject);
        effects.insert(id("refuse"), laid(refuse, &[]));
        let refused = [(part(None), Set::Refuse), (part(Some(81)), Set::Refuse)];
        let [cut, _] = of_ports;
        assert_eq!(
            rendered(&effects),
            refused.into_iter().chain([cut]).collect()
        );
    }
}
