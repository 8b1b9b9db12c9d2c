//! The plan: an experiment with every default filled in and all randomness drawn from the seed.
//!
//! One plan is one variant of one experiment (and one row of its matrix). `plan` makes it, `run`
//! follows it, `analyze` reads it beside the history. Written as `plan.json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::{FaultKind, Selector};
use crate::metric::Condition;
use crate::node::MemberKind;
use crate::strategy::Strategy;
use crate::units::{Duration, Ratio};

/// Version of the plan format.
pub const PLAN_FORMAT: u32 = 1;

/// One experiment, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_FORMAT`] of the writer.
    pub format: u32,
    /// Unique in the run, safe as a folder's name: path below the argument with `/` as `.`, then
    /// `@variant` and `@row` where there are such.
    pub name: String,
    /// Name without variant and row: plans of one experiment stand side by side in reports.
    pub experiment: String,
    /// The variant's name; `None` for the base.
    pub variant: Option<String>,
    /// The matrix row, such as `target.nodes=5`.
    pub row: Option<String>,
    /// What the experiment is about, for people.
    pub title: String,
    /// Path of the experiment file as it was given.
    pub source: String,
    /// The seed all randomness was drawn from.
    pub seed: u64,
    /// Where the nodes live.
    pub stage: Stage,
    /// What is tested.
    pub target: Target,
    /// What clients do.
    pub workload: Workload,
    /// How long each phase lasts.
    pub phases: Phases,
    /// The faults, by name, in file order.
    pub faults: Vec<Fault>,
    /// What must hold.
    pub gates: Vec<Gate>,
    /// What is expected of the gates where that is not "all pass".
    pub expect: Option<Expectation>,
    /// One entry a trial, in order.
    pub trials: Vec<Trial>,
    /// What must stand before nodes start.
    pub preparations: Preparations,
    /// What made this plan and where.
    pub environment: BTreeMap<String, String>,
}

/// Where nodes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Real processes, a network namespace each, on this machine.
    Local,
    /// The reference cluster's cores in virtual time.
    Simulation,
}

/// What is tested.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// `reference`, or a path to a target file.
    pub system: String,
    /// Names of the nodes, in order: `n1`, `n2`, …
    pub nodes: Vec<String>,
    /// Processes of the cluster that are no nodes, such as its balancer: named `b1`, `s1`. Shapes and
    /// selectors other than names pass them over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<Companion>,
    /// The reference cluster's strategies.
    pub strategy: Strategy,
    /// A node that is not ready by then ends the trial.
    pub ready_timeout: Duration,
}

impl Target {
    /// Every process of the cluster by name: the nodes in order, then the companions.
    pub fn members(&self) -> impl Iterator<Item = (&String, MemberKind)> {
        let nodes = self.nodes.iter().map(|node| (node, MemberKind::Node));
        let companions = self.companions.iter().map(|one| (&one.name, one.kind));
        nodes.chain(companions)
    }

    /// Names of [`Target::members`].
    pub fn member_names(&self) -> Vec<String> {
        self.members().map(|(name, _)| name.clone()).collect()
    }
}

/// A process of the cluster that is no node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companion {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: MemberKind,
}

/// What clients do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// The operations and what they mean.
    #[serde(flatten)]
    pub kind: WorkloadKind,
    /// Clients in all: the operations that can be under way at once.
    pub clients: u32,
    /// Client groups: name → where it stands.
    pub groups: Vec<ClientGroup>,
    /// Offered operations a second over all clients, open loop.
    pub rate: f64,
    /// Operation name → share; shares sum to 1.
    pub mix: BTreeMap<String, f64>,
    /// After this an operation's outcome is indeterminate.
    pub timeout: Duration,
    /// Read everything back after settling.
    pub final_reads: bool,
}

/// The kind of operations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Reads, unique writes and compare-and-set on single keys. Operations: `read write cas`.
    Register {
        /// Keys in use at a time.
        keys: u32,
        /// After so many operations a key is retired and a fresh one takes its place, so that
        /// checking stays cheap. `None`: keys are never retired.
        operations_per_key: Option<u32>,
    },
    /// Transfers between accounts and reads of all of them. Operations: `read transfer`.
    Bank {
        /// Number of accounts.
        keys: u32,
        /// What each account holds at first.
        initial_balance: i64,
        /// Largest amount of a transfer, drawn from 1..=this.
        transfer_max: i64,
    },
    /// Requests to stateless backends. Operations: `call`.
    Requests {
        /// Number of keys.
        keys: u32,
        /// Share of the calls that are for the first key; the others are spread evenly over all.
        hot: Ratio,
    },
}

impl WorkloadKind {
    /// The name an experiment file uses.
    pub fn name(&self) -> &'static str {
        match self {
            WorkloadKind::Register { .. } => "register",
            WorkloadKind::Bank { .. } => "bank",
            WorkloadKind::Requests { .. } => "requests",
        }
    }
}

/// A group of clients in one place, with a name that may stand in grudges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientGroup {
    /// `c1`, `c2`, …
    pub name: String,
    /// The node it stands beside; `None`: outside.
    pub beside: Option<String>,
    /// How many of the clients.
    pub clients: u32,
}

/// Lengths of the phases of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// No fault: the baseline.
    pub warm_up: Duration,
    /// Faults happen.
    pub fault: Duration,
    /// Faults are healed; liveness is demanded here.
    pub settle: Duration,
    /// Width of a bin of the goodput series: 1 s, or a tenth of the warm-up where that is shorter.
    pub bin: Duration,
}

/// A fault as planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Its name; metrics and gates speak of it by this.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// On which nodes; partitions of a fixed shape need none.
    pub nodes: Selector,
}

/// One trial: its seed and when each fault comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Counted from 1; names the trial's folder.
    pub index: u32,
    /// Derived from the plan's seed and the index.
    pub seed: u64,
    /// What happens, in order of planned start; event-triggered entries last.
    pub schedule: Vec<Injection>,
}

/// One planned injection of a fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Injection {
    /// Name of the fault.
    pub fault: String,
    /// Occurrence of that fault in the trial, from 0.
    pub occurrence: u32,
    /// When it starts.
    pub start: Start,
    /// How long until it is healed; `None`: at the start of the settle phase.
    pub duration: Option<Duration>,
}

/// When an injection starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// So long after the fault phase began (jitter included).
    At(Duration),
    /// Right after the first event of this kind in the fault phase.
    After(String),
}

/// A condition that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Name of the metric.
    pub metric: String,
    /// Only for this fault; `None`: over every fault.
    pub fault: Option<String>,
    /// Which statistic over trials.
    pub statistic: Statistic,
    /// What is required of it.
    pub require: Requirement,
}

/// A statistic over the samples of all trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistic {
    /// Of the worst trial.
    #[default]
    Max,
    /// Median.
    P50,
    /// 90th percentile.
    P90,
    /// 99th percentile.
    P99,
    /// Arithmetic mean.
    Mean,
    /// Of the best trial.
    Min,
}

impl Statistic {
    /// Fewest samples with which the statistic says anything.
    pub const fn samples_min(self) -> u64 {
        match self {
            Statistic::Max | Statistic::Min | Statistic::Mean => 1,
            Statistic::P50 => 2,
            Statistic::P90 => 10,
            Statistic::P99 => 100,
        }
    }

    /// The name an experiment file uses.
    pub const fn name(self) -> &'static str {
        match self {
            Statistic::Max => "max",
            Statistic::P50 => "p50",
            Statistic::P90 => "p90",
            Statistic::P99 => "p99",
            Statistic::Mean => "mean",
            Statistic::Min => "min",
        }
    }
}

/// What a gate requires.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// A comparison with a number in the metric's unit.
    Condition(Condition),
    /// The history satisfies this consistency level, such as `linearizable`.
    Consistency(String),
}

/// What is expected of the raw verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// `fail` or `pass`.
    pub verdict: crate::verdict::Outcome,
    /// Exactly these gates fail, by metric name.
    pub gates: Vec<String>,
}

/// What must stand before nodes start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparations {
    /// Nodes hold written bytes back until they are synced, so that a kill is a host crash.
    pub hold_unsynced: bool,
    /// Agents serve the nodes' folders as disks that can fail.
    #[serde(default)]
    pub serve_disks: bool,
    /// Agents give the nodes a resolver that knows the names of the run.
    #[serde(default)]
    pub serve_names: bool,
}
