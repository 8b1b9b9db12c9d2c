//! Starts that fail, surroundings of a node, and every way in which an agent can end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use shakedown_agents::clock;
use shakedown_agents::process::pidfd::PidFd;
use shakedown_agents::process::status::PidNamespace;
use shakedown_agents::recover::{recover, residue};
use shakedown_contracts::control::{NodeOrder, NodeReport, ProcessFault};
use shakedown_contracts::units::Duration;

use crate::Test;
use crate::agent::{Agent, LIMIT};

pub const TESTS: &[Test] = &[
    (
        "a_program_that_does_not_exist_is_named_with_the_reason",
        missing_program,
    ),
    (
        "a_program_that_cannot_be_executed_is_named_with_the_reason",
        not_executable,
    ),
    (
        "a_node_that_ends_by_itself_is_reported_with_its_exit_code",
        exits,
    ),
    (
        "malformed_event_lines_are_survived_and_written_to_the_log",
        noisy,
    ),
    (
        "a_node_gets_exactly_its_descriptors_directory_and_signals",
        surroundings,
    ),
    (
        "a_killed_agent_takes_its_node_along_within_a_second",
        killed_agent,
    ),
    (
        "a_killed_harness_leaves_nothing_but_a_ledger_which_recover_removes",
        killed_harness,
    ),
    (
        "every_orderly_end_takes_the_node_down_and_removes_the_ledger",
        orderly_ends,
    ),
    (
        "a_signal_for_the_terminals_group_does_not_end_the_agent",
        interrupt,
    ),
    ("another_version_is_refused", version),
];

fn failure(agent: &mut Agent) -> String {
    agent.until("failed", |report| match report {
        NodeReport::Failed { message } => Some(message.clone()),
        _ => None,
    })
}

fn missing_program() {
    let mut agent = Agent::with("plain", |program| {
        program.executable = "/nowhere/node".into()
    });
    agent.order(&NodeOrder::Start);
    let message = failure(&mut agent);
    assert!(
        message.contains("/nowhere/node") && message.contains("os error 2"),
        "{message}"
    );
    assert!(!agent.ended().success());
    assert!(!agent.ledger().exists(), "nothing is left to recover");
}

fn not_executable() {
    let mut agent = Agent::with("plain", |program| program.executable = "/etc/passwd".into());
    agent.order(&NodeOrder::Start);
    let message = failure(&mut agent);
    assert!(
        message.contains("/etc/passwd") && message.contains("os error 13"),
        "{message}"
    );
}

fn exits() {
    let mut agent = Agent::new("exit");
    agent.order(&NodeOrder::Start);
    agent.started(1);
    agent.until("node.exited", |report| {
        matches!(report, NodeReport::Agent(_)).then_some(())
    });
    assert_eq!(agent.exits(), [("exit code 7".to_owned(), false)]);
}

fn noisy() {
    let mut agent = Agent::new("noisy");
    agent.start_node();
    agent.order(&NodeOrder::Shutdown);
    assert!(agent.ended().success());
    let log = agent.log("agent.log");
    assert!(
        log.contains("\"no event\"") && log.contains("over 65536 bytes"),
        "{log}"
    );
}

fn surroundings() {
    let mut agent = Agent::new("inspect");
    agent.start_node();
    let log = agent.log("node.log");
    let directory = agent.folder.path().canonicalize().unwrap();
    let wanted = [
        "stdin-bytes=0".to_owned(),
        "pid=2".to_owned(),
        "descriptors=[0, 1, 2, 5]".to_owned(),
        format!("directory={}", directory.display()),
        "SigBlk:\t0000000000000000".to_owned(),
        "to-stderr".to_owned(),
    ];
    for line in wanted {
        assert!(
            log.lines().any(|logged| logged == line),
            "{line} is missing in {log}"
        );
    }
    let ignored = log
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"))
        .unwrap();
    // Rust's own start ignores SIGPIPE (13); SIGINT, which the agent ignores, must be default.
    // Libc keeps 32 and up to itself.
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff;
    assert_eq!(ignored, 1 << 12, "{log}");
}

fn killed_agent() {
    let mut agent = Agent::new("family");
    let node = agent.start_node();
    effective_pause(&mut agent);
    let members = PidNamespace::of(node).unwrap().members().unwrap();
    let handles: Vec<_> = members
        .iter()
        .map(|member| PidFd::open_exactly(*member).unwrap())
        .collect();
    let killed = clock::now();
    agent.process.kill().unwrap();
    // The promise is a second; a busy machine may take longer to run anything at all.
    for handle in &handles {
        assert!(
            handle.wait(Duration::from_secs(1)).unwrap(),
            "it outlived the agent"
        );
    }
    let took = clock::now().since(killed);
    println!(
        "  {} processes, stopped ones too, gone after {:.1} ms",
        handles.len(),
        took.as_millis_f64()
    );
    assert!(
        agent.ledger().exists(),
        "the ledger tells of the open fault"
    );
    assert_eq!(
        residue(agent.folder.path()).unwrap(),
        [],
        "this harness lives"
    );
}

/// A harness with a paused node, which says so and waits to be killed.
pub fn harness() -> ! {
    let mut agent = Agent::new("family");
    let node = agent.start_node();
    effective_pause(&mut agent);
    println!(
        "{} {node} {}",
        agent.process.id(),
        agent.folder.path().display()
    );
    loop {
        std::thread::park();
    }
}

fn killed_harness() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = Command::new(std::env::current_exe().unwrap())
        .arg("harness")
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(harness.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let [agent, node, root] = line.split_ascii_whitespace().collect::<Vec<_>>()[..] else {
        panic!("the harness says who is who: {line:?}");
    };
    let mut handles = vec![PidFd::open(agent.parse().unwrap()).unwrap()];
    let namespace = PidNamespace::of(node.parse().unwrap()).unwrap();
    for member in namespace.members().unwrap() {
        handles.extend(PidFd::open_exactly(member));
    }
    let killed = clock::now();
    harness.kill().unwrap();
    harness.wait().unwrap();
    for handle in &handles {
        assert!(
            handle.wait(Duration::from_secs(1)).unwrap(),
            "it outlived the harness"
        );
    }
    let took = clock::now().since(killed).as_millis_f64();
    println!(
        "  {} processes gone {took:.1} ms after the harness",
        handles.len()
    );

    let left = residue(Path::new(root)).unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        (left[0].open_faults.len(), left[0].living.len()),
        (1, 0),
        "{left:?}"
    );
    let recovered = recover(Path::new(root)).unwrap();
    assert_eq!(
        (recovered.ledgers.len(), recovered.killed.len()),
        (1, 0),
        "{recovered:?}"
    );
    assert_eq!(residue(Path::new(root)).unwrap(), []);
}

fn effective_pause(agent: &mut Agent) {
    let report = agent.inject("p", ProcessFault::Pause);
    let in_effect = matches!(
        report,
        shakedown_contracts::control::FaultReport::Effective { .. }
    );
    assert!(in_effect, "{report:?}");
}

fn orderly_ends() {
    type End<'a> = &'a dyn Fn(&mut Agent);
    let terminate = |agent: &mut Agent| {
        PidFd::open(agent.process.id() as i32)
            .unwrap()
            .signal(Signal::SIGTERM)
            .unwrap();
    };
    let ends: [(&str, End); 3] = [
        ("shutdown", &|agent| agent.order(&NodeOrder::Shutdown)),
        ("end of the stream", &|agent| agent.hang_up()),
        ("SIGTERM", &terminate),
    ];
    for (name, end) in ends {
        let mut agent = Agent::new("family");
        let node = agent.start_node();
        effective_pause(&mut agent);
        let members = PidNamespace::of(node).unwrap().members().unwrap();
        end(&mut agent);
        assert!(
            agent.ended().success(),
            "{name}: {}",
            agent.log("agent.log")
        );
        assert!(members.iter().all(|member| !member.is_alive()), "{name}");
        assert_eq!(agent.exits(), [("signal 9".to_owned(), true)], "{name}");
        assert!(!agent.ledger().exists(), "{name}");
    }
}

fn interrupt() {
    let mut agent = Agent::new("plain");
    let handle = PidFd::open(agent.process.id() as i32).unwrap();
    handle.signal(Signal::SIGINT).unwrap();
    // A round trip after the signal proves that it was survived.
    agent.start_node();
    agent.order(&NodeOrder::Shutdown);
    assert!(agent.ended().success());
    assert!(handle.wait(LIMIT).unwrap());
}

fn version() {
    let mut agent = Agent::start(tempfile::tempdir().unwrap());
    agent.order(&NodeOrder::Hello {
        version: 99,
        node: "n1".into(),
        namespace: "/proc/self/ns/net".into(),
        ledger: agent.ledger(),
        program: shakedown_contracts::control::Program {
            executable: "/bin/true".into(),
            arguments: Vec::new(),
            directory: "/".into(),
            log: "/dev/null".into(),
            events_descriptor: None,
            ready_timeout: LIMIT,
        },
        disk: None,
        names: None,
    });
    let message = failure(&mut agent);
    assert!(message.contains("version 99"), "{message}");
}
