//! What became of requests while faults were on, and after: `requests.*`, `latency.*`, `imbalance`,
//! `balancer.ejections`.
//!
//! An operation belongs to the moment it was *due*, and whatever is no success counts as failed: not
//! offered, refused, given up or never answered. Latency is of successes alone, so it is to be read
//! beside `requests.failed`. `imbalance` is max ÷ mean of the served rate over the backends that no
//! fault took away in the fault phase; 1 is perfect, their number is the worst.

use std::collections::BTreeMap;

use shakedown_contracts::event::Event;
use shakedown_contracts::plan::WorkloadKind;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_contracts::verdict::Finding;

use crate::samples::{Samples, quantile};
use crate::trial::Trial;

/// Samples each of these metrics once a trial.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let timeline = &trial.timeline;
    let half = Duration::from_nanos(timeline.settled.since(timeline.settle).as_nanos() / 2);
    let shares = [
        ("requests.failed", (timeline.fault, timeline.settle)),
        (
            "requests.failed_settled",
            (timeline.settle.after(half), timeline.settled),
        ),
    ];
    for (metric, window) in shares {
        match failed_share(trial, window) {
            Some(share) => samples.add(metric, share),
            None => samples.lacking(
                metric,
                format!("no operation was due in that part of trial {}", trial.index),
            ),
        }
    }
    latencies(trial, samples);
    if let WorkloadKind::Requests { .. } = trial.plan.workload.kind {
        imbalance(trial, samples);
        ejections(trial, samples);
    }
    Vec::new()
}

fn failed_share(trial: &Trial<'_>, (from, to): (Moment, Moment)) -> Option<f64> {
    let (mut due, mut failed) = (0_u64, 0_u64);
    let operations = trial.history.workload();
    for operation in operations.filter(|one| (from..to).contains(&one.due)) {
        due += 1;
        failed += u64::from(operation.ok().is_none());
    }
    (due > 0).then(|| failed as f64 / due as f64)
}

fn latencies(trial: &Trial<'_>, samples: &mut Samples) {
    let window = trial.timeline.fault..trial.timeline.settle;
    let operations = trial.history.workload();
    let mut latencies: Vec<f64> = operations
        .filter(|operation| window.contains(&operation.due))
        .filter_map(|operation| Some(operation.ok()?.at.since(operation.due).as_millis_f64()))
        .collect();
    latencies.sort_by(f64::total_cmp);
    let shares = [
        ("latency.min", 0.0),
        ("latency.p50", 0.5),
        ("latency.p99", 0.99),
    ];
    for (metric, share) in shares {
        if latencies.is_empty() {
            let reason = format!(
                "nothing succeeded in the fault phase of trial {}",
                trial.index
            );
            samples.lacking(metric, reason);
        } else {
            samples.add(metric, quantile(&latencies, share));
        }
    }
}

fn imbalance(trial: &Trial<'_>, samples: &mut Samples) {
    let taken_away = |node: &String| {
        trial.timeline.injected.iter().any(|injected| {
            let slow_only = injected.fault.kind.on_links().is_some();
            !slow_only && injected.nodes.contains(node)
        })
    };
    let nodes = trial.plan.target.nodes.iter();
    let live = nodes.filter(|node| !taken_away(node));
    let mut served: BTreeMap<&str, u64> = live.map(|node| (node.as_str(), 0)).collect();
    let window = trial.timeline.fault..trial.timeline.settle;
    for completion in trial.history.workload().filter_map(|one| one.ok()) {
        let count = completion
            .node
            .as_deref()
            .and_then(|node| served.get_mut(node));
        if let Some(count) = count.filter(|_| window.contains(&completion.at)) {
            *count += 1;
        }
    }
    let total: u64 = served.values().sum();
    if served.len() < 2 || total == 0 {
        let reason = format!(
            "fewer than two backends could serve in trial {}",
            trial.index
        );
        return samples.lacking("imbalance", reason);
    }
    let most = served.values().max().copied().unwrap_or_default();
    samples.add(
        "imbalance",
        most as f64 * served.len() as f64 / total as f64,
    );
}

fn ejections(trial: &Trial<'_>, samples: &mut Samples) {
    let ejected = |event: &Event| matches!(event, Event::BalancerEjected { .. });
    let count = trial.events.iter().filter(|record| ejected(&record.event));
    samples.add("balancer.ejections", count.count() as f64);
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::event::Ejection;
    use shakedown_contracts::units::Ratio;

    use super::*;
    use crate::made::MadeTrial;

    /// Fault phase from 2 s, settle phase from 6 s to 7 s; n1 is killed from 3 s to 5 s.
    fn measured(fill: impl FnOnce(&mut MadeTrial)) -> Samples {
        let mut made = MadeTrial::new();
        made.plan.workload.kind = WorkloadKind::Requests {
            keys: 1,
            hot: Ratio::default(),
        };
        made.kill("n1", 3_000, 5_000);
        fill(&mut made);
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        samples
    }

    #[test]
    fn what_did_not_succeed_failed_whatever_it_was() {
        let samples = measured(|made| {
            made.history.write("k", 1, 3_000).due(2_900).ok(3_050);
            made.history.write("k", 2, 3_100).fail(3_101);
            made.history.write("k", 3, 3_200).info(4_200);
            made.history.write("k", 4, 3_300).ok(3_310);
            made.history.write("k", 5, 6_100).fail(6_101);
            made.history.write("k", 6, 6_600).ok(6_601);
        });
        assert_eq!(samples.summary("requests.failed").max, 0.5);
        assert_eq!(samples.summary("requests.failed_settled").max, 0.0);
        assert_eq!(samples.summary("latency.p99").max, 150.0, "from due");
        assert_eq!(samples.summary("latency.p50").max, 10.0);
        assert_eq!(samples.summary("latency.min").max, 10.0);
    }

    #[test]
    fn imbalance_compares_the_backends_that_no_fault_took_away() {
        let samples = measured(|made| {
            for number in 0..9 {
                let node = ["n2", "n2", "n3"][number as usize % 3];
                made.history
                    .write("k", number, 3_000 + number)
                    .by(node, 0)
                    .ok(3_100 + number);
            }
            let event = Event::BalancerEjected {
                backend: "n1".into(),
                reason: Ejection::Outlier,
            };
            made.event("b1", 3_300, event);
        });
        // 6 of 9 with two backends: 6 ÷ 4.5.
        assert!((samples.summary("imbalance").max - 4.0 / 3.0).abs() < 1e-9);
        assert_eq!(samples.summary("balancer.ejections").max, 1.0);
    }

    #[test]
    fn nothing_due_or_served_decides_nothing() {
        let samples = measured(|_| {});
        for metric in ["requests.failed", "latency.p99", "imbalance"] {
            assert!(samples.lack_of(metric).is_some(), "{metric}");
        }
    }
}
