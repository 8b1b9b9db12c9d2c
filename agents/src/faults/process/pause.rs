//! Pause: SIGSTOP to every process of the node's pid namespace but its init.
//!
//! A signal sent is not a process stopped: the kernel's state of every thread is what counts. A
//! process that forks while it is being stopped can leave a child that was not listed, so the
//! namespace is listed again after all have stopped, until a listing holds nothing new. Two pauses
//! that overlap keep the node stopped until both are healed.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use shakedown_contracts::event::Evidence;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

use super::kill::at_once;
use crate::clock;
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::{NodeProcess, Run};
use crate::process::identity::ProcessIdentity;
use crate::process::pidfd::PidFd;
use crate::process::status::thread_states;

/// A stop takes microseconds, unless a thread sits in an uninterruptible system call.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// Between two looks at the threads' states.
const LOOK_INTERVAL: Duration = Duration::from_micros(50);

/// The fault.
pub(super) struct Pause {
    id: FaultId,
    generation: u32,
}

impl Pause {
    pub fn new(id: FaultId) -> Self {
        Pause { id, generation: 0 }
    }
}

impl Fault<NodeProcess> for Pause {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let Run::Running { generation, .. } = host.state() else {
            return Err(Unverified {
                reason: format!("{} is dead; nothing to pause", host.name()),
            });
        };
        match settle(host, Wanted::Stopped) {
            Ok(observation) => {
                self.generation = generation;
                host.paused_by.insert(self.id.clone());
                Ok(observation)
            }
            Err(unverified) => {
                if host.paused_by.is_empty() {
                    // Best effort: the report says unverified, and the agent's end kills all.
                    let _undone = settle(host, Wanted::Continued);
                }
                Err(unverified)
            }
        }
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        host.paused_by.remove(&self.id);
        match host.state() {
            Run::Running { generation, .. } if generation == self.generation => {
                if let Some(other) = host.paused_by.first() {
                    return Ok(at_once("nothing", format!("still stopped by {other}")));
                }
                settle(host, Wanted::Continued)
            }
            _ => match host.ending(self.generation) {
                Some(end) if end.expected => {
                    let observed = "another fault killed the stopped process meanwhile";
                    Ok(at_once("nothing", observed.to_owned()))
                }
                end => {
                    let how = end.map_or("in an unknown way", |end| end.status.as_str());
                    let reason = format!("{} ended by itself while paused: {how}", host.name());
                    Err(Unverified { reason })
                }
            },
        }
    }
}

/// What all threads are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Stopped,
    Continued,
}

impl Wanted {
    fn signal(self) -> Signal {
        match self {
            Wanted::Stopped => Signal::SIGSTOP,
            Wanted::Continued => Signal::SIGCONT,
        }
    }

    /// True when every living thread of the process is as wanted.
    fn holds(self, process: ProcessIdentity) -> bool {
        let states = thread_states(process.pid);
        match self {
            Wanted::Stopped => states.iter().all(|state| *state == 'T'),
            Wanted::Continued => states.iter().all(|state| *state != 'T'),
        }
    }
}

/// Signals all processes and waits until every thread is as wanted.
fn settle(host: &NodeProcess, wanted: Wanted) -> Result<Observation, Unverified> {
    let unverified = |reason: String| Unverified {
        reason: format!("{}: {reason}", host.name()),
    };
    let failed = |error: io::Error| unverified(format!("looking at its processes: {error}"));
    let mut members = host.processes().map_err(failed)?;
    let before = clock::now();
    let deadline = before.after(SETTLE_LIMIT);
    let after = loop {
        for process in &members {
            signal(*process, wanted.signal()).map_err(failed)?;
        }
        while let Some(process) = members.iter().find(|process| !wanted.holds(**process)) {
            if clock::now() >= deadline {
                let states: String = thread_states(process.pid).into_iter().collect();
                return Err(unverified(format!(
                    "threads of process {} are in states {states} {SETTLE_LIMIT} after {}",
                    process.pid,
                    wanted.signal()
                )));
            }
            std::thread::sleep(LOOK_INTERVAL.into());
        }
        let settled = clock::now();
        members = host.processes().map_err(failed)?;
        if members.iter().all(|process| wanted.holds(*process)) {
            break settled;
        }
        if settled >= deadline {
            return Err(unverified(
                "it forks faster than it can be signalled".to_owned(),
            ));
        }
    };
    if !host.is_alive() {
        return Err(unverified(
            "it ended while it was being signalled".to_owned(),
        ));
    }
    let threads: usize = members
        .iter()
        .map(|process| thread_states(process.pid).len())
        .sum();
    let mechanism = format!(
        "{} by pidfd to each process of the pid namespace",
        wanted.signal()
    );
    let state = if wanted == Wanted::Stopped {
        "all"
    } else {
        "none"
    };
    let observed = format!(
        "of {threads} threads in {} processes {state} in state T",
        members.len()
    );
    Ok(Observation {
        at: Bracket { before, after },
        evidence: Evidence {
            mechanism,
            observed,
            achieved: Vec::new(),
        },
    })
}

/// Signals exactly this process; one that has ended needs no signal.
fn signal(process: ProcessIdentity, signal: Signal) -> io::Result<()> {
    let Some(handle) = PidFd::open_exactly(process) else {
        return Ok(());
    };
    match handle.signal(signal) {
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_was_not_stopped_does_not_pass_for_stopped_nor_a_stopped_one_for_running() {
        let mut child = Command::new("/bin/cat")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let process = ProcessIdentity::of(child.id() as i32).unwrap();
        assert!(!Wanted::Stopped.holds(process));
        assert!(Wanted::Continued.holds(process));

        signal(process, Signal::SIGSTOP).unwrap();
        let deadline = clock::now().after(Duration::from_secs(30));
        while !Wanted::Stopped.holds(process) {
            assert!(clock::now() < deadline, "SIGSTOP stops an idle process");
            std::thread::sleep(LOOK_INTERVAL.into());
        }
        assert!(!Wanted::Continued.holds(process));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
