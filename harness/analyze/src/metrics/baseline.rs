//! What the service did undisturbed, what became of all operations, and how exact the clock of the
//! experiment itself was: `operations.*`, `throughput.baseline`, `latency.baseline_*`,
//! `harness.lateness`.
//!
//! Latency counts from the moment an operation was due, so that a stall is felt by all that had to
//! wait for it.

use shakedown_contracts::event::Event;
use shakedown_contracts::verdict::Finding;

use crate::samples::{Samples, quantile};
use crate::trial::Trial;

/// Samples each of these metrics once a trial.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    operations(trial, samples);
    warm_up(trial, samples);
    lateness(trial, samples);
    Vec::new()
}

fn operations(trial: &Trial<'_>, samples: &mut Samples) {
    let (mut ok, mut failed, mut indeterminate) = (0_u64, 0_u64, 0_u64);
    for operation in trial.history.workload() {
        ok += u64::from(operation.ok().is_some());
        failed += u64::from(operation.failed());
        indeterminate += u64::from(operation.indeterminate());
    }
    samples.add("operations.ok", ok as f64);
    samples.add("operations.failed", failed as f64);
    samples.add("operations.indeterminate", indeterminate as f64);
}

fn warm_up(trial: &Trial<'_>, samples: &mut Samples) {
    let window = trial.timeline.warm_up..trial.timeline.fault;
    let seconds = window.end.since(window.start).as_secs_f64();
    let in_time = trial
        .history
        .workload()
        .filter_map(|operation| operation.ok())
        .filter(|completion| window.contains(&completion.at))
        .count();
    if seconds > 0.0 {
        samples.add("throughput.baseline", in_time as f64 / seconds);
    }
    let mut latencies: Vec<f64> = trial
        .history
        .workload()
        .filter(|operation| window.contains(&operation.due))
        .filter_map(|operation| {
            operation
                .ok()
                .map(|completion| completion.at.since(operation.due).as_millis_f64())
        })
        .collect();
    latencies.sort_by(f64::total_cmp);
    for (metric, share) in [
        ("latency.baseline_p50", 0.5),
        ("latency.baseline_p99", 0.99),
    ] {
        if latencies.is_empty() {
            let reason = format!("nothing succeeded in the warm-up of trial {}", trial.index);
            samples.lacking(metric, reason);
        } else {
            samples.add(metric, quantile(&latencies, share));
        }
    }
}

fn lateness(trial: &Trial<'_>, samples: &mut Samples) {
    let worst = trial
        .events
        .iter()
        .filter_map(|record| match record.event {
            Event::Canary { lateness_max, .. } => Some(lateness_max),
            _ => None,
        })
        .max();
    match worst {
        Some(lateness) => samples.add("harness.lateness", lateness.as_millis_f64()),
        None => samples.lacking(
            "harness.lateness",
            format!("trial {} has no report of the canary", trial.index),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    #[test]
    fn the_warm_up_is_measured_from_due_moments_and_every_operation_is_counted() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_100).due(1_050).ok(1_110);
        made.history.write("k", 2, 1_200).ok(1_204);
        made.history.write("k", 3, 3_000).fail(3_001);
        made.history.write("k", 4, 3_100).info(4_100);
        made.history.write("k", 5, 3_200);
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        assert_eq!(
            samples.summary("throughput.baseline").max,
            2.0,
            "two in 1 s"
        );
        assert_eq!(samples.summary("latency.baseline_p99").max, 60.0);
        assert_eq!(samples.summary("latency.baseline_p50").max, 4.0);
        assert_eq!(samples.summary("operations.ok").max, 2.0);
        assert_eq!(samples.summary("operations.failed").max, 1.0);
        assert_eq!(samples.summary("operations.indeterminate").max, 2.0);
        assert_eq!(samples.summary("harness.lateness").max, 0.5);
    }
}
