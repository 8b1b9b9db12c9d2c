//! The links of a run: who has done what to which, rendered whole at each change.
//!
//! A link's effects are kept by fault. What the kernel and the delayer are told is their union, so
//! faults may overlap in any order, and healing one leaves the others. Only differences travel, in
//! one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use shakedown_contracts::control::Endpoint;
use shakedown_contracts::fault::{CutBehavior, FaultId, Link, LinkEffect};
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;
use thiserror::Error;

use super::delayer::Delayer;
use super::holding::Ruling;
use super::probes::{Arrivals, Prober, Volley};
use super::topology::{Topology, TopologyError};
use super::union::Union;
use crate::clock::now;
use crate::faults::guard::Ledgered;
use crate::ledger::{Ledger, LedgerError};
use crate::netlink::NetlinkError;
use crate::netlink::nftables::{Change, Pair, QueueMechanism, Set, Table};
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
    /// Nothing to act on, which must not pass for done.
    #[error("the order names no link; give at least one")]
    Nothing,
}

type Effects = BTreeMap<FaultId, LinkEffect>;

/// All links of a run.
#[derive(Debug)]
pub struct Links {
    /// The wires below them.
    pub topology: Topology,
    prober: Prober,
    table: Table,
    delayer: Delayer,
    ledger: Ledger,
    effects: BTreeMap<Link, Effects>,
    rendered: BTreeMap<Link, Set>,
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
        links: &[Link],
        effect: LinkEffect,
    ) -> Result<Bracket, LinksError> {
        self.check(links)?;
        for link in links {
            let effects = self.effects.entry(link.clone()).or_default();
            effects.insert(id.clone(), effect);
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
    pub fn check(&self, links: &[Link]) -> Result<(), LinksError> {
        if links.is_empty() {
            return Err(LinksError::Nothing);
        }
        links.iter().try_for_each(|link| self.pair(link).map(drop))
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

    /// What all faults on a link come to.
    pub fn union(&self, link: &Link) -> Union {
        Union::of(self.effects.get(link).into_iter().flat_map(Effects::values))
    }

    /// Names of the faults on a link.
    pub fn faults(&self, link: &Link) -> impl Iterator<Item = &FaultId> {
        self.effects.get(link).into_iter().flat_map(Effects::keys)
    }

    /// Bytes that the kernel counted on each link since the link joined this set.
    ///
    /// # Errors
    /// [`LinksError`] when the kernel refuses.
    pub fn counts(&mut self, set: Set) -> Result<BTreeMap<Link, u64>, LinksError> {
        let counts = self.table.counts(set)?;
        let mut by_link = BTreeMap::new();
        for link in self.rendered.keys() {
            if let Some(count) = counts.get(&self.pair(link)?) {
                by_link.insert(link.clone(), *count);
            }
        }
        Ok(by_link)
    }

    /// The same of links whose packets go through the agent.
    ///
    /// # Errors
    /// [`LinksError`] when the kernel refuses.
    pub fn queued(&mut self) -> Result<BTreeMap<Link, u64>, LinksError> {
        let mut counts = self.counts(Set::Slow)?;
        counts.extend(self.counts(Set::Late)?);
        Ok(counts)
    }

    /// Sends `rounds` probes on each link.
    ///
    /// # Errors
    /// [`LinksError`] when a socket breaks.
    pub fn send<'a>(&mut self, links: &'a [Link], rounds: u32) -> Result<Volley<'a>, LinksError> {
        Ok(self.prober.send(&self.topology.wires, links, rounds)?)
    }

    /// Sends `rounds` probes on each link and waits for them.
    ///
    /// # Errors
    /// [`LinksError`] when a socket breaks.
    pub fn probe(
        &mut self,
        links: &[Link],
        rounds: u32,
        patience: Duration,
    ) -> Result<BTreeMap<Link, Arrivals>, LinksError> {
        let wires = &self.topology.wires;
        let doubles = |link| self.union(link).doubled().0 > 0.0;
        let copies = 1 + u32::from(links.iter().any(doubles));
        Ok(self
            .prober
            .exchange(wires, links, (rounds, copies), patience)?)
    }

    /// Sends `rounds` probes that fill packets on each link, all at once, and waits for them.
    ///
    /// # Errors
    /// [`LinksError`] when a socket breaks.
    pub fn burst(
        &mut self,
        links: &[Link],
        rounds: u32,
        patience: Duration,
    ) -> Result<BTreeMap<Link, Arrivals>, LinksError> {
        let wires = &self.topology.wires;
        Ok(self.prober.burst(wires, links, rounds, patience)?)
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

    /// Tells the kernel and the delayer the union of all effects.
    fn render(&mut self) -> Result<Bracket, LinksError> {
        let wanted: BTreeMap<Link, Set> = self
            .effects
            .keys()
            .filter_map(|link| Some((link.clone(), set_of(&self.union(link))?)))
            .collect();
        let touched: BTreeSet<&Link> = wanted.keys().chain(self.rendered.keys()).collect();
        let mut changes = Vec::new();
        for link in touched {
            changes.push(Change {
                pair: self.pair(link)?,
                from: self.rendered.get(link).copied(),
                to: wanted.get(link).copied(),
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
            let union = Union::of(effects.values());
            if union.is_slow() {
                let ruling = Ruling {
                    link: format!("{}>{}", link.from, link.to),
                    cut: union.cut.is_some(),
                    effects: effects.clone(),
                };
                rulings.insert(self.pair(link)?, ruling);
            }
        }
        Ok(rulings)
    }
}

fn set_of(union: &Union) -> Option<Set> {
    match union.cut {
        Some(CutBehavior::Drop) => Some(Set::Cut),
        Some(CutBehavior::Reject) => Some(Set::Refuse),
        None if union.is_late_alone() => Some(Set::Late),
        None => union.is_slow().then_some(Set::Slow),
    }
}
