//! The node gets less of the processors: all its processes are in a group of their own, which the kernel stops for the
//! rest of each period once they have used up their share.
//!
//! Proof: the quota as the kernel gives it back, every process in the group, and a busy process of the agent's in a
//! group with the same quota that got no more. At the end: how often the node was stopped.

use std::io;

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::units::Duration;

use super::cpu::nanos_run;
use super::hog::{Hog, Work};
use crate::cgroup::{Group, Version};
use crate::clock::{now, until_now};
use crate::faults::{Observation, Unverified};
use crate::node_agent::node::NodeProcess;
use crate::process::identity::ProcessIdentity;

const MECHANISM: &str = "quota of a cgroup";
/// As Docker and Kubernetes set it.
const PERIOD_MICROS: u64 = 100_000;
/// A look at what a busy process gets takes so many periods.
const WATCHED_PERIODS: u64 = 5;
/// A busy process may have run on for a slice on each processor.
const OVER: f64 = 1.5;

/// The quota of one node.
pub(super) struct Quota {
    id: FaultId,
    /// Of one processor.
    share: f64,
}

impl Quota {
    pub fn new(id: FaultId, share: f64) -> Self {
        Quota { id, share }
    }

    pub fn inject(&self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let name = host.name().to_owned();
        let unverified = |reason: String| Unverified {
            reason: format!("{name}: {reason}"),
        };
        let failed = |error: io::Error| unverified(format!("limiting its processors: {error}"));
        // The twin comes first: a machine on which it does not work has done nothing to the node.
        let twin = host
            .make_group(&self.id, "twin", "cpu")
            .map_err(unverified)?;
        let watched = self.limit(&twin).and_then(|()| self.watch(twin));
        let got = watched.map_err(failed)?;
        if got > self.share * OVER {
            let asked = self.share;
            return Err(unverified(format!(
                "a busy process under a quota of {asked} got {got:.2}"
            )));
        }
        let group = host
            .make_group(&self.id, "node", "cpu")
            .map_err(unverified)?;
        self.limit(&group).map_err(failed)?;
        let achieved = read_back(&group).map_err(failed)?;
        let before = now();
        let taken = host.move_into(group, &self.id).map_err(failed)?;
        let at = until_now(before);
        let observed = format!(
            "{taken} processes are under {achieved:.3} processors; a busy one under the same got {got:.3}"
        );
        let quota = Achieved {
            name: "quota".to_owned(),
            requested: self.share,
            achieved,
            unit: "processors".to_owned(),
        };
        Ok(Observation::new(at, MECHANISM, observed).with(vec![quota]))
    }

    pub fn heal(&self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let counted = |word| {
            let group = host.group(&self.id);
            group.map_or(0, |group| group.count("cpu.stat", word))
        };
        let (throttled, periods) = (counted("nr_throttled"), counted("nr_periods"));
        let at = host.remove_group(&self.id)?;
        let observed = format!(
            "the group is gone; its processes were stopped in {throttled} of {periods} periods"
        );
        Ok(Observation::new(at, MECHANISM, observed))
    }

    fn limit(&self, group: &Group) -> io::Result<()> {
        let quota = (self.share * PERIOD_MICROS as f64).round() as u64;
        match group.version() {
            Version::V1 => {
                group.write("cpu.cfs_period_us", &PERIOD_MICROS.to_string())?;
                group.write("cpu.cfs_quota_us", &quota.to_string())
            }
            Version::V2 => group.write("cpu.max", &format!("{quota} {PERIOD_MICROS}")),
        }
    }

    /// The share of one processor that a busy process gets in the group.
    fn watch(&self, mut twin: Group) -> io::Result<f64> {
        let busy = Hog::start(Work::Spin, true)?;
        twin.take(ProcessIdentity::of(busy.pid())?)?;
        let (began, used) = (now(), nanos_run(busy.pid()).unwrap_or(0));
        busy.go_on()?;
        let watched = Duration::from_micros(WATCHED_PERIODS * PERIOD_MICROS);
        let until = began.after(watched);
        while now() < until {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let took = now().since(began).as_nanos();
        let used = nanos_run(busy.pid()).unwrap_or(0).saturating_sub(used);
        drop(busy);
        twin.remove()?;
        Ok(used as f64 / took as f64)
    }
}

/// What the kernel says the quota is, in processors.
fn read_back(group: &Group) -> io::Result<f64> {
    let (quota, period) = match group.version() {
        Version::V1 => (
            group.read("cpu.cfs_quota_us")?,
            group.read("cpu.cfs_period_us")?,
        ),
        Version::V2 => {
            let both = group.read("cpu.max")?;
            let (quota, period) = both.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
            (quota.to_owned(), period.to_owned())
        }
    };
    let number = |text: &str| text.parse::<f64>().map_err(io::Error::other);
    Ok(number(&quota)? / number(&period)?)
}
