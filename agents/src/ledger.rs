//! The ledger: what an agent has done and not yet undone, in a file that outlives it.
//!
//! A fault is written and synced *before* it is applied and struck out after it is healed, so that
//! whatever dies and whenever, the file names at least what is in effect. One JSON object a line;
//! a line torn by the writer's death is the last one, and describes nothing that had begun.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shakedown_contracts::fault::FaultId;
use thiserror::Error;

use crate::process::identity::{ProcessIdentity, boot_id};

/// Version of the ledger's lines.
pub const LEDGER_FORMAT: u32 = 1;

/// Why the ledger could not be written; no fault may be applied then.
#[derive(Debug, Error)]
#[error("ledger {}: {action} failed: {source}; {}", path.display(), hint(source))]
pub struct LedgerError {
    /// The file.
    path: PathBuf,
    /// What was tried.
    action: &'static str,
    /// What the kernel said.
    source: io::Error,
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AlreadyExists => {
            "an earlier agent left it: give each agent its own, or run `shakedown recover`"
        }
        _ => "is its folder writable and the disk not full?",
    }
}

/// First line: who writes, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHeader {
    /// [`LEDGER_FORMAT`].
    pub format: u32,
    /// The agent's name, such as `node-agent n1`.
    pub agent: String,
    /// The agent.
    pub agent_process: ProcessIdentity,
    /// The harness that started it. While it lives, the ledger is nobody else's business.
    pub harness_process: ProcessIdentity,
    /// Identities mean nothing after another boot.
    pub boot_id: String,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
enum Line {
    Header(LedgerHeader),
    Entered { id: FaultId, description: String },
    Struck { id: FaultId },
    Process(ProcessIdentity),
    Group { path: PathBuf },
}

/// A fault that was entered and not struck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFault {
    /// Which.
    pub id: FaultId,
    /// What it does.
    pub description: String,
}

/// The writing end.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
    open: Vec<FaultId>,
    groups: Vec<PathBuf>,
}

impl Ledger {
    /// Creates the file (its folder too) and writes the header: this process and its parent.
    ///
    /// # Errors
    /// [`LedgerError`]; also when the file exists, since it may describe something still in effect.
    pub fn open(path: &Path, agent: &str) -> Result<Ledger, LedgerError> {
        let parent = nix::unistd::getppid().as_raw();
        Ledger::open_for(path, agent, parent)
    }

    /// Like [`Ledger::open`] for a harness that is not the parent.
    fn open_for(path: &Path, agent: &str, harness: i32) -> Result<Ledger, LedgerError> {
        let fail = |action| {
            move |source| LedgerError {
                path: path.to_owned(),
                action,
                source,
            }
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(fail("creating its folder"))?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(fail("creating it"))?;
        let own = std::process::id() as i32;
        let header = LedgerHeader {
            format: LEDGER_FORMAT,
            agent: agent.to_owned(),
            agent_process: ProcessIdentity::of(own).map_err(fail("finding our start time"))?,
            // A harness outside our pid namespace has no number here; it counts as dead.
            harness_process: ProcessIdentity::of(harness).unwrap_or(ProcessIdentity {
                pid: harness,
                start_ticks: 0,
            }),
            boot_id: boot_id().map_err(fail("reading the boot id"))?,
        };
        let mut ledger = Ledger {
            path: path.to_owned(),
            file,
            open: Vec::new(),
            groups: Vec::new(),
        };
        ledger.append(&Line::Header(header))?;
        Ok(ledger)
    }

    /// Writes down a fault and syncs. Call it before the fault is applied.
    ///
    /// # Errors
    /// [`LedgerError`]; do not apply the fault then.
    pub fn enter(&mut self, id: &FaultId, description: &str) -> Result<(), LedgerError> {
        self.append(&Line::Entered {
            id: id.clone(),
            description: description.to_owned(),
        })?;
        self.open.push(id.clone());
        Ok(())
    }

    /// Strikes a fault out. Call it after it is healed.
    ///
    /// # Errors
    /// [`LedgerError`]; the fault then looks open to `recover`, which is harmless.
    pub fn strike(&mut self, id: &FaultId) -> Result<(), LedgerError> {
        self.append(&Line::Struck { id: id.clone() })?;
        self.open.retain(|open| open != id);
        Ok(())
    }

    /// Notes a process of ours that must not outlive us.
    ///
    /// # Errors
    /// [`LedgerError`]; also when the process is already gone.
    pub fn record_process(&mut self, pid: i32) -> Result<(), LedgerError> {
        let process = ProcessIdentity::of(pid).map_err(|source| LedgerError {
            path: self.path.clone(),
            action: "finding a started process",
            source,
        })?;
        self.append(&Line::Process(process))
    }

    /// Notes a control group that is about to be made and must not outlive us.
    ///
    /// # Errors
    /// [`LedgerError`]
    pub fn record_group(&mut self, path: &Path) -> Result<(), LedgerError> {
        let path = path.to_owned();
        self.append(&Line::Group { path: path.clone() })?;
        self.groups.push(path);
        Ok(())
    }

    /// Faults entered and not struck, in order of entry.
    pub fn open_faults(&self) -> &[FaultId] {
        &self.open
    }

    /// Ends the ledger: the file is removed unless a fault is open or a control group is still there, which
    /// `recover` then finds.
    ///
    /// # Errors
    /// [`LedgerError`] when the file cannot be removed.
    pub fn close(self) -> Result<(), LedgerError> {
        if !self.open.is_empty() || self.groups.iter().any(|group| group.exists()) {
            return Ok(());
        }
        std::fs::remove_file(&self.path).map_err(|source| LedgerError {
            path: self.path.clone(),
            action: "removing it",
            source,
        })
    }

    fn append(&mut self, line: &Line) -> Result<(), LedgerError> {
        let mut text = serde_json::to_vec(line).expect("ledger lines have no maps with odd keys");
        text.push(b'\n');
        let written = self
            .file
            .write_all(&text)
            .and_then(|()| self.file.sync_data());
        written.map_err(|source| LedgerError {
            path: self.path.clone(),
            action: "writing and syncing a line",
            source,
        })
    }
}

/// What a ledger says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerContents {
    /// `None` when the writer died while creating the file: nothing was in effect then.
    pub header: Option<LedgerHeader>,
    /// Entered and not struck.
    pub open_faults: Vec<OpenFault>,
    /// Every recorded process, in order.
    pub processes: Vec<ProcessIdentity>,
    /// Every recorded control group, in order.
    pub groups: Vec<PathBuf>,
    /// Lines that are none; a torn last line is one of them.
    pub damaged_lines: usize,
}

/// Reads a ledger, whole or torn.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> io::Result<LedgerContents> {
    Ok(parse(&std::fs::read(path)?))
}

/// The bytes of a ledger, whole or torn.
pub fn parse(bytes: &[u8]) -> LedgerContents {
    let mut contents = LedgerContents::default();
    let lines = bytes.split(|&byte| byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(Line::Header(header)) => contents.header = Some(header),
            Ok(Line::Entered { id, description }) => {
                contents.open_faults.push(OpenFault { id, description });
            }
            Ok(Line::Struck { id }) => contents.open_faults.retain(|open| open.id != id),
            Ok(Line::Process(process)) => contents.processes.push(process),
            Ok(Line::Group { path }) => contents.groups.push(path),
            Err(_) => contents.damaged_lines += 1,
        }
    }
    contents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(fault: &str) -> FaultId {
        FaultId {
            fault: fault.to_owned(),
            occurrence: 0,
        }
    }

    #[test]
    fn what_is_entered_is_open_until_it_is_struck() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run").join("n1.jsonl");
        let mut ledger = Ledger::open(&path, "node-agent n1").unwrap();
        ledger.enter(&id("a"), "kill").unwrap();
        ledger.enter(&id("b"), "pause").unwrap();
        ledger.strike(&id("a")).unwrap();
        ledger.record_process(std::process::id() as i32).unwrap();

        let contents = read(&path).unwrap();
        assert_eq!(contents.header.unwrap().agent, "node-agent n1");
        assert_eq!(
            contents.open_faults,
            [OpenFault {
                id: id("b"),
                description: "pause".into()
            }]
        );
        assert_eq!(contents.processes.len(), 1);
        assert_eq!(contents.damaged_lines, 0);
        assert_eq!(ledger.open_faults(), [id("b")]);

        ledger.close().unwrap();
        assert!(path.exists(), "an open fault keeps the file for recover");
    }

    #[test]
    fn a_ledger_with_nothing_open_is_removed_and_an_existing_one_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.jsonl");
        let mut ledger = Ledger::open(&path, "agent").unwrap();
        let error = Ledger::open(&path, "agent").unwrap_err().to_string();
        assert!(
            error.contains("n1.jsonl") && error.contains("creating it"),
            "{error}"
        );
        ledger.enter(&id("a"), "kill").unwrap();
        ledger.strike(&id("a")).unwrap();
        ledger.close().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_ledger_stays_for_as_long_as_a_group_that_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let (path, group) = (folder.path().join("n1.jsonl"), folder.path().join("group"));
        std::fs::create_dir(&group).unwrap();
        let mut ledger = Ledger::open(&path, "agent").unwrap();
        ledger.record_group(&group).unwrap();
        ledger.close().unwrap();
        assert_eq!(read(&path).unwrap().groups, std::slice::from_ref(&group));
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir(&group).unwrap();
        let mut ledger = Ledger::open(&path, "agent").unwrap();
        ledger.record_group(&group).unwrap();
        ledger.close().unwrap();
        assert!(!path.exists(), "the group is gone");
    }

    #[test]
    fn a_ledger_cut_anywhere_is_read_up_to_the_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.jsonl");
        let mut ledger = Ledger::open(&path, "agent").unwrap();
        let header_bytes = std::fs::read(&path).unwrap().len();
        ledger.enter(&id("a"), "kill").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let contents = read(&path).unwrap();
            // A line is whole without its final newline too.
            assert_eq!(
                contents.header.is_some(),
                cut + 1 >= header_bytes,
                "cut at {cut}"
            );
            assert_eq!(
                contents.open_faults.len(),
                usize::from(cut + 1 >= whole.len()),
                "{cut}"
            );
        }
    }
}
