//! The metrics: their names, units and meaning, and the conditions that gates set on them.
//!
//! This table is what plan validates a gate against, what analyze fills and what reports print.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Unit of a metric's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Milliseconds; conditions write a duration.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds; conditions write a duration.
    #[serde(rename = "s")]
    Seconds,
    /// A count; conditions write a plain number.
    #[serde(rename = "count")]
    Count,
    /// Events an hour; conditions write a plain number.
    #[serde(rename = "per hour")]
    PerHour,
    /// Operations a second; conditions write a plain number.
    #[serde(rename = "per second")]
    PerSecond,
    /// A share of 1; conditions write a percentage.
    #[serde(rename = "ratio")]
    Ratio,
    /// How many times as much; conditions write a plain number.
    #[serde(rename = "factor")]
    Factor,
}

/// A metric as the catalogue describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricDescription {
    /// Its name in gates and verdicts.
    pub name: &'static str,
    /// Unit of its numbers.
    pub unit: Unit,
    /// True where each fault has a value of its own (samples are then per injection).
    pub per_fault: bool,
    /// Workloads that can decide it; empty: all.
    pub workloads: &'static [&'static str],
    /// True where smaller is better.
    pub smaller_is_better: bool,
    /// One line for people.
    pub meaning: &'static str,
}

const fn metric(
    name: &'static str,
    unit: Unit,
    per_fault: bool,
    workloads: &'static [&'static str],
    smaller_is_better: bool,
    meaning: &'static str,
) -> MetricDescription {
    MetricDescription {
        name,
        unit,
        per_fault,
        workloads,
        smaller_is_better,
        meaning,
    }
}

/// Every metric of this version, in the order reports show them.
pub const METRICS: &[MetricDescription] = &[
    metric(
        "detection.first",
        Unit::Milliseconds,
        true,
        &[],
        true,
        "t0 to the first observer's lasting suspicion",
    ),
    metric(
        "detection.majority",
        Unit::Milliseconds,
        true,
        &[],
        true,
        "t0 to the lasting suspicion by a majority of observers",
    ),
    metric(
        "detection.last",
        Unit::Milliseconds,
        true,
        &[],
        true,
        "t0 to the last observer's lasting suspicion",
    ),
    metric(
        "detection.missed",
        Unit::Count,
        true,
        &[],
        true,
        "observers that never suspected the failed node",
    ),
    metric(
        "detection.outside_bounds",
        Unit::Count,
        true,
        &[],
        true,
        "suspicions of a killed node outside [timeout - interval, timeout] after t0, give or take the trial's lateness + 2 ms (fixed-timeout)",
    ),
    metric(
        "recovery.first_success",
        Unit::Milliseconds,
        true,
        &[],
        true,
        "t0 to the first success of an operation invoked after t0",
    ),
    metric(
        "recovery.redundancy",
        Unit::Milliseconds,
        true,
        &[],
        true,
        "t0 to as many copies as wanted again",
    ),
    metric(
        "recovery.human_steps",
        Unit::Count,
        true,
        &[],
        true,
        "faults after which the copies were not all there again until somebody took the fault away",
    ),
    metric(
        "recovery.replay",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "longest time that a restarted node took to read its disk and replay its log",
    ),
    metric(
        "recovery.records",
        Unit::Count,
        false,
        &[],
        true,
        "most records that a restarted node replayed",
    ),
    metric(
        "copies.damaged",
        Unit::Count,
        false,
        &[],
        true,
        "copies that a node found altered on its disk, and did not answer with",
    ),
    metric(
        "recovery.undone",
        Unit::Count,
        false,
        &[],
        true,
        "most operations in flight that a restarted node rolled back",
    ),
    metric(
        "availability.gap",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "longest interval without a success from the start of the fault phase on",
    ),
    metric(
        "availability.lost_service",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "time-integral of the share of offered operations not served",
    ),
    metric(
        "roles.concurrent_primaries",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "longest time in which two nodes acted as primary of one group",
    ),
    metric(
        "roles.changes",
        Unit::Count,
        false,
        &[],
        true,
        "times that a node became primary, from the start of the fault phase on",
    ),
    metric(
        "false_suspicions.count",
        Unit::Count,
        false,
        &[],
        true,
        "suspicions of nodes that were live and reachable",
    ),
    metric(
        "false_suspicions.bystanders",
        Unit::Count,
        false,
        &[],
        true,
        "the same of nodes that no fault was acting on: misled by another's trouble",
    ),
    metric(
        "false_suspicions.rate",
        Unit::PerHour,
        false,
        &[],
        true,
        "the same per observer and hour; with none seen, the bound 3 / exposure is printed",
    ),
    metric(
        "writes.lost",
        Unit::Count,
        false,
        &["register", "bank"],
        true,
        "acknowledged writes absent at the end",
    ),
    metric(
        "reads.stale",
        Unit::Count,
        false,
        &["register"],
        true,
        "reads of values that had certainly been replaced before they began",
    ),
    metric(
        "transactions.atomicity_violations",
        Unit::Count,
        false,
        &["bank"],
        true,
        "transfers seen half done, or half done at rest",
    ),
    metric(
        "transactions.wrong_totals",
        Unit::Count,
        false,
        &["bank"],
        true,
        "snapshots whose total is not the bank's",
    ),
    metric(
        "transactions.in_doubt_seconds",
        Unit::Seconds,
        false,
        &["bank"],
        true,
        "longest time a participant that had promised was not told the decision",
    ),
    metric(
        "operations.ok",
        Unit::Count,
        false,
        &[],
        false,
        "operations that succeeded",
    ),
    metric(
        "operations.failed",
        Unit::Count,
        false,
        &[],
        true,
        "operations that certainly did not happen",
    ),
    metric(
        "operations.indeterminate",
        Unit::Count,
        false,
        &[],
        true,
        "operations that may or may not have happened",
    ),
    metric(
        "requests.failed",
        Unit::Ratio,
        false,
        &[],
        true,
        "share of the operations due in the fault phase that did not succeed",
    ),
    metric(
        "requests.failed_settled",
        Unit::Ratio,
        false,
        &[],
        true,
        "the same of those due in the second half of the settle phase: what does not mend itself",
    ),
    metric(
        "latency.min",
        Unit::Milliseconds,
        false,
        &[],
        false,
        "shortest latency of the successes due in the fault phase: nothing is served sooner than it can be",
    ),
    metric(
        "latency.p50",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "median latency of the successes due in the fault phase, from the moment they were due",
    ),
    metric(
        "latency.p99",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "99th percentile of the same",
    ),
    metric(
        "imbalance",
        Unit::Factor,
        false,
        &["requests"],
        true,
        "successes in the fault phase of the busiest backend over the mean of those that no fault took away",
    ),
    metric(
        "balancer.ejections",
        Unit::Count,
        false,
        &["requests"],
        true,
        "times that the balancer took a backend out of service",
    ),
    metric(
        "throughput.baseline",
        Unit::PerSecond,
        false,
        &[],
        false,
        "successes a second during the warm-up",
    ),
    metric(
        "latency.baseline_p50",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "median latency during the warm-up, from the moment an operation was due",
    ),
    metric(
        "latency.baseline_p99",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "99th percentile of the same",
    ),
    metric(
        "harness.lateness",
        Unit::Milliseconds,
        false,
        &[],
        true,
        "largest scheduling lateness the canary saw; measured times are no finer than this",
    ),
];

/// Name of the gate on a consistency level; its requirement is a level, not a number.
pub const CONSISTENCY: &str = "consistency";

/// Consistency levels, weakest first, and the workloads whose history can decide them.
pub const CONSISTENCY_LEVELS: &[(&str, &[&str])] = &[("linearizable", &["register"])];

/// The description of a metric, or `None` for an unknown name.
pub fn describe(name: &str) -> Option<&'static MetricDescription> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// A comparison that a value must satisfy, in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// How to compare.
    pub comparison: Comparison,
    /// With what.
    pub bound: f64,
}

impl Condition {
    /// Whether `value` satisfies the condition.
    pub fn holds(self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.bound,
            Comparison::AtMost => value <= self.bound,
            Comparison::Equal => value == self.bound,
            Comparison::NotEqual => value != self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Greater => value > self.bound,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.comparison.symbol(), self.bound)
    }
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// `<`
    #[serde(rename = "<")]
    Less,
    /// `<=`
    #[serde(rename = "<=")]
    AtMost,
    /// `==`, also written `=`
    #[serde(rename = "==")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    NotEqual,
    /// `>=`
    #[serde(rename = ">=")]
    AtLeast,
    /// `>`
    #[serde(rename = ">")]
    Greater,
}

impl Comparison {
    /// As it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::AtLeast => ">=",
            Comparison::Greater => ">",
        }
    }
}
