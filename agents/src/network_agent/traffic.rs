//! The links as packets of one kind meet them: what all faults come to for those, and probes that
//! look like them.

use std::collections::BTreeMap;

use shakedown_contracts::fault::{FaultId, Link};
use shakedown_contracts::ports::{PROBE_PORT, PacketPorts};
use shakedown_contracts::units::Duration;

use super::links::{Links, LinksError};
use super::probes::{Arrivals, Volley};
use super::topology::Topology;
use super::union::Union;
use crate::netlink::nftables::Set;

/// Packets of a port, or of none that a fault names, on any link.
#[derive(Debug)]
pub struct Traffic<'l> {
    links: &'l mut Links,
    port: Option<u16>,
}

impl<'l> Traffic<'l> {
    /// Of a port; `None` for traffic that has no port which a fault could name.
    pub fn of(links: &'l mut Links, port: Option<u16>) -> Self {
        Traffic { links, port }
    }

    /// Of which port.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Ports of a probe.
    fn probe_ports(&self) -> PacketPorts {
        (self.port.unwrap_or(PROBE_PORT), PROBE_PORT)
    }

    /// The wires.
    pub fn topology(&self) -> &Topology {
        &self.links.topology
    }

    /// What all faults on a link come to for such packets.
    pub fn union(&self, link: &Link) -> Union {
        let met = self
            .links
            .laid(link)
            .filter(|(_, laid)| laid.ports.meet(Some(self.probe_ports())));
        Union::of(met.map(|(_, laid)| &laid.effect))
    }

    /// Names of all faults on a link, whatever they meet.
    pub fn faults(&self, link: &Link) -> impl Iterator<Item = &FaultId> {
        self.links.laid(link).map(|(id, _)| id)
    }

    /// Bytes of such packets that the kernel counted on each link since it joined this set; links
    /// that are not in it are missing.
    ///
    /// # Errors
    /// [`LinksError`] when the kernel refuses.
    pub fn counts(&mut self, set: Set) -> Result<BTreeMap<Link, u64>, LinksError> {
        let mut of_links = BTreeMap::new();
        let mut of_port = BTreeMap::new();
        for ((link, port), count) in self.links.counts(set)? {
            match port {
                None => of_links.insert(link, count),
                Some(port) if Some(port) == self.port => of_port.insert(link, count),
                Some(_) => None,
            };
        }
        // What is done to a port of a link is looked up first.
        of_links.extend(of_port);
        Ok(of_links)
    }

    /// The same of links whose packets go through the agent.
    ///
    /// # Errors
    /// [`LinksError`] when the kernel refuses.
    pub fn queued(&mut self) -> Result<BTreeMap<Link, u64>, LinksError> {
        let mut counts = self.counts(Set::Slow)?;
        for (link, count) in self.counts(Set::Late)? {
            *counts.entry(link).or_default() += count;
        }
        Ok(counts)
    }

    /// Sends `rounds` probes on each link.
    ///
    /// # Errors
    /// [`LinksError`] when a socket breaks.
    pub fn send<'a>(&mut self, links: &'a [Link], rounds: u32) -> Result<Volley<'a>, LinksError> {
        let wires = &self.links.topology.wires;
        Ok(self.links.prober.send(wires, links, self.port, rounds)?)
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
        let doubles = |link| self.union(link).doubled().0 > 0.0;
        let copies = 1 + u32::from(links.iter().any(doubles));
        let wires = &self.links.topology.wires;
        let count = (rounds, copies);
        let prober = &mut self.links.prober;
        Ok(prober.exchange(wires, links, self.port, count, patience)?)
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
        let wires = &self.links.topology.wires;
        let prober = &mut self.links.prober;
        Ok(prober.burst(wires, links, self.port, rounds, patience)?)
    }
}
