//! What is wrong with a disk at present, and what operations have met of it.
//!
//! A fault counts once it was seen: an operation was held, took longer, or failed. What was seen is
//! measured on the operation itself, not taken from what was ordered.
//!
//! Invariant: draws are keyed by fault and node, so that a fault changes no draw of anything else.

use std::collections::BTreeMap;

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::{DiskMethod, Errno, HostFault};
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

/// What a fault has been seen to do.
#[derive(Debug, Clone, PartialEq)]
pub struct HostEffect {
    /// The first moment at which it did something.
    pub since: Moment,
    /// In words with numbers.
    pub observed: String,
    /// Asked for and measured.
    pub achieved: Vec<Achieved>,
}

#[derive(Debug)]
struct Trouble {
    fault: HostFault,
    random: Random,
    since: Option<Moment>,
    operations: u32,
    /// Measured on operations, summed.
    added: Duration,
    /// Bytes that were given up.
    lost_bytes: u64,
}

/// A disk's faults.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    active: BTreeMap<FaultId, Trouble>,
    /// Seen for the first time and not told yet.
    fresh: Vec<FaultId>,
}

impl Troubles {
    /// A fault begins. A full disk is seen at once: there is no free byte.
    pub fn begin(&mut self, id: &FaultId, fault: &HostFault, random: Random, now: Moment) {
        let full = matches!(fault, HostFault::DiskFull {});
        let trouble = Trouble {
            fault: fault.clone(),
            random,
            since: full.then_some(now),
            operations: 0,
            added: Duration::ZERO,
            lost_bytes: 0,
        };
        self.active.insert(id.clone(), trouble);
        if full {
            self.fresh.push(id.clone());
        }
    }

    /// A fault ends.
    pub fn end(&mut self, id: &FaultId) {
        self.active.remove(id);
        self.fresh.retain(|fresh| fresh != id);
    }

    /// Faults seen for the first time since the last call.
    pub fn take_fresh(&mut self) -> Vec<FaultId> {
        std::mem::take(&mut self.fresh)
    }

    /// True when an operation whose time is over does not complete.
    pub fn hold(&mut self, now: Moment) -> bool {
        self.see(now, |fault| matches!(fault, HostFault::DiskHang {}))
    }

    /// What the next operation takes longer.
    pub fn delay(&mut self) -> Duration {
        let draw = |trouble: &mut Trouble| match &trouble.fault {
            HostFault::DiskLatency {
                latency, jitter, ..
            } => latency.saturating_add(trouble.random.duration_up_to(*jitter)),
            _ => Duration::ZERO,
        };
        let delays = self.active.values_mut().map(draw);
        delays.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// An operation took so much longer than on a sound disk.
    pub fn delayed(&mut self, added: Duration, now: Moment) {
        let slow = |fault: &HostFault| matches!(fault, HostFault::DiskLatency { .. });
        if !added.is_zero() && self.see(now, slow) {
            for trouble in self.active.values_mut().filter(|other| slow(&other.fault)) {
                trouble.added = trouble.added.saturating_add(added);
            }
        }
    }

    /// The error with which an operation fails, if it does; `bytes` are lost by it.
    pub fn fail(&mut self, method: DiskMethod, bytes: usize, now: Moment) -> Option<Errno> {
        let fails = |(_, trouble): &(&FaultId, &mut Trouble)| match &trouble.fault {
            HostFault::DiskFault { methods, times, .. } => {
                let left = times.is_none_or(|times| trouble.operations < times);
                methods.contains(&method) && left
            }
            HostFault::DiskFull {} => method == DiskMethod::Write,
            _ => false,
        };
        let (id, trouble) = self.active.iter_mut().find(fails)?;
        trouble.operations += 1;
        trouble.lost_bytes += bytes as u64;
        if trouble.since.is_none() {
            trouble.since = Some(now);
            self.fresh.push(id.clone());
        }
        match &trouble.fault {
            HostFault::DiskFault { errno, .. } => Some(*errno),
            _ => Some(Errno::NoSpace),
        }
    }

    fn see(&mut self, now: Moment, wanted: impl Fn(&HostFault) -> bool) -> bool {
        let mut any = false;
        for (id, trouble) in &mut self.active {
            if wanted(&trouble.fault) {
                any = true;
                trouble.operations += 1;
                if trouble.since.is_none() {
                    trouble.since = Some(now);
                    self.fresh.push(id.clone());
                }
            }
        }
        any
    }

    /// What was seen of a fault; `None` when nothing was, or there is no such fault.
    pub fn effect(&self, id: &FaultId) -> Option<HostEffect> {
        let trouble = self.active.get(id)?;
        let since = trouble.since?;
        let (observed, achieved) = trouble.seen();
        Some(HostEffect {
            since,
            observed,
            achieved,
        })
    }
}

impl Trouble {
    fn seen(&self) -> (String, Vec<Achieved>) {
        let count = self.operations;
        match &self.fault {
            HostFault::DiskLatency {
                latency, jitter, ..
            } => {
                let requested = latency.as_millis_f64() + jitter.as_millis_f64() / 2.0;
                let mean = self.added.as_millis_f64() / f64::from(count.max(1));
                let observed = format!("{count} operations took {mean:.2} ms longer in the mean");
                (observed, vec![milliseconds("latency", requested, mean)])
            }
            HostFault::DiskFault { errno, .. } => {
                let (errno, lost) = (errno.name(), self.lost_bytes);
                let observed = format!("{count} operations failed with {errno}, {lost} bytes lost");
                (observed, Vec::new())
            }
            HostFault::DiskFull {} => {
                let observed = format!("no byte is free, {count} writes failed with ENOSPC");
                (observed, Vec::new())
            }
            _ => (
                format!("{count} operations did not complete in their time"),
                Vec::new(),
            ),
        }
    }
}

fn milliseconds(name: &str, requested: f64, achieved: f64) -> Achieved {
    Achieved {
        name: name.to_owned(),
        requested,
        achieved,
        unit: "ms".to_owned(),
    }
}
