//! Run directories on disk: whole, torn, mixed up.

use std::io::Write;

use serde::Serialize;
use shakedown_contracts::verdict::Outcome;

use super::*;
use crate::made::MadeTrial;
use crate::{Options, analyze_experiment, analyze_run};

fn made() -> MadeTrial {
    let mut made = MadeTrial::new();
    made.history.write("k", 1, 1_000).by("n1", 1).ok(1_010);
    made.history
        .final_read("k", Some(1), 7_100)
        .by("n1", 1)
        .ok(7_110);
    made
}

fn jsonl<T: Serialize>(path: &Path, records: &[T]) {
    let mut file = File::create(path).unwrap();
    for record in records {
        writeln!(file, "{}", serde_json::to_string(record).unwrap()).unwrap();
    }
}

fn write(run: &RunDirectory, made: &MadeTrial) -> ExperimentDirectory {
    let experiment = run.experiment(&made.plan.name);
    let trial = experiment.trial(1);
    fs::create_dir_all(trial.path()).unwrap();
    fs::write(experiment.plan(), serde_json::to_vec(&made.plan).unwrap()).unwrap();
    jsonl(&trial.history(), &made.history.records());
    jsonl(&trial.events(), &made.events);
    experiment
}

#[test]
fn a_run_is_judged_from_its_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = write(&RunDirectory::new(folder.path()), &made());
    fs::create_dir(experiment.void_trial(1, 1).path()).unwrap();
    let verdict = analyze_experiment(&experiment, &Options::default()).unwrap();
    assert_eq!(verdict.verdict, Outcome::Pass, "{:?}", verdict.reasons);
    assert_eq!((verdict.trials, verdict.trials_void), (1, 1));
}

#[test]
fn a_file_that_ends_in_the_middle_of_a_line_is_read_up_to_there_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut made = made();
    made.remove("trial.ended");
    let experiment = write(&RunDirectory::new(folder.path()), &made);
    let events = experiment.trial(1).events();
    let whole = fs::read(&events).unwrap();
    for cut in 1..40 {
        fs::write(&events, &whole[..whole.len() - cut]).unwrap();
        let TrialReading::Read { events, torn, .. } = trial(&experiment, 1) else {
            panic!("cut {cut} bytes off: not read");
        };
        assert!(
            torn && events.len() == made.events.len() - 1,
            "cut {cut} bytes off"
        );
    }
    let verdict = analyze_experiment(&experiment, &Options::default()).unwrap();
    assert_eq!(verdict.verdict, Outcome::Unknown);
    assert!(
        verdict
            .reasons
            .iter()
            .any(|reason| reason.contains("in the middle of a record"))
    );
}

#[test]
fn a_broken_line_before_the_last_makes_the_experiment_unknown_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = write(&RunDirectory::new(folder.path()), &made());
    let history = experiment.trial(1).history();
    let text = fs::read_to_string(&history)
        .unwrap()
        .replacen("\"process\"", "\"proces\"", 1);
    fs::write(&history, text).unwrap();
    let verdict = analyze_experiment(&experiment, &Options::default()).unwrap();
    assert_eq!(verdict.verdict, Outcome::Unknown);
    assert!(
        verdict
            .reasons
            .iter()
            .any(|reason| reason.contains("history.jsonl: line 1")),
        "{:?}",
        verdict.reasons
    );
}

#[test]
fn a_plan_of_another_version_or_none_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::new(folder.path());
    let mut made = made();
    made.plan.format = PLAN_FORMAT + 1;
    let experiment = write(&run, &made);
    let error = analyze_experiment(&experiment, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("plan.json has plan format"), "{error}");
    let error = plan(&run.experiment("absent")).unwrap_err().to_string();
    assert!(error.contains("absent"), "{error}");
}

#[test]
fn experiments_stand_by_name_and_variants_in_the_planned_order() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::new(folder.path());
    for (experiment, variant, order) in [
        ("b", "z", "0"),
        ("b", "a", "10"),
        ("b", "m", "9"),
        ("a", "x", "3"),
    ] {
        let mut made = made();
        made.plan.name = format!("{experiment}@{variant}");
        made.plan.experiment = experiment.to_owned();
        made.plan
            .environment
            .insert("order".to_owned(), order.to_owned());
        write(&run, &made);
    }
    let skipped = vec![Skipped {
        name: "c".into(),
        reason: "needs a kernel".into(),
    }];
    fs::write(run.skipped(), serde_json::to_vec(&skipped).unwrap()).unwrap();
    let verdict = analyze_run(&run, &Options::default()).unwrap();
    let names: Vec<&str> = verdict
        .experiments
        .iter()
        .map(|experiment| experiment.name.as_str())
        .collect();
    assert_eq!(names, ["a@x", "b@z", "b@m", "b@a"]);
    assert_eq!((verdict.verdict, verdict.skipped), (Outcome::Pass, skipped));
}

#[test]
fn a_run_in_which_nothing_ran_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::new(folder.path());
    assert_eq!(
        analyze_run(&run, &Options::default()).unwrap().verdict,
        Outcome::Unknown
    );
}
