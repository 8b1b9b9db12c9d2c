//! Every way in which an agent can end, and an agent without privilege.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shakedown_agents::ledger;
use shakedown_contracts::control::NetworkOrder;
use shakedown_contracts::fault::{CutBehavior, LinkEffect};

use crate::Test;
use crate::agent::{Agent, NAMES, link, passes};
use crate::faults::{delay, drop_all, loss};

pub const TESTS: &[Test] = &[
    (
        "a_killed_agent_leaves_no_namespace_no_link_and_an_open_ledger",
        killed,
    ),
    (
        "the_end_of_the_stream_heals_and_removes_the_ledger",
        hung_up,
    ),
    ("sigterm_heals_and_removes_the_ledger", terminated),
    ("shutdown_heals_and_removes_the_ledger", shut_down),
    (
        "an_agent_in_a_user_namespace_of_its_own_does_the_same",
        unprivileged,
    ),
];

/// Inodes of the namespaces that the agent's descriptors and its threads hold.
fn namespaces(agent: &Agent) -> BTreeSet<u64> {
    let mut inodes: BTreeSet<u64> = NAMES
        .iter()
        .map(|name| fs::metadata(agent.namespace(name)).unwrap().ino())
        .collect();
    let router = format!("/proc/{}/ns/net", agent.process.id());
    inodes.insert(fs::metadata(router).unwrap().ino());
    inodes
}

/// Whether any process on the machine is in, or holds a descriptor of, one of these.
fn held(inodes: &BTreeSet<u64>) -> bool {
    let holds = |path: &Path| fs::metadata(path).is_ok_and(|data| inodes.contains(&data.ino()));
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit())
        .any(|entry| {
            let descriptors = fs::read_dir(entry.path().join("fd")).into_iter().flatten();
            holds(&entry.path().join("ns/net"))
                || descriptors.flatten().any(|fd| {
                    // Only namespaces: an inode of a file may have the same number.
                    fs::read_link(fd.path())
                        .is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"net:"))
                        && holds(&fd.path())
                })
        })
}

fn interfaces() -> BTreeSet<std::ffi::OsString> {
    let entries = fs::read_dir("/sys/class/net").unwrap().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

fn killed() {
    let before = interfaces();
    let mut agent = Agent::new();
    agent.inject("cut", &[link("n1", "n2")], drop_all());
    agent.inject("slow", &[link("n2", "n1")], delay(5, 0));
    let inodes = namespaces(&agent);
    assert_eq!(inodes.len(), 4, "three endpoints and the router");
    assert!(held(&inodes), "or the check below would prove nothing");
    assert_eq!(
        interfaces(),
        before,
        "nothing is made in the caller's namespace"
    );

    agent.process.kill().unwrap();
    agent.process.wait().unwrap();
    assert!(!held(&inodes));
    assert_eq!(interfaces(), before);
    assert!(!Path::new("/run/netns").join("n1").exists());
    let open = ledger::read(&agent.ledger()).unwrap().open_faults;
    let names: Vec<_> = open.iter().map(|fault| fault.id.fault.as_str()).collect();
    assert_eq!(names, ["cut", "slow"], "for `recover` to find");
}

/// An orderly end takes everything down, with success.
fn orderly(end: impl FnOnce(&mut Agent)) {
    let mut agent = Agent::new();
    agent.inject("cut", &[link("n1", "n2")], drop_all());
    agent.inject("slow", &[link("n2", "n1")], delay(5, 0));
    assert!(agent.ledger().exists());
    let inodes = namespaces(&agent);
    end(&mut agent);
    assert!(agent.process.wait().unwrap().success(), "{}", agent.log());
    assert!(!agent.ledger().exists(), "{}", agent.log());
    assert!(!held(&inodes));
}

fn hung_up() {
    orderly(Agent::hang_up);
}

fn terminated() {
    orderly(|agent| kill(Pid::from_raw(agent.process.id() as i32), Signal::SIGTERM).unwrap());
}

fn shut_down() {
    orderly(|agent| agent.order(&NetworkOrder::Shutdown));
}

/// What a harness without privilege does before it starts anything.
pub fn agent_in_user_namespace() -> ExitCode {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER).unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("0 {user} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("0 {group} 1")).unwrap();
    shakedown_agents::network_agent::main()
}

fn unprivileged() {
    let mut agent = Agent::started_as("agent-in-user-namespace");
    let [n1, n2, n3] = NAMES.map(|name| agent.socket(name));
    agent.inject("cut", &[link("n1", "n2")], drop_all());
    assert!(!passes(&n1, &n2) && passes(&n2, &n1));
    agent.inject(
        "reject",
        &[link("n1", "n3")],
        LinkEffect::Cut(CutBehavior::Reject),
    );
    let evidence = agent.inject("lossy", &[link("n2", "n3")], loss(0.3));
    // Without privilege there is no real-time priority, and the evidence says so.
    assert!(!evidence.mechanism.contains("SCHED_FIFO"), "{evidence:?}");
    for fault in ["cut", "reject", "lossy"] {
        agent.heal(fault);
    }
    assert!(passes(&n1, &n2) && passes(&n1, &n3) && passes(&n2, &n3));
}
