//! Why a run could not be carried on. What was recorded until then stays readable.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Ends a run: the harness itself cannot go on (exit code 255).
#[derive(Debug, Error)]
pub enum RunError {
    /// A file of the run could not be written.
    #[error("cannot write {}: {}; {}, what was recorded stays readable", path.display(), reason(cause), hint(cause))]
    Write {
        /// Which.
        path: PathBuf,
        /// Why; told in the message, so not offered as its source again.
        cause: io::Error,
    },
    /// The kernel refuses the namespaces that keep a run apart from the machine.
    #[error("{0}")]
    Isolation(String),
    /// Something the harness needs of the system failed.
    #[error("cannot {action}: {cause}")]
    System {
        /// What was tried.
        action: String,
        /// Why it failed; told in the message too.
        cause: io::Error,
    },
    /// A trial could not be set up; the next one would not fare better.
    #[error("cannot set up trial {trial} of {experiment}: {reason}")]
    SetUp {
        /// Name of the plan.
        experiment: String,
        /// Which trial.
        trial: u32,
        /// What failed, and where to look.
        reason: String,
    },
}

impl RunError {
    /// For `map_err` after writing `path`.
    pub fn write(path: &Path) -> impl FnOnce(io::Error) -> RunError {
        let path = path.to_owned();
        move |cause| RunError::Write { path, cause }
    }

    /// For `map_err` after a system call that was to `action`.
    pub fn system<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> RunError {
        let action = action.into();
        move |cause| RunError::System {
            action,
            cause: cause.into(),
        }
    }
}

/// The error as the system words it, without Rust's "(os error 28)".
fn reason(source: &io::Error) -> String {
    let text = source.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space and run again",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a folder you may write with --out and run again"
        }
        _ => "mend that and run again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_path_reason_and_what_to_do() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let error = RunError::write(Path::new("results/1/history.jsonl"))(full);
        assert_eq!(
            error.to_string(),
            "cannot write results/1/history.jsonl: No space left on device; \
             free space and run again, what was recorded stays readable"
        );
    }
}
