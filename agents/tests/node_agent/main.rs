//! The node agent as a real process with real nodes, in real namespaces.
//!
//! This file is test runner, harness, agent and node in one: it starts itself again as `agent`, as
//! `node <behaviour>`, and as a `harness` that is to be killed. Tests run one after the other, since they look at processes of the machine.
//! Where the kernel gives no namespaces they fail, unless `SHAKEDOWN_NO_NAMESPACES=1` says that
//! this is known.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code, which clippy sees only in #[test]"
)]

mod agent;
#[cfg(target_arch = "x86_64")]
mod clock;
mod disk;
mod dns;
mod ends;
mod faults;
mod node;
mod resource;

#[path = "../runner/mod.rs"]
mod runner;

use std::process::ExitCode;

use runner::Test;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("agent") => return shakedown_agents::node_agent::main(),
        Some("harness") => ends::harness(),
        Some("node") => return node::main(&arguments[1], &arguments[2..]),
        _ => {}
    }
    let mut rooms = vec![
        faults::TESTS,
        disk::TESTS,
        dns::TESTS,
        resource::TESTS,
        ends::TESTS,
    ];
    #[cfg(target_arch = "x86_64")]
    rooms.push(clock::TESTS);
    runner::run(rooms.into_iter().flatten())
}
