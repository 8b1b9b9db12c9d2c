//! The `shakedown` binary: where the one program is put together.
//!
//! `main` reads as the pipeline. The hidden verbs `agent` and `node` are the same executable, which
//! starts itself again for each process that a run needs; they are entered before any thread
//! exists.

mod arguments;
mod discovery;
mod exit;
mod progress;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{AgentKind, Arguments, Verb};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return exit::usage(&error),
    };
    let result = match arguments.verb {
        Verb::Agent {
            kind: AgentKind::Network,
        } => return shakedown_agents::network_agent::main(),
        Verb::Agent {
            kind: AgentKind::Node,
        } => return shakedown_agents::node_agent::main(),
        Verb::Agent {
            kind: AgentKind::Client,
        } => {
            return shakedown_run::workload::worker::main();
        }
        Verb::Node(node) => return verbs::node::main(&node),
        Verb::Run(run) => verbs::run::main(&run),
        Verb::Plan(plan) => verbs::plan::main(&plan),
        Verb::Analyze(analyze) => verbs::analyze::main(&analyze),
        Verb::Report(report) => verbs::report::main(&report),
        Verb::Doctor => verbs::doctor::main(),
        Verb::Recover => verbs::recover::main(),
        Verb::Completions { shell } => verbs::completions::main(shell),
    };
    exit::code(result)
}
