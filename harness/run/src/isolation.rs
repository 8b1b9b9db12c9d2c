//! Namespaces of the harness itself, entered before any thread exists.
//!
//! Root needs only a private mount namespace, so that no mount of a run is seen outside. Anyone
//! else becomes uid 0 of a user namespace of their own, in which the kernel lets them build
//! networks; nothing outside it is in reach. Source: user_namespaces(7), mount_namespaces(7).

use std::fmt;
use std::fs;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::error::RunError;

/// What keeps a run apart from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Root with a mount namespace of its own.
    Root,
    /// Uid 0 in a user namespace of its own.
    UserNamespace,
    /// None is needed: everything is simulated in this process.
    Unneeded,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isolation::Root => "root, private mount namespace",
            Isolation::UserNamespace => "own user namespace, private mount namespace",
            Isolation::Unneeded => "none, nothing but this process is touched",
        })
    }
}

/// Enters them. Only while this process has one thread.
///
/// # Errors
/// [`RunError::Isolation`] says what the kernel refuses and which setting decides it.
pub fn enter_namespaces() -> Result<Isolation, RunError> {
    if geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        make_mounts_private()?;
        return Ok(Isolation::Root);
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(refusal)?;
    write_map("/proc/self/setgroups", "deny")?;
    write_map("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write_map("/proc/self/gid_map", &format!("0 {gid} 1"))?;
    make_mounts_private()?;
    Ok(Isolation::UserNamespace)
}

fn make_mounts_private() -> Result<(), RunError> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|errno| {
        RunError::Isolation(format!(
            "cannot make the mounts of our own mount namespace private: {}; run as root outside \
             a container, or in one that allows mount(2)",
            errno.desc()
        ))
    })
}

fn write_map(path: &str, text: &str) -> Result<(), RunError> {
    fs::write(path, text).map_err(|error| {
        RunError::Isolation(format!(
            "cannot write {text:?} to {path}: {error}; where \
             kernel.apparmor_restrict_unprivileged_userns is 1, set it to 0 or run as root"
        ))
    })
}

/// What the kernel refused, with the setting that decides it.
fn refusal(errno: Errno) -> RunError {
    let hint = match errno {
        Errno::ENOSPC | Errno::EUSERS => {
            "the limit on user namespaces is reached: raise sysctl user.max_user_namespaces"
        }
        Errno::EINVAL => {
            "this process has several threads, or the kernel was built without user namespaces: \
             run as root"
        }
        _ => {
            "user namespaces are forbidden here: set sysctl kernel.unprivileged_userns_clone=1 \
             and kernel.apparmor_restrict_unprivileged_userns=0 where they exist, and \
             user.max_user_namespaces above 0, or run as root"
        }
    };
    RunError::Isolation(format!(
        "the kernel refuses a user namespace of our own: {}; {hint}",
        errno.desc()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_setting_that_decides_it() {
        let text = |errno| refusal(errno).to_string();
        assert!(text(Errno::ENOSPC).contains("user.max_user_namespaces"));
        assert!(text(Errno::EPERM).contains("kernel.unprivileged_userns_clone"));
        assert!(text(Errno::EPERM).contains("apparmor_restrict_unprivileged_userns"));
        assert!(text(Errno::EINVAL).contains("threads"));
    }
}
