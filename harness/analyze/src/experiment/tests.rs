//! Whole verdicts of made trials; one of them is a golden.

use shakedown_contracts::metric::Comparison;
use shakedown_contracts::plan::Expectation;

use super::*;
use crate::made::{MadeTrial, gate};

/// A register trial in which n1 is killed, n2 takes over and the write of 3 is lost.
fn trial_with_a_lost_write() -> MadeTrial {
    let mut made = MadeTrial::new();
    for number in 0..10 {
        let due = 1_000 + number * 100;
        made.history
            .write("k1", 100 + number, due)
            .by("n1", 1)
            .ok(due + 4);
    }
    made.history.write("k0", 1, 2_100).by("n1", 1).ok(2_104);
    made.history
        .read("k0", Some(1), 2_200)
        .by("n1", 1)
        .ok(2_204);
    made.history.write("k0", 3, 2_900).by("n1", 1).ok(2_990);
    made.kill("n1", 3_000, 5_000);
    for observer in ["n2", "n3"] {
        made.suspicion(observer, "n1", 3_400);
        made.trust(observer, "n1", 5_000);
    }
    made.history.write("k0", 4, 3_100).info(4_100);
    made.history
        .read("k0", Some(1), 3_500)
        .by("n2", 2)
        .ok(3_504);
    made.history
        .final_read("k0", Some(1), 7_100)
        .by("n2", 2)
        .ok(7_104);
    made.history
        .final_read("k1", Some(109), 7_200)
        .by("n2", 2)
        .ok(7_204);
    let expected = vec![
        gate("recovery.first_success", Comparison::Less, 2_000.0),
        gate("writes.lost", Comparison::Equal, 0.0),
    ];
    made.plan.gates = expected;
    made.plan
        .environment
        .insert("started_unix_seconds".into(), "1700000000".into());
    made
}

fn reading(made: &MadeTrial) -> TrialReading {
    TrialReading::Read {
        history: made.history.history(),
        events: made.events.clone(),
        torn: false,
    }
}

fn verdict_with(made: &MadeTrial, use_expectations: bool) -> ExperimentVerdict {
    let mut judge = Judge::new(&made.plan, Options { use_expectations });
    judge.add(1, reading(made));
    judge.verdict(0)
}

fn verdict(made: &MadeTrial) -> ExperimentVerdict {
    verdict_with(made, true)
}

fn expecting(gates: &[&str]) -> MadeTrial {
    let mut made = trial_with_a_lost_write();
    let gates = gates.iter().map(|gate| (*gate).to_owned()).collect();
    made.plan.expect = Some(Expectation {
        verdict: Outcome::Fail,
        gates,
    });
    made
}

#[test]
fn a_whole_verdict_reads_as_the_golden_says() {
    let verdict = verdict(&trial_with_a_lost_write());
    let json = serde_json::to_string_pretty(&verdict).unwrap();
    insta::assert_snapshot!("verdict_of_a_lost_write", json);
    assert_eq!(
        serde_json::from_str::<ExperimentVerdict>(&json).unwrap(),
        verdict
    );
}

#[test]
fn an_expected_failure_passes_and_shows_its_raw_verdict_on_demand() {
    let made = expecting(&["writes.lost"]);
    let expected = verdict(&made);
    assert_eq!(
        (expected.verdict, expected.raw_verdict),
        (Outcome::Pass, Outcome::Fail)
    );
    assert_eq!(expected.reasons[0], "failed at writes.lost, as expected");
    let raw = verdict_with(&made, false);
    assert_eq!((raw.verdict, raw.expectation), (Outcome::Fail, None));
    assert_eq!(
        verdict(&expecting(&["recovery.first_success"])).verdict,
        Outcome::Fail
    );
}

#[test]
fn a_trial_without_its_end_does_not_count_and_is_named() {
    let mut made = trial_with_a_lost_write();
    made.remove("trial.ended");
    let verdict = verdict(&made);
    assert_eq!((verdict.verdict, verdict.trials), (Outcome::Unknown, 0));
    let told = "trial 1 was not finished: the harness died or was stopped; run it again";
    assert!(
        verdict.reasons.iter().any(|reason| reason == told),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn a_missing_a_void_and_an_unreadable_trial_each_make_it_unknown() {
    let sound = {
        let mut made = trial_with_a_lost_write();
        made.plan.gates.truncate(1);
        made
    };
    assert_eq!(
        verdict(&sound).verdict,
        Outcome::Pass,
        "{:?}",
        verdict(&sound).reasons
    );
    let mut void = sound.clone();
    void.event(
        "harness",
        7_999,
        Event::TrialVoid {
            reason: "the canary stalled".into(),
        },
    );
    let second = [
        TrialReading::Missing,
        TrialReading::Unreadable("no".into()),
        reading(&void),
    ];
    for reading_of_second in second {
        let mut judge = Judge::new(&sound.plan, Options::default());
        judge.add(1, reading(&sound));
        judge.add(2, reading_of_second);
        let verdict = judge.verdict(3);
        assert_eq!((verdict.verdict, verdict.trials), (Outcome::Unknown, 1));
        assert_eq!(verdict.trials_void, 3);
        assert!(
            verdict.reasons[0].contains("trial 2"),
            "{:?}",
            verdict.reasons
        );
    }
}

#[test]
fn a_fault_that_was_not_verified_is_never_a_pass_even_where_failure_was_expected() {
    let mut made = expecting(&["writes.lost"]);
    made.remove("fault.healed");
    assert_eq!(verdict(&made).verdict, Outcome::Unknown);
    made.plan.expect = None;
    made.plan.gates.truncate(1);
    assert_eq!(verdict(&made).verdict, Outcome::Unknown);
}

#[test]
fn a_node_that_dies_by_itself_fails_whatever_the_gates_say() {
    let mut made = trial_with_a_lost_write();
    made.plan.gates.truncate(1);
    let exited = Event::NodeExited {
        status: "signal 6".into(),
        expected: false,
    };
    made.event("node-agent n3", 6_500, exited);
    let verdict = verdict(&made);
    assert_eq!(
        (verdict.raw_verdict, verdict.gates[0].verdict),
        (Outcome::Fail, Outcome::Pass)
    );
    assert!(
        verdict.reasons[0].starts_with("n3 died by itself"),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn the_command_that_repeats_it_quotes_a_path_with_spaces() {
    let mut plan = MadeTrial::new().plan;
    assert_eq!(repeat(&plan), "shakedown run made.toml --seed 7 --trials 1");
    plan.source = "my experiments/a.toml".into();
    assert_eq!(
        repeat(&plan),
        "shakedown run 'my experiments/a.toml' --seed 7 --trials 1"
    );
}
