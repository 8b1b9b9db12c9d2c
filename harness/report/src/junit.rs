//! JUnit XML as Jenkins and its followers read it: a suite an experiment, a case a gate.
//!
//! `failure` is for what was seen to be wrong, `error` for missing evidence. An expected failure is
//! a success, and its absence a failure. Every experiment that is not a pass has at least one case
//! that says so. Characters that XML cannot hold are dropped.

use std::time::Duration;

use chrono::DateTime;
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};
use shakedown_contracts::verdict::{
    ExperimentVerdict, FaultSummary, GateVerdict, Outcome, RunVerdict, Skipped,
};

/// Longer than any experiment; keeps a damaged verdict from overflowing a duration.
const SECONDS_MAX: f64 = 1e9;

/// The run as one report.
pub fn render(verdict: &RunVerdict) -> String {
    let mut report = Report::new("shakedown");
    let seconds: f64 = verdict
        .experiments
        .iter()
        .map(|experiment| experiment.seconds)
        .sum();
    report.set_time(duration(seconds));
    for experiment in &verdict.experiments {
        report.add_test_suite(suite(experiment));
    }
    if !verdict.skipped.is_empty() {
        report.add_test_suite(skipped(&verdict.skipped));
    }
    report
        .to_string()
        .expect("XML written to memory from text without characters XML lacks")
}

fn duration(seconds: f64) -> Duration {
    let seconds = if seconds.is_nan() { 0.0 } else { seconds };
    Duration::from_secs_f64(seconds.clamp(0.0, SECONDS_MAX))
}

fn suite(experiment: &ExperimentVerdict) -> TestSuite {
    let mut suite = TestSuite::new(&experiment.name);
    suite.set_time(duration(experiment.seconds));
    let started = i64::try_from(experiment.started_unix_seconds).ok();
    if let Some(started) = started.and_then(|seconds| DateTime::from_timestamp(seconds, 0)) {
        suite.set_timestamp(started);
    }
    for (name, value) in properties(experiment) {
        suite.add_property(Property::new(name, value));
    }
    for gate in &experiment.gates {
        suite.add_test_case(gate_case(experiment, gate));
    }
    suite.add_test_case(faults_case(experiment));
    // A verdict may rest on more than gates and faults: void trials, a node that died by itself.
    if experiment.verdict != Outcome::Pass && suite.failures + suite.errors == 0 {
        suite.add_test_case(verdict_case(experiment));
    }
    suite
}

fn properties(experiment: &ExperimentVerdict) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("title", experiment.title.clone()),
        ("verdict", experiment.verdict.to_string()),
        ("raw_verdict", experiment.raw_verdict.to_string()),
        ("trials", experiment.trials.to_string()),
        ("trials_void", experiment.trials_void.to_string()),
        ("repeat", experiment.repeat.clone()),
    ];
    if let Some(seed) = seed(&experiment.repeat) {
        properties.push(("seed", seed.to_owned()));
    }
    if let Some(expectation) = &experiment.expectation {
        let gates = expectation.gates.join(", ");
        properties.push((
            "expected",
            format!("{} {gates}", expectation.verdict).trim().to_owned(),
        ));
    }
    properties
}

/// The seed as the command that repeats the run states it.
fn seed(repeat: &str) -> Option<&str> {
    let mut words = repeat.split_whitespace();
    words.find(|word| *word == "--seed")?;
    words.next()
}

fn case(experiment: &ExperimentVerdict, name: String, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(&experiment.name);
    case
}

fn non_success(outcome: Outcome, message: &str, body: &str) -> TestCaseStatus {
    let kind = match outcome {
        Outcome::Unknown => NonSuccessKind::Error,
        Outcome::Fail | Outcome::Pass => NonSuccessKind::Failure,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status
        .set_message(message)
        .set_type(outcome.to_string())
        .set_description(body);
    status
}

fn gate_case(experiment: &ExperimentVerdict, gate: &GateVerdict) -> TestCase {
    let fault = gate
        .fault
        .as_ref()
        .map(|fault| format!(" of {fault}"))
        .unwrap_or_default();
    let name = format!("{}{fault}: {}", gate.metric, gate.condition);
    let expectation = experiment.expectation.as_ref();
    let expected = expectation
        .filter(|expectation| expectation.verdict == Outcome::Fail)
        .is_some_and(|expectation| expectation.gates.contains(&gate.metric));
    let saw = format!("{}, required: {}", gate.value, gate.condition);
    let body = format!("{}\n{saw}\nrepeat: {}", gate.reason, experiment.repeat);
    // Several gates may be on one metric, and one that fails is then enough for the expectation.
    let met = experiment.verdict == Outcome::Pass;
    match gate.verdict {
        Outcome::Fail if expected => {
            let mut case = case(experiment, name, TestCaseStatus::success());
            case.set_system_out(format!("fails as expected: {saw}"));
            case
        }
        Outcome::Pass if expected && !met => {
            let message = format!("was expected to fail, and holds: {saw}");
            case(
                experiment,
                name,
                non_success(Outcome::Fail, &message, &body),
            )
        }
        Outcome::Pass => {
            let mut case = case(experiment, name, TestCaseStatus::success());
            case.set_system_out(saw);
            case
        }
        outcome => {
            let message = if gate.reason.is_empty() {
                &saw
            } else {
                &gate.reason
            };
            case(
                experiment,
                name,
                non_success(outcome, message, body.trim_start()),
            )
        }
    }
}

fn faults_case(experiment: &ExperimentVerdict) -> TestCase {
    let unverified: Vec<String> = experiment
        .faults
        .iter()
        .filter(|fault| !verified(fault))
        .map(counts)
        .collect();
    let status = if unverified.is_empty() {
        TestCaseStatus::success()
    } else {
        let body = format!("{}\nrepeat: {}", unverified.join("\n"), experiment.repeat);
        non_success(Outcome::Unknown, &unverified.join("; "), &body)
    };
    let mut case = case(experiment, "faults verified".to_owned(), status);
    let all: Vec<String> = experiment.faults.iter().map(counts).collect();
    case.set_system_out(all.join("\n"));
    case
}

fn verified(fault: &FaultSummary) -> bool {
    fault.effective >= fault.requested && fault.healed >= fault.requested
}

fn counts(fault: &FaultSummary) -> String {
    format!(
        "{} ({}): {} of {} verified in effect, {} healed, by {}",
        fault.name, fault.kind, fault.effective, fault.requested, fault.healed, fault.mechanism
    )
}

fn verdict_case(experiment: &ExperimentVerdict) -> TestCase {
    let reasons = experiment.reasons.join("; ");
    let body = format!(
        "{}\nrepeat: {}",
        experiment.reasons.join("\n"),
        experiment.repeat
    );
    case(
        experiment,
        "verdict".to_owned(),
        non_success(experiment.verdict, &reasons, &body),
    )
}

fn skipped(skipped: &[Skipped]) -> TestSuite {
    let mut suite = TestSuite::new("skipped");
    for experiment in skipped {
        let mut status = TestCaseStatus::skipped();
        status.set_message(&experiment.reason);
        let mut case = TestCase::new(&experiment.name, status);
        case.set_classname("skipped");
        suite.add_test_case(case);
    }
    suite
}
