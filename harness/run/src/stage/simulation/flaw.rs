//! The mistake to plant in every node, where the feature `flaws` is compiled in.
//!
//! It comes from the environment, not from an experiment: what is planted is no part of the
//! question that the experiment asks, and no plan can have it by accident.
//! Invariant: a name that is none is refused, so that a misspelt mutation never counts as survived.

use std::env;
use std::io;

use shakedown_simulator::{Flaw, Planted};

use crate::error::RunError;

/// Names the flaw; unset or empty: none.
const VARIABLE: &str = "SHAKEDOWN_FLAW";

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
