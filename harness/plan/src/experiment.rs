//! One experiment, read whole: the tables in the order in which they depend on each other.

use shakedown_contracts::catalogue;
use shakedown_contracts::fault::{Crash, FaultKind};
use shakedown_contracts::plan::{PLAN_FORMAT, Plan, Preparations, Stage};

use crate::overlay::{Laid, slug};
use crate::problem::{Found, Log, ProblemKind};
use crate::reader::{Placed, TableReader, find_available};
use crate::{
    Overrides, Source, expectation, fault, gate, nemesis, phases, redundancy, schedule, target,
    workload,
};

/// Ten thousand trials of ten seconds are a day; more is a mistake.
pub(crate) const TRIALS_MAX: u32 = 10_000;
/// File systems limit the name of a folder to 255 bytes.
const NAME_MAX: usize = 240;

/// The plan, or `None` with the problems logged.
pub(crate) fn read(
    laid: &Laid,
    source: &Source<'_>,
    overrides: &Overrides,
    log: &Log,
) -> Option<Plan> {
    let reader = TableReader::new(&laid.table, 0..0, "", log);
    let title = reader
        .text("title")
        .map_or(source.name, |title| title.value);
    let seed = reader
        .integer("seed", 0, i128::from(u64::MAX))
        .map(|seed| seed as u64);
    let seed = overrides.seed.or(seed).unwrap_or(1);
    let trials = reader.integer("trials", 1, TRIALS_MAX);
    let trials = overridden_trials(overrides, log).or(trials).unwrap_or(1);
    let stage = read_stage(&reader, overrides);
    let target = target::read(&reader);
    let workload = workload::read(&reader, &target);
    let phases = phases::read(&reader);
    let endpoints = fault::Endpoints::new(&target, &workload.groups);
    let on = stage.unwrap_or(Stage::Local);
    let mut planned = fault::read(&reader, &endpoints, &phases, on);
    let nemesis = nemesis::read(&reader, &planned, &endpoints, (&phases, on));
    fault::check_together(&reader, &planned, &phases, on);
    let trials = schedule::trials(seed, trials, &planned, &nemesis, &phases);
    planned.extend(nemesis.faults_in(&trials));
    let faults: Vec<_> = planned
        .iter()
        .map(|planned| planned.fault.clone())
        .collect();
    fault::check_against_target(&reader, &planned, &target);
    redundancy::check_nodes(&reader, &target);
    let context = gate::Context {
        target: &target,
        workload: &workload,
        faults: &faults,
        trials: &trials,
    };
    let gates = gate::read(&reader, &context);
    let expect = expectation::read(&reader, &gates);
    if !reader.has("fault") && !reader.has("nemesis") && !reader.has("gate") && log.is_empty() {
        let hint = "add a `[[fault]]` to inject, or a `[[gate]]` on the workload alone";
        reader.invalid("", "the experiment has neither a fault nor a gate", hint);
    }
    reader.finish();
    let name = name(source, laid, log);
    let host_crash = |fault: &shakedown_contracts::plan::Fault| {
        matches!(fault.kind, FaultKind::Kill { crash: Crash::Host })
    };
    let preparations = Preparations {
        hold_unsynced: faults.iter().any(host_crash),
        serve_disks: on == Stage::Local && faults.iter().any(|fault| fault.kind.acts_on_disk()),
        serve_names: on == Stage::Local && faults.iter().any(|fault| fault.kind.acts_on_names()),
    };
    log.is_empty().then(|| Plan {
        format: PLAN_FORMAT,
        name,
        experiment: source.name.to_owned(),
        variant: laid.variant.clone(),
        row: laid.row.clone(),
        title: title.to_owned(),
        source: source.path.to_owned(),
        seed,
        stage: on,
        target,
        workload,
        phases,
        faults,
        gates,
        expect,
        trials,
        preparations,
        environment: Default::default(),
    })
}

fn name(source: &Source<'_>, laid: &Laid, log: &Log) -> String {
    let parts = laid
        .variant
        .iter()
        .chain(&laid.row)
        .map(|part| format!("@{}", slug(part)));
    let name = parts.fold(source.name.to_owned(), |name, part| name + &part);
    if name.len() > NAME_MAX {
        let message = format!("the experiment's name in results has {} bytes", name.len());
        let hint = format!("shorten file, variant or matrix names to {NAME_MAX} bytes together");
        log.invalid(&(0..0), "", message, Some(hint));
    }
    name
}

fn overridden_trials(overrides: &Overrides, log: &Log) -> Option<u32> {
    let trials = overrides.trials?;
    if !(1..=TRIALS_MAX).contains(&trials) {
        log.push(Found {
            kind: ProblemKind::Invalid,
            span: None,
            key: "--trials".to_owned(),
            message: format!("{trials} trials were asked for"),
            hint: Some(format!("give a number from 1 to {TRIALS_MAX}")),
        });
        return None;
    }
    Some(trials)
}

/// The stage of the override, or else of the file, or else `local`.
fn read_stage(reader: &TableReader<'_>, overrides: &Overrides) -> Option<Stage> {
    let Some(wanted) = overrides.stage.as_deref() else {
        return reader
            .available("stage", "stage", catalogue::STAGES)
            .and_then(stage_of);
    };
    reader.text("stage");
    // Not a place in the file: the problems are told of the option.
    let aside = Log::default();
    let placed = Placed {
        value: wanted,
        span: 0..0,
    };
    let stage = find_available(&placed, "--stage", "stage", catalogue::STAGES, &aside);
    for found in aside.into_found() {
        reader.log.push(Found {
            span: None,
            ..found
        });
    }
    stage.and_then(stage_of)
}

fn stage_of(name: &str) -> Option<Stage> {
    match name {
        "local" => Some(Stage::Local),
        "simulation" => Some(Stage::Simulation),
        _ => None,
    }
}
