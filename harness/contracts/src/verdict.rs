//! The verdict: what a run showed, with the numbers it rests on. Written as `verdict.json`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Achieved;
use crate::metric::Unit;
use crate::plan::Expectation;
use crate::time::Moment;

/// Version of the verdict format.
pub const VERDICT_FORMAT: u32 = 1;

/// Pass, fail or unknown. The order is how verdicts combine: fail over unknown over pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything required was seen to hold.
    Pass,
    /// Evidence is missing, or a fault was not verified in effect.
    Unknown,
    /// Something required was seen not to hold.
    Fail,
}

impl Outcome {
    /// The combination of many; pass for none.
    pub fn worst(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
        outcomes.into_iter().max().unwrap_or(Outcome::Pass)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Pass => "pass",
            Outcome::Unknown => "unknown",
            Outcome::Fail => "fail",
        })
    }
}

/// `verdict.json` of a whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunVerdict {
    /// [`VERDICT_FORMAT`].
    pub format: u32,
    /// Over all experiments, expectations applied.
    pub verdict: Outcome,
    /// One entry an experiment (variant and matrix row), in the order of the files.
    pub experiments: Vec<ExperimentVerdict>,
    /// Experiments of a folder that could not run here, with the reason.
    #[serde(default)]
    pub skipped: Vec<Skipped>,
}

/// An experiment that did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// What it needs that is not there.
    pub reason: String,
}

/// `verdict.json` of one experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentVerdict {
    /// [`VERDICT_FORMAT`].
    pub format: u32,
    /// The plan's name.
    pub name: String,
    /// The plan's `experiment`: equal for variants that stand side by side.
    pub experiment: String,
    /// The plan's variant.
    pub variant: Option<String>,
    /// The plan's matrix row.
    pub row: Option<String>,
    /// For people.
    pub title: String,
    /// After the expectation was applied.
    pub verdict: Outcome,
    /// Before it was applied.
    pub raw_verdict: Outcome,
    /// What was expected, where the plan says so and it was not switched off.
    pub expectation: Option<Expectation>,
    /// In a sentence each: why it is not a pass, or how it met its expectation.
    pub reasons: Vec<String>,
    /// By the metric's name, and `name/fault` for one fault's share of it.
    pub metrics: BTreeMap<String, MetricSummary>,
    /// The gates in file order.
    pub gates: Vec<GateVerdict>,
    /// What was found in the data, with witnesses.
    pub findings: Vec<Finding>,
    /// Faults as injected, over all trials.
    pub faults: Vec<FaultSummary>,
    /// Trials that count.
    pub trials: u32,
    /// Trials that were void and repeated.
    pub trials_void: u32,
    /// Wall-clock seconds since 1970 when the experiment began; for reports alone.
    pub started_unix_seconds: u64,
    /// How long all its trials took.
    pub seconds: f64,
    /// The command that repeats it.
    pub repeat: String,
}

/// Quantiles of a metric over its samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// Unit of all numbers.
    pub unit: Unit,
    /// Number of samples; with 0 the rest is 0 and says nothing.
    pub count: u64,
    /// Smallest.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// Samples that are missing because what they measure never happened in the trial (a recovery
    /// that did not come): a gate on the metric fails.
    #[serde(default)]
    pub never: u64,
    /// With no event seen: the upper bound at 95 % (3 ÷ exposure).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
}

/// What became of a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateVerdict {
    /// The metric, or `consistency`.
    pub metric: String,
    /// The fault it is about.
    pub fault: Option<String>,
    /// As written, such as `max < 2s`.
    pub condition: String,
    /// The value that was judged, as text with its unit.
    pub value: String,
    /// Whether it holds.
    pub verdict: Outcome,
    /// Why not, or why unknown; empty for a pass.
    pub reason: String,
}

/// Something found in the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Trial it was found in.
    pub trial: u32,
    /// What, such as `lost write` or `not linearizable`.
    pub kind: String,
    /// In a sentence, with the operations that show it.
    pub explanation: String,
    /// When, on the trial's monotonic clock.
    pub at: Option<Moment>,
}

/// One fault over all trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultSummary {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Injections asked for.
    pub requested: u64,
    /// Injections verified in effect.
    pub effective: u64,
    /// Heals verified.
    pub healed: u64,
    /// How it was done.
    pub mechanism: String,
    /// Nodes it met, each once.
    pub nodes: Vec<String>,
    /// Worst-achieved values over the trials.
    pub achieved: Vec<Achieved>,
}
