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
    (
        "a_program_under_a_quota_gets_no_more_of_the_processors",
        quota,
    ),
    (
        "a_program_that_takes_more_memory_than_its_limit_is_ended",
        memory_limit,
    ),
    (
        "memory_is_held_beside_a_program_until_the_heal",
        memory_pressure,
    ),
    (
        "recovery_removes_the_group_of_an_agent_that_was_killed",
        killed_in_group,
    ),
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
    let evidence = disturb(&mut agent, "busy", busy(3)).unwrap();
    println!("  {}", evidence.observed);
    assert_eq!(evidence.achieved[0].achieved, 3.0);
    assert_eq!(hogs_of(&agent), 3);
    match agent.heal("busy") {
        FaultReport::Healed { .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(hogs_of(&agent), 0);

    disturb(&mut agent, "again", busy(2)).unwrap();
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

fn busy(hogs: u32) -> HostFault {
    HostFault::Cpu { hogs, quota: None }
}

fn limited(quota: f64) -> HostFault {
    HostFault::Cpu {
        hogs: 0,
        quota: Some(quota),
    }
}

/// Whether control groups can be made here: as root, and where the machine has them.
fn groups_can_be_made(evidence: &Result<Evidence, String>) -> bool {
    match evidence {
        Ok(_) => true,
        Err(reason) => {
            let root = std::fs::read_to_string("/proc/self/uid_map").unwrap();
            let whole = root.split_whitespace().nth(2) == Some("4294967295");
            assert!(!whole, "{reason}");
            assert!(
                reason.contains("it takes root") || reason.contains("as root"),
                "{reason}"
            );
            println!("  not as this user: {reason}");
            false
        }
    }
}

fn quota() {
    // Two busy processes, one of them a child; says what both got in each 400 ms.
    let mut agent = python(
        r#"
ready()
child = os.fork()
if child == 0:
    while True: pass
def used(): return sum(os.times()[:2]) + sum(int(n) for n in open(f"/proc/{child}/stat").read().split()[13:15]) / os.sysconf("SC_CLK_TCK")
number = 0
while True:
    number += 1
    began, before = time.monotonic(), used()
    while time.monotonic() < began + 0.4: pass
    print("got", number, (used() - before) / (time.monotonic() - began), flush=True)
"#,
    );
    agent.start_node();
    let got = |agent: &Agent| {
        let fields = |line: String| -> Vec<f64> {
            line.split(' ')
                .skip(1)
                .map(|field| field.parse().unwrap())
                .collect()
        };
        let before = fields(line(agent, "got"))[0];
        loop {
            let latest = fields(line(agent, "got"));
            if latest[0] > before + 1.0 {
                return latest[1];
            }
        }
    };
    let free = got(&agent);
    let evidence = disturb(&mut agent, "quota", limited(0.2));
    if !groups_can_be_made(&evidence) {
        return;
    }
    let evidence = evidence.unwrap();
    println!("  {}", evidence.observed);
    assert!(
        (evidence.achieved[0].achieved - 0.2).abs() < 1e-6,
        "{evidence:?}"
    );
    assert!(evidence.observed.starts_with("2 processes"), "{evidence:?}");
    let under = got(&agent);
    println!("  {free:.2} processors before, {under:.2} under a quota of 0.2");
    assert!(under < 0.3, "{under}");
    let group = std::fs::read_to_string(format!("/proc/{}/cgroup", agent.process.id())).unwrap();
    let FaultReport::Healed { evidence, .. } = agent.heal("quota") else {
        panic!("not healed");
    };
    println!("  {}", evidence.observed);
    // How much it gets without a quota is the machine's business; that it was stopped is ours.
    assert!(
        !evidence.observed.contains("stopped in 0 of"),
        "{evidence:?}"
    );
    assert_eq!(left_over(&agent), Vec::<String>::new());
    // They are where they were: with their agent.
    let pid = agent.started(1);
    assert_eq!(
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap(),
        group
    );
}

/// Groups of this agent that are there.
fn left_over(agent: &Agent) -> Vec<String> {
    let ours = format!("shakedown-{}-", agent.process.id());
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with(&ours) {
                    found.push(name);
                }
                folders.push(entry.path());
            }
        }
    }
    found
}

fn memory_limit() {
    let mut agent = python(
        r#"
ready()
held = []
while True:
    if os.path.exists("more"): held.append(bytearray(os.urandom(1 << 20)))
    time.sleep(0.001)
"#,
    );
    agent.start_node();
    let limit = HostFault::Memory {
        limit: Some(shakedown_contracts::units::Bytes(24 << 20)),
        pressure: None,
    };
    let evidence = disturb(&mut agent, "limit", limit);
    if !groups_can_be_made(&evidence) {
        return;
    }
    let evidence = evidence.unwrap();
    println!("  {}", evidence.observed);
    assert_eq!(evidence.achieved[0].achieved, f64::from(24 << 20));
    assert!(agent.exits().is_empty());
    std::fs::write(agent.folder.path().join("more"), "").unwrap();
    agent.until("its end", |report| {
        format!("{report:?}").contains("NodeExited").then_some(())
    });
    assert_eq!(agent.exits(), [("signal 9".to_owned(), false)]);
    match agent.heal("limit") {
        FaultReport::Healed { evidence, .. } => {
            assert!(
                evidence.observed.ends_with("ended 1 processes in it"),
                "{evidence:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(left_over(&agent), Vec::<String>::new());
}

fn memory_pressure() {
    let mut agent = python("ready()\nwhile True: time.sleep(60)\n");
    agent.start_node();
    let pressure = HostFault::Memory {
        limit: None,
        pressure: Some(shakedown_contracts::units::Bytes(200 << 20)),
    };
    let evidence = disturb(&mut agent, "pressure", pressure).unwrap();
    println!("  {}", evidence.observed);
    assert!(evidence.achieved[0].achieved >= f64::from(200 << 20));
    assert_eq!(hogs_of(&agent), 1);
    match agent.heal("pressure") {
        FaultReport::Healed { .. } => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(hogs_of(&agent), 0);
}

fn killed_in_group() {
    let mut agent = python("ready()\nwhile True: time.sleep(60)\n");
    agent.start_node();
    let evidence = disturb(&mut agent, "quota", limited(0.5));
    if !groups_can_be_made(&evidence) {
        return;
    }
    assert_eq!(left_over(&agent).len(), 1);
    agent.process.kill().unwrap();
    agent.process.wait().unwrap();
    let ledger = agent.ledger();
    let contents = shakedown_agents::ledger::read(&ledger).unwrap();
    // One of the node, and the twin that is gone.
    assert_eq!(contents.groups.len(), 2);
    for group in &contents.groups {
        shakedown_agents::cgroup::remove_left_over(group).unwrap();
    }
    assert_eq!(left_over(&agent), Vec::<String>::new());
}
