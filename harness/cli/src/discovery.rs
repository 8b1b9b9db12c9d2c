//! Finds the experiment files that the arguments name, and compiles them to plans.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use shakedown_contracts::plan::Plan;
use shakedown_contracts::verdict::Skipped;
use shakedown_plan::{Overrides, PlanError, ProblemKind, Source};

use crate::arguments::PlanOverrides;
use crate::exit::Failure;

/// Folders below an argument are searched so deep; deeper is taken for a mistake such as a link
/// that leads back.
const DEPTH_MAX: usize = 8;

/// An experiment file as the arguments named it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ExperimentFile {
    path: PathBuf,
    name: String,
    /// Found in a folder rather than named itself: what cannot run here is skipped, not an error.
    found: bool,
}

/// What the arguments come to.
#[derive(Debug, Default)]
pub struct Discovered {
    /// One plan a variant and matrix row, in the order of the files.
    pub plans: Vec<Plan>,
    /// Files of folders that need what this version or machine lacks.
    pub skipped: Vec<Skipped>,
}

/// Compiles all experiments that `paths` name.
///
/// # Errors
/// The user's: a path that is not there, a folder without experiments, a malformed file (all
/// problems of all files are told), two experiments of one name.
pub fn plans(paths: &[PathBuf], overrides: &PlanOverrides) -> Result<Discovered, Failure> {
    let overrides = Overrides {
        seed: overrides.seed,
        trials: overrides.trials,
        stage: overrides.stage.clone(),
    };
    let mut discovered = Discovered::default();
    let mut refused = Vec::new();
    for file in experiment_files(paths)? {
        let text = fs::read_to_string(&file.path).map_err(|error| {
            Failure::User(format!(
                "error: cannot read {}: {error}",
                file.path.display()
            ))
        })?;
        let path = file.path.display().to_string();
        let source = Source {
            path: &path,
            text: &text,
            name: &file.name,
        };
        match shakedown_plan::compile(&source, &overrides) {
            Ok(plans) => discovered.plans.extend(plans),
            Err(error) if file.found && only_unavailable(&error) => {
                discovered.skipped.push(Skipped {
                    name: file.name,
                    reason: reasons(&error),
                });
            }
            // What is wrong with an option is told by each file in the same words.
            Err(error) => {
                refused.extend(Some(error.to_string()).filter(|told| !refused.contains(told)))
            }
        }
    }
    if refused.is_empty() {
        Ok(discovered)
    } else {
        Err(Failure::User(refused.join("\n")))
    }
}

fn only_unavailable(error: &PlanError) -> bool {
    error
        .problems
        .iter()
        .all(|problem| problem.kind == ProblemKind::Unavailable)
}

fn reasons(error: &PlanError) -> String {
    let mut messages: Vec<&str> = error
        .problems
        .iter()
        .map(|problem| problem.message.as_str())
        .collect();
    messages.dedup();
    messages.join("; ")
}

fn experiment_files(paths: &[PathBuf]) -> Result<Vec<ExperimentFile>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        let before = files.len();
        let prefix = if paths.len() > 1 {
            stem(path)
        } else {
            String::new()
        };
        if path.is_dir() {
            collect(path, &prefix, 0, &mut files)?;
            if files.len() == before {
                return Err(Failure::User(format!(
                    "error: no experiment (*.toml) in {}\nhelp: give an experiment file, or a folder that holds some",
                    path.display()
                )));
            }
        } else if path.exists() {
            files.push(ExperimentFile {
                path: path.clone(),
                name: stem(path),
                found: false,
            });
        } else {
            return Err(Failure::User(format!(
                "error: {} does not exist\nhelp: give an experiment file (*.toml) or a folder of them",
                path.display()
            )));
        }
    }
    refuse_equal_names(&files)?;
    Ok(files)
}

fn refuse_equal_names(files: &[ExperimentFile]) -> Result<(), Failure> {
    let mut names: BTreeMap<&str, &Path> = BTreeMap::new();
    for file in files {
        if let Some(other) = names.insert(&file.name, &file.path) {
            return Err(Failure::User(format!(
                "error: {} and {} would both be called {:?} in the results\nhelp: run them one after the other",
                other.display(),
                file.path.display(),
                file.name
            )));
        }
    }
    Ok(())
}

fn collect(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut Vec<ExperimentFile>,
) -> Result<(), Failure> {
    if depth > DEPTH_MAX {
        return Err(Failure::User(format!(
            "error: {} lies more than {DEPTH_MAX} folders deep\nhelp: name the folder itself",
            folder.display()
        )));
    }
    let entries = fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("cannot list {}", folder.display()))?;
    let mut entries = entries;
    entries.sort();
    for path in entries {
        let name = if prefix.is_empty() {
            stem(&path)
        } else {
            format!("{prefix}.{}", stem(&path))
        };
        if path.is_dir() {
            collect(&path, &name, depth + 1, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(ExperimentFile {
                path,
                name,
                found: true,
            });
        }
    }
    Ok(())
}

/// The last part of a path without `.toml`, made safe as part of a folder's name.
fn stem(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = whole
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let name = name.strip_suffix(".toml").unwrap_or(&name);
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '-'
        }
    };
    name.chars().map(safe).collect()
}
