//! `shakedown report`: a judged run printed again.

use std::fs;
use std::path::Path;

use anyhow::Context;
use shakedown_contracts::run_directory::RunDirectory;
use shakedown_contracts::verdict::{Outcome, RunVerdict, VERDICT_FORMAT};

use crate::arguments::{Format, Report};
use crate::exit::Failure;

/// Prints the stored verdict of a run.
///
/// # Errors
/// The user's for a folder that is no run or was not judged.
pub fn main(arguments: &Report) -> Result<Outcome, Failure> {
    refuse_what_is_no_run(&arguments.run)?;
    let path = RunDirectory::new(&arguments.run).verdict();
    let text = fs::read_to_string(&path).map_err(|error| {
        Failure::User(format!(
            "error: cannot read {}: {error}\nhelp: judge the run first: shakedown analyze {}",
            path.display(),
            arguments.run.display()
        ))
    })?;
    let verdict: RunVerdict = serde_json::from_str(&text).map_err(|error| {
        Failure::User(format!(
            "error: {} is not a verdict of format {VERDICT_FORMAT}: {error}\nhelp: judge the run again: shakedown analyze {}",
            path.display(),
            arguments.run.display()
        ))
    })?;
    print(&verdict, arguments.output.format())?;
    Ok(verdict.verdict)
}

/// Refuses a folder that holds nothing of a run.
///
/// # Errors
/// The user's, with what to give instead.
pub fn refuse_what_is_no_run(path: &Path) -> Result<(), Failure> {
    let holds_plan = fs::read_dir(path).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.path().join("plan.json").exists())
    });
    if holds_plan || RunDirectory::new(path).skipped().exists() {
        return Ok(());
    }
    Err(Failure::User(format!(
        "error: {} is not the folder of a run (no <experiment>/plan.json in it)\nhelp: give a folder such as results/latest; `shakedown run` prints its name",
        path.display()
    )))
}

/// Prints a verdict on standard output. A reader who has seen enough and left is no error: the verdict
/// is in its file.
///
/// # Errors
/// The harness's, when it cannot be written.
pub fn print(verdict: &RunVerdict, format: Format) -> Result<(), Failure> {
    use std::io::Write;
    let text = match format {
        Format::Table => shakedown_report::table::render(verdict, terminal_width()),
        Format::Json => shakedown_report::json::render(verdict),
        Format::Junit => shakedown_report::junit::render(verdict),
    };
    let mut out = anstream::stdout().lock();
    match writeln!(out, "{}", text.trim_end()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.context("cannot write to standard output")?),
    }
}

/// Columns of the terminal; `None` where standard output is none.
fn terminal_width() -> Option<u16> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize, which lives on this stack frame.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col)
}
