//! The lines of a table: metrics first, then gates, expectation and verdict.

use shakedown_contracts::metric::{CONSISTENCY, METRICS, MetricDescription};
use shakedown_contracts::verdict::{ExperimentVerdict, GateVerdict, Outcome};

use crate::table::paragraph::printable;
use crate::table::value;

/// A line: what it is about, then a cell for each experiment.
pub(crate) type Row = Vec<String>;

/// Shown wherever they were measured, gated or not; the rest is in verdict.json.
const ALWAYS: &[&str] = &[
    "recovery.replay",
    "availability.gap",
    "writes.lost",
    "roles.concurrent_primaries",
    "false_suspicions.count",
    "imbalance",
    "balancer.ejections",
    "operations.ok",
    "operations.failed",
    "operations.indeterminate",
];

/// Metrics that are gated or per fault, then the others that are always shown.
pub(crate) fn metrics(experiments: &[&ExperimentVerdict]) -> Vec<Row> {
    let gated = |metric: &MetricDescription| {
        let mut gates = experiments.iter().flat_map(|experiment| &experiment.gates);
        gates.any(|gate| gate.metric == metric.name)
    };
    let first = METRICS
        .iter()
        .filter(|metric| gated(metric) || metric.per_fault);
    let then = METRICS
        .iter()
        .filter(|metric| !gated(metric) && !metric.per_fault);
    let then = then.filter(|metric| ALWAYS.contains(&metric.name));
    let mut rows = Vec::new();
    for metric in first.chain(then) {
        rows.extend(metric_row(experiments, metric, metric.name, metric.name));
        for fault in gated_faults(experiments, metric) {
            let key = format!("{}/{fault}", metric.name);
            let label = format!("{} of {fault}", metric.name);
            rows.extend(metric_row(experiments, metric, &key, &label));
        }
    }
    rows.push(row("trials", experiments, trials));
    rows
}

fn row(
    label: &str,
    experiments: &[&ExperimentVerdict],
    cell: impl Fn(&ExperimentVerdict) -> String,
) -> Row {
    let cells = experiments.iter().map(|one| printable(&cell(one)));
    std::iter::once(printable(label)).chain(cells).collect()
}

/// `None` where no experiment has the metric.
fn metric_row(
    experiments: &[&ExperimentVerdict],
    metric: &MetricDescription,
    key: &str,
    label: &str,
) -> Option<Row> {
    let measured = |one: &&ExperimentVerdict| {
        one.metrics
            .get(key)
            .is_some_and(|summary| summary.count + summary.never > 0 || summary.bound.is_some())
    };
    experiments.iter().any(measured).then(|| {
        row(label, experiments, |one| match one.metrics.get(key) {
            Some(summary) => value::cell(summary, Some(metric)),
            None => "–".to_owned(),
        })
    })
}

/// With several faults, the share of each that a gate names.
fn gated_faults<'e>(
    experiments: &[&'e ExperimentVerdict],
    metric: &MetricDescription,
) -> Vec<&'e str> {
    let mut faults: Vec<&str> = Vec::new();
    for experiment in experiments.iter().filter(|one| one.faults.len() > 1) {
        for gate in experiment
            .gates
            .iter()
            .filter(|gate| gate.metric == metric.name)
        {
            if let Some(fault) = gate
                .fault
                .as_deref()
                .filter(|fault| !faults.contains(fault))
            {
                faults.push(fault);
            }
        }
    }
    faults
}

fn trials(experiment: &ExperimentVerdict) -> String {
    match experiment.trials_void {
        0 => experiment.trials.to_string(),
        void => format!("{} ({void} void)", experiment.trials),
    }
}

/// A line for each gate that any of the experiments has.
pub(crate) fn gates(experiments: &[&ExperimentVerdict]) -> Vec<Row> {
    let mut labels: Vec<String> = Vec::new();
    for gate in experiments.iter().flat_map(|experiment| &experiment.gates) {
        let label = gate_label(gate);
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let cell = |experiment: &ExperimentVerdict, label: &str| match experiment
        .gates
        .iter()
        .find(|gate| gate_label(gate) == label)
    {
        Some(gate) if gate.value.is_empty() || gate.value == gate.verdict.to_string() => {
            gate.verdict.to_string()
        }
        Some(gate) => format!("{}: {}", gate.verdict, gate.value),
        None => "–".to_owned(),
    };
    labels
        .iter()
        .map(|label| row(label, experiments, |one| cell(one, label)))
        .collect()
}

/// The gate in a line, such as `recovery.first_success of primary-dies max < 2s`.
pub(crate) fn gate_label(gate: &GateVerdict) -> String {
    let fault = gate
        .fault
        .as_ref()
        .map(|fault| format!(" of {fault}"))
        .unwrap_or_default();
    let is = if gate.metric == CONSISTENCY {
        " is"
    } else {
        ""
    };
    format!("{}{fault}{is} {}", gate.metric, gate.condition)
}

/// The last lines: what was expected, where anything was, and what came out.
pub(crate) fn verdicts(experiments: &[&ExperimentVerdict]) -> Vec<Row> {
    let mut rows = Vec::new();
    if experiments.iter().any(|one| one.expectation.is_some()) {
        rows.push(row("expected", experiments, |one| match &one.expectation {
            Some(expectation) if expectation.gates.is_empty() => expectation.verdict.to_string(),
            Some(expectation) => {
                format!("{}: {}", expectation.verdict, expectation.gates.join(", "))
            }
            None => Outcome::Pass.to_string(),
        }));
    }
    rows.push(row("verdict", experiments, verdict));
    rows
}

/// The verdict of one experiment in a few words.
pub(crate) fn verdict(experiment: &ExperimentVerdict) -> String {
    match (experiment.verdict, experiment.raw_verdict) {
        (Outcome::Pass, Outcome::Fail) => "pass: fails as expected".to_owned(),
        (Outcome::Fail, Outcome::Pass) => "fail: passes unexpectedly".to_owned(),
        (verdict, _) => verdict.to_string(),
    }
}
