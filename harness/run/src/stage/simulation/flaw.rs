//! The mistake to plant in every node, where the feature `flaws` is compiled in.
//!
//! It comes from the environment, not from an experiment: what is planted is no part of the
//! question that the experiment asks, and no plan can have it by accident.
//! Whoever plants flaws can ask which of them a run came by at all.
//! Invariant: a name that is none is refused, so that a misspelt mutation never counts as survived.

use std::env;
use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};

use shakedown_simulator::{Flaw, Planted};

use crate::error::RunError;

/// Names the flaw; unset or empty: none.
const VARIABLE: &str = "SHAKEDOWN_FLAW";

/// Names the file for [`note_asked`]; unset: none is written.
const ASKED_VARIABLE: &str = "SHAKEDOWN_FLAWS_ASKED";

/// Writes to the file that the environment names, a line each, the flaws whose places the process
/// has come by so far. A run with any other flaw goes as without.
pub(super) fn note_asked() {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let Some(path) = env::var_os(ASKED_VARIABLE) else {
        return;
    };
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let asked = Flaw::asked();
    let names: Vec<&str> = asked.iter().map(|flaw| flaw.name()).collect();
    // Whoever asked for the file misses it; the run is none the worse.
    let _ = fs::write(path, names.join("\n"));
}

/// The flaw that the environment names.
///
/// # Errors
/// When there is none of that name.
pub(super) fn from_environment() -> Result<Planted, RunError> {
    match env::var(VARIABLE) {
        Ok(name) if !name.is_empty() => planted(&name),
        Ok(_) | Err(env::VarError::NotPresent) => Ok(Planted::default()),
        Err(env::VarError::NotUnicode(name)) => planted(&name.to_string_lossy()),
    }
}

fn planted(name: &str) -> Result<Planted, RunError> {
    if let Some(flaw) = Flaw::named(name) {
        return Ok(Planted::from(Some(flaw)));
    }
    let names: Vec<&str> = Flaw::ALL.iter().map(|flaw| flaw.name()).collect();
    let unknown = io::Error::other(format!("it is none of {}", names.join(", ")));
    let action = format!("plant {VARIABLE} = {name:?}");
    Err(RunError::system::<io::Error>(action)(unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_flaw_is_refused_with_the_list() {
        assert!(planted("forgets-vote").is_ok_and(|planted| planted.has(Flaw::ForgetsVote)));
        let error = planted("forgets-votes").unwrap_err().to_string();
        assert!(error.contains("\"forgets-votes\"") && error.contains("forgets-vote,"));
    }
}
