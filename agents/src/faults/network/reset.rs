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
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

use super::confirm::{self, unverified};
use crate::clock::now;
use crate::faults::{Fault, Observation, Unverified};
use crate::netlink::NetlinkError;
use crate::netlink::sockets::{self, Connection};
use crate::network_agent::links::{Links, LinksError};
use crate::network_agent::union::Union;

/// A reset travels in microseconds; a busy machine gets this long.
const PATIENCE: Duration = Duration::from_millis(250);
const MECHANISM: &str = "socket destruction (SOCK_DESTROY) at one end";

/// The fault.
pub(super) struct Reset {
    id: FaultId,
    links: Vec<Link>,
}

impl Reset {
    pub fn new(id: FaultId, links: Vec<Link>) -> Self {
        Reset { id, links }
    }
}

impl Fault<Links> for Reset {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        host.check(&self.links)?;
        let before = now();
        let mut ended: Vec<(Link, Vec<Connection>)> = Vec::new();
        let mut count = 0;
        for link in &self.links {
            let to = address(host, &link.to)?;
            let of_link = inside(host, &link.from, || {
                let mut found = sockets::connections()?;
                found.retain(|connection| *connection.remote.ip() == to);
                count += sockets::destroy(&found)?;
                Ok(found)
            })?;
            ended.push((link.clone(), of_link));
        }
        let at = Bracket {
            before,
            after: now(),
        };
        if count == 0 {
            let reason = format!("no TCP connection lived on {}", told(&self.links));
            return Err(unverified(reason));
        }
        for (link, connections) in &ended {
            see_them_gone(host, link, connections)?;
        }
        let others = confirm::others(host, &self.links, &self.id);
        let note = match others.is_empty() {
            true => ", at either end".to_owned(),
            false => format!("; {others} may keep the other ends from being told"),
        };
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
        let seen = confirm::arrivals(host, &self.links)?;
        let at = Bracket {
            before,
            after: now(),
        };
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

/// At the end where they were ended, and, if nothing else is on the link, at the other.
fn see_them_gone(host: &Links, link: &Link, ended: &[Connection]) -> Result<(), Unverified> {
    let ended_here: BTreeSet<&Connection> = ended.iter().collect();
    let here = inside(host, &link.from, sockets::connections)?;
    if let Some(lives) = here.iter().find(|one| ended_here.contains(one)) {
        let (local, remote) = (lives.local, lives.remote);
        let reason = format!("the connection from {local} to {remote} lives on");
        return Err(unverified(reason));
    }
    if host.union(link) != Union::default() {
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
