//! Gates: what must hold, judged against the samples.
//!
//! A gate on something that never happened (a recovery that did not come) fails; a gate without
//! the samples it needs is unknown. An experiment without gates has those on safety implied, so
//! that it cannot pass with lost data only because nothing was asked.

use shakedown_contracts::metric::{
    CONSISTENCY, Comparison, Condition, MetricDescription, describe,
};
use shakedown_contracts::plan::{Gate, Plan, Requirement, Statistic, WorkloadKind};
use shakedown_contracts::verdict::{GateVerdict, MetricSummary, Outcome};

use crate::consistency::Consistency;
use crate::samples::Samples;
use crate::text;

/// What gates are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The samples of all trials that count.
    pub samples: &'a Samples,
    /// What each of those trials showed about consistency, with the trial's number.
    pub consistency: &'a [(u32, Consistency)],
}

/// Judges the plan's gates, or the implied ones where it states none.
pub fn judge(plan: &Plan, evidence: Evidence<'_>) -> Vec<GateVerdict> {
    if !plan.gates.is_empty() {
        return plan
            .gates
            .iter()
            .map(|gate| judge_one(gate, plan, evidence))
            .collect();
    }
    let implied = implied(&plan.workload.kind);
    let judged = implied.iter().map(|gate| judge_one(gate, plan, evidence));
    judged
        .map(|mut verdict| {
            verdict.condition.push_str(" (implied)");
            verdict
        })
        .collect()
}

/// The gates on safety: no acknowledged write lost, no wrong data, one primary at a time.
fn implied(workload: &WorkloadKind) -> Vec<Gate> {
    let none = |metric: &str| Gate {
        metric: metric.to_owned(),
        fault: None,
        statistic: Statistic::Max,
        require: Requirement::Condition(Condition {
            comparison: Comparison::Equal,
            bound: 0.0,
        }),
    };
    let mut gates = match workload {
        WorkloadKind::Register { .. } => vec![
            none("writes.lost"),
            Gate {
                metric: CONSISTENCY.to_owned(),
                fault: None,
                statistic: Statistic::Max,
                require: Requirement::Consistency("linearizable".to_owned()),
            },
        ],
        WorkloadKind::Bank { .. } => vec![
            none("writes.lost"),
            none("transactions.atomicity_violations"),
            none("transactions.wrong_totals"),
        ],
        // No data that could be wrong; that service returns is the least.
        WorkloadKind::Requests { .. } => return vec![none("requests.failed_settled")],
    };
    gates.push(none("roles.concurrent_primaries"));
    gates
}

fn judge_one(gate: &Gate, plan: &Plan, evidence: Evidence<'_>) -> GateVerdict {
    let (condition, judged) = match &gate.require {
        Requirement::Consistency(level) => (level.clone(), consistent(level, evidence.consistency)),
        Requirement::Condition(condition) => measured(gate, *condition, plan, evidence.samples),
    };
    GateVerdict {
        metric: gate.metric.clone(),
        fault: gate.fault.clone(),
        condition,
        value: judged.value,
        verdict: judged.verdict,
        reason: judged.reason,
    }
}

/// A verdict with the value and the reason for it.
struct Judged {
    value: String,
    verdict: Outcome,
    reason: String,
}

impl Judged {
    fn new(verdict: Outcome, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Judged {
            value: value.into(),
            verdict,
            reason: reason.into(),
        }
    }

    fn unknown(reason: impl Into<String>) -> Self {
        Judged::new(Outcome::Unknown, "unknown", reason)
    }
}

fn consistent(level: &str, trials: &[(u32, Consistency)]) -> Judged {
    let violated: Vec<String> = trials
        .iter()
        .filter(|(_, consistency)| matches!(consistency, Consistency::Violated(_)))
        .map(|(trial, _)| trial.to_string())
        .collect();
    if !violated.is_empty() {
        let reason = format!(
            "not {level} in {} of {} (trial {})",
            violated.len(),
            text::plural(trials.len() as u64, "trial"),
            violated.join(", ")
        );
        return Judged::new(Outcome::Fail, format!("not {level}"), reason);
    }
    let undecided = trials
        .iter()
        .find_map(|(_, consistency)| match consistency {
            Consistency::Undecided(reason) => Some(reason.clone()),
            Consistency::Linearizable | Consistency::Violated(_) => None,
        });
    match undecided {
        Some(reason) => Judged::unknown(reason),
        None if trials.is_empty() => Judged::unknown("no trial can be judged"),
        None if level == "linearizable" => Judged::new(Outcome::Pass, level, ""),
        None => Judged::unknown(format!(
            "this version does not decide {level}; use linearizable"
        )),
    }
}

fn measured(gate: &Gate, condition: Condition, plan: &Plan, samples: &Samples) -> (String, Judged) {
    let Some(metric) = describe(&gate.metric) else {
        let judged = Judged::unknown(format!("this version does not know metric {}", gate.metric));
        return (format!("{} {condition}", gate.statistic.name()), judged);
    };
    let text = format!(
        "{} {}",
        gate.statistic.name(),
        text::condition(metric.unit, condition)
    );
    let name = match &gate.fault {
        Some(fault) => format!("{}/{fault}", gate.metric),
        None => gate.metric.clone(),
    };
    let summary = samples.summary(&name);
    let judged = judge_summary(gate, metric, condition, &summary, plan.trials.len());
    let lack = samples
        .lack_of(&gate.metric)
        .filter(|_| judged.verdict != Outcome::Fail);
    match lack {
        Some(reason) => (
            text,
            Judged {
                verdict: Outcome::Unknown,
                reason: reason.to_owned(),
                ..judged
            },
        ),
        None => (text, judged),
    }
}

fn judge_summary(
    gate: &Gate,
    metric: &MetricDescription,
    condition: Condition,
    summary: &MetricSummary,
    trials: usize,
) -> Judged {
    if summary.never > 0 && metric.smaller_is_better {
        let all = summary.count + summary.never;
        let of = if metric.per_fault {
            "injection"
        } else {
            "trial"
        };
        let reason = format!(
            "{} never came in {} of {}",
            metric.meaning,
            summary.never,
            text::plural(all, of)
        );
        return Judged::new(Outcome::Fail, "never", reason);
    }
    if summary.count == 0 {
        let fault = gate
            .fault
            .as_ref()
            .map_or(String::new(), |fault| format!(" for {fault}"));
        return Judged::unknown(format!("no trial of {trials} has a sample{fault}"));
    }
    if summary.count < gate.statistic.samples_min() {
        return Judged::unknown(format!(
            "{} needs {} samples, there are {}; run more trials",
            gate.statistic.name(),
            gate.statistic.samples_min(),
            summary.count
        ));
    }
    let value = statistic(gate.statistic, metric, summary);
    let mut shown = text::value(metric.unit, value);
    if let Some(bound) = summary.bound {
        shown.push_str(&format!(
            " (none seen: below {} at 95%)",
            text::value(metric.unit, bound)
        ));
    }
    if condition.holds(value) {
        return Judged::new(Outcome::Pass, shown, "");
    }
    let required = text::condition(metric.unit, condition);
    let reason = format!(
        "{shown} over {} is not {required}",
        text::plural(summary.count, "sample")
    );
    Judged::new(Outcome::Fail, shown, reason)
}

/// `max` is of the worst trial and `min` of the best, whichever way the metric is better.
fn statistic(statistic: Statistic, metric: &MetricDescription, summary: &MetricSummary) -> f64 {
    match (statistic, metric.smaller_is_better) {
        (Statistic::Max, true) | (Statistic::Min, false) => summary.max,
        (Statistic::Max, false) | (Statistic::Min, true) => summary.min,
        (Statistic::P50, _) => summary.p50,
        (Statistic::P90, _) => summary.p90,
        (Statistic::P99, _) => summary.p99,
        (Statistic::Mean, _) => summary.mean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{MadeTrial, gate};

    fn judged(gate: Gate, samples: &Samples) -> GateVerdict {
        let mut plan = MadeTrial::new().plan;
        plan.gates = vec![gate];
        judge(
            &plan,
            Evidence {
                samples,
                consistency: &[],
            },
        )
        .remove(0)
    }

    fn recoveries(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        for value in values {
            samples.add_for("recovery.first_success", "f", *value);
        }
        samples
    }

    #[test]
    fn the_worst_trial_decides_unless_another_statistic_is_named() {
        let samples = recoveries(&[100.0, 2_500.0]);
        let worst = judged(
            gate("recovery.first_success", Comparison::Less, 2_000.0),
            &samples,
        );
        assert_eq!(worst.verdict, Outcome::Fail);
        assert_eq!(worst.condition, "max < 2s");
        assert_eq!(worst.reason, "2.500s over 2 samples is not < 2s");
        let mut median = gate("recovery.first_success", Comparison::Less, 2_000.0);
        median.statistic = Statistic::P50;
        assert_eq!(judged(median, &samples).verdict, Outcome::Pass);
    }

    #[test]
    fn the_worst_of_a_throughput_is_the_smallest() {
        let mut samples = Samples::default();
        samples.add("throughput.baseline", 90.0);
        samples.add("throughput.baseline", 200.0);
        let verdict = judged(
            gate("throughput.baseline", Comparison::Greater, 100.0),
            &samples,
        );
        assert_eq!(
            (verdict.verdict, verdict.value.as_str()),
            (Outcome::Fail, "90 per second")
        );
    }

    #[test]
    fn what_never_came_fails_and_what_has_no_sample_is_unknown() {
        let mut samples = recoveries(&[100.0]);
        samples.never("recovery.first_success", "f");
        let never = judged(
            gate("recovery.first_success", Comparison::Less, 2_000.0),
            &samples,
        );
        assert_eq!(never.verdict, Outcome::Fail);
        assert!(
            never.reason.ends_with("never came in 1 of 2 injections"),
            "{}",
            never.reason
        );
        let mut other = gate("recovery.first_success", Comparison::Less, 2_000.0);
        other.fault = Some("another".into());
        assert_eq!(judged(other, &samples).verdict, Outcome::Unknown);
        let mut p99 = gate("recovery.first_success", Comparison::Less, 2_000.0);
        p99.statistic = Statistic::P99;
        assert_eq!(judged(p99, &recoveries(&[100.0])).verdict, Outcome::Unknown);
    }

    #[test]
    fn a_trial_without_a_sample_keeps_a_gate_from_passing_but_not_from_failing() {
        let mut samples = Samples::default();
        samples.add("writes.lost", 0.0);
        samples.lacking("writes.lost", "trial 2 was not read back".into());
        let none = || gate("writes.lost", Comparison::Equal, 0.0);
        let verdict = judged(none(), &samples);
        assert_eq!(verdict.verdict, Outcome::Unknown);
        assert_eq!(verdict.reason, "trial 2 was not read back");
        samples.add("writes.lost", 1.0);
        assert_eq!(judged(none(), &samples).verdict, Outcome::Fail);
    }

    #[test]
    fn an_experiment_without_gates_is_judged_on_safety() {
        let plan = MadeTrial::new().plan;
        let mut samples = Samples::default();
        samples.add("writes.lost", 2.0);
        samples.add("roles.concurrent_primaries", 0.0);
        let consistency = [
            (1, Consistency::Violated(1)),
            (2, Consistency::Linearizable),
        ];
        let verdicts = judge(
            &plan,
            Evidence {
                samples: &samples,
                consistency: &consistency,
            },
        );
        let told: Vec<_> = verdicts
            .iter()
            .map(|gate| (gate.metric.as_str(), gate.condition.as_str(), gate.verdict))
            .collect();
        assert_eq!(
            told,
            [
                ("writes.lost", "max == 0 (implied)", Outcome::Fail),
                ("consistency", "linearizable (implied)", Outcome::Fail),
                (
                    "roles.concurrent_primaries",
                    "max == 0s (implied)",
                    Outcome::Pass
                ),
            ]
        );
        assert_eq!(
            verdicts[1].reason,
            "not linearizable in 1 of 2 trials (trial 1)"
        );
    }

    #[test]
    fn a_checker_that_gave_up_is_unknown() {
        let plan = MadeTrial::new().plan;
        let consistency = [
            (1, Consistency::Undecided("gave up".into())),
            (2, Consistency::Linearizable),
        ];
        let evidence = Evidence {
            samples: &Samples::default(),
            consistency: &consistency,
        };
        assert_eq!(judge(&plan, evidence)[1].verdict, Outcome::Unknown);
    }
}
