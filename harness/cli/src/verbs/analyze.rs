//! `shakedown analyze`: a recorded run judged again, from its files alone.

use std::fs;
use std::path::Path;

use anyhow::Context;
use shakedown_analyze::Options;
use shakedown_contracts::run_directory::RunDirectory;
use shakedown_contracts::verdict::{Outcome, RunVerdict};

use crate::arguments::Analyze;
use crate::exit::Failure;
use crate::verbs::report;

/// Judges the run, writes its verdict files anew and prints it.
///
/// # Errors
/// The user's for a folder that is no run; the harness's for files that cannot be written.
pub fn main(arguments: &Analyze) -> Result<Outcome, Failure> {
    report::refuse_what_is_no_run(&arguments.run)?;
    let directory = RunDirectory::new(&arguments.run);
    let verdict = judge(&directory, !arguments.no_expect)?;
    report::print(&verdict, arguments.output.format())?;
    Ok(verdict.verdict)
}

/// Judges a run directory and writes `verdict.json` (of each experiment too) and `junit.xml`.
///
/// # Errors
/// The harness's, for files that cannot be read or written.
pub fn judge(directory: &RunDirectory, use_expectations: bool) -> Result<RunVerdict, Failure> {
    let options = Options { use_expectations };
    let verdict =
        shakedown_analyze::analyze_run(directory, &options).map_err(anyhow::Error::new)?;
    for experiment in &verdict.experiments {
        let json = serde_json::to_string_pretty(experiment).context("cannot write verdict")?;
        write(&directory.experiment(&experiment.name).verdict(), &json)?;
    }
    write(
        &directory.verdict(),
        &shakedown_report::json::render(&verdict),
    )?;
    write(
        &directory.junit(),
        &shakedown_report::junit::render(&verdict),
    )?;
    Ok(verdict)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // Beside it first, so that a full disk leaves the file of before whole.
    let temporary = path.with_extension("new");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| {
            format!(
                "cannot write {}; what was recorded is there: free space, then `shakedown analyze` the run",
                path.display()
            )
        })
        .map_err(Failure::Harness)
}
