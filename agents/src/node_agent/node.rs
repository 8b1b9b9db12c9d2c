//! A node's process and its life: started, watched, ended, started again.
//!
//! Each start is a *generation* in a pid namespace of its own. A generation has ended only when
//! nothing of that namespace lives: the kernel lets an init end after its last process, and the
//! namespace is listed once more to be sure.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use shakedown_contracts::control::{NodeReport, Program};
use shakedown_contracts::event::{Event, StampedEvent};
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::{Bracket, Moment};
use shakedown_contracts::units::Duration;

use super::child::ENDED;
use super::error::{END_LIMIT, NodeError};
use super::events::EventPipe;
use super::launch::{Launched, launch};
use crate::cgroup::Group;
use crate::clock;
use crate::disk::Disk;
use crate::faults::guard::Ledgered;
use crate::ledger::Ledger;
use crate::process::identity::ProcessIdentity;
use crate::process::pidfd::PidFd;
use crate::process::status::PidNamespace;
use crate::resolver::Resolver;
use crate::session::Outgoing;

/// How long an init may take to end by itself after its node, before it is killed.
const INIT_LIMIT: Duration = Duration::from_secs(1);

/// Turns of reading what an ended node left in its pipe; a turn takes more than a pipe holds.
const LAST_READS_MAX: usize = 64;

/// What the node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Nothing of it lives.
    Dead,
    /// Its process runs.
    Running {
        /// Counted from 1.
        generation: u32,
        /// Before it existed.
        started: Moment,
        /// When it said that it serves.
        ready: Option<Moment>,
    },
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Such as `exit code 1` or `signal 9`.
    pub status: String,
    /// True when a fault or the end of the trial did it.
    pub expected: bool,
}

/// A kill that was seen to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    /// The process.
    pub pid: i32,
    /// From just before the signal until the process was seen to have ended.
    pub at: Bracket,
    /// How it ended.
    pub status: String,
}

/// One node.
#[derive(Debug)]
pub struct NodeProcess {
    name: String,
    program: Program,
    /// Where its folder is served by the agent.
    disk: Option<Disk>,
    /// Where it looks names up, if the agent serves them.
    resolver: Option<Resolver>,
    ledger: Ledger,
    outgoing: Outgoing,
    generation: u32,
    running: Option<Running>,
    endings: BTreeMap<u32, Ending>,
    /// Kills not yet healed.
    pub(crate) dead_by: BTreeSet<FaultId>,
    /// Pauses not yet healed.
    pub(crate) paused_by: BTreeSet<FaultId>,
    /// Control groups that its processes are in.
    pub(super) groups: BTreeMap<FaultId, Group>,
    /// What its disk is under.
    pub(crate) disk_held_by: BTreeSet<FaultId>,
    /// What its clock is under.
    pub(crate) clock_held_by: Option<FaultId>,
    /// Its processes have been told another time than the true one.
    pub(crate) clock_distrusted: bool,
}

#[derive(Debug)]
struct Running {
    process: Launched,
    events: Option<EventPipe>,
    started: Moment,
    ready: Option<Moment>,
}

impl NodeProcess {
    /// A node that has not been started.
    pub fn new(
        name: String,
        program: Program,
        (disk, resolver): (Option<Disk>, Option<Resolver>),
        ledger: Ledger,
        outgoing: Outgoing,
    ) -> Self {
        NodeProcess {
            name,
            program,
            ledger,
            outgoing,
            generation: 0,
            running: None,
            endings: BTreeMap::new(),
            dead_by: BTreeSet::new(),
            paused_by: BTreeSet::new(),
            disk,
            resolver,
            groups: BTreeMap::new(),
            disk_held_by: BTreeSet::new(),
            clock_held_by: None,
            clock_distrusted: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is started.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its disk, if the agent serves it.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Where it looks names up, if the agent serves them.
    pub fn resolver_mut(&mut self) -> Option<&mut Resolver> {
        self.resolver.as_mut()
    }

    /// What it is doing.
    pub fn state(&self) -> Run {
        match &self.running {
            None => Run::Dead,
            Some(Running { started, ready, .. }) => Run::Running {
                generation: self.generation,
                started: *started,
                ready: *ready,
            },
        }
    }

    /// How a generation ended; `None` while it runs.
    pub fn ending(&self, generation: u32) -> Option<&Ending> {
        self.endings.get(&generation)
    }

    /// Living processes of its pid namespace, without the init.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn processes(&self) -> io::Result<Vec<ProcessIdentity>> {
        let Some(Running { process, .. }) = &self.running else {
            return Ok(Vec::new());
        };
        let mut members = process.namespace.members()?;
        members.retain(|member| member.pid != process.init_pid);
        Ok(members)
    }

    /// True while the node's own process has not ended.
    pub fn is_alive(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.process.node.has_ended().is_ok_and(|ended| !ended))
    }

    /// Starts it and reports `node.started`.
    ///
    /// # Errors
    /// [`NodeError`]; nothing runs then.
    pub fn start(&mut self) -> Result<(), NodeError> {
        if self.running.is_some() {
            return Err(NodeError::State {
                node: self.name.clone(),
                state: "runs already",
            });
        }
        let started = clock::now();
        let launched = launch(&self.program, &mut self.ledger);
        let mut process = launched.map_err(|source| NodeError::Launch {
            node: self.name.clone(),
            source,
        })?;
        let events = process
            .events
            .take()
            .map(|fd| EventPipe::new(fd, &self.name))
            .transpose();
        let events = events.map_err(|source| self.system("preparing the events pipe", source))?;
        let pid = process.node_pid;
        self.generation += 1;
        self.clock_distrusted = false;
        self.running = Some(Running {
            process,
            events,
            started,
            ready: None,
        });
        let joined = self.join_groups(pid);
        joined.map_err(|source| self.system("moving it into its group", source))?;
        self.report(Event::NodeStarted {
            pid,
            generation: self.generation,
        })
    }

    /// Descriptors to wait on: the process's end and its events.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let events = running.events.as_ref().map(AsFd::as_fd);
        [running.process.node.as_fd()]
            .into_iter()
            .chain(events)
            .collect()
    }

    /// Forwards events and notices an end that nobody asked for.
    ///
    /// # Errors
    /// [`NodeError`] when the harness cannot be told.
    pub(super) fn watch(&mut self) -> Result<(), NodeError> {
        self.forward_events()?;
        if self.running.is_some() && !self.is_alive() {
            self.finish(false)?;
        }
        Ok(())
    }

    /// Kills the node and everything in its pid namespace, and sees it gone.
    ///
    /// # Errors
    /// [`NodeError`] when it does not run or does not end.
    pub fn kill(&mut self) -> Result<Killed, NodeError> {
        self.end_by(Signal::SIGKILL, END_LIMIT)
    }

    /// Asks the node to end, and sees it and everything in its pid namespace gone.
    ///
    /// # Errors
    /// [`NodeError`] when it does not run or has not ended after `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Result<Killed, NodeError> {
        self.end_by(Signal::SIGTERM, grace)
    }

    fn end_by(&mut self, sent: Signal, limit: Duration) -> Result<Killed, NodeError> {
        let Some(running) = &self.running else {
            return Err(NodeError::State {
                node: self.name.clone(),
                state: "does not run",
            });
        };
        let (handle, pid) = (&running.process.node, running.process.node_pid);
        let before = clock::now();
        signal(handle, sent).map_err(|error| self.system(sent.as_str(), error))?;
        self.wait_end(handle, pid, limit)?;
        let after = clock::now();
        let status = self.finish(true)?;
        Ok(Killed {
            pid,
            at: Bracket { before, after },
            status,
        })
    }

    /// Ends everything for good: the node, the faults, the ledger.
    ///
    /// SIGKILL takes stopped processes too, so nothing has to be continued first.
    ///
    /// # Errors
    /// [`NodeError`] when something lives on; the ledger then stays for `recover`.
    pub(super) fn shut_down(mut self) -> Result<(), NodeError> {
        match self.running.is_some().then(|| self.kill()) {
            // A harness that is gone cannot be told; what counts is that the process is.
            None | Some(Ok(_) | Err(NodeError::Report(_))) => {}
            Some(Err(error)) => return Err(error),
        }
        // Before the ledger that names them.
        self.groups.clear();
        let node = self.name;
        let fail = |error: crate::ledger::LedgerError| NodeError::System {
            node: node.clone(),
            action: "closing the ledger",
            source: io::Error::other(error),
        };
        for id in self.ledger.open_faults().to_vec() {
            self.ledger.strike(&id).map_err(fail)?;
        }
        self.ledger.close().map_err(fail)
    }

    fn forward_events(&mut self) -> Result<bool, NodeError> {
        let Some(running) = &mut self.running else {
            return Ok(false);
        };
        let Some(pipe) = &mut running.events else {
            return Ok(false);
        };
        let events = pipe.read();
        let now = clock::now();
        if events
            .iter()
            .any(|event| event.event == Event::NodeReady {})
        {
            running.ready.get_or_insert(now);
        }
        if pipe.has_ended() {
            running.events = None;
        }
        let more = !events.is_empty();
        for mut event in events {
            if self.clock_distrusted {
                // Its own stamp is what the fault makes of it.
                event.time = now;
            }
            self.outgoing.send(&NodeReport::Node(event))?;
        }
        Ok(more)
    }

    /// After the node's own end: sees the rest of its namespace gone and reports `node.exited`.
    fn finish(&mut self, expected: bool) -> Result<String, NodeError> {
        let mut told = Ok(());
        for _ in 0..LAST_READS_MAX {
            match self.forward_events() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    told = Err(error);
                    break;
                }
            }
        }
        let Some(running) = &self.running else {
            return Err(NodeError::State {
                node: self.name.clone(),
                state: "does not run",
            });
        };
        let Launched {
            init,
            init_pid,
            namespace,
            ..
        } = &running.process;
        let init_ended = init
            .wait(INIT_LIMIT)
            .map_err(|error| self.system("waiting", error))?;
        if !init_ended {
            signal(init, Signal::SIGKILL).map_err(|error| self.system("SIGKILL", error))?;
            self.wait_end(init, *init_pid, END_LIMIT)?;
        }
        // It is our child and has ended; its own status says nothing.
        let _status = waitpid(Pid::from_raw(*init_pid), None);
        self.require_empty(*namespace)?;
        let status = end_status(&running.process);
        self.running = None;
        self.endings.insert(
            self.generation,
            Ending {
                status: status.clone(),
                expected,
            },
        );
        told?;
        self.report(Event::NodeExited {
            status: status.clone(),
            expected,
        })?;
        Ok(status)
    }

    /// Fails when anything of the namespace lives.
    fn require_empty(&self, namespace: PidNamespace) -> Result<(), NodeError> {
        let members = namespace.members();
        match members
            .map_err(|error| self.system("listing its processes", error))?
            .first()
        {
            None => Ok(()),
            Some(member) => Err(self.lives(member.pid)),
        }
    }

    fn wait_end(&self, handle: &PidFd, pid: i32, limit: Duration) -> Result<(), NodeError> {
        match handle
            .wait(limit)
            .map_err(|error| self.system("waiting for its end", error))?
        {
            true => Ok(()),
            false => Err(self.lives(pid)),
        }
    }

    fn lives(&self, pid: i32) -> NodeError {
        let proc = PathBuf::from(format!("/proc/{pid}/stat"));
        NodeError::Lives {
            node: self.name.clone(),
            pid,
            proc,
        }
    }

    fn report(&self, event: Event) -> Result<(), NodeError> {
        let event = StampedEvent {
            time: clock::now(),
            event,
        };
        Ok(self.outgoing.send(&NodeReport::Agent(event))?)
    }

    fn system(&self, action: &'static str, source: io::Error) -> NodeError {
        NodeError::System {
            node: self.name.clone(),
            action,
            source,
        }
    }
}

impl Ledgered for NodeProcess {
    fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

/// A process that has ended already needs no signal.
fn signal(handle: &PidFd, signal: Signal) -> io::Result<()> {
    match handle.signal(signal) {
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
        result => result,
    }
}

/// The status the init sent before it ended. Without one the init was killed, and the node by the
/// kernel with it.
fn end_status(process: &Launched) -> String {
    let mut message = [0_u8; 5];
    let socket = process.status.try_clone().map(File::from);
    // Never blocks: the init has ended, so the other end is closed.
    match socket.and_then(|mut socket| socket.read(&mut message)) {
        Ok(5) if message[0] == ENDED => {
            let [_, status @ ..] = message;
            let status = i32::from_ne_bytes(status);
            if libc::WIFEXITED(status) {
                format!("exit code {}", libc::WEXITSTATUS(status))
            } else {
                format!("signal {}", libc::WTERMSIG(status))
            }
        }
        _ => "signal 9".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_in_which_something_lives_does_not_pass_for_empty() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger"), "agent").unwrap();
        let (_read, write) = nix::unistd::pipe().unwrap();
        let program = Program {
            executable: "/bin/true".into(),
            arguments: Vec::new(),
            directory: "/".into(),
            log: "/dev/null".into(),
            events_descriptor: None,
            ready_timeout: END_LIMIT,
        };
        let node = NodeProcess::new(
            "n1".into(),
            program,
            (None, None),
            ledger,
            Outgoing::new(write),
        );
        // Our own namespace is never empty: we live in it.
        let own = PidNamespace::of(std::process::id() as i32).unwrap();
        let error = node.require_empty(own).unwrap_err();
        assert!(matches!(error, NodeError::Lives { .. }), "{error}");
    }
}
