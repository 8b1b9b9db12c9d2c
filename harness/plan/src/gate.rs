//! `[[gate]]`: what must hold, and whether this experiment can decide it at all.
//!
//! A gate that can never be decided, or that compares in the wrong unit, would be green for the
//! wrong reason; it is refused here.

use shakedown_contracts::fault::FaultKind;
use shakedown_contracts::metric::{
    self, CONSISTENCY, CONSISTENCY_LEVELS, METRICS, MetricDescription,
};
use shakedown_contracts::plan::{Fault, Gate, Requirement, Statistic, Target, Trial, Workload};
use shakedown_contracts::strategy::Detector;

use crate::reader::{TableReader, quoted};
use crate::{requirement, suggestion};

/// What a gate is judged against.
pub(crate) struct Context<'c> {
    pub target: &'c Target,
    pub workload: &'c Workload,
    pub faults: &'c [Fault],
    pub trials: &'c [Trial],
}

/// Metrics of the format that this version does not measure.
const METRICS_NOT_YET: &[&str] = &[
    "recovery.steady_state",
    "recovery.budget",
    "writes.resurrected",
    "imbalance",
];

/// Consistency levels of the format that this version does not decide.
const LEVELS_NOT_YET: &[&str] = &[
    "strict-serializable",
    "serializable",
    "snapshot-isolation",
    "repeatable-read",
    "read-atomic",
    "read-committed",
    "sequential",
    "causal",
];

const STATISTICS: [(&str, Statistic); 6] = [
    ("max", Statistic::Max),
    ("p50", Statistic::P50),
    ("p90", Statistic::P90),
    ("p99", Statistic::P99),
    ("mean", Statistic::Mean),
    ("min", Statistic::Min),
];

/// The gates in file order.
pub(crate) fn read(root: &TableReader<'_>, context: &Context<'_>) -> Vec<Gate> {
    let mut gates = Vec::new();
    for table in root.tables("gate") {
        let gate = read_one(&table, context);
        if gate.is_none() {
            table.ignore_rest();
        }
        gates.extend(gate);
        table.finish();
    }
    gates
}

fn read_one(table: &TableReader<'_>, context: &Context<'_>) -> Option<Gate> {
    if !table.has("metric") {
        table.missing(
            "metric",
            "name what is measured, such as `metric = \"recovery.first_success\"`",
        );
    }
    if !table.has("require") {
        table.missing(
            "require",
            "say what must hold, such as `require = \"< 2s\"`",
        );
    }
    let metric = table.text("metric")?;
    if metric.value == CONSISTENCY {
        return consistency(table, context);
    }
    let Some(description) = metric::describe(metric.value) else {
        unknown_metric(table, metric.value);
        return None;
    };
    let fault = read_fault(table, description, context);
    let statistic = read_statistic(table);
    check_decidable(table, description, context);
    check_samples(table, description, fault.as_deref(), statistic, context);
    let require = table.text("require")?;
    match requirement::condition(require.value, description.unit) {
        Ok(condition) => Some(Gate {
            metric: description.name.to_owned(),
            fault,
            statistic,
            require: Requirement::Condition(condition),
        }),
        Err((message, hint)) => {
            table.invalid(
                "require",
                format!("`{}`: {message}", description.name),
                hint,
            );
            None
        }
    }
}

fn unknown_metric(table: &TableReader<'_>, name: &str) {
    if METRICS_NOT_YET.contains(&name) || name.starts_with("overhead.") {
        let names: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        let message = format!("metric `{name}` is not available yet");
        let hint = format!("available: {}", names.join(", "));
        table
            .log
            .unavailable(&table.place("metric"), &table.key("metric"), message, hint);
        return;
    }
    let names: Vec<&str> = METRICS
        .iter()
        .map(|metric| metric.name)
        .chain([CONSISTENCY])
        .collect();
    let hint = suggestion::hint(name, "known are", names);
    table.invalid("metric", format!("unknown metric {}", quoted(name)), hint);
}

fn consistency(table: &TableReader<'_>, context: &Context<'_>) -> Option<Gate> {
    for key in ["fault", "statistic"] {
        if table.has(key) {
            let message = format!("a gate on `consistency` has no `{key}`");
            table.invalid(key, message, "it judges the whole history of every trial");
        }
    }
    let level = table.text("require")?;
    let workload = context.workload.kind.name();
    let levels = CONSISTENCY_LEVELS.iter();
    let Some((name, workloads)) = levels.clone().find(|(name, _)| *name == level.value) else {
        let names: Vec<&str> = levels.map(|(name, _)| *name).collect();
        if LEVELS_NOT_YET.contains(&level.value) {
            let message = format!("consistency level `{}` is not available yet", level.value);
            let hint = format!("available: {}", names.join(", "));
            table
                .log
                .unavailable(&level.span, &table.key("require"), message, hint);
        } else {
            let hint = suggestion::hint(level.value, "known are", names);
            let message = format!("unknown consistency level {}", quoted(level.value));
            table.invalid("require", message, hint);
        }
        return None;
    };
    if !workloads.contains(&workload) {
        let message = format!("the history of a {workload} workload cannot decide `{name}`");
        table.invalid(
            "require",
            message,
            format!("it takes workload {}", workloads.join(" or ")),
        );
    }
    Some(Gate {
        metric: CONSISTENCY.to_owned(),
        fault: None,
        statistic: Statistic::default(),
        require: Requirement::Consistency((*name).to_owned()),
    })
}

fn read_fault(
    table: &TableReader<'_>,
    metric: &MetricDescription,
    context: &Context<'_>,
) -> Option<String> {
    let Some(fault) = table.text("fault") else {
        if metric.per_fault && context.faults.is_empty() {
            let message = format!(
                "`{}` is measured from a fault, and there is none",
                metric.name
            );
            table.invalid(
                "metric",
                message,
                "add a `[[fault]]`, or gate another metric",
            );
        }
        return None;
    };
    if !metric.per_fault {
        let message = format!("`{}` has no value of its own for each fault", metric.name);
        table.invalid("fault", message, "leave `fault` out");
        return None;
    }
    if !context.faults.iter().any(|known| known.name == fault.value) {
        let names: Vec<&str> = context
            .faults
            .iter()
            .map(|fault| fault.name.as_str())
            .collect();
        let hint = match names.is_empty() {
            true => "the experiment has no faults".to_owned(),
            false => suggestion::hint(fault.value, "its faults are", names),
        };
        table.invalid(
            "fault",
            format!("no fault is named {}", quoted(fault.value)),
            hint,
        );
        return None;
    }
    Some(fault.value.to_owned())
}

fn read_statistic(table: &TableReader<'_>) -> Statistic {
    table.choice("statistic", &STATISTICS).unwrap_or_default()
}

/// Refuses a metric that the target, the workload or the faults leave without a value.
fn check_decidable(table: &TableReader<'_>, metric: &MetricDescription, context: &Context<'_>) {
    let name = metric.name;
    let workload = context.workload.kind.name();
    if !metric.workloads.is_empty() && !metric.workloads.contains(&workload) {
        let message = format!("a {workload} workload cannot decide `{name}`");
        table.invalid(
            "metric",
            message,
            format!("it takes workload {}", metric.workloads.join(" or ")),
        );
    }
    if name == "writes.lost" && !context.workload.final_reads {
        let message = "`writes.lost` needs everything read back at the end";
        table.invalid("metric", message, "set `workload.final_reads = true`");
    }
    if name.starts_with("detection.") && context.target.nodes.len() < 2 {
        let message = format!("`{name}` needs a node that observes another, and there is one node");
        table.invalid("metric", message, "set `target.nodes` to 2 or more");
    }
    if name == "detection.outside_bounds" {
        let bounded = matches!(
            context.target.strategy.detector,
            Detector::FixedTimeout { .. }
        );
        let killed = |fault: &Fault| matches!(fault.kind, FaultKind::Kill { .. });
        if !bounded {
            let message = format!("only a fixed timeout has the bounds of `{name}`");
            table.invalid(
                "metric",
                message,
                "use detector \"fixed-timeout\", or gate `detection.last`",
            );
        } else if !context.faults.is_empty() && !context.faults.iter().any(killed) {
            let message = format!("`{name}` is about killed nodes, and no fault kills any");
            table.invalid(
                "metric",
                message,
                "add a fault of kind \"kill\", or gate `detection.last`",
            );
        }
    }
}

/// A quantile of too few samples would be one of them by chance.
fn check_samples(
    table: &TableReader<'_>,
    metric: &MetricDescription,
    fault: Option<&str>,
    statistic: Statistic,
    context: &Context<'_>,
) {
    let samples = if metric.per_fault {
        let injections = context.trials.iter().flat_map(|trial| &trial.schedule);
        injections
            .filter(|i| fault.is_none_or(|name| i.fault == name))
            .count() as u64
    } else {
        context.trials.len() as u64
    };
    let least = statistic.samples_min();
    if least > 1 && samples < least {
        let message = format!(
            "`{}` of `{}` would rest on {samples} sample(s), and needs {least}",
            statistic.name(),
            metric.name
        );
        table.invalid(
            "statistic",
            message,
            "raise `trials`, or use statistic \"max\"",
        );
    }
}
