//! From an experiment file to plans: every default filled in, all randomness drawn from the seed.
//!
//! Pure: no file, clock or environment is read, so the same text and seed give the same plans on
//! every machine. What cannot work is refused here, before anything starts, with file, line and a
//! hint. Anatomy: `tree` (the file with its spans) → `overlay` (variants and matrix) → `experiment`
//! (typed reading, one file per table) → `schedule` (what happens when in each trial).

mod automation;
mod balancing;
mod describe;
mod detector;
mod dns_fault;
mod expectation;
mod experiment;
mod fault;
mod gate;
mod host_fault;
mod nemesis;
mod node_kind;
mod overlay;
mod packet_fault;
mod partition;
mod phases;
mod ports;
mod problem;
mod raft;
mod reader;
mod recovery_log;
mod redundancy;
mod replication;
mod requirement;
mod schedule;
mod selector;
mod snapshot;
mod suggestion;
mod swim;
mod target;
mod transactions;
mod tree;
mod workload;

use std::collections::BTreeMap;

use shakedown_contracts::plan::Plan;

pub use describe::describe;
pub use problem::{PlanError, Problem, ProblemKind};

use problem::{Found, Log};

/// An experiment file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its path as the user gave it; for messages and the plan.
    pub path: &'a str,
    /// Its content.
    pub text: &'a str,
    /// The experiment's name in results, such as `smoke.primary-killed`.
    pub name: &'a str,
}

/// What the command line sets over the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Instead of the file's `seed`.
    pub seed: Option<u64>,
    /// Instead of the file's `trials`.
    pub trials: Option<u32>,
    /// Instead of the file's `stage`.
    pub stage: Option<String>,
}

/// The plans of an experiment file: one for each variant (or the base, without variants) and each
/// row of its matrix, in file order.
///
/// # Errors
/// All problems found, in the order of the file.
pub fn compile(source: &Source<'_>, overrides: &Overrides) -> Result<Vec<Plan>, PlanError> {
    let log = Log::default();
    let base = tree::parse(source.text, &log);
    let laid = base
        .map(|base| overlay::experiments(base, &log))
        .unwrap_or_default();
    let mut plans: Vec<Plan> = Vec::new();
    let mut problems = Vec::new();
    let file_problems = log.into_found();
    for experiment in &laid {
        let log = Log::default();
        let plan = experiment::read(experiment, source, overrides, &log);
        plans.extend(plan);
        problems.push((label(experiment), log.into_found()));
    }
    let problems = located(source, file_problems, problems);
    if problems.is_empty() {
        Ok(plans)
    } else {
        Err(PlanError { problems })
    }
}

fn label(experiment: &overlay::Laid) -> String {
    let variant = experiment
        .variant
        .as_ref()
        .map(|name| format!("variant `{name}`"));
    let row = experiment.row.as_ref().map(|row| format!("row `{row}`"));
    variant
        .into_iter()
        .chain(row)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Each problem once; one that some plans alone have names the first of them.
fn located(
    source: &Source<'_>,
    of_file: Vec<Found>,
    of_plans: Vec<(String, Vec<Found>)>,
) -> Vec<Problem> {
    let plans = of_plans.len();
    let mut seen: Vec<(Found, String, usize)> = Vec::new();
    let mut index: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for (label, problems) in of_plans {
        for found in problems {
            let start = found.span.as_ref().map_or(0, |span| span.start);
            let at = *index
                .entry((start, found.message.clone()))
                .or_insert(seen.len());
            match seen.get_mut(at) {
                Some((_, _, count)) => *count += 1,
                None => seen.push((found, label.clone(), 1)),
            }
        }
    }
    let of_plans = seen.into_iter().map(|(found, label, count)| {
        let only_in = (count < plans && !label.is_empty()).then_some(label);
        (found, only_in)
    });
    let mut all: Vec<(Found, Option<String>)> = of_file
        .into_iter()
        .map(|found| (found, None))
        .chain(of_plans)
        .collect();
    all.sort_by_key(|(found, _)| found.span.as_ref().map_or(0, |span| span.start));
    all.into_iter()
        .map(|(found, only_in)| found.locate(source, only_in))
        .collect()
}
