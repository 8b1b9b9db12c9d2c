//! The processor is taken: busy processes beside the node, each in a session of its own, so that the
//! scheduler weighs each like a whole program of somebody else (sched(7), autogroups).
//!
//! They die with the agent. Proof: every one of them has run; how much of the processors they got
//! together is told.

use std::io;

use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use shakedown_contracts::event::{Achieved, Evidence};
use shakedown_contracts::time::{Bracket, Moment};
use shakedown_contracts::units::Duration;

use crate::clock::now;
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;
use crate::process::pidfd::PidFd;

const MECHANISM: &str = "busy processes, each in a session of its own";
/// A busy process runs within milliseconds; on a machine with many of them it waits for its turn.
const RUN_LIMIT: Duration = Duration::from_secs(5);
/// A look at what they got takes so long at least.
const WATCHED: Duration = Duration::from_millis(50);
const END_LIMIT: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);

/// The fault.
pub(super) struct Cpu {
    wanted: u32,
    hogs: Vec<Hog>,
}

/// A busy process; it ends with this.
struct Hog {
    pid: i32,
    handle: PidFd,
}

impl Cpu {
    pub fn new(hogs: u32) -> Self {
        Cpu {
            wanted: hogs,
            hogs: Vec::new(),
        }
    }

    /// Nanoseconds that all of them have run; `None` while one has not.
    fn have_run(&self) -> Option<u64> {
        let times = self.hogs.iter().map(|hog| nanos_run(hog.pid));
        times.map(|nanos| nanos.filter(|nanos| *nanos > 0)).sum()
    }

    /// Watches until each has run, and for a moment at least; share of one processor they got.
    fn watch(&self, since: Moment) -> Option<f64> {
        loop {
            let took = now().since(since);
            match self.have_run() {
                Some(nanos) if took >= WATCHED => {
                    return Some(nanos as f64 / took.as_nanos() as f64);
                }
                _ if took >= RUN_LIMIT => return None,
                _ => std::thread::sleep(LOOK_INTERVAL),
            }
        }
    }
}

impl Fault<NodeProcess> for Cpu {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let unverified = |reason: String| Unverified {
            reason: format!("{}: {reason}", host.name()),
        };
        let before = now();
        for _ in 0..self.wanted {
            let hog = Hog::start();
            let failed = |error| unverified(format!("starting a busy process: {error}"));
            self.hogs.push(hog.map_err(failed)?);
        }
        let at = Bracket {
            before,
            after: now(),
        };
        let Some(share) = self.watch(before) else {
            self.hogs.clear();
            return Err(unverified(format!(
                "not every one of {} busy processes ran within {RUN_LIMIT}",
                self.wanted
            )));
        };
        let count = self.hogs.len();
        Ok(Observation {
            at,
            evidence: Evidence {
                mechanism: MECHANISM.to_owned(),
                observed: format!(
                    "{count} busy processes got {:.0} % of one processor together",
                    100.0 * share
                ),
                achieved: vec![Achieved {
                    name: "hogs".to_owned(),
                    requested: f64::from(self.wanted),
                    achieved: count as f64,
                    unit: "processes".to_owned(),
                }],
            },
        })
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let before = now();
        let hogs = std::mem::take(&mut self.hogs);
        let pids: Vec<i32> = hogs.iter().map(|hog| hog.pid).collect();
        drop(hogs);
        let at = Bracket {
            before,
            after: now(),
        };
        if let Some(pid) = pids.iter().find(|pid| nanos_run(**pid).is_some()) {
            let reason = format!("{}: busy process {pid} has not ended", host.name());
            return Err(Unverified { reason });
        }
        Ok(Observation {
            at,
            evidence: Evidence {
                mechanism: MECHANISM.to_owned(),
                observed: format!("{} busy processes have ended", pids.len()),
                achieved: Vec::new(),
            },
        })
    }
}

impl Hog {
    fn start() -> io::Result<Self> {
        let agent = nix::unistd::getpid();
        // SAFETY: this process has one thread, so no lock is held by another; the child makes
        // async-signal-safe calls only and never returns.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            // SAFETY: as above.
            unsafe { be_busy(agent) }
        }
        let handle = PidFd::open(pid);
        if handle.is_err() {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        Ok(Hog {
            pid,
            handle: handle?,
        })
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // It cannot refuse; a machine that takes longer is seen by whoever looks for it.
        let _ = self.handle.signal(Signal::SIGKILL);
        if self.handle.wait(END_LIMIT).unwrap_or(false) {
            let _ = waitpid(Pid::from_raw(self.pid), None);
        }
    }
}

/// Runs until it is killed, or its agent ends.
///
/// # Safety
/// Only in a child just forked by a process of one thread.
unsafe fn be_busy(agent: Pid) -> ! {
    // SAFETY: async-signal-safe calls without pointers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != agent.as_raw() {
            libc::_exit(0);
        }
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"shakedown-hog".as_ptr());
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        let mut mask = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut mask);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
    }
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

/// Nanoseconds on a processor; `None` when there is no such process, or it is only to be collected.
fn nanos_run(pid: i32) -> Option<u64> {
    let schedule = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    schedule.split(' ').next()?.parse().ok()
}
