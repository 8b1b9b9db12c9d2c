//! File descriptors run out: the soft limit of every process of the node is lowered to what it has
//! open and a few more.
//!
//! The kernel refuses a descriptor whose *number* reaches the limit and gives out the lowest number
//! that is free, so the limit is the number below which exactly so many are free. The hard limit
//! stays: a process that raises its own limit is not hindered, and that is seen at the heal. Proof:
//! the limits read back from the kernel, and the free numbers below them.

use std::collections::BTreeSet;
use std::io;

use shakedown_contracts::event::{Achieved, Evidence};

use crate::clock::{now, until_now};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::{NodeProcess, Run};
use crate::process::identity::ProcessIdentity;

const MECHANISM: &str = "RLIMIT_NOFILE by prlimit";

/// The fault.
pub(super) struct FileDescriptors {
    left: u32,
    generation: u32,
    lowered: Vec<Lowered>,
}

/// A process under a lower limit.
#[derive(Debug, Clone, Copy)]
struct Lowered {
    process: ProcessIdentity,
    /// The soft limit before.
    before: u64,
    /// And from then on.
    limit: u64,
}

impl FileDescriptors {
    pub fn new(left: u32) -> Self {
        FileDescriptors {
            left,
            generation: 0,
            lowered: Vec::new(),
        }
    }

    fn lower(&mut self, processes: &[ProcessIdentity]) -> io::Result<Vec<u64>> {
        let mut free = Vec::new();
        for process in processes {
            let open = open_numbers(process.pid)?;
            let limit = limit_that_leaves(&open, u64::from(self.left));
            let before = soft_limit(process.pid, None)?;
            if before <= limit {
                // It has no more to begin with.
                free.push(free_below(&open, before));
                continue;
            }
            soft_limit(process.pid, Some(limit))?;
            self.lowered.push(Lowered {
                process: *process,
                before,
                limit,
            });
            let read_back = soft_limit(process.pid, None)?;
            free.push(free_below(&open_numbers(process.pid)?, read_back));
        }
        Ok(free)
    }

    /// Those that live get their limits back, and so do children that were born meanwhile.
    fn raise(&self, host: &NodeProcess) -> io::Result<usize> {
        let mut raised = 0;
        for process in host.processes()? {
            let of_it = |lowered: &&Lowered| lowered.process == process;
            let own = self.lowered.iter().find(of_it);
            let now = soft_limit(process.pid, None)?;
            let inherited = || self.lowered.iter().find(|lowered| lowered.limit == now);
            if let Some(lowered) = own.or_else(inherited) {
                soft_limit(process.pid, Some(lowered.before))?;
                raised += usize::from(soft_limit(process.pid, None)? == lowered.before);
            }
        }
        Ok(raised)
    }
}

impl Fault<NodeProcess> for FileDescriptors {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let name = host.name().to_owned();
        let unverified = |reason: String| Unverified {
            reason: format!("{name}: {reason}"),
        };
        let Run::Running { generation, .. } = host.state() else {
            return Err(unverified("dead; it has no descriptors".to_owned()));
        };
        let failed = |error: io::Error| unverified(format!("limiting its descriptors: {error}"));
        let before = now();
        let processes = host.processes().map_err(failed)?;
        let lowered = self.lower(&processes);
        let at = until_now(before);
        let free = match lowered {
            Ok(free) if !self.lowered.is_empty() => free,
            Ok(_) => {
                let reason = format!("no process has more than {} left", self.left);
                return Err(unverified(reason));
            }
            Err(error) => {
                // Best effort: the report says unverified.
                let _undone = self.raise(host);
                return Err(failed(error));
            }
        };
        self.generation = generation;
        let most = free.iter().copied().max().unwrap_or_default();
        let limits: Vec<String> = self
            .lowered
            .iter()
            .map(|one| format!("{} → {}", one.before, one.limit))
            .collect();
        Ok(Observation {
            at,
            evidence: Evidence {
                mechanism: MECHANISM.to_owned(),
                observed: format!(
                    "limits of {} processes read back ({}), at most {most} more can be opened",
                    processes.len(),
                    limits.join(", ")
                ),
                achieved: vec![Achieved {
                    name: "left".to_owned(),
                    requested: f64::from(self.left),
                    achieved: most as f64,
                    unit: "descriptors".to_owned(),
                }],
            },
        })
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let before = now();
        let same = matches!(host.state(), Run::Running { generation, .. } if generation == self.generation);
        let observed = if same {
            let raised = self.raise(host).map_err(|error| Unverified {
                reason: format!("{}: giving descriptors back: {error}", host.name()),
            })?;
            if raised == 0 {
                let reason = format!("{}: no process has its old limit back", host.name());
                return Err(Unverified { reason });
            }
            format!("{raised} processes have their old limits back")
        } else {
            "the processes under the limit have ended".to_owned()
        };
        Ok(Observation {
            at: until_now(before),
            evidence: Evidence {
                mechanism: MECHANISM.to_owned(),
                observed,
                achieved: Vec::new(),
            },
        })
    }
}

/// Numbers of a process's open descriptors.
fn open_numbers(pid: i32) -> io::Result<BTreeSet<u64>> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let numbers = names.filter_map(|name| name.to_str()?.parse().ok());
    Ok(numbers.collect())
}

/// The limit below which exactly `left` numbers are free.
fn limit_that_leaves(open: &BTreeSet<u64>, left: u64) -> u64 {
    let mut free = (0..).filter(|number| !open.contains(number));
    free.nth(left as usize).unwrap_or(u64::MAX)
}

fn free_below(open: &BTreeSet<u64>, limit: u64) -> u64 {
    limit - open.range(..limit).count() as u64
}

/// The soft limit; with `to`, after it was set to that.
fn soft_limit(pid: i32, to: Option<u64>) -> io::Result<u64> {
    let mut limits = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a local that lives over the call; nothing is set.
    let got =
        unsafe { libc::prlimit64(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limits) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    let Some(to) = to else {
        return Ok(limits.rlim_cur);
    };
    limits.rlim_cur = to.min(limits.rlim_max);
    // SAFETY: the pointer is to a local that lives over the call; nothing is read back.
    let set = unsafe {
        libc::prlimit64(
            pid,
            libc::RLIMIT_NOFILE,
            &raw const limits,
            std::ptr::null_mut(),
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limits.rlim_cur)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn below_the_limit_exactly_as_many_numbers_are_free_as_asked_for(
            open in proptest::collection::btree_set(0_u64..100, 0..60), left in 0_u64..50,
        ) {
            let limit = limit_that_leaves(&open, left);
            prop_assert_eq!(free_below(&open, limit), left);
            prop_assert!(!open.contains(&limit), "the next one that is free is refused");
        }
    }
}
