//! Control groups of version 1 and 2: a group of our own for a node's processes, for as long as a fault lasts.
//!
//! `hierarchy` finds where a controller is; a [`Group`] is a directory there that is in the ledger before it is made, so
//! that `recover` removes it when nobody else could. Source: cgroups(7), the kernel's `cgroup-v1` and `cgroup-v2`.

mod hierarchy;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use hierarchy::{Hierarchy, Version};

use crate::process::identity::ProcessIdentity;

/// Every group of ours is named so.
const NAME_PREFIX: &str = "shakedown-";

/// A group; removed when dropped, after its processes have gone back to where they were.
#[derive(Debug)]
pub struct Group {
    directory: PathBuf,
    /// Where each process was before.
    before: BTreeMap<ProcessIdentity, PathBuf>,
    hierarchy: Hierarchy,
}

impl Group {
    /// Where a group of that name would be. Not made yet: it goes into the ledger first.
    pub fn place(hierarchy: &Hierarchy, name: &str) -> PathBuf {
        hierarchy.base.join(format!("{NAME_PREFIX}{name}"))
    }

    /// Makes the group, which is empty and limits nothing.
    ///
    /// # Errors
    /// When it cannot be made; as another user than root it mostly cannot.
    pub fn make(hierarchy: Hierarchy, directory: PathBuf) -> io::Result<Self> {
        fs::create_dir(&directory)?;
        Ok(Group {
            directory,
            before: BTreeMap::new(),
            hierarchy,
        })
    }

    /// Whose files these are.
    pub fn version(&self) -> Version {
        self.hierarchy.version
    }

    /// Moves a process here; its children are born here from then on.
    ///
    /// # Errors
    /// When it is gone, or may not be moved.
    pub fn take(&mut self, process: ProcessIdentity) -> io::Result<()> {
        let before = self.hierarchy.group_of(process.pid)?;
        fs::write(self.directory.join("cgroup.procs"), process.pid.to_string())?;
        self.before.entry(process).or_insert(before);
        Ok(())
    }

    /// Whether the process is here.
    ///
    /// # Errors
    /// When it is gone.
    pub fn holds(&self, pid: i32) -> io::Result<bool> {
        Ok(self.hierarchy.group_of(pid)? == self.directory)
    }

    /// Writes one of the group's files.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.directory.join(file), value)
    }

    /// Reads one of the group's files, without the newline at its end.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, file: &str) -> io::Result<String> {
        Ok(fs::read_to_string(self.directory.join(file))?
            .trim_end()
            .to_owned())
    }

    /// The number behind a word in one of the group's files, such as `nr_throttled 5`; 0 where it is not.
    pub fn count(&self, file: &str, word: &str) -> u64 {
        let text = self.read(file).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(name, _)| *name == word);
        found
            .and_then(|(_, number)| number.parse().ok())
            .unwrap_or(0)
    }

    /// Sends all processes back to where they were and removes the group.
    ///
    /// # Errors
    /// When a process cannot be moved or the directory not be removed.
    pub fn remove(&mut self) -> io::Result<()> {
        let inherited = self.before.values().next().cloned();
        for pid in pids_in(&self.directory)? {
            let own = self.before.iter().find(|(process, _)| process.pid == pid);
            // A child that was born here goes where its elders were.
            let back = own.map(|(_, back)| back.clone()).or(inherited.clone());
            let back = back.unwrap_or_else(|| self.hierarchy.base.clone());
            match fs::write(back.join("cgroup.procs"), pid.to_string()) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                result => result?,
            }
        }
        self.before.clear();
        remove_directory(&self.directory)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What is left is in the ledger.
        let _ = self.remove();
    }
}

/// Removes a group that somebody who is dead has left; whatever lives in it goes to its parent.
///
/// # Errors
/// When the path is none of ours, or the kernel refuses.
pub fn remove_left_over(directory: &Path) -> io::Result<()> {
    let name = directory.file_name().unwrap_or_default();
    let ours = name.to_string_lossy().starts_with(NAME_PREFIX);
    let (true, Some(parent)) = (ours, directory.parent()) else {
        let message = format!("{} is no group of ours", directory.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    };
    if !directory.exists() {
        return Ok(());
    }
    for pid in pids_in(directory)? {
        // One that has ended needs no move; the removal below tells of another that stays.
        let _ = fs::write(parent.join("cgroup.procs"), pid.to_string());
    }
    remove_directory(directory)
}

fn pids_in(directory: &Path) -> io::Result<Vec<i32>> {
    let listed = match fs::read_to_string(directory.join("cgroup.procs")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    Ok(listed
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect())
}

/// A process that has just ended is counted for a moment yet.
fn remove_directory(directory: &Path) -> io::Result<()> {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            result => return result,
        }
    }
    fs::remove_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_groups_of_ours_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let theirs = folder.path().join("system.slice");
        fs::create_dir(&theirs).unwrap();
        assert!(remove_left_over(&theirs).is_err());
        assert!(theirs.exists());
        let ours = folder.path().join("shakedown-1-n1");
        fs::create_dir(&ours).unwrap();
        remove_left_over(&ours).unwrap();
        assert!(!ours.exists());
        remove_left_over(&ours).unwrap();
    }
}
