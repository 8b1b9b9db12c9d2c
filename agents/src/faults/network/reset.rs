//! Reset: live TCP connections from one end of a link to the other are ended; new ones are not
//! hindered.
//!
//! Proof: the kernel has ended each, and lists none of them any more at the end where that was done;
//! where no other fault is on the link, nor at the other end, which was told by a reset. A link
//! without any live connection makes the fault unverified: nothing would have happened.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use shakedown_contracts::event::{Achieved, Evidence};
use shakedown_contracts::fault::{FaultId, Link};
use shakedown_contracts::units::Duration;

use super::confirm::{self, unverified};
use crate::clock::{now, until_now};
use crate::faults::{Fault, Observation, Unverified};
use crate::netlink::NetlinkError;
use crate::netlink::sockets::{self, Connection};
use crate::network_agent::links::{Links, LinksError, Scope};

/// A reset travels in microseconds; a busy machine gets this long.
const PATIENCE: Duration = Duration::from_millis(250);
const MECHANISM: &str = "socket destruction (SOCK_DESTROY) at one end";

/// The fault.
pub(super) struct Reset {
    id: FaultId,
    scope: Scope,
}

impl Reset {
    pub fn new(id: FaultId, scope: Scope) -> Self {
        Reset { id, scope }
    }
}

impl Fault<Links> for Reset {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        host.check(&self.scope)?;
        let before = now();
        let mut ended: Vec<(Link, Vec<Connection>)> = Vec::new();
        let mut spared: Vec<(&Link, Connection)> = Vec::new();
        let mut count = 0;
        for link in &self.scope.links {
            let to = address(host, &link.to)?;
            let of_link = inside(host, &link.from, || {
                let mut found = sockets::connections()?;
                found.retain(|one| *one.remote.ip() == to);
                let met = |one: &Connection| {
                    let ports = (one.local.port(), one.remote.port());
                    self.scope.ports.meet(Some(ports))
                };
                spared.extend(found.extract_if(.., |one| !met(one)).map(|one| (link, one)));
                count += sockets::destroy(&found)?;
                Ok(found)
            })?;
            ended.push((link.clone(), of_link));
        }
        let at = until_now(before);
        if count == 0 {
            let (ports, links) = (&self.scope.ports, told(&self.scope.links));
            let of = match ports.is_all() {
                true => String::new(),
                false => format!(" of {ports}"),
            };
            let reason = format!("no TCP connection{of} lived on {links}");
            return Err(unverified(reason));
        }
        for (link, connections) in &ended {
            see_them_gone(host, link, connections)?;
        }
        let others = confirm::others(host, &self.scope.links, &self.id);
        let mut note = match others.is_empty() {
            true => ", at either end".to_owned(),
            false => format!("; {others} may keep the other ends from being told"),
        };
        if !self.scope.ports.is_all() {
            let alive = count_alive(host, &spared)?;
            let all = spared.len();
            note.push_str(&format!("; {alive} of {all} of other ports live on"));
        }
        Ok(Observation {
            at,
            evidence: Evidence {
                mechanism: MECHANISM.to_owned(),
                observed: format!("{count} connections ended and none of them is listed{note}"),
                achieved: vec![Achieved {
                    name: "connections".to_owned(),
                    requested: count as f64,
                    achieved: count as f64,
                    unit: String::new(),
                }],
            },
        })
    }

    /// There is nothing to undo; packets pass as before.
    fn heal(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        let before = now();
        let look = confirm::arrivals;
        let seen = confirm::by_ports(host, &self.scope, look, look)?;
        let at = until_now(before);
        Ok(seen.into_observation(
            at,
            "nothing: new connections were never hindered".to_owned(),
        ))
    }
}

fn told(links: &[Link]) -> String {
    let names = links
        .iter()
        .map(|link| format!("{}→{}", link.from, link.to));
    names.collect::<Vec<_>>().join(", ")
}

fn address(host: &Links, name: &str) -> Result<Ipv4Addr, LinksError> {
    let wire = host.topology.wires.iter().find(|wire| wire.name == name);
    let address = wire.map(|wire| wire.address);
    address.ok_or_else(|| LinksError::Unknown(name.to_owned()))
}

fn inside<T>(
    host: &Links,
    name: &str,
    act: impl FnOnce() -> Result<T, NetlinkError>,
) -> Result<T, LinksError> {
    let wire = host.topology.wires.iter().find(|wire| wire.name == name);
    let wire = wire.ok_or_else(|| LinksError::Unknown(name.to_owned()))?;
    Ok(host.topology.inside(wire, act)??)
}

/// How many of these, at the senders' ends, live. Their owners may have ended others meanwhile.
fn count_alive(host: &Links, spared: &[(&Link, Connection)]) -> Result<usize, LinksError> {
    let senders: BTreeSet<&str> = spared.iter().map(|(link, _)| &*link.from).collect();
    let mut found = BTreeSet::new();
    for sender in senders {
        found.extend(inside(host, sender, sockets::connections)?);
    }
    let alive = spared.iter().filter(|(_, one)| found.contains(one));
    Ok(alive.count())
}

/// At the end where they were ended, and, if nothing else is on the link, at the other.
fn see_them_gone(host: &Links, link: &Link, ended: &[Connection]) -> Result<(), Unverified> {
    let ended_here: BTreeSet<&Connection> = ended.iter().collect();
    let here = inside(host, &link.from, sockets::connections)?;
    if let Some(lives) = here.iter().find(|one| ended_here.contains(one)) {
        let (local, remote) = (lives.local, lives.remote);
        let reason = format!("the connection from {local} to {remote} lives on");
        return Err(unverified(reason));
    }
    if host.laid(link).next().is_some() {
        return Ok(());
    }
    let ports: BTreeSet<(u16, u16)> = ended
        .iter()
        .map(|one| (one.remote.port(), one.local.port()))
        .collect();
    let from = address(host, &link.from)?;
    let deadline = now().after(PATIENCE);
    loop {
        let late = now() >= deadline;
        let there = inside(host, &link.to, sockets::connections)?;
        let lives = there.iter().find(|one| {
            *one.remote.ip() == from && ports.contains(&(one.local.port(), one.remote.port()))
        });
        match lives {
            None => return Ok(()),
            Some(lives) if late => {
                let (local, remote) = (lives.local, lives.remote);
                return Err(unverified(format!(
                    "{local} was not told within {PATIENCE} that its connection to {remote} has ended"
                )));
            }
            Some(_) => std::thread::yield_now(),
        }
    }
}
