//! Run directory → verdict.
//!
//! Everything here reads what a run recorded and nothing else, so a run can be judged again years
//! later without a cluster. [`reading`] is the only file access; all judgement is pure functions
//! over a [`trial::Trial`] in memory.
//!
//! Invariant: missing evidence is *unknown*, never a pass. A trial that did not end, a fault that
//! was not verified, a checker that gave up, a metric without samples all lead to unknown, and a
//! violation that was seen leads to fail whatever else is missing.

pub mod consistency;
pub mod data;
mod evidence;
mod expectation;
mod experiment;
mod faults;
mod gates;
pub mod history;
pub mod metrics;
mod reachability;
pub mod reading;
pub mod samples;
mod text;
pub mod timeline;
pub mod trial;

#[cfg(test)]
mod made;

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use shakedown_contracts::run_directory::{ExperimentDirectory, RunDirectory};
use shakedown_contracts::verdict::{ExperimentVerdict, Outcome, RunVerdict, VERDICT_FORMAT};

pub use crate::experiment::Judge;
pub use crate::reading::AnalyzeError;

/// How to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Apply the plans' expectations; false shows the raw verdicts (`--no-expect`).
    pub use_expectations: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            use_expectations: true,
        }
    }
}

/// Judges one experiment from its `plan.json` and the folders of its trials.
///
/// # Errors
/// [`AnalyzeError`] when there is no plan that can be read. Whatever is wrong with a trial makes
/// the verdict unknown instead.
pub fn analyze_experiment(
    directory: &ExperimentDirectory,
    options: &Options,
) -> Result<ExperimentVerdict, AnalyzeError> {
    let plan = reading::plan(directory)?;
    let mut judge = Judge::new(&plan, *options);
    for planned in &plan.trials {
        // One trial of an experiment in memory at a time: a history can be large.
        judge.add(planned.index, reading::trial(directory, planned.index));
    }
    Ok(judge.verdict(reading::void_attempts(directory)?))
}

/// Judges every experiment of a run, as many at once as there are processors: those by name in order, variants of one in the plan's order.
///
/// # Errors
/// [`AnalyzeError`] when the folder or a plan in it cannot be read.
pub fn analyze_run(
    directory: &RunDirectory,
    options: &Options,
) -> Result<RunVerdict, AnalyzeError> {
    let experiments = reading::experiments(directory)?;
    let judged = experiments
        .par_iter()
        .map(|experiment| analyze_experiment(experiment, options));
    let experiments = judged.collect::<Result<Vec<_>, _>>()?;
    let skipped = reading::skipped(directory)?;
    let mut verdict = Outcome::worst(experiments.iter().map(|experiment| experiment.verdict));
    if experiments.is_empty() {
        // Nothing ran, so nothing was seen to hold.
        verdict = Outcome::Unknown;
    }
    Ok(RunVerdict {
        format: VERDICT_FORMAT,
        verdict,
        experiments,
        skipped,
    })
}
