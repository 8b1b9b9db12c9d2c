//! What each operation meets of the faults that are in effect: it fails, waits, or hangs.
//!
//! Pure: an operation comes in, its fate goes out. The agent's own probes meet every fault, whatever its path,
//! and use nothing of `times` up.

use std::collections::BTreeMap;

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::{DiskMethod, Errno, HostFault};
use shakedown_contracts::pattern;
use shakedown_contracts::random::Random;
use shakedown_contracts::units::Duration;

use super::control::Met;

/// The faults in effect.
#[derive(Debug)]
pub(super) struct Gate {
    seed: u64,
    troubles: BTreeMap<FaultId, Trouble>,
}

#[derive(Debug)]
struct Trouble {
    fault: HostFault,
    random: Random,
    met: Met,
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a> {
    pub method: DiskMethod,
    /// A sync that has nothing to write: no device is asked, so none can fail.
    pub is_idle: bool,
    /// The agent's own.
    pub is_probe: bool,
    /// Its file, from the disk's root; known where [`Gate::is_active`].
    pub path: &'a str,
}

/// What becomes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// It waits for a heal, and is judged again then.
    pub hangs: bool,
    /// It takes so much longer.
    pub delay: Duration,
    /// And then fails.
    pub errno: Option<Errno>,
    /// Faults that delay it; none for the agent's own.
    delayed_by: Vec<FaultId>,
    /// The fault that fails it; none for the agent's own.
    failed_by: Option<FaultId>,
}

impl Gate {
    /// Nothing is wrong.
    pub fn new(seed: u64) -> Self {
        Gate {
            seed,
            troubles: BTreeMap::new(),
        }
    }

    /// Draws for that fault, the same for the same seed.
    pub fn random(&self, id: &FaultId) -> Random {
        Random::keyed(self.seed, "disk", &id.to_string())
    }

    pub fn begin(&mut self, id: FaultId, fault: HostFault) {
        let random = self.random(&id);
        let met = Met::default();
        self.troubles.insert(id, Trouble { fault, random, met });
    }

    /// What it had done.
    pub fn end(&mut self, id: &FaultId) -> Met {
        self.troubles
            .remove(id)
            .map(|trouble| trouble.met)
            .unwrap_or_default()
    }

    pub fn met(&self, id: &FaultId) -> Met {
        let trouble = self.troubles.get(id);
        trouble
            .map(|trouble| trouble.met.clone())
            .unwrap_or_default()
    }

    /// Whether anything is wrong; without it nobody asks for paths.
    pub fn is_active(&self) -> bool {
        !self.troubles.is_empty()
    }

    /// Whether nothing completes.
    pub fn hangs(&self) -> bool {
        let mut faults = self.troubles.values().map(|trouble| &trouble.fault);
        faults.any(|fault| matches!(fault, HostFault::DiskHang {}))
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        let mut faults = self.troubles.values().map(|trouble| &trouble.fault);
        faults.any(|fault| matches!(fault, HostFault::DiskFull {}))
    }

    /// The fate of an operation that comes now. One that hangs meets nothing else before it is judged again.
    pub fn judge(&mut self, operation: Operation<'_>) -> Fate {
        let mut fate = Fate::default();
        let hangs = self.hangs();
        for (id, trouble) in &mut self.troubles {
            if hangs && !matches!(trouble.fault, HostFault::DiskHang {}) {
                continue;
            }
            trouble.judge(id, operation, &mut fate);
        }
        fate
    }

    /// An operation of that fate took `added` longer.
    pub fn delayed(&mut self, fate: &Fate, added: Duration) {
        for id in &fate.delayed_by {
            if let Some(trouble) = self.troubles.get_mut(id) {
                let met = &mut trouble.met;
                met.delayed += 1;
                met.added = met.added.saturating_add(added);
                met.requested = met.requested.saturating_add(fate.delay);
            }
        }
    }

    /// A sync of that fate gave up so many bytes.
    pub fn lost(&mut self, fate: &Fate, bytes: u64) {
        let trouble = fate
            .failed_by
            .as_ref()
            .and_then(|id| self.troubles.get_mut(id));
        if let Some(trouble) = trouble {
            trouble.met.lost_bytes += bytes;
        }
    }
}

impl Trouble {
    fn judge(&mut self, id: &FaultId, operation: Operation<'_>, fate: &mut Fate) {
        let fits = |path: &str| pattern::fits(path, operation.path);
        if !operation.is_probe && !path_of(&self.fault).is_none_or(fits) {
            return;
        }
        let meets = match &self.fault {
            HostFault::DiskHang {} => {
                fate.hangs = true;
                true
            }
            HostFault::DiskLatency {
                latency, jitter, ..
            } => {
                let drawn = latency.saturating_add(self.random.duration_up_to(*jitter));
                fate.delay = fate.delay.saturating_add(drawn);
                let counted = (!operation.is_probe).then(|| id.clone());
                fate.delayed_by.extend(counted);
                true
            }
            HostFault::DiskFault {
                errno,
                methods,
                times,
                percent,
                ..
            } => {
                let left = times.is_none_or(|times| self.met.operations < u64::from(times));
                let fails = methods.contains(&operation.method)
                    && !operation.is_idle
                    && (left || operation.is_probe)
                    && percent.is_none_or(|share| self.random.chance(share.as_f64()));
                if fails && fate.errno.is_none() {
                    fate.errno = Some(*errno);
                    fate.failed_by = (!operation.is_probe).then(|| id.clone());
                }
                fails
            }
            HostFault::DiskFull {} => {
                let grows = matches!(operation.method, DiskMethod::Write | DiskMethod::Create);
                if grows {
                    fate.errno.get_or_insert(Errno::NoSpace);
                }
                grows
            }
            _ => false,
        };
        if meets {
            match operation.is_probe {
                true => self.met.probes += 1,
                false => self.met.operations += 1,
            }
        }
    }
}

fn path_of(fault: &HostFault) -> Option<&str> {
    match fault {
        HostFault::DiskLatency { path, .. } | HostFault::DiskFault { path, .. } => path.as_deref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::units::Ratio;

    use super::*;

    fn id(name: &str) -> FaultId {
        FaultId {
            fault: name.to_owned(),
            occurrence: 0,
        }
    }

    fn operation(method: DiskMethod, path: &str) -> Operation<'_> {
        Operation {
            method,
            is_idle: false,
            is_probe: false,
            path,
        }
    }

    fn fault(path: Option<&str>, times: Option<u32>, percent: Option<f64>) -> HostFault {
        HostFault::DiskFault {
            errno: Errno::Io,
            methods: vec![DiskMethod::Sync],
            times,
            path: path.map(str::to_owned),
            percent: percent.and_then(Ratio::new),
        }
    }

    #[test]
    fn a_fault_meets_its_methods_and_files_and_nothing_else() {
        let mut gate = Gate::new(1);
        assert_eq!(
            gate.judge(operation(DiskMethod::Sync, "log")),
            Fate::default()
        );
        gate.begin(id("f"), fault(Some("wal/*"), None, None));
        for (method, path, fails) in [
            (DiskMethod::Sync, "wal/000001", true),
            (DiskMethod::Sync, "base/1", false),
            (DiskMethod::Write, "wal/000001", false),
        ] {
            let fate = gate.judge(operation(method, path));
            assert_eq!(fate.errno.is_some(), fails, "{method:?} {path}");
        }
        assert_eq!(gate.end(&id("f")).operations, 1);
        assert_eq!(
            gate.judge(operation(DiskMethod::Sync, "wal/1")),
            Fate::default()
        );
    }

    #[test]
    fn probes_meet_a_fault_of_other_files_and_use_no_times_up() {
        let mut gate = Gate::new(1);
        gate.begin(id("f"), fault(Some("wal/*"), Some(1), None));
        let probe = Operation {
            is_probe: true,
            ..operation(DiskMethod::Sync, "elsewhere")
        };
        for _ in 0..3 {
            assert_eq!(gate.judge(probe).errno, Some(Errno::Io));
        }
        let own = operation(DiskMethod::Sync, "wal/1");
        assert_eq!(gate.judge(own).errno, Some(Errno::Io));
        assert_eq!(gate.judge(own).errno, None, "once");
        assert_eq!(gate.met(&id("f")).probes, 3);
    }

    #[test]
    fn a_sync_that_has_nothing_to_write_succeeds() {
        let mut gate = Gate::new(1);
        gate.begin(id("f"), fault(None, None, None));
        let idle = Operation {
            is_idle: true,
            ..operation(DiskMethod::Sync, "log")
        };
        assert_eq!(gate.judge(idle), Fate::default());
        let busy = operation(DiskMethod::Sync, "log");
        assert_eq!(gate.judge(busy).errno, Some(Errno::Io));
    }

    #[test]
    fn what_a_fault_did_is_counted_for_it_alone_and_without_probes() {
        let mut gate = Gate::new(1);
        let slow = |path: &str| HostFault::DiskLatency {
            latency: Duration::from_millis(5),
            jitter: Duration::ZERO,
            path: Some(path.to_owned()),
        };
        gate.begin(id("wal"), slow("wal/*"));
        gate.begin(id("base"), slow("base/*"));
        gate.begin(id("f"), fault(Some("wal/*"), None, None));
        let own = operation(DiskMethod::Sync, "wal/1");
        let fates = [
            gate.judge(own),
            gate.judge(Operation {
                is_probe: true,
                ..own
            }),
        ];
        for fate in &fates {
            gate.delayed(fate, Duration::from_millis(6));
            gate.lost(fate, 10);
        }
        let met = gate.met(&id("wal"));
        assert_eq!((met.operations, met.delayed), (1, 1));
        assert_eq!(met.added, Duration::from_millis(6));
        assert_eq!(met.requested, Duration::from_millis(5));
        assert_eq!(gate.met(&id("base")).delayed, 0);
        assert_eq!(gate.met(&id("f")).lost_bytes, 10);
    }

    #[test]
    fn what_hangs_uses_up_nothing_of_another_fault() {
        let mut gate = Gate::new(1);
        gate.begin(id("f"), fault(None, Some(1), None));
        gate.begin(id("hang"), HostFault::DiskHang {});
        let own = operation(DiskMethod::Sync, "log");
        let held = gate.judge(own);
        assert!(held.hangs && held.errno.is_none());
        gate.end(&id("hang"));
        assert_eq!(gate.judge(own).errno, Some(Errno::Io));
        assert_eq!(gate.judge(own).errno, None, "once");
    }

    #[test]
    fn a_share_of_operations_fails_by_the_seed() {
        let count = |seed| {
            let mut gate = Gate::new(seed);
            gate.begin(id("f"), fault(None, None, Some(0.25)));
            let fate = |_| gate.judge(operation(DiskMethod::Sync, "")).errno.is_some();
            (0..1000).map(fate).collect::<Vec<bool>>()
        };
        let failed = count(3).iter().filter(|failed| **failed).count();
        assert!((200..300).contains(&failed), "{failed} of 1000");
        assert_eq!(count(3), count(3));
        assert_ne!(count(3), count(4));
    }

    #[test]
    fn latencies_add_up_and_a_full_disk_takes_syncs_only() {
        let mut gate = Gate::new(1);
        for name in ["a", "b"] {
            let latency = HostFault::DiskLatency {
                latency: Duration::from_millis(5),
                jitter: Duration::ZERO,
                path: None,
            };
            gate.begin(id(name), latency);
        }
        gate.begin(id("full"), HostFault::DiskFull {});
        let write = gate.judge(operation(DiskMethod::Write, ""));
        assert_eq!(write.delay, Duration::from_millis(10));
        assert_eq!(write.errno, Some(Errno::NoSpace));
        assert_eq!(gate.judge(operation(DiskMethod::Sync, "")).errno, None);
        assert!(gate.is_full());
    }
}
