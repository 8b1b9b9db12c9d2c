//! Order, estimate and folders of a run.

use std::cell::RefCell;
use std::rc::Rc;

use shakedown_contracts::plan::Trial;

use super::*;
use crate::faults::player::tests::plan;

fn named(name: &str, experiment: &str, trials: u32) -> Plan {
    let mut plan = plan(Vec::new(), Vec::new());
    plan.name = name.to_owned();
    plan.experiment = experiment.to_owned();
    let trial = |index| Trial {
        index,
        seed: u64::from(index),
        schedule: Vec::new(),
    };
    plan.trials = (1..=trials).map(trial).collect();
    plan
}

#[test]
fn variants_take_turns_and_experiments_follow_one_another() {
    let plans = [
        named("a", "a", 2),
        named("a@fast", "a", 3),
        named("b", "b", 1),
    ];
    let order: Vec<_> = interleaved(&plans)
        .into_iter()
        .map(|turn| {
            let plan = &plans[turn.plan];
            (plan.name.as_str(), plan.trials[turn.trial].index)
        })
        .collect();
    let expected = [
        ("a", 1),
        ("a@fast", 1),
        ("a", 2),
        ("a@fast", 2),
        ("a@fast", 3),
        ("b", 1),
    ];
    assert_eq!(order, expected);
}

#[test]
fn the_estimate_counts_every_trial_of_every_plan() {
    let one = estimate(&[named("a", "a", 1)]);
    assert_eq!(
        estimate(&[named("a", "a", 2), named("b", "b", 1)]).as_nanos(),
        3 * one.as_nanos()
    );
    assert!(one > Duration::from_secs(5));
}

#[test]
fn a_void_attempt_is_put_aside_so_that_its_folder_is_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = ExperimentDirectory::new(folder.path());
    fs::create_dir(experiment.trial(2).path()).unwrap();
    put_aside(&experiment, 2, 1).unwrap();
    assert!(!experiment.trial(2).path().exists());
    assert!(experiment.void_trial(2, 1).path().exists());
}

#[test]
fn the_plan_is_written_with_its_environment_and_read_back_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let directory = ExperimentDirectory::new(folder.path().join("a"));
    let mut plan = named("a", "a", 2);
    plan.environment.extend(environment(4, Isolation::Root));
    write_plan(&plan, &directory).unwrap();
    let written = fs::read(directory.plan()).unwrap();
    let read: Plan = serde_json::from_slice(&written).unwrap();
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        serde_json::to_value(&plan).unwrap()
    );
    assert_eq!(read.environment, plan.environment);
    assert_eq!(plan.environment["order"], "4");
    assert!(plan.environment["kernel"].starts_with("Linux "));
}

#[test]
fn the_ledger_folder_names_this_process_by_pid_and_start_time() {
    let name = own_ledger_name().unwrap();
    let (pid, start) = name.split_once('-').unwrap();
    assert_eq!(pid, std::process::id().to_string());
    assert!(start.parse::<u64>().unwrap() > 0);
    assert_eq!(name, own_ledger_name().unwrap());
}

#[tokio::test]
async fn a_run_that_was_stopped_before_it_began_starts_nothing_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions {
        directory: RunDirectory::new(folder.path().join("results")),
        executable: folder.path().join("missing"),
        ledger_root: folder.path().join("ledgers"),
        isolation: Isolation::Root,
        jobs: NonZeroUsize::MIN,
    };
    let (handle, interrupt) = Interrupt::by_hand();
    handle.interrupt();
    let silent = crate::progress::Silent;
    let outcome = run(vec![named("a", "a", 1)], options, silent, interrupt)
        .await
        .unwrap();
    assert!(outcome.interrupted);
    assert_eq!(outcome.complete, 0);
    assert!(folder.path().join("results/a/plan.json").exists());
    assert_eq!(
        fs::read_dir(folder.path().join("ledgers")).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn simulated_trials_side_by_side_record_what_each_does_alone_and_are_told_of_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorded = Vec::new();
    for jobs in [1, 3] {
        let results = RunDirectory::new(folder.path().join(format!("jobs-{jobs}")));
        let options = RunOptions {
            directory: results.clone(),
            executable: folder.path().join("unneeded"),
            ledger_root: folder.path().join("ledgers"),
            isolation: Isolation::Unneeded,
            jobs: NonZeroUsize::new(jobs).unwrap(),
        };
        let mut simulated = named("a", "a", 6);
        simulated.stage = Stage::Simulation;
        simulated.workload.mix = [("read", 0.5), ("write", 0.5)]
            .map(|(kind, share)| (kind.to_owned(), share))
            .into();
        let (_handle, interrupt) = Interrupt::by_hand();
        let told = Told::default();
        let outcome = run(vec![simulated], options, told.clone(), interrupt)
            .await
            .unwrap();
        assert_eq!(outcome.complete, 6);
        assert!(!outcome.interrupted);
        let told = told.0.borrow();
        let edges = told.iter().filter(|event| {
            use ProgressEvent::{TrialEnded, TrialStarted};
            matches!(event, TrialStarted { .. } | TrialEnded { .. })
        });
        let begins = edges.map(|event| matches!(event, ProgressEvent::TrialStarted { .. }));
        assert_eq!(begins.collect::<Vec<_>>(), [true, false].repeat(6));
        let experiment = results.experiment("a");
        recorded.push(
            (1..=6)
                .map(|trial| fs::read(experiment.trial(trial).history()).unwrap())
                .collect::<Vec<_>>(),
        );
    }
    assert!(!recorded[0][0].is_empty());
    assert_eq!(recorded[0], recorded[1]);
}

/// Remembers what it was told.
#[derive(Default, Clone)]
struct Told(Rc<RefCell<Vec<ProgressEvent>>>);

impl Progress for Told {
    fn event(&mut self, event: ProgressEvent) {
        self.0.borrow_mut().push(event);
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_ends_the_run_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let options = RunOptions {
        directory: RunDirectory::new(folder.path().join("results")),
        executable: folder.path().join("missing"),
        ledger_root: folder.path().join("ledgers"),
        isolation: Isolation::Root,
        jobs: NonZeroUsize::MIN,
    };
    let (_handle, interrupt) = Interrupt::by_hand();
    let silent = crate::progress::Silent;
    let outcome = run(vec![named("a", "a", 1)], options, silent, interrupt).await;
    let message = outcome.unwrap_err().to_string();
    assert!(message.contains("cannot set up trial 1 of a"), "{message}");
    assert!(message.contains("missing"), "{message}");
}
