//! Memory is short: what the node's processes take from now on is limited, or something else on the host holds so much.
//!
//! A node over its limit is ended by the kernel, unless it can give back what it holds of files. Proof of a limit: the
//! kernel gives it back, every process is in the group, and a process of the agent's under such a limit was ended when
//! it took more. Proof of pressure: the bytes that are resident.

use std::io;

use nix::sys::signal::Signal;
use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::{Bytes, Duration};

use super::hog::{Hog, Work};
use crate::cgroup::{Group, Version};
use crate::clock::{now, until_now};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;
use crate::process::identity::ProcessIdentity;

/// The proof that a limit works need not take more than this of the machine.
const TWIN_BYTES_MAX: u64 = 16 << 20;
/// The kernel ends a process over its limit at once; on a busy machine within seconds.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Memory is taken at about a gigabyte a second.
const HOLD_LIMIT: Duration = Duration::from_secs(60);

/// The fault.
pub(super) struct Memory {
    pub id: FaultId,
    pub limit: Option<Bytes>,
    pub pressure: Option<Bytes>,
    pub holder: Option<Hog>,
}

impl Fault<NodeProcess> for Memory {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let name = host.name().to_owned();
        let unverified = |reason: String| Unverified {
            reason: format!("{name}: {reason}"),
        };
        let mut at = None;
        let mut seen = Vec::new();
        let mut achieved = Vec::new();
        if let Some(pressure) = self.pressure {
            let before = now();
            let held = self.press(pressure).map_err(unverified)?;
            at = Some(until_now(before));
            seen.push(format!("{held} are held beside the node"));
            achieved.push(bytes("pressure", pressure, held));
        }
        if let Some(limit) = self.limit {
            let outcome = self.restrict(host, limit);
            let limited = outcome.map_err(|reason| {
                self.holder = None;
                unverified(reason)
            })?;
            at.get_or_insert(limited.at);
            let (taken, read_back) = (limited.processes, limited.limit);
            seen.push(format!(
                "{taken} processes can take {read_back} more; one that took more under such a limit was ended"
            ));
            achieved.push(bytes("limit", limit, read_back));
        }
        let at = at.unwrap_or_else(|| until_now(now()));
        Ok(Observation::new(at, self.mechanism(), seen.join("; ")).with(achieved))
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let before = now();
        let mut seen = Vec::new();
        if self.holder.take().is_some() {
            seen.push("what was held is free".to_owned());
        }
        if self.limit.is_some() {
            let ended = host.group(&self.id).map_or(0, ended);
            host.remove_group(&self.id)?;
            seen.push(format!(
                "the group is gone; the kernel ended {ended} processes in it"
            ));
        }
        Ok(Observation::new(
            until_now(before),
            self.mechanism(),
            seen.join("; "),
        ))
    }
}

/// A limit that the node's processes are under.
struct Limited {
    at: Bracket,
    processes: usize,
    /// As the kernel gives it back.
    limit: Bytes,
}

impl Memory {
    /// Starts the holder; what is resident of it.
    fn press(&mut self, wanted: Bytes) -> Result<Bytes, String> {
        let failed = |error: io::Error| format!("holding memory: {error}");
        let holder = Hog::start(Work::Hold(wanted.0 as usize), true).map_err(failed)?;
        // What it shares with the agent does not count.
        let shared = resident(holder.pid()).map_err(failed)?;
        holder.go_on().map_err(failed)?;
        let until = now().after(HOLD_LIMIT);
        loop {
            let resident = resident(holder.pid()).map_err(|_| {
                format!("who was to hold {wanted} was ended by the kernel; give less")
            })?;
            let held = Bytes(resident.0.saturating_sub(shared.0));
            if held >= wanted {
                self.holder = Some(holder);
                return Ok(held);
            }
            if now() >= until {
                return Err(format!("{held} of {wanted} were held after {HOLD_LIMIT}"));
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn mechanism(&self) -> &'static str {
        match (self.limit, self.pressure) {
            (Some(_), Some(_)) => "limit of a cgroup, and a process that holds memory",
            (Some(_), None) => "limit of a cgroup",
            _ => "a process that holds memory",
        }
    }

    /// Limits the node.
    fn restrict(&self, host: &mut NodeProcess, limit: Bytes) -> Result<Limited, String> {
        let failed = |error: io::Error| format!("limiting its memory: {error}");
        let twin = host.make_group(&self.id, "twin", "memory")?;
        let small = Bytes(limit.0.min(TWIN_BYTES_MAX));
        set_limit(&twin, small).map_err(failed)?;
        let ended = overtake(twin, small).map_err(failed)?;
        if ended != Some(Signal::SIGKILL) {
            return Err(format!(
                "a process that took more than {small} under that limit was not ended"
            ));
        }
        let group = host.make_group(&self.id, "node", "memory")?;
        set_limit(&group, limit).map_err(failed)?;
        let read_back = read_limit(&group).map_err(failed)?;
        let before = now();
        let processes = host.move_into(group, &self.id).map_err(failed)?;
        Ok(Limited {
            at: until_now(before),
            processes,
            limit: read_back,
        })
    }
}

fn bytes(name: &str, requested: Bytes, achieved: Bytes) -> Achieved {
    Achieved {
        name: name.to_owned(),
        requested: requested.0 as f64,
        achieved: achieved.0 as f64,
        unit: "bytes".to_owned(),
    }
}

fn limit_file(group: &Group) -> &'static str {
    match group.version() {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    }
}

fn set_limit(group: &Group, limit: Bytes) -> io::Result<()> {
    group.write(limit_file(group), &limit.0.to_string())?;
    // Without swap, or the limit would only make it slow. Where swap is not accounted there is no such file.
    let (file, value) = match group.version() {
        Version::V1 => ("memory.memsw.limit_in_bytes", limit.0),
        Version::V2 => ("memory.swap.max", 0),
    };
    match group.write(file, &value.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A group may make no new files.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        result => result,
    }
}

fn read_limit(group: &Group) -> io::Result<Bytes> {
    let text = group.read(limit_file(group))?;
    text.parse().map(Bytes).map_err(io::Error::other)
}

/// Processes that the kernel ended because of the group's limit.
fn ended(group: &Group) -> u64 {
    let file = match group.version() {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    group.count(file, "oom_kill")
}

/// Takes twice the limit in the group; the signal that ended whoever did.
fn overtake(mut twin: Group, limit: Bytes) -> io::Result<Option<Signal>> {
    let greedy = Hog::start(Work::Hold(2 * limit.0 as usize), true)?;
    twin.take(ProcessIdentity::of(greedy.pid())?)?;
    greedy.go_on()?;
    let ended = greedy.ended_by(END_LIMIT)?;
    drop(greedy);
    twin.remove()?;
    Ok(ended)
}

/// Bytes of a process that are in memory.
fn resident(pid: i32) -> io::Result<Bytes> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    // SAFETY: takes and gives integers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    match pages {
        // A zombie holds nothing.
        Some(0) | None => Err(io::ErrorKind::NotFound.into()),
        Some(pages) => Ok(Bytes(pages * page)),
    }
}
