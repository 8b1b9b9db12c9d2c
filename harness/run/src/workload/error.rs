//! Why a client worker cannot go on.

use std::path::PathBuf;

use shakedown_contracts::frame::FrameError;
use thiserror::Error;

/// Why a client worker cannot go on. The message reaches the harness in a `failed` report.
#[derive(Debug, Error)]
pub enum WorkloadError {
    /// The first frame is no hello.
    #[error("client worker expected hello as its first order; start it through shakedown run")]
    NoHello,
    /// The harness is of another version.
    #[error("client worker speaks control version {own}, the harness {other}; use one binary")]
    Version {
        /// The worker's.
        own: u32,
        /// The harness's.
        other: u32,
    },
    /// The group is not in the workload.
    #[error("client group {0:?} is not in workload.groups; the plan and the order disagree")]
    UnknownGroup(String),
    /// The rate cannot be paced.
    #[error("workload.rate = {0} cannot be offered; give operations a second above 0")]
    Rate(f64),
    /// The mix cannot be drawn from.
    #[error("workload.mix {mix} does not fit the kind; name some of: {expected}")]
    Mix {
        /// What was given.
        mix: String,
        /// What the kind has.
        expected: &'static str,
    },
    /// The namespace could not be entered.
    #[error("failed to enter network namespace {path:?}: {source}; does the network agent live?")]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The stream of orders broke.
    #[error("failed to read orders: {0}")]
    Frame(#[from] FrameError),
    /// A system call failed.
    #[error("failed to {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The pacing timer failed.
    #[error("failed to pace the load: {0}")]
    Pacing(#[from] crate::RunError),
    /// The HTTP client could not be built.
    #[error("failed to build the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// Reports pile up or their reader is gone.
    #[error("the harness takes no reports any more ({0} are waiting); is it stopped?")]
    ReportsStuck(usize),
    /// The initial data could not be written.
    #[error("failed to prepare the initial data: {0}; see the nodes' logs")]
    Prepare(String),
}

impl WorkloadError {
    /// A failed system call.
    pub(crate) fn system(what: &'static str) -> impl FnOnce(nix::Error) -> WorkloadError {
        move |errno| WorkloadError::System {
            what,
            source: errno.into(),
        }
    }
}
