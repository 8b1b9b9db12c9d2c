//! `shakedown completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use shakedown_contracts::verdict::Outcome;

use crate::arguments::Arguments;
use crate::exit::Failure;

/// Prints the completions for `shell`.
pub fn main(shell: clap_complete::Shell) -> Result<Outcome, Failure> {
    clap_complete::generate(
        shell,
        &mut Arguments::command(),
        "shakedown",
        &mut std::io::stdout(),
    );
    Ok(Outcome::Pass)
}
