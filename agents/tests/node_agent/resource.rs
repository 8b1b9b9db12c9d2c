//! What a host gives runs out, for a small program that is not ours.

use shakedown_contracts::control::{FaultReport, NodeOrder};
use shakedown_contracts::event::Evidence;
use shakedown_contracts::host_fault::HostFault;

use crate::Test;
use crate::agent::{Agent, id};

pub const TESTS: &[Test] = &[
    (
        "a_program_can_open_only_as_many_more_descriptors_as_are_left_until_the_heal",
        descriptors,
    ),
    ("busy_processes_run_until_the_heal_or_the_agents_end", hogs),
];

/// An agent whose node is a Python program; it says ready before its last lines.
pub fn python(program: &str) -> Agent {
    let ready = r#"
import os, sys, time
def ready(): os.write(5, b'{"time":1,"event":"node.ready"}\n')
"#;
    let program = format!("{ready}{program}");
    Agent::with("plain", |node| {
        node.executable = "/usr/bin/env".into();
        node.arguments = ["python3", "-c", &program].map(str::to_owned).into();
    })
}

pub fn disturb(agent: &mut Agent, name: &str, fault: HostFault) -> Result<Evidence, String> {
    agent.order(&NodeOrder::Disturb {
        id: id(name),
        fault,
    });
    match agent.fault_report() {
        FaultReport::Effective { evidence, .. } => Ok(evidence),
        FaultReport::Unverified { reason, .. } => Err(reason),
        FaultReport::Healed { .. } => panic!("healed instead of injected"),
    }
}

/// A line of the program's log, once it is there.
pub fn line(agent: &Agent, wanted: &str) -> String {
    let deadline = shakedown_agents::clock::now().after(crate::agent::LIMIT);
    loop {
        let log = agent.log("node.log");
        let mut whole = log.split_inclusive('\n').rev();
        let whole = whole.find(|line| line.starts_with(wanted) && line.ends_with('\n'));
        if let Some(line) = whole {
            return line.trim_end().to_owned();
        }
        assert!(
            shakedown_agents::clock::now() < deadline,
            "no {wanted} in {log}"
        );
        std::thread::yield_now();
    }
}

fn descriptors() {
    // Opens as many as it can whenever the number in a file changes, says how many, closes them.
    let mut agent = python(
        r#"
ready()
asked = ""
while True:
    now = open("ask").read() if os.path.exists("ask") else ""
    if now != asked:
        asked, held = now, []
        try:
            while len(held) < 100: held.append(os.open("/dev/null", os.O_RDONLY))
            end = "enough"
        except OSError as error:
            end = error.strerror
        for one in held: os.close(one)
        print("opened", asked, len(held), end, flush=True)
    time.sleep(0.001)
"#,
    );
    agent.start_node();
    let ask = |agent: &Agent, number: u32| {
        let path = agent.folder.path().join("ask");
        let written = path.with_extension("new");
        std::fs::write(&written, number.to_string()).unwrap();
        std::fs::rename(written, path).unwrap();
        line(agent, &format!("opened {number}"))
    };
    assert_eq!(ask(&agent, 1), "opened 1 100 enough");
    let few = HostFault::FileDescriptors { left: 7 };
    let evidence = disturb(&mut agent, "few", few).unwrap();
    let left = &evidence.achieved[0];
    // One less where the program was just looking at its file.
    assert!((6.0..=7.0).contains(&left.achieved), "{evidence:?}");
    let opened = ask(&agent, 2);
    let words: Vec<&str> = opened.split(' ').collect();
    assert!(["6", "7", "8"].contains(&words[2]), "{opened}");
    assert!(opened.ends_with("Too many open files"), "{opened}");
    match agent.heal("few") {
        FaultReport::Healed { .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(ask(&agent, 3), "opened 3 100 enough");
}

/// Busy processes whose parent is the agent.
fn hogs_of(agent: &Agent) -> usize {
    let names = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = names.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let of_agent = format!(" {} ", agent.process.id());
    let living = stats.filter(|stat| {
        let mut parts = stat.split("(shakedown-hog) ");
        let after = parts.nth(1).unwrap_or_default();
        after
            .get(1..)
            .is_some_and(|rest| rest.starts_with(&of_agent))
    });
    living.count()
}

fn hogs() {
    let mut agent = python("ready()\nwhile True: time.sleep(60)\n");
    agent.start_node();
    let evidence = disturb(&mut agent, "busy", HostFault::Cpu { hogs: 3 }).unwrap();
    println!("  {}", evidence.observed);
    assert_eq!(evidence.achieved[0].achieved, 3.0);
    assert_eq!(hogs_of(&agent), 3);
    match agent.heal("busy") {
        FaultReport::Healed { .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(hogs_of(&agent), 0);

    disturb(&mut agent, "again", HostFault::Cpu { hogs: 2 }).unwrap();
    agent.process.kill().unwrap();
    agent.process.wait().unwrap();
    let deadline = shakedown_agents::clock::now().after(crate::agent::LIMIT);
    // The kernel kills them; their parent is whoever collects orphans then.
    let pids = || {
        let names = std::fs::read_dir("/proc").unwrap().flatten();
        let stats =
            names.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        let living = stats.filter(|stat| stat.contains("(shakedown-hog) R"));
        living.count()
    };
    while pids() > 0 {
        assert!(
            shakedown_agents::clock::now() < deadline,
            "a busy process lives on"
        );
        std::thread::yield_now();
    }
}
