//! Goldens of each format, and what must hold whatever the verdict.

use std::collections::BTreeMap;

use shakedown_contracts::event::Achieved;
use shakedown_contracts::metric::Unit;
use shakedown_contracts::plan::Expectation;
use shakedown_contracts::verdict::{
    ExperimentVerdict, FaultSummary, Finding, GateVerdict, MetricSummary, Outcome, RunVerdict,
    Skipped, VERDICT_FORMAT,
};
use shakedown_report::{json, junit, table};

fn summary(unit: Unit, p50: f64, max: f64, count: u64) -> MetricSummary {
    let bound = None;
    MetricSummary {
        unit,
        count,
        min: p50,
        mean: p50,
        p50,
        p90: max,
        p99: max,
        max,
        never: 0,
        bound,
    }
}

fn never(trials: u64) -> MetricSummary {
    MetricSummary {
        never: trials,
        ..summary(Unit::Milliseconds, 0.0, 0.0, 0)
    }
}

fn gate(metric: &str, condition: &str, value: &str, verdict: Outcome, reason: &str) -> GateVerdict {
    GateVerdict {
        metric: metric.into(),
        fault: metric
            .starts_with("recovery")
            .then(|| "primary-dies".into()),
        condition: condition.into(),
        value: value.into(),
        verdict,
        reason: reason.into(),
    }
}

fn killed(nodes: &str) -> FaultSummary {
    FaultSummary {
        name: "primary-dies".into(),
        kind: "kill".into(),
        requested: 3,
        effective: 3,
        healed: 3,
        mechanism: "SIGKILL by pidfd".into(),
        nodes: vec![nodes.into()],
        achieved: vec![Achieved {
            name: "latency".into(),
            requested: 20.0,
            achieved: 20.1234,
            unit: "ms".into(),
        }],
    }
}

fn metrics(detected: Option<f64>) -> BTreeMap<String, MetricSummary> {
    let found = |factor: f64| match detected {
        Some(first) => summary(Unit::Milliseconds, first * factor, first * factor + 35.0, 3),
        None => never(3),
    };
    let none_seen = MetricSummary {
        bound: Some(720.0),
        ..summary(Unit::PerHour, 0.0, 0.0, 3)
    };
    BTreeMap::from([
        ("detection.first".to_owned(), found(1.0)),
        ("detection.last".to_owned(), found(1.1)),
        ("recovery.first_success".to_owned(), found(1.2)),
        (
            "availability.gap".to_owned(),
            summary(Unit::Milliseconds, 480.0, 512.5, 3),
        ),
        ("writes.lost".to_owned(), summary(Unit::Count, 0.0, 0.0, 3)),
        (
            "false_suspicions.count".to_owned(),
            summary(Unit::Count, 0.0, 1.0, 3),
        ),
        ("false_suspicions.rate".to_owned(), none_seen),
        (
            "operations.ok".to_owned(),
            MetricSummary {
                min: 1403.0,
                ..summary(Unit::Count, 1421.0, 1450.0, 3)
            },
        ),
        (
            "harness.lateness".to_owned(),
            summary(Unit::Milliseconds, 0.2, 0.4, 3),
        ),
    ])
}

fn experiment(variant: &str, detected: Option<f64>) -> ExperimentVerdict {
    let fails = detected.is_none();
    let outcome = if fails { Outcome::Fail } else { Outcome::Pass };
    let value = if fails { "never" } else { "514 ms" };
    let reason = if fails {
        "no operation succeeded after the fault in 3 of 3 trials"
    } else {
        ""
    };
    ExperimentVerdict {
        format: VERDICT_FORMAT,
        name: format!("strategies.1-heartbeat@{variant}"),
        experiment: "strategies.1-heartbeat".into(),
        variant: Some(variant.into()),
        row: None,
        title: "Heartbeat detection: who notices a failure, and how soon".into(),
        verdict: Outcome::Pass,
        raw_verdict: outcome,
        expectation: fails.then(|| Expectation {
            verdict: Outcome::Fail,
            gates: vec!["recovery.first_success".into()],
        }),
        reasons: if fails {
            vec!["fails as expected".into()]
        } else {
            Vec::new()
        },
        metrics: metrics(detected),
        gates: vec![
            gate("recovery.first_success", "max < 2s", value, outcome, reason),
            gate("writes.lost", "max == 0", "0", Outcome::Pass, ""),
            gate(
                "consistency",
                "linearizable",
                "linearizable in 3 of 3 trials",
                Outcome::Pass,
                "",
            ),
        ],
        findings: Vec::new(),
        faults: vec![killed("n1")],
        trials: 3,
        trials_void: 0,
        started_unix_seconds: 1_790_000_000,
        seconds: 21.75,
        repeat: "shakedown run experiments/strategies/1-heartbeat.toml --seed 20".into(),
    }
}

fn alone() -> ExperimentVerdict {
    let mut alone = experiment("x", Some(412.0));
    alone.name = "smoke.primary-killed".into();
    alone.experiment = alone.name.clone();
    alone.variant = None;
    alone.title = "The primary is killed and a backup takes over".into();
    alone.verdict = Outcome::Fail;
    alone.raw_verdict = Outcome::Fail;
    alone.gates[1] = gate(
        "writes.lost",
        "max == 0",
        "2",
        Outcome::Fail,
        "2 acknowledged writes are gone in trial 3",
    );
    alone.gates[2] = gate(
        "consistency",
        "linearizable",
        "undecided",
        Outcome::Unknown,
        "the check of trial 2 ran out of its limit",
    );
    alone
        .metrics
        .insert("writes.lost".into(), summary(Unit::Count, 0.0, 2.0, 3));
    alone.trials_void = 1;
    alone.findings = (1..=5)
        .map(|number| Finding {
            trial: 3,
            kind: "lost write".into(),
            explanation: format!("write {number} of key k{number} by client c1/4 was acknowledged at 1.204 s, and the final read of k{number} returned the value before it \u{1}"),
            at: None,
        })
        .collect();
    alone.faults[0].healed = 2;
    alone.repeat = "shakedown run experiments/smoke/primary-killed.toml --seed 1".into();
    alone
}

fn run() -> RunVerdict {
    RunVerdict {
        format: VERDICT_FORMAT,
        verdict: Outcome::Fail,
        experiments: vec![
            alone(),
            experiment("none", None),
            experiment("weak", Some(1480.0)),
            experiment("strong", Some(290.0)),
            experiment("phi-accrual", Some(205.5)),
        ],
        skipped: vec![Skipped {
            name: "later.clock".into(),
            reason: "fault `clock-bump` is not available yet".into(),
        }],
    }
}

#[test]
fn the_table_reads_at_80_and_at_120_columns() {
    for width in [80, 120] {
        let text = table::render(&run(), Some(width));
        for line in text.lines().filter(|line| !line.contains("shakedown run")) {
            assert!(line.chars().count() <= usize::from(width), "{line}");
        }
        insta::assert_snapshot!(format!("table_{width}"), text);
    }
}

#[test]
fn a_table_shows_every_variant_gate_and_skip_however_narrow() {
    let text = table::render(&run(), Some(1));
    let unbroken: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(
        unbroken.contains("verdict:fail(5experiments:4pass,1fail,0unknown,1skipped)"),
        "{text}"
    );
    assert!(
        !table::render(&run(), None).contains(['\u{1b}', '\u{1}']),
        "no control characters"
    );
}

#[test]
fn json_reads_back_as_the_same_verdict() {
    let text = json::render(&run());
    assert!(
        serde_json::from_str::<RunVerdict>(&text).unwrap() == run(),
        "another verdict"
    );
    insta::assert_snapshot!(
        "json",
        json::render(&RunVerdict {
            experiments: vec![experiment("none", None)],
            ..run()
        })
    );
}

#[test]
fn junit_has_a_suite_an_experiment_and_a_case_a_gate() {
    let text = junit::render(&run());
    assert!(
        !text.contains('\u{1}'),
        "XML cannot hold control characters"
    );
    insta::assert_snapshot!("junit", text);
}

#[test]
fn junit_fails_for_an_expected_failure_that_does_not_come() {
    let mut held = experiment("none", Some(300.0));
    held.expectation = Some(Expectation {
        verdict: Outcome::Fail,
        gates: vec!["recovery.first_success".into()],
    });
    held.verdict = Outcome::Fail;
    let text = junit::render(&RunVerdict {
        experiments: vec![held],
        ..run()
    });
    assert!(text.contains("was expected to fail, and holds"), "{text}");
    assert!(text.contains("failures=\"1\""), "{text}");
}

#[test]
fn junit_never_shows_an_experiment_green_that_is_not_a_pass() {
    let mut doubtful = experiment("strong", Some(300.0));
    doubtful.verdict = Outcome::Unknown;
    doubtful.reasons = vec!["trial 2 is void \u{0}".into()];
    let text = junit::render(&RunVerdict {
        experiments: vec![doubtful],
        ..run()
    });
    assert!(
        text.contains("errors=\"1\"") && text.contains("trial 2 is void"),
        "{text}"
    );
    assert!(!text.contains('\0'));
}
