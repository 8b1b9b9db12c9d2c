//! The processor is taken: busy processes beside the node, each in a session of its own, so that the
//! scheduler weighs each like a whole program of somebody else (sched(7), autogroups); or a `quota`; or both.
//!
//! They die with the agent. Proof: every one of them has run; how much of the processors they got
//! together is told.

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::hog::{Hog, Work};
use super::quota::Quota;
use crate::clock::{now, until_now};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;

const MECHANISM: &str = "busy processes, each in a session of its own";
/// A busy process runs within milliseconds; on a machine with many of them it waits for its turn.
const RUN_LIMIT: Duration = Duration::from_secs(5);
/// A look at what they got takes so long at least.
const WATCHED: Duration = Duration::from_millis(50);
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);

/// The fault.
pub(super) struct Cpu {
    wanted: u32,
    hogs: Vec<Hog>,
    quota: Option<Quota>,
}

impl Cpu {
    pub fn new(id: &FaultId, hogs: u32, quota: Option<f64>) -> Self {
        Cpu {
            wanted: hogs,
            hogs: Vec::new(),
            quota: quota.map(|share| Quota::new(id.clone(), share)),
        }
    }

    /// Nanoseconds that all of them have run; `None` while one has not.
    fn have_run(&self) -> Option<u64> {
        let times = self.hogs.iter().map(|hog| nanos_run(hog.pid()));
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
        let quota = self.quota.as_ref().map(|quota| quota.inject(host));
        let quota = quota.transpose()?;
        if self.wanted == 0
            && let Some(quota) = quota
        {
            return Ok(quota);
        }
        match self.keep_busy(host) {
            Ok(busy) => Ok(both(quota, busy)),
            Err(unverified) => {
                if let Some(quota) = &self.quota {
                    // The report says unverified whatever comes of it.
                    let _ = quota.heal(host);
                }
                Err(unverified)
            }
        }
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let quota = self.quota.as_ref().map(|quota| quota.heal(host));
        let quota = quota.transpose()?;
        match quota {
            Some(quota) if self.wanted == 0 => Ok(quota),
            quota => Ok(both(quota, self.leave(host)?)),
        }
    }
}

/// Both parts as one observation.
fn both(quota: Option<Observation>, mut busy: Observation) -> Observation {
    if let Some(quota) = quota {
        busy.at.before = quota.at.before;
        let (one, other) = (&mut busy.evidence, quota.evidence);
        one.mechanism = format!("{}, {}", other.mechanism, one.mechanism);
        one.observed = format!("{}; {}", other.observed, one.observed);
        one.achieved.extend(other.achieved);
    }
    busy
}

impl Cpu {
    /// Starts the busy processes and sees them run.
    fn keep_busy(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let unverified = |reason: String| Unverified {
            reason: format!("{}: {reason}", host.name()),
        };
        let before = now();
        for _ in 0..self.wanted {
            let hog = Hog::start(Work::Spin, false);
            let failed = |error| unverified(format!("starting a busy process: {error}"));
            self.hogs.push(hog.map_err(failed)?);
        }
        let at = until_now(before);
        let Some(share) = self.watch(before) else {
            self.hogs.clear();
            return Err(unverified(format!(
                "not every one of {} busy processes ran within {RUN_LIMIT}",
                self.wanted
            )));
        };
        let count = self.hogs.len();
        let share = 100.0 * share;
        let observed = format!("{count} busy processes got {share:.0} % of one processor together");
        let hogs = Achieved {
            name: "hogs".to_owned(),
            requested: f64::from(self.wanted),
            achieved: count as f64,
            unit: "processes".to_owned(),
        };
        Ok(Observation::new(at, MECHANISM, observed).with(vec![hogs]))
    }

    /// Ends them.
    fn leave(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let before = now();
        let hogs = std::mem::take(&mut self.hogs);
        let pids: Vec<i32> = hogs.iter().map(|hog| hog.pid()).collect();
        drop(hogs);
        let at = until_now(before);
        if let Some(pid) = pids.iter().find(|pid| nanos_run(**pid).is_some()) {
            let reason = format!("{}: busy process {pid} has not ended", host.name());
            return Err(Unverified { reason });
        }
        let observed = format!("{} busy processes have ended", pids.len());
        Ok(Observation::new(at, MECHANISM, observed))
    }
}

/// Nanoseconds on a processor; `None` when there is no such process, or it is only to be collected.
pub(super) fn nanos_run(pid: i32) -> Option<u64> {
    let schedule = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
    schedule.split(' ').next()?.parse().ok()
}
