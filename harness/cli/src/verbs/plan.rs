//! `shakedown plan`: what a run would do.

use anyhow::Context;
use shakedown_contracts::verdict::Outcome;

use crate::arguments::Plan;
use crate::discovery;
use crate::exit::Failure;

/// Prints each plan in words, or as JSON.
///
/// # Errors
/// The user's, as `run` would give them.
pub fn main(arguments: &Plan) -> Result<Outcome, Failure> {
    let discovered = discovery::plans(&arguments.paths, &arguments.overrides)?;
    if arguments.json {
        let json = serde_json::to_string_pretty(&discovered.plans).context("cannot write plans")?;
        anstream::println!("{json}");
        return Ok(Outcome::Pass);
    }
    for plan in &discovered.plans {
        anstream::println!("{}", shakedown_plan::describe(plan));
    }
    for skipped in &discovered.skipped {
        anstream::println!("skipped {}: {}", skipped.name, skipped.reason);
    }
    Ok(Outcome::Pass)
}
