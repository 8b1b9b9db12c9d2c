//! The network agent as a real process that rules real namespaces.
//!
//! This file is test runner, harness and agent in one: it starts itself again as `agent`, and as
//! `agent-in-user-namespace`. What the agent reports is compared with what sockets of the test's own
//! see inside the namespaces. Tests run one after the other, since they measure time. Where the
//! kernel gives no namespaces they fail, unless `SHAKEDOWN_NO_NAMESPACES=1` says that this is known.

#![expect(
    clippy::unwrap_used,
    reason = "all of this is test code, which clippy sees only in #[test]"
)]

mod agent;
mod ends;
mod faults;
mod overlap;
mod planted;

use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("agent") => return shakedown_agents::network_agent::main(),
        Some("agent-in-user-namespace") => return ends::agent_in_user_namespace(),
        _ => {}
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    if std::env::var("SHAKEDOWN_NO_NAMESPACES").is_ok_and(|value| value == "1") {
        println!("skipped: SHAKEDOWN_NO_NAMESPACES=1 says that this machine gives no namespaces");
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("these tests make namespaces: run them as root or with `unshare -Urnm`, or set");
        println!("SHAKEDOWN_NO_NAMESPACES=1 to do without them");
        return ExitCode::FAILURE;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let rooms = [faults::TESTS, overlap::TESTS, planted::TESTS, ends::TESTS];
    let mut failed = 0;
    for (name, test) in rooms.into_iter().flatten() {
        if filter.is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += u32::from(!passed);
    }
    println!("{failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
