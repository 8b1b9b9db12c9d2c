//! SIGKILL of the harness, of agents, and of both, at random moments of a run with many faults,
//! leaves no process, namespace, mount or device, and after one `recover` no control group.
//!
//! `SHAKEDOWN_KILLS=200` tries so many moments instead of the usual few.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shakedown_contracts::random::Random;

use crate::support::{Scratch, end_within, machine_state};

/// Moments tried; drawn over a whole run, so that building, faults and tearing down are all met.
const MOMENTS: u32 = 20;
/// A run of the experiment takes about this long.
const RUN: Duration = Duration::from_millis(4200);
/// The kernel ends the processes; a busy machine gets this long for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// A harness that has lost an agent says so and ends; a busy machine gets this long.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// All that could be left: stopped processes, lying clocks, limits, busy processes, held packets.
const MANY_FAULTS: &str = r#"
title = "Many faults at once"
seed = 3

[target]
system = "reference"
nodes = 3

[workload]
kind = "register"
clients = 4
rate = 50
keys = 3

[phases]
warm_up = "500ms"
fault = "2s"
settle = "1s"

[[fault]]
kind = "pause"
nodes = ["n1"]
at = "200ms"
duration = "1s"

[[fault]]
kind = "delay"
nodes = "all"
latency = "20ms"
jitter = "5ms"

[[fault]]
kind = "duplicate"
nodes = ["n2"]
duplicate = "30%"
at = "500ms"

[[fault]]
kind = "partition"
shape = "isolate"
nodes = ["n3"]
at = "800ms"
duration = "500ms"

[[fault]]
kind = "clock-rate"
nodes = ["n2"]
rate = 1.5

[[fault]]
kind = "file-descriptors"
nodes = ["n2"]
left = 20

[[fault]]
kind = "cpu"
nodes = ["n3"]
hogs = 1

[[fault]]
kind = "memory"
nodes = ["n1"]
pressure = "32MiB"

[[fault]]
kind = "dns"
nodes = ["n1"]
mode = "error"

[[gate]]
metric = "writes.lost"
require = "= 0"
"#;

/// What takes root beside: a node is held by its disk when its agent dies, and is in a group.
const ROOTS_FAULTS: &str = r#"
[[fault]]
kind = "disk-hang"
nodes = ["n2"]
at = "1s"
duration = "800ms"

[[fault]]
name = "killed-quota"
kind = "cpu"
nodes = ["n2"]
quota = 0.5
"#;

/// Control groups of the fault above.
fn left_groups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_string_lossy().contains("killed-quota") {
                found.push(entry.path());
            }
            folders.push(entry.path());
        }
    }
    found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Harness,
    Agent,
    Both,
}

#[test]
fn a_killed_harness_or_agent_leaves_nothing_behind() {
    if std::env::var_os("SHAKEDOWN_NO_NAMESPACES").is_some() {
        eprintln!("left out: SHAKEDOWN_NO_NAMESPACES is set");
        return;
    }
    let asked = std::env::var("SHAKEDOWN_KILLS").ok();
    let moments = asked.map_or(MOMENTS, |count| count.parse().expect("a number of kills"));
    let scratch = Scratch::new("killed-harness");
    let roots = match nix::unistd::geteuid().is_root() {
        true => ROOTS_FAULTS,
        false => "",
    };
    scratch.experiment("killed.toml", &format!("{MANY_FAULTS}{roots}"));
    let before = machine_state();
    let mut random = Random::keyed(1, "moment", "harness");
    let (mut most_seen, mut agents_killed, mut groups_left) = (0, 0, 0);
    for number in 0..moments {
        let moment = RUN.mul_f64(random.unit());
        let victims = [Victim::Harness, Victim::Agent, Victim::Both];
        let victim = *random.pick(&victims).expect("there are some");
        let out = format!("out-{number}");
        let mut child = scratch
            .command(&["run", "killed.toml", "--quiet", "--out", &out])
            .spawn()
            .expect("the binary starts");
        let started = Instant::now();
        // The moment is the subject of the test: how far the run has come is left to chance.
        std::thread::sleep(moment.saturating_sub(started.elapsed()));
        let living = scratch.processes();
        most_seen = most_seen.max(living.len());
        let agents: Vec<i32> = living
            .into_iter()
            .filter(|pid| scratch.describe(&[*pid]).contains(" agent "))
            .collect();
        let agent = random.pick(&agents).filter(|_| victim != Victim::Harness);
        if let Some(agent) = agent {
            // It may have ended by itself since it was listed.
            let _ = kill(Pid::from_raw(*agent), Signal::SIGKILL);
            agents_killed += 1;
        }
        if victim == Victim::Agent {
            end_within(child, END_PATIENCE);
        } else {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
        }
        scratch.assert_nothing_lives_after(PATIENCE);
        groups_left += left_groups().len();
        let recovered = scratch.run(&["recover"]);
        assert!(recovered.status.success(), "{recovered:?}");
        assert_eq!(left_groups(), Vec::<PathBuf>::new());
        assert_eq!(machine_state(), before, "{victim:?} killed at {moment:?}");
    }
    assert!(
        most_seen > 5 && agents_killed > 0,
        "no kill met a running cluster: {most_seen} processes were seen, {agents_killed} agents killed"
    );
    eprintln!("{agents_killed} agents killed, {groups_left} control groups left to recover");
    // Nothing is left that would keep the next run from starting.
    let next = scratch.run(&["run", "killed.toml", "--out", "next"]);
    assert!(
        next.status.code().is_some_and(|code| code <= 2),
        "{}",
        String::from_utf8_lossy(&next.stderr)
    );
}
