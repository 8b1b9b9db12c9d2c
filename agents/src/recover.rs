//! Residue of harnesses that died, and its removal, offline.
//!
//! A ledger belongs to a harness. While that very process lives (same pid, start time and boot) its
//! ledgers are never touched. Otherwise what a ledger names is residue: processes are killed one by
//! one, each only if it is still the recorded one, control groups are removed, and then the ledger is.
//! Namespaces, rules and pipes need no recovery: the kernel removes them with their processes.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use shakedown_contracts::units::Duration;

use crate::cgroup;
use crate::ledger::{self, LedgerContents, OpenFault};
use crate::process::identity::{ProcessIdentity, boot_id};
use crate::process::pidfd::PidFd;

/// How long a killed process may take to end; a gibibyte of memory takes 0.4 s to tear down.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A run keeps its ledgers in folders of its own folder, one an attempt; deeper there are none.
const DEPTH_MAX: usize = 2;

/// What one dead harness's agent left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residue {
    /// The ledger that says so.
    pub ledger: PathBuf,
    /// Who wrote it; empty when it died before writing its name.
    pub agent: String,
    /// Faults that were applied and not healed.
    pub open_faults: Vec<OpenFault>,
    /// Recorded processes (the agent and what it started) that still live.
    pub living: Vec<ProcessIdentity>,
    /// Control groups that are still there.
    pub groups: Vec<PathBuf>,
}

/// What [`recover`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Processes that were killed and seen to end.
    pub killed: Vec<ProcessIdentity>,
    /// Processes that did not end in time; their ledgers were kept.
    pub remaining: Vec<ProcessIdentity>,
    /// Control groups that were removed.
    pub groups: Vec<PathBuf>,
    /// Ledgers that were removed.
    pub ledgers: Vec<PathBuf>,
}

/// Lists what dead harnesses left below `root`: living processes and faults that were not healed.
/// A ledger of theirs with neither is no residue, though [`recover`] tidies it away.
///
/// # Errors
/// When the folder cannot be read, or belongs to another user, whose word must not be taken for
/// what to kill. A folder that does not exist holds nothing.
pub fn residue(root: &Path) -> io::Result<Vec<Residue>> {
    let mut found = dead_ledgers(root)?;
    found.retain(|residue| {
        let none = residue.living.is_empty() && residue.open_faults.is_empty();
        !none || !residue.groups.is_empty()
    });
    Ok(found)
}

fn dead_ledgers(root: &Path) -> io::Result<Vec<Residue>> {
    let mut found = Vec::new();
    for folder in run_folders(root)? {
        for path in files(&folder, 0)? {
            let contents = match ledger::read(&path) {
                // Its agent has closed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                result => result?,
            };
            if !harness_lives(&contents, &folder)? {
                found.push(describe(path, contents)?);
            }
        }
    }
    Ok(found)
}

/// Removes all residue below `root` and says what was done.
///
/// # Errors
/// As for [`residue`], and when a file cannot be removed or a process not be signalled.
pub fn recover(root: &Path) -> io::Result<Recovered> {
    let mut recovered = Recovered::default();
    for residue in dead_ledgers(root)? {
        let before = recovered.remaining.len();
        for process in &residue.living {
            if end(*process)? {
                recovered.killed.push(*process);
            } else {
                recovered.remaining.push(*process);
            }
        }
        for group in &residue.groups {
            cgroup::remove_left_over(group)?;
            recovered.groups.push(group.clone());
        }
        if recovered.remaining.len() == before {
            unless_gone(std::fs::remove_file(&residue.ledger))?;
            recovered.ledgers.push(residue.ledger);
        }
    }
    for folder in run_folders(root)? {
        if !named_harness(&folder).is_some_and(ProcessIdentity::is_alive) {
            remove_if_empty(&folder, 0)?;
        }
    }
    Ok(recovered)
}

/// Kills exactly this process; true once it is gone.
fn end(process: ProcessIdentity) -> io::Result<bool> {
    let Some(handle) = PidFd::open_exactly(process) else {
        return Ok(true);
    };
    match handle.signal(Signal::SIGKILL) {
        Err(error) if error.raw_os_error() != Some(Errno::ESRCH as i32) => Err(error),
        _ => handle.wait(END_LIMIT),
    }
}

fn describe(ledger: PathBuf, contents: LedgerContents) -> io::Result<Residue> {
    let header = contents.header.as_ref();
    let boot_id = boot_id()?;
    let same_boot = header.is_some_and(|header| header.boot_id == boot_id);
    let agent_process = header.map(|header| header.agent_process);
    let recorded = agent_process.into_iter().chain(contents.processes);
    Ok(Residue {
        ledger,
        agent: header
            .map(|header| header.agent.clone())
            .unwrap_or_default(),
        open_faults: contents.open_faults,
        living: recorded
            .filter(|process| same_boot && process.is_alive())
            .collect(),
        groups: contents
            .groups
            .into_iter()
            .filter(|group| same_boot && group.exists())
            .collect(),
    })
}

fn harness_lives(contents: &LedgerContents, folder: &Path) -> io::Result<bool> {
    match &contents.header {
        Some(header) => Ok(header.boot_id == boot_id()? && header.harness_process.is_alive()),
        None => Ok(named_harness(folder).is_some_and(ProcessIdentity::is_alive)),
    }
}

/// The harness in the folder's name `<pid>-<start time>`.
fn named_harness(folder: &Path) -> Option<ProcessIdentity> {
    let (pid, start_ticks) = folder.file_name()?.to_str()?.split_once('-')?;
    Some(ProcessIdentity {
        pid: pid.parse().ok()?,
        start_ticks: start_ticks.parse().ok()?,
    })
}

fn run_folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let owner = match std::fs::symlink_metadata(root) {
        Ok(metadata) if metadata.is_dir() => metadata.uid(),
        Ok(_) => return Err(refused(root, "is no folder; remove it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if owner != nix::unistd::geteuid().as_raw() {
        return Err(refused(
            root,
            "belongs to another user; remove it or run as that user",
        ));
    }
    entries(root, |kind| kind.is_dir())
}

/// Ledgers in a run's folder and the folders in it.
fn files(folder: &Path, depth: usize) -> io::Result<Vec<PathBuf>> {
    let mut found = entries(folder, |kind| kind.is_file())?;
    if depth < DEPTH_MAX {
        for inner in entries(folder, |kind| kind.is_dir())? {
            found.extend(files(&inner, depth + 1)?);
        }
    }
    Ok(found)
}

fn entries(folder: &Path, wanted: fn(std::fs::FileType) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let listed = match std::fs::read_dir(folder) {
        // Another run has removed its own folder meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths),
        result => result?,
    };
    for entry in listed {
        let entry = entry?;
        if entry.file_type().is_ok_and(wanted) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn refused(root: &Path, why: &str) -> io::Error {
    let message = format!("ledger folder {} {why}", root.display());
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

/// Removes a folder that holds nothing but empty folders; another stays.
fn remove_if_empty(folder: &Path, depth: usize) -> io::Result<()> {
    if depth < DEPTH_MAX {
        for inner in entries(folder, |kind| kind.is_dir())? {
            remove_if_empty(&inner, depth + 1)?;
        }
    }
    match std::fs::remove_dir(folder) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOTEMPTY as i32) => Ok(()),
        result => unless_gone(result),
    }
}

/// What somebody else has removed meanwhile needs no removal.
fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

impl fmt::Display for Residue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agent = if self.agent.is_empty() {
            "an agent without a name"
        } else {
            &self.agent
        };
        write!(f, "{agent}: {} living processes", self.living.len())?;
        for open in &self.open_faults {
            write!(f, ", {} ({}) not healed", open.id, open.description)?;
        }
        for group in &self.groups {
            write!(f, ", control group {}", group.display())?;
        }
        write!(f, " [{}]", self.ledger.display())
    }
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Recovered::default() {
            return f.write_str("nothing to recover");
        }
        for process in &self.killed {
            writeln!(f, "killed process {}", process.pid)?;
        }
        for process in &self.remaining {
            let pid = process.pid;
            writeln!(
                f,
                "process {pid} lives {END_LIMIT} after SIGKILL; see /proc/{pid}/stack"
            )?;
        }
        for group in &self.groups {
            writeln!(f, "removed control group {}", group.display())?;
        }
        write!(f, "removed {} ledgers", self.ledgers.len())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use shakedown_contracts::fault::FaultId;

    use super::*;
    use crate::ledger::Ledger;

    /// A process that lives until its standard input closes or somebody kills it.
    fn child() -> Child {
        Command::new("/bin/cat")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn fault() -> FaultId {
        FaultId {
            fault: "pause-it".into(),
            occurrence: 0,
        }
    }

    /// A ledger with an open fault and one recorded process, its harness replaced.
    fn write(root: &Path, recorded: &Child, harness: ProcessIdentity) -> PathBuf {
        let folder = root.join(format!("{}-{}", harness.pid, harness.start_ticks));
        let path = folder.join("attempt-1").join("n1.jsonl");
        let mut ledger = Ledger::open(&path, "node-agent n1").unwrap();
        ledger.enter(&fault(), "pause").unwrap();
        ledger.record_process(recorded.id() as i32).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        lines[0]["harness_process"] = serde_json::to_value(harness).unwrap();
        // The test itself wrote the ledger, and must not be killed as a surviving agent.
        lines[0]["agent_process"] = serde_json::to_value(dead(harness)).unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn own() -> ProcessIdentity {
        ProcessIdentity::of(std::process::id() as i32).unwrap()
    }

    fn dead(process: ProcessIdentity) -> ProcessIdentity {
        ProcessIdentity {
            start_ticks: process.start_ticks + 1,
            ..process
        }
    }

    #[test]
    fn residue_of_a_dead_harness_is_listed_and_then_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut survivor = child();
        let path = write(root.path(), &survivor, dead(own()));

        let found = residue(root.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].agent, "node-agent n1");
        assert_eq!(found[0].open_faults[0].id, fault());
        assert_eq!(found[0].living[0].pid, survivor.id() as i32);
        let text = found[0].to_string();
        assert!(
            text.contains("1 living processes, pause-it (pause) not healed"),
            "{text}"
        );

        let recovered = recover(root.path()).unwrap();
        assert_eq!(recovered.killed, found[0].living);
        assert!(
            recovered.to_string().ends_with("removed 1 ledgers"),
            "{recovered}"
        );
        assert_eq!(recovered.ledgers, [path]);
        assert!(recovered.remaining.is_empty());
        assert!(
            !survivor.wait().unwrap().success(),
            "it was killed and did not end by itself"
        );
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn ledgers_of_a_living_harness_and_a_process_that_took_over_a_number_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let mut bystander = child();
        let path = write(root.path(), &bystander, own());
        assert!(residue(root.path()).unwrap().is_empty());
        assert_eq!(recover(root.path()).unwrap(), Recovered::default());
        assert!(path.exists());

        // The same ledger of a dead harness, but the recorded process was an earlier one.
        let process = ProcessIdentity::of(bystander.id() as i32).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text
            .replace(&process.start_ticks.to_string(), "1")
            .replace(&own().start_ticks.to_string(), "2");
        std::fs::write(&path, text).unwrap();
        assert_eq!(recover(root.path()).unwrap().killed, []);
        assert!(
            bystander.try_wait().unwrap().is_none(),
            "the bystander still lives"
        );
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    }

    #[test]
    fn a_dead_ledger_with_nothing_open_and_nobody_alive_is_tidied_but_no_residue() {
        let root = tempfile::tempdir().unwrap();
        let mut gone = child();
        let path = write(root.path(), &gone, dead(own()));
        gone.kill().unwrap();
        gone.wait().unwrap();
        assert_eq!(residue(root.path()).unwrap().len(), 1, "its fault is open");
        let struck = "{\"line\":\"struck\",\"id\":{\"fault\":\"pause-it\",\"occurrence\":0}}\n";
        let text = std::fs::read_to_string(&path).unwrap() + struck;
        std::fs::write(&path, text).unwrap();
        assert_eq!(residue(root.path()).unwrap(), []);
        assert_eq!(recover(root.path()).unwrap().ledgers, [path]);
    }

    #[test]
    fn a_missing_folder_holds_no_residue() {
        let root = tempfile::tempdir().unwrap();
        assert!(residue(&root.path().join("none")).unwrap().is_empty());
    }
}
