//! `shakedown node`: one node of the reference cluster.

use std::process::ExitCode;

use crate::arguments::Node;

/// Serves until it is killed or told to end.
pub fn main(arguments: &Node) -> ExitCode {
    match shakedown_node::run(&arguments.config, arguments.events_descriptor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
