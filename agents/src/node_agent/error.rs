//! Why a node was not started, or something else could not be done with it.

use std::io;
use std::path::PathBuf;

use shakedown_contracts::control::Program;
use shakedown_contracts::units::Duration;
use thiserror::Error;

use crate::faults::Unverified;
use crate::ledger::LedgerError;
use crate::session::SessionError;

/// How long a killed process may take to end; a gibibyte of memory takes 0.4 s to tear down.
pub(super) const END_LIMIT: Duration = Duration::from_secs(20);

/// Why a node was not started.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The program cannot be started as described.
    #[error("program {}: {reason}", executable.display())]
    Program {
        /// What was to be started.
        executable: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The child got stuck on a step.
    #[error("program {}: {step} failed: {source}{hint}", executable.display())]
    Step {
        /// What was to be started.
        executable: PathBuf,
        /// Which step.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// A call of the agent failed.
    #[error("{action} failed: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The started process could not be written down, and was ended again.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Names the call that failed.
pub(super) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> LaunchError {
    move |error| LaunchError::System {
        action,
        source: error.into(),
    }
}

/// A program that cannot be started as described.
pub(super) fn refuse(program: &Program, reason: String) -> LaunchError {
    LaunchError::Program {
        executable: program.executable.clone(),
        reason,
    }
}

/// Why something could not be done with the node.
#[derive(Debug, Error)]
pub enum NodeError {
    /// It was not started.
    #[error("starting {node}: {source}")]
    Launch {
        /// The node.
        node: String,
        /// Why not.
        source: LaunchError,
    },
    /// It is not in the state for that.
    #[error("{node} {state}")]
    State {
        /// The node.
        node: String,
        /// What it is instead.
        state: &'static str,
    },
    /// It was killed and lives.
    #[error("{node}: process {pid} lives {END_LIMIT} after SIGKILL; is it in state D in {}?", proc.display())]
    Lives {
        /// The node.
        node: String,
        /// The process.
        pid: i32,
        /// Where to look.
        proc: PathBuf,
    },
    /// A call failed.
    #[error("{node}: {action} failed: {source}")]
    System {
        /// The node.
        node: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The harness cannot be told.
    #[error(transparent)]
    Report(#[from] SessionError),
}

impl From<NodeError> for Unverified {
    fn from(error: NodeError) -> Self {
        Unverified {
            reason: error.to_string(),
        }
    }
}
