//! The network agent as a real process that rules real namespaces.
//!
//! This file is test runner, harness and agent in one: it starts itself again as `agent`, and as
//! `agent-in-user-namespace`. What the agent reports is compared with what sockets of the test's own
//! see inside the namespaces.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code, which clippy sees only in #[test]"
)]

mod agent;
mod ends;
mod faults;
mod overlap;
mod packets;
mod planted;
mod ports;

#[path = "../runner/mod.rs"]
mod runner;

use std::process::ExitCode;

use runner::Test;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("agent") => return shakedown_agents::network_agent::main(),
        Some("agent-in-user-namespace") => return ends::agent_in_user_namespace(),
        _ => {}
    }
    let rooms = [
        faults::TESTS,
        packets::TESTS,
        overlap::TESTS,
        planted::TESTS,
        ports::TESTS,
        ends::TESTS,
    ];
    runner::run(rooms.into_iter().flatten())
}
