//! Where everything of a run lies below `results/<run>/`. Paths only; no I/O.

use std::path::{Path, PathBuf};

/// The folder of one call of `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirectory(PathBuf);

/// The folder of one experiment (variant, matrix row) in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentDirectory(PathBuf);

/// The folder of one trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialDirectory(PathBuf);

impl RunDirectory {
    /// The run at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        RunDirectory(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Verdict over all experiments.
    pub fn verdict(&self) -> PathBuf {
        self.0.join("verdict.json")
    }

    /// JUnit XML.
    pub fn junit(&self) -> PathBuf {
        self.0.join("junit.xml")
    }

    /// Experiments that were skipped, as a JSON list of `Skipped`.
    pub fn skipped(&self) -> PathBuf {
        self.0.join("skipped.json")
    }

    /// The experiment of that plan name.
    pub fn experiment(&self, name: &str) -> ExperimentDirectory {
        ExperimentDirectory(self.0.join(name))
    }
}

impl ExperimentDirectory {
    /// The experiment at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        ExperimentDirectory(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The plan that was followed.
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// The experiment's verdict.
    pub fn verdict(&self) -> PathBuf {
        self.0.join("verdict.json")
    }

    /// Folder of trial `index` (from 1).
    pub fn trial(&self, index: u32) -> TrialDirectory {
        TrialDirectory(self.0.join(index.to_string()))
    }

    /// Folder of the `attempt`-th void attempt (from 1) at trial `index`.
    pub fn void_trial(&self, index: u32, attempt: u32) -> TrialDirectory {
        TrialDirectory(self.0.join(format!("{index}-void-{attempt}")))
    }
}

impl TrialDirectory {
    /// The trial at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        TrialDirectory(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What clients asked and were told.
    pub fn history(&self) -> PathBuf {
        self.0.join("history.jsonl")
    }

    /// What else happened.
    pub fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    /// Output of a node or agent.
    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.log"))
    }

    /// A node's configuration.
    pub fn node_config(&self, node: &str) -> PathBuf {
        self.0.join("config").join(format!("{node}.json"))
    }

    /// A node's data; removed when the trial has ended.
    pub fn node_data(&self, node: &str) -> PathBuf {
        self.0.join("data").join(node)
    }
}

/// Folder below which every run of this user keeps its ledgers: one folder a run named
/// `<harness pid>-<its start time>`, in it one file an agent.
///
/// `$XDG_RUNTIME_DIR/shakedown` where `runtime_directory` is given, else
/// `<temporary>/shakedown-<uid>`. Callers read the environment.
pub fn ledger_root(runtime_directory: Option<&Path>, temporary: &Path, uid: u32) -> PathBuf {
    match runtime_directory {
        Some(directory) => directory.join("shakedown"),
        None => temporary.join(format!("shakedown-{uid}")),
    }
}
