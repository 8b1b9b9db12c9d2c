//! Pause: SIGSTOP to every process of the node's pid namespace but its init.
//!
//! A signal sent is not a process stopped: the kernel's state of every thread is what counts. A
//! process that forks while it is being stopped can leave a child that was not listed, so the
//! namespace is listed again after all have stopped, until a listing holds nothing new. Two pauses
//! that overlap keep the node stopped until both are healed.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

use crate::clock;
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::{NodeProcess, Run};
use crate::process::identity::ProcessIdentity;
use crate::process::pidfd::PidFd;
use crate::process::status::{parent, thread_states};

/// A stop takes microseconds, unless a thread sits in an uninterruptible system call.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);

/// After this, processes that are not as wanted are signalled again.
const ROUND_LIMIT: Duration = Duration::from_millis(10);

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
                    return Ok(Observation::at_once(
                        "nothing",
                        format!("still stopped by {other}"),
                    ));
                }
                settle(host, Wanted::Continued)
            }
            _ => match host.ending(self.generation) {
                Some(end) if end.expected => {
                    let observed = "another fault killed the stopped process meanwhile";
                    Ok(Observation::at_once("nothing", observed.to_owned()))
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
pub(in crate::faults) enum Wanted {
    /// None runs.
    Stopped,
    /// None is stopped.
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

/// Signals all processes until every thread is as wanted and a new listing shows nothing else.
pub(in crate::faults) fn settle(
    host: &NodeProcess,
    wanted: Wanted,
) -> Result<Observation, Unverified> {
    let unverified = |reason: String| Unverified {
        reason: format!("{}: {reason}", host.name()),
    };
    let failed = |error: io::Error| unverified(format!("signalling its processes: {error}"));
    let mut members = host.processes().map_err(failed)?;
    let before = clock::now();
    let deadline = before.after(SETTLE_LIMIT);
    let after = loop {
        for process in members.iter().filter(|process| !wanted.holds(**process)) {
            signal(*process, wanted.signal()).map_err(failed)?;
        }
        let all_hold = wait_until(|| members.iter().all(|process| wanted.holds(*process)));
        let settled = clock::now();
        if !all_hold && wanted == Wanted::Stopped {
            release_forks(&members).map_err(failed)?;
        }
        members = host.processes().map_err(failed)?;
        match members.iter().find(|process| !wanted.holds(**process)) {
            None if all_hold => break settled,
            Some(process) if settled >= deadline => {
                let states: String = thread_states(process.pid).into_iter().collect();
                let (pid, signal) = (process.pid, wanted.signal());
                return Err(unverified(format!(
                    "threads of process {pid} are in states {states} {SETTLE_LIMIT} after {signal}"
                )));
            }
            _ => {}
        }
    };
    if !host.is_alive() {
        return Err(unverified(
            "it ended while it was being signalled".to_owned(),
        ));
    }
    Ok(observation(wanted, &members, Bracket { before, after }))
}

/// Lets children go on whose parent waits, uninterruptibly, until they have executed a program of
/// their own (vfork, as in posix_spawn): stopped before that, they would keep it from stopping.
/// They are stopped again in the next round.
fn release_forks(members: &[ProcessIdentity]) -> io::Result<()> {
    let waits = |process: &ProcessIdentity| thread_states(process.pid).contains(&'D');
    for waiting in members.iter().filter(|process| waits(process)) {
        for child in members
            .iter()
            .filter(|child| parent(child.pid) == Some(waiting.pid))
        {
            signal(*child, Signal::SIGCONT)?;
        }
        wait_until(|| !waits(waiting));
    }
    Ok(())
}

/// Looks again and again for at most a round; true once the condition holds.
fn wait_until(condition: impl Fn() -> bool) -> bool {
    let deadline = clock::now().after(ROUND_LIMIT);
    loop {
        if condition() {
            return true;
        }
        if clock::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK_INTERVAL.into());
    }
}

fn observation(wanted: Wanted, members: &[ProcessIdentity], at: Bracket) -> Observation {
    let threads: usize = members
        .iter()
        .map(|process| thread_states(process.pid).len())
        .sum();
    let state = if wanted == Wanted::Stopped {
        "all"
    } else {
        "none"
    };
    let processes = members.len();
    let observed = format!("of {threads} threads in {processes} processes {state} in state T");
    let mechanism = format!(
        "{} by pidfd to each process of the pid namespace",
        wanted.signal()
    );
    Observation::new(at, &mechanism, observed)
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
