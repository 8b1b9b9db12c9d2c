//! The exit codes, in one place.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | pass |
//! | 1 | fail |
//! | 2 | unknown: evidence is missing, a fault was not verified in effect, or the run was stopped |
//! | 254 | the user's error: arguments, experiment file |
//! | 255 | the harness's own error |

use std::process::ExitCode;

use shakedown_contracts::verdict::Outcome;

/// The user's error.
const USER_ERROR: u8 = 254;
/// The harness's own error.
const HARNESS_ERROR: u8 = 255;

/// Why a verb ended without a verdict.
#[derive(Debug)]
pub enum Failure {
    /// The user's error; the text is shown as it is.
    User(String),
    /// The harness's own error.
    Harness(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Harness(error)
    }
}

/// The exit code of a verb, with its failure told on standard error.
pub fn code(result: Result<Outcome, Failure>) -> ExitCode {
    match result {
        Ok(Outcome::Pass) => ExitCode::SUCCESS,
        Ok(Outcome::Fail) => ExitCode::from(1),
        Ok(Outcome::Unknown) => ExitCode::from(2),
        Err(Failure::User(text)) => {
            anstream::eprintln!("{}", text.trim_end());
            ExitCode::from(USER_ERROR)
        }
        Err(Failure::Harness(error)) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::from(HARNESS_ERROR)
        }
    }
}

/// The exit code for arguments that clap refused, or for `--help` and `--version`.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Printing help can fail only when the terminal is gone; there is nobody left to tell.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USER_ERROR)
    } else {
        ExitCode::SUCCESS
    }
}
