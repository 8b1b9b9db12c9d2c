//! Who lives in a pid namespace, and what its threads do.
//!
//! Membership is decided by the inode of `/proc/<pid>/ns/pid`, not by descent: a process whose
//! parent died is still a member. Zombies are not counted: they run nothing. Source: proc(5),
//! pid_namespaces(7).

use std::io;
use std::os::unix::fs::MetadataExt;

use crate::process::identity::{self, ProcessIdentity, state};

/// A pid namespace, by its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PidNamespace(u64);

impl PidNamespace {
    /// The namespace a process is in.
    ///
    /// # Errors
    /// When the process is gone or not ours to look at.
    pub fn of(pid: i32) -> io::Result<Self> {
        std::fs::metadata(format!("/proc/{pid}/ns/pid")).map(|file| PidNamespace(file.ino()))
    }

    /// Its living processes, as numbered in our own namespace.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn members(self) -> io::Result<Vec<ProcessIdentity>> {
        let mut members = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            let Ok(pid) = name.parse::<i32>() else {
                continue;
            };
            // A process that ends meanwhile is no member; one that is not ours is none either.
            if !PidNamespace::of(pid).is_ok_and(|namespace| namespace == self) {
                continue;
            }
            match ProcessIdentity::of(pid) {
                Ok(process) if process.is_alive() => members.push(process),
                _ => {}
            }
        }
        Ok(members)
    }
}

/// The parent of a process; `None` when it is gone.
pub fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    identity::parent(&stat)
}

/// State letters of a process's living threads (`T` stopped, `R` running, `S` sleeping, …); empty
/// when it has ended.
pub fn thread_states(pid: i32) -> Vec<char> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok())
        .filter_map(|stat| state(&stat))
        .filter(|state| !matches!(state, 'Z' | 'X'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_a_running_member_of_its_own_namespace() {
        let own = std::process::id() as i32;
        let namespace = PidNamespace::of(own).unwrap();
        assert!(
            namespace
                .members()
                .unwrap()
                .iter()
                .any(|member| member.pid == own)
        );
        assert!(
            thread_states(own).contains(&'R'),
            "the thread that asks is running"
        );
    }

    #[test]
    fn an_ended_child_is_no_member_even_before_it_is_reaped() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id() as i32;
        let handle = crate::process::pidfd::PidFd::open(pid).unwrap();
        assert!(
            handle
                .wait(shakedown_contracts::units::Duration::from_secs(30))
                .unwrap()
        );
        let namespace = PidNamespace::of(std::process::id() as i32).unwrap();
        assert!(
            namespace
                .members()
                .unwrap()
                .iter()
                .all(|member| member.pid != pid)
        );
        assert!(thread_states(pid).is_empty());
        child.wait().unwrap();
    }
}
