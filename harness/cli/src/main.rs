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
    if let Verb::Plan(_) | Verb::Analyze(_) | Verb::Report(_) | Verb::Completions { .. } =
        arguments.verb
    {
        end_with_the_reader();
    }
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
        Verb::Proxy(proxy) => verbs::proxy::main(&proxy),
        Verb::Completions { shell } => verbs::completions::main(shell),
    };
    exit::code(result)
}

/// `shakedown report … | head` ends quietly, as other programs do. Only for verbs that start nothing:
/// a run must outlive a pipe to an agent that died.
fn end_with_the_reader() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: the default action installs no handler, so nothing runs in signal context.
    let set = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    debug_assert!(set.is_ok(), "SIGPIPE can be reset");
}
