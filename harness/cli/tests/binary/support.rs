//! Starts the real binary in a scratch folder and looks for what it leaves behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A scratch folder with the experiments of a test, and a mark that every process of its runs
/// carries in its environment.
pub struct Scratch {
    folder: TempDir,
    mark: String,
}

/// The variable that marks processes.
const MARK: &str = "SHAKEDOWN_TEST_MARK";

impl Scratch {
    /// A new one; `name` is unique among the tests. In memory where that can be had: a disk that
    /// compilers keep busy holds a sync up for a second, and that is not what a test asks for.
    pub fn new(name: &str) -> Self {
        let in_memory = TempDir::new_in("/dev/shm");
        let folder = in_memory
            .or_else(|_| TempDir::new())
            .expect("a temporary folder");
        Scratch {
            folder,
            mark: format!("{name}-{}", std::process::id()),
        }
    }

    /// Path of the scratch folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes an experiment file and returns its path.
    pub fn experiment(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("the scratch folder can be written");
        path
    }

    /// `shakedown` with these arguments, to be started in the scratch folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_shakedown")), arguments)
    }

    /// The same with another copy of the binary.
    pub fn command_of(&self, executable: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(executable);
        command
            .args(arguments)
            .current_dir(self.path())
            .env(MARK, &self.mark);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    /// Process ids of the runs of this scratch that live now (zombies do not), this test's aside.
    pub fn processes(&self) -> Vec<i32> {
        let wanted = format!("{MARK}={}", self.mark);
        let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let carries = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == wanted.as_bytes())
        };
        pids.filter(|pid| *pid != std::process::id() as i32)
            .filter(carries)
            .collect()
    }

    /// Command lines of these processes, for messages.
    pub fn describe(&self, pids: &[i32]) -> String {
        let line = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            format!(
                "{pid}: {}",
                String::from_utf8_lossy(&words).replace('\0', " ")
            )
        };
        pids.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Waits until none of its processes lives.
    ///
    /// # Panics
    /// When some still live after `limit`.
    pub fn assert_nothing_lives_after(&self, limit: Duration) {
        wait_for(limit, || {
            let living = self.processes();
            if living.is_empty() {
                Ok(())
            } else {
                Err(self.describe(&living))
            }
        });
    }
}

/// Polls `condition` until it is `Ok`.
///
/// # Panics
/// With the last `Err` when that takes longer than `limit`.
pub fn wait_for<T>(limit: Duration, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(reason) => assert!(Instant::now() < deadline, "after {limit:?}: {reason}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a machine has that a run could leave: network devices, mounts, and namespaces of others.
pub fn machine_state() -> Vec<String> {
    let mut state: Vec<String> = fs::read_dir("/sys/class/net")
        .expect("/sys is there")
        .flatten()
        .map(|entry| format!("device {}", entry.file_name().to_string_lossy()))
        .collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
    let relevant = |line: &&str| line.contains("nsfs") || line.contains("shakedown");
    state.extend(
        mounts
            .lines()
            .filter(relevant)
            .map(|line| format!("mount {line}")),
    );
    state.sort();
    state
}

/// Waits for the child's end.
///
/// # Panics
/// When it does not end within `limit`; it is killed first.
pub fn end_within(mut child: Child, limit: Duration) -> Output {
    let deadline = Instant::now() + limit;
    while child
        .try_wait()
        .expect("a child can be waited for")
        .is_none()
    {
        if Instant::now() >= deadline {
            let _ = child.kill();
            let output = child.wait_with_output().expect("a killed child ends");
            panic!(
                "not done after {limit:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("an ended child has output")
}

/// A short experiment: three nodes, the primary is killed, gates that hold.
pub const PRIMARY_KILLED: &str = r#"
title = "The primary is killed"
seed = 3

[target]
system = "reference"
nodes = 3

[target.strategy]
detector = { kind = "fixed-timeout", heartbeat_interval = "50ms", timeout = "300ms" }

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
name = "primary-dies"
kind = "kill"
nodes = "primary"
at = "200ms"
duration = "1s"

[[gate]]
metric = "recovery.first_success"
require = "< 1900ms"

[[gate]]
metric = "consistency"
require = "linearizable"
"#;
