//! Nodes under test, by behaviour.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::process::{Command, ExitCode};

use shakedown_contracts::event::{Event, StampedEvent};

/// The descriptor of the event pipe in all tests.
pub const EVENTS: i32 = 5;

/// Behaves as asked.
pub fn main(behaviour: &str, arguments: &[String]) -> ExitCode {
    // SAFETY: the agent passes the pipe under this number, and nothing else here uses it.
    let mut events = unsafe { File::from_raw_fd(EVENTS) };
    match behaviour {
        "plain" => ready(&mut events),
        "family" => {
            // A thread, a child, and a grandchild that has left the process group.
            std::thread::spawn(|| idle());
            own("child");
            ready(&mut events);
        }
        "child" => {
            nix::unistd::setsid().expect("a new child leads no group");
            own("idle");
        }
        "idle" => {}
        "noisy" => {
            events
                .write_all(b"no event\n\xff\xfe\n{\"event\":\n")
                .expect("the agent reads");
            events
                .write_all(&vec![b'x'; 200_000])
                .expect("the agent reads");
            events.write_all(b"\n").expect("the agent reads");
            ready(&mut events);
        }
        // Spends its life between fork and exec, where stopping is hardest.
        "forker" => {
            ready(&mut events);
            loop {
                let _status = Command::new("/bin/true").status();
            }
        }
        "inspect" => inspect(),
        "exit" => return ExitCode::from(7),
        // The second start never becomes ready: the first leaves a file.
        "once" => {
            let mark = std::path::Path::new(&arguments[0]);
            if !mark.exists() {
                File::create(mark).expect("the folder exists");
                ready(&mut events);
            }
        }
        other => panic!("no such behaviour: {other}"),
    }
    if behaviour == "inspect" {
        ready(&mut events);
    }
    idle()
}

fn ready(events: &mut File) {
    let event = StampedEvent {
        time: shakedown_agents::clock::now(),
        event: Event::NodeReady {},
    };
    let mut line = serde_json::to_vec(&event).expect("an event is JSON");
    line.push(b'\n');
    events.write_all(&line).expect("the agent reads");
}

/// Starts this file again as another node.
#[expect(
    clippy::zombie_processes,
    reason = "the namespace's init reaps what is left behind"
)]
fn own(behaviour: &str) {
    let exe = std::env::current_exe().expect("/proc is mounted");
    Command::new(exe)
        .args(["node", behaviour])
        .spawn()
        .expect("forking works");
}

fn idle() -> ! {
    loop {
        std::thread::park();
    }
}

/// Prints to the log what a node sees of its surroundings.
fn inspect() {
    let mut input = Vec::new();
    std::io::stdin()
        .read_to_end(&mut input)
        .expect("standard input is readable");
    println!("stdin-bytes={}", input.len());
    println!("pid={}", std::process::id());
    println!(
        "directory={}",
        std::env::current_dir().expect("it exists").display()
    );
    let mut descriptors: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .map(|entry| {
            entry
                .expect("it is listable")
                .file_name()
                .into_string()
                .expect("a number")
        })
        .map(|name| name.parse().expect("a number"))
        .collect();
    // The listing's own descriptor is closed by now.
    descriptors.retain(|number| std::path::Path::new(&format!("/proc/self/fd/{number}")).exists());
    descriptors.sort_unstable();
    println!("descriptors={descriptors:?}");
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    for line in status.lines().filter(|line| line.starts_with("Sig")) {
        println!("{line}");
    }
    eprintln!("to-stderr");
}
