//! The files of one node: `log`, `checkpoint`, `checkpoint.previous`; and `probe`, which is written to
//! see whether the disk still works, and never read.
//!
//! What survives what: bytes written to the log survive the process (they are the kernel's), bytes
//! synced survive the host. With `hold_unsynced` the first is taken away on purpose: appended bytes
//! stay in this process until the sync, so that a SIGKILL loses exactly what a host crash would.
//! A whole file is replaced by writing `*.new`, fsync, rename, fsync of the folder, so that at
//! every moment either the old or the new one is there (the rename without the fsyncs is the
//! classic mistake: Pillai et al. 2014).
//!
//! Invariant: the log file followed by the held bytes is what was appended since the last
//! checkpoint. After any error the files are not to be used again, but after a failed sync where
//! `on_fsync_error = "retry"` (wrong on purpose).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::NodeError;

const LOG: &str = "log";
const CHECKPOINT: &str = "checkpoint";
const CHECKPOINT_PREVIOUS: &str = "checkpoint.previous";
const PROBE: &str = "probe";
const NEW_SUFFIX: &str = ".new";

/// The open files.
#[derive(Debug)]
pub struct Files {
    /// The data folder; its lock is held as long as this is.
    directory: PathBuf,
    lock: File,
    log: File,
    log_bytes: u64,
    /// Appended and not yet in the file; only with `hold_unsynced`.
    held: Vec<u8>,
    hold_unsynced: bool,
}

/// What the files held when they were opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Newest first.
    pub checkpoints: Vec<Vec<u8>>,
    /// The log from its beginning.
    pub log: Vec<u8>,
}

impl Files {
    /// Locks the folder, removes unfinished files and reads the others.
    pub fn open(directory: &Path, hold_unsynced: bool) -> Result<(Files, Content), NodeError> {
        let lock = lock(directory)?;
        for name in [LOG, CHECKPOINT] {
            let unfinished = directory.join(format!("{name}{NEW_SUFFIX}"));
            unreadable(&unfinished, remove_if_there(&unfinished))?;
        }
        let mut content = Content::default();
        for name in [CHECKPOINT, CHECKPOINT_PREVIOUS] {
            let path = directory.join(name);
            content
                .checkpoints
                .extend(unreadable(&path, read_if_there(&path))?);
        }
        let path = directory.join(LOG);
        let mut log = unreadable(&path, open_log(&path))?;
        let log_bytes = unreadable(&path, log.read_to_end(&mut content.log))? as u64;
        // The entry of a new log file must be as durable as what will be synced into it.
        unreadable(directory, lock.sync_all())?;
        let directory = directory.to_owned();
        let files = Files {
            directory,
            lock,
            log,
            log_bytes,
            held: Vec::new(),
            hold_unsynced,
        };
        Ok((files, content))
    }

    /// Appends to the log; not durable yet.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), NodeError> {
        if self.hold_unsynced {
            self.held.extend_from_slice(bytes);
            return Ok(());
        }
        self.write(bytes)
    }

    /// Writes what was held back; not durable yet.
    pub fn write_held(&mut self) -> Result<(), NodeError> {
        let held = std::mem::take(&mut self.held);
        self.write(&held)
    }

    /// Makes everything appended durable.
    pub fn sync(&mut self) -> Result<(), NodeError> {
        self.write_held()?;
        let synced = self.log.sync_data();
        self.unwritable(LOG, synced)
    }

    /// Writes the probe file over and makes it durable, whatever is held back of the log.
    pub fn probe(&mut self, position: u64) -> Result<(), NodeError> {
        let path = self.directory.join(PROBE);
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            file.write_all(&position.to_be_bytes())?;
            file.sync_data()
        };
        self.unwritable(PROBE, write())
    }

    /// Cuts the log to `length` bytes; what remains is durable.
    pub fn truncate(&mut self, length: u64) -> Result<(), NodeError> {
        let whole = self.log_bytes + self.held.len() as u64;
        assert!(
            length <= whole,
            "the core cuts its log of {whole} bytes to {length}"
        );
        let kept = length.saturating_sub(self.log_bytes) as usize;
        self.held.truncate(kept);
        if length < self.log_bytes {
            let cut = self.log.set_len(length);
            self.unwritable(LOG, cut)?;
            self.log_bytes = length;
        }
        self.sync()
    }

    /// Replaces the checkpoint, keeping the one before it, then replaces the log by `log`.
    ///
    /// A crash between the two leaves the new checkpoint with the old log, which still holds the
    /// records up to it: recovery skips those.
    pub fn checkpoint(&mut self, bytes: &[u8], log: &[u8]) -> Result<(), NodeError> {
        drop(self.write_new(CHECKPOINT, bytes)?);
        let current = self.directory.join(CHECKPOINT);
        if current.exists() {
            let kept = std::fs::rename(&current, self.directory.join(CHECKPOINT_PREVIOUS));
            self.unwritable(CHECKPOINT_PREVIOUS, kept)?;
        }
        self.put_in_place(CHECKPOINT)?;
        self.log = self.write_new(LOG, log)?;
        self.put_in_place(LOG)?;
        self.log_bytes = log.len() as u64;
        self.held.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), NodeError> {
        let written = self.log.write_all(bytes);
        self.unwritable(LOG, written)?;
        self.log_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes `<name>.new` and syncs it.
    fn write_new(&self, name: &str, bytes: &[u8]) -> Result<File, NodeError> {
        let name = format!("{name}{NEW_SUFFIX}");
        let path = self.directory.join(&name);
        let write = || {
            remove_if_there(&path)?;
            let mut file = open_log(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        self.unwritable(&name, write())
    }

    /// Renames `<name>.new` to `<name>`, durably.
    fn put_in_place(&self, name: &str) -> Result<(), NodeError> {
        let new = self.directory.join(format!("{name}{NEW_SUFFIX}"));
        self.unwritable(name, std::fs::rename(new, self.directory.join(name)))?;
        self.unwritable(name, self.lock.sync_all())
    }

    fn unwritable<T>(&self, name: &str, result: io::Result<T>) -> Result<T, NodeError> {
        let path = || self.directory.join(name);
        result.map_err(|source| NodeError::DiskUnwritable {
            path: path(),
            source,
        })
    }
}

/// Opens the folder and locks it against a second node, which would tear the log apart.
fn lock(directory: &Path) -> Result<File, NodeError> {
    let file = unreadable(directory, File::open(directory))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(NodeError::DataDirectoryInUse {
            path: directory.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => unreadable(directory, Err(source)),
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
}

fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn unreadable<T>(path: &Path, result: io::Result<T>) -> Result<T, NodeError> {
    result.map_err(|source| NodeError::DiskUnreadable {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a node finds that is started after the files' owner was killed at this point.
    fn after_kill(directory: &Path, files: Files) -> Content {
        drop(files); // Nothing is written on drop: the same as a kill.
        Files::open(directory, false).unwrap().1
    }

    #[test]
    fn holding_unsynced_bytes_loses_exactly_those_at_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let (mut files, content) = Files::open(folder.path(), true).unwrap();
        assert_eq!(content, Content::default());
        files.append(b"one").unwrap();
        files.append(b"two").unwrap();
        files.sync().unwrap();
        files.append(b"three").unwrap();
        assert_eq!(after_kill(folder.path(), files).log, b"onetwo");
    }

    #[test]
    fn without_holding_a_kill_loses_nothing_that_was_appended() {
        let folder = tempfile::tempdir().unwrap();
        let (mut files, _) = Files::open(folder.path(), false).unwrap();
        files.append(b"one").unwrap();
        files.sync().unwrap();
        files.append(b"two").unwrap();
        assert_eq!(after_kill(folder.path(), files).log, b"onetwo");
    }

    #[test]
    fn a_probe_is_on_the_disk_and_touches_nothing_that_is_held_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let (mut files, _) = Files::open(folder.path(), true).unwrap();
        files.append(b"held").unwrap();
        files.probe(1).unwrap();
        files.probe(2).unwrap();
        let probe = std::fs::read(folder.path().join(PROBE)).unwrap();
        assert_eq!(probe, 2_u64.to_be_bytes());
        assert_eq!(after_kill(folder.path(), files), Content::default());
    }

    #[test]
    fn a_cut_log_goes_on_at_the_cut_whether_held_or_written() {
        for hold_unsynced in [false, true] {
            for (length, expected) in [(0, &b"X"[..]), (2, b"abX"), (3, b"abcX"), (5, b"abcdeX")] {
                let folder = tempfile::tempdir().unwrap();
                let (mut files, _) = Files::open(folder.path(), hold_unsynced).unwrap();
                files.append(b"abc").unwrap();
                files.sync().unwrap();
                files.append(b"def").unwrap();
                files.truncate(length).unwrap();
                files.append(b"X").unwrap();
                files.sync().unwrap();
                assert_eq!(after_kill(folder.path(), files).log, expected);
            }
        }
    }

    #[test]
    fn a_checkpoint_replaces_the_log_and_keeps_the_one_before() {
        for hold_unsynced in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let (mut files, _) = Files::open(folder.path(), hold_unsynced).unwrap();
            files.append(b"old").unwrap();
            files.checkpoint(b"first", b"tail").unwrap();
            files.checkpoint(b"second", b"rest").unwrap();
            files.append(b"+new").unwrap();
            files.sync().unwrap();
            let content = after_kill(folder.path(), files);
            assert_eq!(content.checkpoints, [b"second".to_vec(), b"first".to_vec()]);
            assert_eq!(content.log, b"rest+new");
        }
    }

    #[test]
    fn unfinished_files_of_a_killed_node_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let (mut files, _) = Files::open(folder.path(), false).unwrap();
        files.append(b"log").unwrap();
        std::fs::write(folder.path().join("checkpoint.new"), b"half").unwrap();
        std::fs::write(folder.path().join("log.new"), b"half").unwrap();
        let expected = Content {
            checkpoints: Vec::new(),
            log: b"log".to_vec(),
        };
        assert_eq!(after_kill(folder.path(), files), expected);
        assert!(!folder.path().join("checkpoint.new").exists());
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let (mut files, _) = Files::open(folder.path(), false).unwrap();
        files.log = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let message = files.append(b"bytes").unwrap_err().to_string();
        let start = format!("cannot write {}: ", folder.path().join("log").display());
        assert!(message.starts_with(&start), "{message}");
        assert!(
            message.contains("No space left") && message.contains("free"),
            "{message}"
        );
    }

    #[test]
    fn a_folder_in_use_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (files, _) = Files::open(folder.path(), false).unwrap();
        let message = Files::open(folder.path(), false).unwrap_err().to_string();
        assert!(message.contains("in use by another node"), "{message}");
        drop(files);
        Files::open(folder.path(), false).unwrap();
    }
}
