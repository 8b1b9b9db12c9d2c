//! All file access of this room: a run directory as it was left, whole or not.
//!
//! A harness that dies leaves files that end in the middle of a line. The last line of a file is
//! therefore allowed to be torn, and that is reported; any other line that cannot be read makes
//! the trial unreadable, which makes its experiment unknown.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use shakedown_contracts::event::EventRecord;
use shakedown_contracts::plan::{PLAN_FORMAT, Plan};
use shakedown_contracts::run_directory::{ExperimentDirectory, RunDirectory};
use shakedown_contracts::verdict::Skipped;
use thiserror::Error;

use crate::history::History;

/// Why a run cannot be judged at all.
#[derive(Debug, Error)]
pub enum AnalyzeError {
    /// A file or folder could not be read.
    #[error("cannot read {path}: {source}; is it a run directory, written to the end?")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error(
        "{path} is not what a run writes there: {source}; was it edited, or written by another version?"
    )]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The plan is of another version.
    #[error(
        "{path} has plan format {found}, this version reads {PLAN_FORMAT}; analyze it with the version that ran it"
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// A trial's folder as it was found.
#[derive(Debug, Clone, PartialEq)]
pub enum TrialReading {
    /// Its files were read.
    Read {
        /// What clients asked and were told.
        history: History,
        /// What else happened.
        events: Vec<EventRecord>,
        /// True when a file ended in the middle of a line.
        torn: bool,
    },
    /// There is no such folder.
    Missing,
    /// Its files cannot be read; why, in words.
    Unreadable(String),
}

/// The plan of an experiment.
///
/// # Errors
/// [`AnalyzeError`] when there is none of this version.
pub fn plan(directory: &ExperimentDirectory) -> Result<Plan, AnalyzeError> {
    let path = directory.plan();
    let plan: Plan = json(&path)?;
    if plan.format == PLAN_FORMAT {
        Ok(plan)
    } else {
        Err(AnalyzeError::Format {
            path,
            found: plan.format,
        })
    }
}

/// The trial of that index.
pub fn trial(directory: &ExperimentDirectory, index: u32) -> TrialReading {
    let folder = directory.trial(index);
    if !folder.path().is_dir() {
        return TrialReading::Missing;
    }
    let mut history = History::default();
    let mut events = Vec::new();
    let read = lines(&folder.history(), |record| history.push(record)).and_then(|torn_history| {
        let torn_events = lines(&folder.events(), |record| events.push(record))?;
        Ok(torn_history || torn_events)
    });
    match read {
        Ok(torn) => TrialReading::Read {
            history,
            events,
            torn,
        },
        Err(reason) => TrialReading::Unreadable(reason),
    }
}

/// How many attempts at trials of the experiment were void and repeated.
///
/// # Errors
/// [`AnalyzeError::Read`] when the folder cannot be listed.
pub fn void_attempts(directory: &ExperimentDirectory) -> Result<u32, AnalyzeError> {
    let names = folders(directory.path())?;
    let void = names.iter().filter(|path| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.split_once("-void-").is_some_and(|(trial, attempt)| {
            trial.parse::<u32>().is_ok() && attempt.parse::<u32>().is_ok()
        })
    });
    Ok(u32::try_from(void.count()).unwrap_or(u32::MAX))
}

/// Every folder of the run with a plan: by experiment, then by the order its variants were
/// planned in (`order` of the plan's environment), then by name.
///
/// # Errors
/// [`AnalyzeError`] when the folder or a plan in it cannot be read.
pub fn experiments(directory: &RunDirectory) -> Result<Vec<ExperimentDirectory>, AnalyzeError> {
    let mut found = Vec::new();
    for path in folders(directory.path())? {
        let experiment = ExperimentDirectory::new(path);
        if experiment.plan().is_file() {
            let plan = plan(&experiment)?;
            let order = plan
                .environment
                .get("order")
                .and_then(|order| order.parse::<u32>().ok());
            found.push((
                (plan.experiment, order.unwrap_or(u32::MAX), plan.name),
                experiment,
            ));
        }
    }
    found.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(found
        .into_iter()
        .map(|(_, experiment)| experiment)
        .collect())
}

/// What could not run here; empty without such a file.
///
/// # Errors
/// [`AnalyzeError`] when the file is there and cannot be read.
pub fn skipped(directory: &RunDirectory) -> Result<Vec<Skipped>, AnalyzeError> {
    let path = directory.skipped();
    if path.is_file() {
        json(&path)
    } else {
        Ok(Vec::new())
    }
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, AnalyzeError> {
    let failed = |source| AnalyzeError::Read {
        path: path.to_owned(),
        source,
    };
    let mut folders = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.path();
        if entry.is_dir() {
            folders.push(entry);
        }
    }
    folders.sort();
    Ok(folders)
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, AnalyzeError> {
    let bytes = fs::read(path).map_err(|source| AnalyzeError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| AnalyzeError::Malformed {
        path: path.to_owned(),
        source,
    })
}

/// Hands over each line; true when the last one is torn.
fn lines<T: DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> Result<bool, String> {
    let unreadable = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let mut reader = BufReader::with_capacity(1 << 18, File::open(path).map_err(unreadable)?);
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            return Ok(false);
        }
        number += 1;
        if !line.ends_with(b"\n") {
            // The recorder writes whole lines; without its end this one was being written.
            return Ok(true);
        }
        match serde_json::from_slice(&line) {
            Ok(record) => take(record),
            Err(error) => {
                return Err(format!(
                    "{}: line {number} is not a record: {error}",
                    path.display()
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
