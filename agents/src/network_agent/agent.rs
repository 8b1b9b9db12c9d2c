//! The network agent's loop: orders in, reports out.
//!
//! Whatever ends the loop, dropping [`Links`] heals everything: held packets go on, the table goes
//! with its socket, the namespaces with their descriptors.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shakedown_contracts::control::{
    CONTROL_VERSION, Endpoint, FaultReport, NetworkOrder, NetworkReport,
};
use shakedown_contracts::fault::{FaultId, LinkEffect};
use shakedown_contracts::units::Duration;
use thiserror::Error;

use super::links::{Links, LinksError, Scope};
use super::priority::take_priority;
use crate::clock::now;
use crate::faults::network::fault;
use crate::faults::{Fault, Observation, Unverified, guard};
use crate::ledger::{Ledger, LedgerError};
use crate::session::{self, Incoming, Outgoing, SessionError, Termination};

/// Every pair is probed before the agent says ready; a busy machine gets this long, since a kernel
/// that tears other namespaces down meanwhile is late to say that a new link is up.
const FIRST_PROBE_PATIENCE: Duration = Duration::from_secs(8);
/// One that was sent before its link was up is lost: so long is waited before the next.
const FIRST_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Real-time priority of orders, where the kernel allows it: with the CPUs busy, a normal process
/// would begin a cut milliseconds late. Below the delaying thread's.
const FIFO_PRIORITY: i32 = 5;

/// Why the agent cannot go on.
#[derive(Debug, Error)]
enum AgentError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Links(#[from] LinksError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("{0}")]
    Order(String),
    #[error("waiting for orders: {0}")]
    Wait(nix::Error),
}

/// Runs the agent on standard input and output until the harness ends it.
pub fn main() -> ExitCode {
    let opened = session::die_with_parent()
        .and_then(|()| Termination::new())
        .and_then(|termination| Ok((termination, session::open()?)));
    let (termination, (incoming, outgoing)) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("network agent cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("network agent serves at {}", take_priority(FIFO_PRIORITY));
    let mut agent = Agent {
        incoming,
        outgoing: outgoing.clone(),
        links: None,
        active: BTreeMap::new(),
    };
    let ended = agent.serve(&termination);
    // Healing by hand what the end of the process would heal too, so that the ledger tells it.
    agent.heal_everything();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("network agent cannot go on: {error}");
            // A harness that no longer reads has the log.
            let _ = outgoing.send(&NetworkReport::Failed {
                message: error.to_string(),
            });
            ExitCode::FAILURE
        }
    }
}

struct Agent {
    incoming: Incoming,
    outgoing: Outgoing,
    links: Option<Links>,
    active: BTreeMap<FaultId, Box<dyn Fault<Links>>>,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

impl Agent {
    /// Serves until the harness or a signal ends it. Bounded by the harness's life.
    fn serve(&mut self, termination: &Termination) -> Result<(), AgentError> {
        loop {
            let mut fds = [self.incoming.as_fd(), termination.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(AgentError::Wait(error)),
                Ok(_) => {}
            }
            let [orders, terminated] = fds.map(|fd| fd.any().unwrap_or(true));
            if terminated || (orders && self.take_orders()? == Next::End) {
                return Ok(());
            }
        }
    }

    fn take_orders(&mut self) -> Result<Next, AgentError> {
        let open = self.incoming.read_once()?;
        while let Some(order) = self.incoming.buffered()? {
            if self.obey(order)? == Next::End {
                return Ok(Next::End);
            }
        }
        Ok(if open { Next::Continue } else { Next::End })
    }

    fn obey(&mut self, order: NetworkOrder) -> Result<Next, AgentError> {
        match order {
            NetworkOrder::Hello {
                version,
                endpoints,
                ledger,
                seed,
            } => {
                self.build(version, &endpoints, &ledger, seed)?;
            }
            NetworkOrder::Inject {
                id,
                links,
                effect,
                ports,
            } => {
                let report = self.inject(id, Scope { links, ports }, effect)?;
                self.outgoing.send(&NetworkReport::Fault(report))?;
            }
            NetworkOrder::Heal { id } => {
                let report = self.heal(id)?;
                self.outgoing.send(&NetworkReport::Fault(report))?;
            }
            NetworkOrder::Shutdown => return Ok(Next::End),
        }
        Ok(Next::Continue)
    }

    fn build(
        &mut self,
        version: u32,
        endpoints: &[Endpoint],
        ledger: &Path,
        seed: u64,
    ) -> Result<(), AgentError> {
        if self.links.is_some() {
            let reason = "hello came twice; it opens a session once".to_owned();
            return Err(AgentError::Order(reason));
        }
        if version != CONTROL_VERSION {
            return Err(AgentError::Order(format!(
                "the harness speaks version {version}, this agent {CONTROL_VERSION}; use one binary for both"
            )));
        }
        let begun = now();
        let mut links = Links::build(endpoints, Ledger::open(ledger, "network-agent")?, seed)?;
        prove_every_link(&mut links)?;
        let namespaces = links.topology.namespaces();
        self.links = Some(links);
        let took = now().since(begun);
        self.outgoing.send(&NetworkReport::Ready {
            version: CONTROL_VERSION,
            namespaces,
            took,
        })?;
        Ok(())
    }

    fn links(&mut self) -> Result<&mut Links, AgentError> {
        self.links
            .as_mut()
            .ok_or_else(|| AgentError::Order("an order came before hello; say hello first".into()))
    }

    fn inject(
        &mut self,
        id: FaultId,
        scope: Scope,
        effect: LinkEffect,
    ) -> Result<FaultReport, AgentError> {
        if self.active.contains_key(&id) {
            let reason = format!("{id} is already in effect");
            return Ok(FaultReport::Unverified { id, reason });
        }
        let (links, ports) = (scope.links.len(), &scope.ports);
        let description = format!("{effect:?} on {ports} of {links} links").to_lowercase();
        let mut fault = fault(effect, scope, id.clone());
        let outcome = guard::inject(self.links()?, &id, &description, &mut *fault);
        Ok(match outcome {
            Ok(Observation { at, evidence }) => {
                self.active.insert(id.clone(), fault);
                FaultReport::Effective { id, at, evidence }
            }
            Err(Unverified { reason }) => FaultReport::Unverified { id, reason },
        })
    }

    fn heal(&mut self, id: FaultId) -> Result<FaultReport, AgentError> {
        let Some(mut fault) = self.active.remove(&id) else {
            let reason = format!("{id} is not in effect, so it cannot be healed");
            return Ok(FaultReport::Unverified { id, reason });
        };
        // Link faults heal at once: `None` (ask again) never comes.
        let outcome = guard::heal(self.links()?, &id, &mut *fault);
        Ok(match outcome {
            Some(Ok(Observation { at, evidence })) => FaultReport::Healed { id, at, evidence },
            Some(Err(Unverified { reason })) => FaultReport::Unverified { id, reason },
            None => {
                let reason = format!("{id} did not heal at once");
                FaultReport::Unverified { id, reason }
            }
        })
    }

    fn heal_everything(&mut self) {
        for id in self.active.keys().cloned().collect::<Vec<_>>() {
            match self.heal(id) {
                Ok(FaultReport::Unverified { id, reason }) => eprintln!("{id}: {reason}"),
                Ok(_) => {}
                Err(error) => eprintln!("{error}"),
            }
        }
        if let Some(Err(error)) = self.links.take().map(Links::end) {
            eprintln!("{error}");
        }
    }
}

/// Sees a probe arrive on each link, before any fault is active.
fn prove_every_link(links: &mut Links) -> Result<(), AgentError> {
    let until = now().after(FIRST_PROBE_PATIENCE);
    let mut unseen = links.all();
    // Ends: after `until` the first link that is still unseen is an error.
    while !unseen.is_empty() {
        let probed = links
            .traffic(None)
            .probe(&unseen, 1, FIRST_PROBE_INTERVAL)?;
        let silent = probed.into_iter().filter(|(_, one)| one.times.is_empty());
        unseen = silent.map(|(link, _)| link).collect();
        if let Some(link) = unseen.first()
            && now() >= until
        {
            return Err(AgentError::Order(format!(
                "a probe from {} to {} did not arrive within {FIRST_PROBE_PATIENCE}, though no fault is active",
                link.from, link.to
            )));
        }
    }
    Ok(())
}
