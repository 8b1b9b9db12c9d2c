//! The node agent's loop: orders in, reports out, one thread.
//!
//! It waits on four things at once: orders, the request to end, the node's end, the node's events.
//! A heal that takes time (a started node becoming ready) is asked again each turn, so orders and
//! events go on meanwhile. Whatever ends the loop, the node is taken down first.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use shakedown_contracts::control::{CONTROL_VERSION, FaultReport, NodeOrder, NodeReport};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::HostFault;
use thiserror::Error;

use super::error::NodeError;
use super::node::{NodeProcess, Run};
use crate::disk::{Disk, Unserved};
use crate::faults::{Fault, Observation, Unverified, clock, disk, guard, process, resource};
use crate::ledger::{Ledger, LedgerError};
use crate::resolver::{Resolver, Unresolved};
use crate::session::{self, Incoming, Outgoing, SessionError, Termination};

/// Between two looks at a heal under way when nothing else happens; bounds how late a missed
/// deadline is noticed. Readiness itself wakes the loop.
const HEAL_LOOK_MS: u16 = 20;

/// Why the agent cannot go on.
#[derive(Debug, Error)]
enum AgentError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Disk(#[from] Unserved),
    #[error(transparent)]
    Resolver(#[from] Unresolved),
    #[error("{0}")]
    Order(String),
    #[error("{action} failed: {source}; the agent needs root or a user namespace of its own")]
    Place {
        action: String,
        source: std::io::Error,
    },
}

/// Runs the agent on standard input and output until the harness ends it.
pub fn main() -> ExitCode {
    let opened = session::die_with_parent()
        .and_then(|()| Termination::new())
        .and_then(|termination| Ok((termination, session::open()?)));
    let (termination, (incoming, outgoing)) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("node agent cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut agent = Agent::new(incoming, outgoing.clone(), termination);
    let ended = agent.serve();
    let down = agent.node.take().map_or(Ok(()), NodeProcess::shut_down);
    match ended.and(down.map_err(AgentError::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node agent cannot go on: {error}");
            // A harness that no longer reads has the log.
            let _sent = outgoing.send(&NodeReport::Failed {
                message: error.to_string(),
            });
            ExitCode::FAILURE
        }
    }
}

type ProcessFaults = BTreeMap<FaultId, Box<dyn Fault<NodeProcess>>>;

struct Agent {
    incoming: Incoming,
    outgoing: Outgoing,
    termination: Termination,
    node: Option<NodeProcess>,
    active: ProcessFaults,
    healing: ProcessFaults,
}

/// Whether the loop goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

impl Agent {
    fn new(incoming: Incoming, outgoing: Outgoing, termination: Termination) -> Self {
        let (active, healing) = (BTreeMap::new(), BTreeMap::new());
        Agent {
            incoming,
            outgoing,
            termination,
            node: None,
            active,
            healing,
        }
    }

    /// Serves until the harness or a signal ends it. Bounded by the harness's life.
    fn serve(&mut self) -> Result<(), AgentError> {
        loop {
            let (orders, terminated) = self.wait()?;
            if let Some(node) = &mut self.node {
                node.watch()?;
            }
            if terminated || (orders && self.take_orders()? == Next::End) {
                return Ok(());
            }
            self.continue_heals()?;
        }
    }

    /// Waits for anything; tells whether orders have come and whether to end.
    fn wait(&self) -> Result<(bool, bool), AgentError> {
        let node = self.node.iter().flat_map(NodeProcess::descriptors);
        let mut fds: Vec<_> = [self.incoming.as_fd(), self.termination.as_fd()]
            .into_iter()
            .chain(node)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let timeout = match self.healing.is_empty() {
            true => PollTimeout::NONE,
            false => PollTimeout::from(HEAL_LOOK_MS),
        };
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => Ok((false, false)),
            Err(errno) => Err(AgentError::Place {
                action: "poll".into(),
                source: errno.into(),
            }),
            Ok(_) => Ok((fds[0].any().unwrap_or(true), fds[1].any().unwrap_or(true))),
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

    fn obey(&mut self, order: NodeOrder) -> Result<Next, AgentError> {
        match order {
            NodeOrder::Hello {
                version,
                node,
                namespace,
                ledger,
                program,
                disk,
                names,
            } => {
                self.hello(version)?;
                enter(&namespace)?;
                let folder = ledger.parent().unwrap_or(Path::new("/")).to_owned();
                let ledger = Ledger::open(&ledger, &format!("node-agent {node}"))?;
                let resolver = names.map(|names| Resolver::serve(&names, &folder));
                let resolver = resolver.transpose()?;
                let served = disk.map(|seed| Disk::serve(&program.directory, seed));
                let (disk, outgoing) = (served.transpose()?, self.outgoing.clone());
                self.node = Some(NodeProcess::new(
                    node,
                    program,
                    (disk, resolver),
                    ledger,
                    outgoing,
                ));
                self.outgoing.send(&NodeReport::Ready {
                    version: CONTROL_VERSION,
                })?;
            }
            NodeOrder::Start => self.start()?,
            NodeOrder::Inject { id, action } => {
                let description = format!("{action:?}").to_lowercase();
                let fault = process::fault(action, id.clone());
                self.inject(id, &description, fault)?;
            }
            NodeOrder::Disturb { id, fault } => self.disturb(id, &fault)?,
            NodeOrder::Heal { id } => self.heal(id)?,
            NodeOrder::Shutdown => return Ok(Next::End),
        }
        Ok(Next::Continue)
    }

    /// Refuses a session that cannot be.
    fn hello(&self, version: u32) -> Result<(), AgentError> {
        if version != CONTROL_VERSION {
            return Err(AgentError::Order(format!(
                "harness speaks version {version}, this agent {CONTROL_VERSION}; use one build"
            )));
        }
        if self.node.is_some() {
            return Err(AgentError::Order(
                "hello came twice; it opens a session once".into(),
            ));
        }
        Ok(())
    }

    /// A node that runs already is left alone: whoever asks may not know, or know late.
    fn start(&mut self) -> Result<(), AgentError> {
        let node = self.node()?;
        match node.state() {
            Run::Running { .. } => Ok(()),
            Run::Dead => Ok(node.start()?),
        }
    }

    fn node(&mut self) -> Result<&mut NodeProcess, AgentError> {
        let missing = || AgentError::Order("an order came before hello; say hello first".into());
        self.node.as_mut().ok_or_else(missing)
    }

    /// A fault of the host is done by whichever room has it.
    fn disturb(&mut self, id: FaultId, fault: &HostFault) -> Result<(), AgentError> {
        let found = disk::fault(fault, &id)
            .or_else(|| clock::fault(fault, &id))
            .or_else(|| resource::fault(fault, &id));
        match found {
            Some(found) => self.inject(id, fault.name(), found),
            None => {
                let kind = fault.name();
                let reason = format!("{kind} is not available on real processes of this machine");
                self.report_unverified(id, Unverified { reason })
            }
        }
    }

    fn inject(
        &mut self,
        id: FaultId,
        description: &str,
        mut injected: Box<dyn Fault<NodeProcess>>,
    ) -> Result<(), AgentError> {
        if self.active.contains_key(&id) || self.healing.contains_key(&id) {
            let reason = format!("{id} is in effect already; give each injection its own id");
            return self.report_unverified(id, Unverified { reason });
        }
        let outcome = guard::inject(self.node()?, &id, description, injected.as_mut());
        match outcome {
            Ok(Observation { at, evidence }) => {
                self.active.insert(id.clone(), injected);
                self.report(FaultReport::Effective { id, at, evidence })
            }
            Err(unverified) => self.report_unverified(id, unverified),
        }
    }

    fn heal(&mut self, id: FaultId) -> Result<(), AgentError> {
        match self.active.remove(&id) {
            Some(fault) => {
                self.healing.insert(id, fault);
                self.continue_heals()
            }
            None => {
                let reason = format!("{id} is not in effect here; nothing to heal");
                self.report_unverified(id, Unverified { reason })
            }
        }
    }

    fn continue_heals(&mut self) -> Result<(), AgentError> {
        for (id, mut fault) in std::mem::take(&mut self.healing) {
            match guard::heal(self.node()?, &id, fault.as_mut()) {
                None => {
                    self.healing.insert(id, fault);
                }
                Some(Ok(Observation { at, evidence })) => {
                    self.report(FaultReport::Healed { id, at, evidence })?;
                }
                Some(Err(unverified)) => self.report_unverified(id, unverified)?,
            }
        }
        Ok(())
    }

    fn report_unverified(&self, id: FaultId, unverified: Unverified) -> Result<(), AgentError> {
        self.report(FaultReport::Unverified {
            id,
            reason: unverified.reason,
        })
    }

    fn report(&self, report: FaultReport) -> Result<(), AgentError> {
        Ok(self.outgoing.send(&NodeReport::Fault(report))?)
    }
}

/// Enters the node's network namespace, and a mount namespace of the agent's own.
fn enter(namespace: &Path) -> Result<(), AgentError> {
    let place = |action: String| move |source: std::io::Error| AgentError::Place { action, source };
    let path = namespace.display();
    let file = File::open(namespace).map_err(place(format!("opening namespace {path}")))?;
    setns(file, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| place(format!("entering namespace {path}"))(errno.into()))?;
    unshare(CloneFlags::CLONE_NEWNS)
        .map_err(|errno| place("making a mount namespace".into())(errno.into()))?;
    let (nothing, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
    mount(nothing, "/", nothing, private, nothing)
        .map_err(|errno| place("making mounts private".into())(errno.into()))
}
