//! The links of a run: who has done what to which, rendered whole at each change.
//!
//! A link's effects are kept by fault. What the kernel is told is their union: a cut beats a
//! refusal, which beats delay and loss; delays add up. So faults may overlap in any order, and
//! healing one leaves the others.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use shakedown_contracts::control::Endpoint;
use shakedown_contracts::fault::{CutBehavior, Delay, FaultId, Link, LinkEffect, Loss};
use shakedown_contracts::time::Bracket;
use thiserror::Error;

use super::delayer::{Delayer, QUEUE_NUMBER};
use super::fate;
use super::probes::Prober;
use super::topology::{Topology, TopologyError};
use crate::clock::now;
use crate::faults::guard::Ledgered;
use crate::ledger::{Ledger, LedgerError};
use crate::netlink::NetlinkError;
use crate::netlink::nftables::{Change, Fate, Pair, QueueMechanism, Table};

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
    #[error("{0} is no endpoint of this run")]
    Unknown(String),
}

/// All links of a run.
#[derive(Debug)]
pub struct Links {
    /// The wires below them.
    pub topology: Topology,
    /// Proves what they do.
    pub prober: Prober,
    table: Table,
    delayer: Delayer,
    ledger: Ledger,
    seed: u64,
    effects: BTreeMap<Link, BTreeMap<FaultId, LinkEffect>>,
    rendered: BTreeMap<Link, Fate>,
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
        let delayer = Delayer::start()?;
        let table = Table::create(QUEUE_NUMBER)?;
        Ok(Links {
            topology,
            prober: Prober::default(),
            table,
            delayer,
            ledger,
            seed,
            effects: BTreeMap::new(),
            rendered: BTreeMap::new(),
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
        let mut links = Vec::new();
        for from in &self.topology.wires {
            for to in self.topology.wires.iter().filter(|to| to.name != from.name) {
                links.push(Link {
                    from: from.name.clone(),
                    to: to.name.clone(),
                });
            }
        }
        links
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
        for link in links {
            self.pair(link)?;
            self.effects
                .entry(link.clone())
                .or_default()
                .insert(id.clone(), effect);
        }
        let outcome = self.render();
        if outcome.is_err() {
            self.forget(id);
        }
        outcome
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

    /// Effects on a link by faults other than `id`.
    pub fn others(&self, link: &Link, id: &FaultId) -> Vec<LinkEffect> {
        let effects = self.effects.get(link).into_iter().flatten();
        effects
            .filter(|(other, _)| *other != id)
            .map(|(_, effect)| *effect)
            .collect()
    }

    /// Packets that each of these links has counted under `fate`.
    ///
    /// # Errors
    /// [`LinksError`] when the kernel refuses.
    pub fn counts(&mut self, fate: Fate) -> Result<BTreeMap<Link, u64>, LinksError> {
        let counts = self.table.counts(fate)?;
        let links: Vec<Link> = self.rendered.keys().cloned().collect();
        let mut by_link = BTreeMap::new();
        for link in links {
            if let Some(count) = counts.get(&self.pair(&link)?) {
                by_link.insert(link, *count);
            }
        }
        Ok(by_link)
    }

    /// How slow links are done, for evidence.
    pub fn slow_mechanism(&self) -> String {
        let queue = match self.table.queue_mechanism {
            QueueMechanism::Expression => "nftables queue expression",
            QueueMechanism::Target => "NFQUEUE target in nftables",
        };
        format!(
            "{queue} in the router, held by the agent at {}",
            self.delayer.priority
        )
    }

    fn pair(&self, link: &Link) -> Result<Pair, LinksError> {
        let index = |name: &str| {
            let wire = self.topology.wires.iter().find(|wire| wire.name == name);
            wire.map(|wire| wire.index)
                .ok_or_else(|| LinksError::Unknown(name.to_owned()))
        };
        Ok(Pair {
            incoming: index(&link.from)?,
            outgoing: index(&link.to)?,
        })
    }

    /// Tells the kernel and the delayer the union of all effects.
    fn render(&mut self) -> Result<Bracket, LinksError> {
        let wanted: BTreeMap<Link, Fate> = self
            .effects
            .iter()
            .filter_map(|(link, effects)| Some((link.clone(), union(effects.values())?)))
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
        // The delayer first: a packet that the table hands over finds its fate known, and packets
        // held on healed links go on before later ones pass by the healthy path.
        let before = now();
        if wanted
            .values()
            .chain(self.rendered.values())
            .any(|fate| *fate == Fate::Slow)
        {
            self.delayer.set(self.fates(&wanted)?)?;
        }
        self.table.change(&changes)?;
        let after = now();
        self.rendered = wanted;
        Ok(Bracket { before, after })
    }

    fn fates(
        &self,
        wanted: &BTreeMap<Link, Fate>,
    ) -> Result<BTreeMap<Pair, fate::Fate>, LinksError> {
        let mut fates = BTreeMap::new();
        for (link, _) in wanted.iter().filter(|(_, fate)| **fate == Fate::Slow) {
            let effects = self.effects.get(link).into_iter().flatten();
            let (mut delays, mut losses): (Vec<Delay>, Vec<Loss>) = Default::default();
            for (_, effect) in effects {
                match effect {
                    LinkEffect::Delay(delay) => delays.push(*delay),
                    LinkEffect::Loss(loss) => losses.push(*loss),
                    LinkEffect::Cut(_) => {}
                }
            }
            let name = format!("{}>{}", link.from, link.to);
            fates.insert(
                self.pair(link)?,
                fate::Fate::new(self.seed, &name, &delays, &losses),
            );
        }
        Ok(fates)
    }
}

/// What several effects on one link come to.
fn union<'a>(effects: impl Iterator<Item = &'a LinkEffect>) -> Option<Fate> {
    // `Fate` is ordered from the strongest to the weakest.
    effects
        .map(|effect| match effect {
            LinkEffect::Cut(CutBehavior::Drop) => Fate::Cut,
            LinkEffect::Cut(CutBehavior::Reject) => Fate::Refuse,
            LinkEffect::Delay(_) | LinkEffect::Loss(_) => Fate::Slow,
        })
        .min()
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::units::Ratio;

    use super::*;

    #[test]
    fn a_cut_beats_a_refusal_and_a_refusal_beats_delay_and_loss() {
        let drop = LinkEffect::Cut(CutBehavior::Drop);
        let reject = LinkEffect::Cut(CutBehavior::Reject);
        let share = Ratio::new(0.5).expect("a share");
        let loss = LinkEffect::Loss(Loss {
            loss: share,
            correlation: Ratio::default(),
        });
        assert_eq!(union([&loss, &reject, &drop].into_iter()), Some(Fate::Cut));
        assert_eq!(union([&loss, &reject].into_iter()), Some(Fate::Refuse));
        assert_eq!(union([&loss].into_iter()), Some(Fate::Slow));
        assert_eq!(union([].into_iter()), None);
    }
}
