//! Looking names up, by the C library's own resolver in a Python program inside a node.

use std::cell::Cell;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::sched::{CloneFlags, unshare};
use shakedown_agents::netlink::route::Route;
use shakedown_contracts::control::{Endpoint, FaultReport, Names, NodeOrder};
use shakedown_contracts::dns_fault::{DnsFault, DnsTrouble};
use shakedown_contracts::event::Evidence;
use shakedown_contracts::host_fault::HostFault;
use shakedown_contracts::units::Duration;

use crate::Test;
use crate::agent::{Agent, LIMIT};
use crate::resource::{disturb, line};

pub const TESTS: &[Test] = &[
    (
        "a_node_resolves_the_names_of_the_run_and_no_other_and_the_machine_is_as_it_was",
        names_of_the_run,
    ),
    (
        "each_mode_is_what_the_c_library_makes_of_it_until_the_heal",
        modes,
    ),
    (
        "a_delay_of_lookups_is_measured_and_seen_by_the_program",
        delay,
    ),
    ("only_names_that_fit_a_pattern_are_met", patterns),
    (
        "two_faults_of_lookups_hold_together_and_heal_alone",
        overlap,
    ),
    ("a_resolver_that_has_died_verifies_nothing", dead),
    (
        "without_names_there_is_no_resolver_and_the_fault_is_not_verified",
        none,
    ),
    ("the_resolver_ends_with_its_agent", ends),
];

/// A network namespace with nothing but its loopback; its path while the file is open.
fn namespace() -> (File, PathBuf) {
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        Route::open().unwrap().set_up(1).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    let file = made.join().unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    (file, path.into())
}

/// Looks up what the file `ask` says, whenever it changes, and says what came and after how many ms.
const PROGRAM: &str = r#"
import os, socket, sys, time
os.environ["RES_OPTIONS"] = "timeout:1 attempts:1"
os.write(5, b'{"time":1,"event":"node.ready"}\n')
asked = ""
while True:
    now = open("ask").read() if os.path.exists("ask") else ""
    if now != asked:
        asked = now
        number, name = now.split()
        begun = time.monotonic()
        try:
            found = socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
            answer = ",".join(one[4][0] for one in found)
        except socket.gaierror as error:
            answer = {socket.EAI_AGAIN: "AGAIN", socket.EAI_NONAME: "NONAME"}.get(error.errno, error)
        took = (time.monotonic() - begun) * 1000
        print("asked", number, answer, took, flush=True)
    time.sleep(0.001)
"#;

struct Node {
    agent: Agent,
    asked: Cell<u32>,
    _namespace: File,
}

impl Node {
    fn with(names: Option<Names>) -> Self {
        let (file, path) = namespace();
        let mut agent = Agent::placed("plain", (path, names), None, |node| {
            node.executable = "/usr/bin/env".into();
            node.arguments = ["python3", "-c", PROGRAM].map(str::to_owned).into();
        });
        agent.start_node();
        Node {
            agent,
            asked: Cell::new(0),
            _namespace: file,
        }
    }

    fn new() -> Self {
        let endpoints = [("n1", 1), ("n2", 2), ("c1", 9)].map(|(name, last)| Endpoint {
            name: name.to_owned(),
            address: Ipv4Addr::new(10, 77, 0, last),
        });
        Node::with(Some(Names {
            endpoints: endpoints.into(),
            seed: 3,
        }))
    }

    /// What the program gets for a name, and after how many milliseconds.
    fn look_up(&self, name: &str) -> (String, f64) {
        let number = self.asked.get() + 1;
        self.asked.set(number);
        let path = self.agent.folder.path().join("ask");
        let written = path.with_extension("new");
        std::fs::write(&written, format!("{number} {name}")).unwrap();
        std::fs::rename(written, path).unwrap();
        let line = line(&self.agent, &format!("asked {number} "));
        let words: Vec<&str> = line.split(' ').collect();
        (words[2].to_owned(), words[3].parse().unwrap())
    }

    fn answer(&self, name: &str) -> String {
        self.look_up(name).0
    }

    fn inject(
        &mut self,
        id: &str,
        trouble: DnsTrouble,
        names: &[&str],
    ) -> Result<Evidence, String> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        disturb(
            &mut self.agent,
            id,
            HostFault::Dns(DnsFault { trouble, names }),
        )
    }

    fn heal(&mut self, id: &str) -> Evidence {
        match self.agent.heal(id) {
            FaultReport::Healed { evidence, .. } => evidence,
            other => panic!("{other:?}"),
        }
    }

    /// Process ids of its agent's resolver.
    fn resolvers(&self) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let stats =
            entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        let of_agent = format!(" {} ", self.agent.process.id());
        let own = stats.filter(|stat| {
            let after = stat.split("(shakedown-dns) ").nth(1).unwrap_or_default();
            after
                .get(1..)
                .is_some_and(|rest| rest.starts_with(&of_agent))
        });
        own.map(|stat| stat.split(' ').next().unwrap().parse().unwrap())
            .collect()
    }
}

fn names_of_the_run() {
    let machine =
        || ["/etc/resolv.conf", "/etc/nsswitch.conf"].map(|path| std::fs::read(path).ok());
    let before = machine();
    let node = Node::new();
    assert_eq!(node.answer("n1"), "10.77.0.1");
    assert_eq!(node.answer("N2"), "10.77.0.2");
    assert_eq!(node.answer("c1"), "10.77.0.9");
    assert_eq!(node.answer("n3"), "NONAME");
    assert_eq!(node.answer("localhost.example"), "NONAME");
    assert_eq!(machine(), before);
    let folder = node.agent.ledger();
    let left = std::fs::read_dir(folder.parent().unwrap()).unwrap();
    assert_eq!(left.count(), 1, "the ledger alone");
}

fn modes() {
    let mut node = Node::new();
    let cases = [
        (DnsTrouble::Error {}, "AGAIN"),
        (DnsTrouble::Nxdomain {}, "NONAME"),
        (DnsTrouble::Timeout {}, "AGAIN"),
        (DnsTrouble::Random {}, "198.18."),
    ];
    for (trouble, expected) in cases {
        let mode = trouble.name();
        let evidence = node.inject(mode, trouble, &[]).unwrap();
        println!("  {mode}: {}", evidence.observed);
        let (answer, millis) = node.look_up("n2");
        assert!(answer.starts_with(expected), "{mode}: {answer}");
        assert_eq!(millis >= 999.0, mode == "timeout", "{mode}: {millis} ms");
        if mode == "random" {
            assert_ne!(node.answer("n2"), answer, "drawn anew");
        }
        let healed = node.heal(mode);
        assert!(healed.observed.contains("10.77.0"), "{healed:?}");
        assert_eq!(node.answer("n2"), "10.77.0.2", "after {mode}");
    }
}

fn delay() {
    let mut node = Node::new();
    let latency = Duration::from_millis(120);
    let evidence = node
        .inject("slow", DnsTrouble::Delay { latency }, &[])
        .unwrap();
    println!("  {} {:?}", evidence.observed, evidence.achieved);
    let achieved = &evidence.achieved[0];
    assert_eq!(achieved.requested, 120.0);
    assert!((120.0..125.0).contains(&achieved.achieved), "{evidence:?}");
    let (answer, millis) = node.look_up("n1");
    assert_eq!(answer, "10.77.0.1");
    assert!((120.0..1_000.0).contains(&millis), "{millis} ms");
    let healed = node.heal("slow");
    assert!(healed.achieved[0].achieved < 5.0, "{healed:?}");
    let quickest = (0..5)
        .map(|_| node.look_up("n1").1)
        .fold(f64::INFINITY, f64::min);
    assert!(quickest < 100.0, "{quickest} ms");
}

fn patterns() {
    let mut node = Node::new();
    let error = DnsTrouble::Error {};
    let evidence = node.inject("some", error, &["n2", "*.example"]).unwrap();
    assert!(
        evidence.observed.contains("is answered truly"),
        "{evidence:?}"
    );
    assert!(evidence.observed.contains("probe.example"), "{evidence:?}");
    assert_eq!(node.answer("n2"), "AGAIN");
    assert_eq!(node.answer("Db.Example"), "AGAIN");
    assert_eq!(node.answer("n1"), "10.77.0.1");
    assert_eq!(node.answer("example"), "NONAME");
    node.heal("some");
    assert_eq!(node.answer("n2"), "10.77.0.2");
    // Nobody had that name before: nothing would have happened.
    let nxdomain = DnsTrouble::Nxdomain {};
    let reason = node.inject("no", nxdomain, &["*.example"]).unwrap_err();
    assert!(reason.contains("without the fault"), "{reason}");
    assert_eq!(node.answer("n1"), "10.77.0.1");
}

fn overlap() {
    let mut node = Node::new();
    let slow = |ms| DnsTrouble::Delay {
        latency: Duration::from_millis(ms),
    };
    node.inject("first", slow(60), &["n1"]).unwrap();
    let both = node.inject("second", slow(50), &["n*"]).unwrap();
    assert!(both.observed.contains("110ms later"), "{both:?}");
    assert!(node.look_up("n1").1 >= 110.0);
    node.inject("broken", DnsTrouble::Nxdomain {}, &["n1"])
        .unwrap();
    assert_eq!(node.answer("n1"), "NONAME");
    let left = node.heal("first");
    assert!(
        left.observed.contains("50ms later: no such name"),
        "{left:?}"
    );
    node.heal("broken");
    let (answer, millis) = node.look_up("n1");
    assert_eq!(answer, "10.77.0.1");
    assert!(millis >= 50.0, "{millis} ms");
    node.heal("second");
}

fn dead() {
    let mut node = Node::new();
    node.inject("error", DnsTrouble::Error {}, &[]).unwrap();
    let [pid] = node.resolvers()[..] else {
        panic!("one resolver");
    };
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let deadline = shakedown_agents::clock::now().after(LIMIT);
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    while !state().is_empty() && !state().contains(") Z ") {
        assert!(shakedown_agents::clock::now() < deadline, "it lives");
        std::thread::yield_now();
    }
    let reason = node
        .inject("more", DnsTrouble::Timeout {}, &[])
        .unwrap_err();
    assert!(reason.starts_with("n1: "), "{reason}");
    match node.agent.heal("error") {
        FaultReport::Unverified { .. } => {}
        other => panic!("{other:?}"),
    }
}

fn none() {
    let mut node = Node::with(None);
    let reason = node.inject("error", DnsTrouble::Error {}, &[]).unwrap_err();
    assert!(reason.contains("gave no names"), "{reason}");
    assert!(node.resolvers().is_empty());
}

fn ends() {
    let mut node = Node::new();
    let [killed] = node.resolvers()[..] else {
        panic!("one resolver");
    };
    node.agent.process.kill().unwrap();
    node.agent.process.wait().unwrap();
    let mut other = Node::new();
    let [shut_down] = other.resolvers()[..] else {
        panic!("one resolver");
    };
    other.agent.order(&NodeOrder::Shutdown);
    assert!(other.agent.ended().success());
    let deadline = shakedown_agents::clock::now().after(LIMIT);
    let lives = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(shakedown-dns)") && !stat.contains(") Z ")
    };
    while lives(killed) || lives(shut_down) {
        assert!(
            shakedown_agents::clock::now() < deadline,
            "a resolver lives on"
        );
        std::thread::yield_now();
    }
}
