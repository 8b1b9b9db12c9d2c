//! `shakedown node`: one node of the reference cluster, or its recorded life once more.

use std::path::Path;
use std::process::ExitCode;

use shakedown_node::{NodeError, Options, Replayed};

use crate::arguments::Node;

/// Serves until it is killed or told to end; or replays.
pub fn main(arguments: &Node) -> ExitCode {
    let ended = match &arguments.replay {
        Some(recording) => replay(recording),
        None => serve(arguments),
    };
    ended.unwrap_or_else(|error| {
        anstream::eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn serve(arguments: &Node) -> Result<ExitCode, NodeError> {
    let options = Options {
        config: arguments.config.clone().unwrap_or_default(),
        events_descriptor: arguments.events_descriptor,
        record: arguments.record.clone(),
    };
    shakedown_node::run(&options).map(|()| ExitCode::SUCCESS)
}

fn replay(recording: &Path) -> Result<ExitCode, NodeError> {
    match shakedown_node::replay(recording)? {
        Replayed::Identical { steps } => {
            anstream::println!("{steps} steps, all with the recorded outputs");
            Ok(ExitCode::SUCCESS)
        }
        Replayed::Different { step, what } => {
            anstream::eprintln!("step {step} comes out differently:\n{what}");
            Ok(ExitCode::FAILURE)
        }
    }
}
