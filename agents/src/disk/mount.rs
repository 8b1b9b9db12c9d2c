//! Puts a disk over a folder: the mount, and the process that serves it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use shakedown_contracts::units::Duration;
use thiserror::Error;

use super::server::serve;
use crate::process::pidfd::PidFd;

const DEVICE: &str = "/dev/fuse";
const END_LIMIT: Duration = Duration::from_secs(5);

/// Why a folder cannot be served as a disk.
#[derive(Debug, Error)]
#[error("serving the node's disk through FUSE: {action}: {source}{hint}")]
pub struct Unserved {
    action: &'static str,
    source: io::Error,
    hint: &'static str,
}

impl Unserved {
    pub(super) fn new(action: &'static str, source: io::Error) -> Self {
        let hint = match (action == OPENING, source.kind()) {
            (true, io::ErrorKind::NotFound) => {
                "; the kernel's module fuse is missing: `modprobe fuse`"
            }
            (true, io::ErrorKind::PermissionDenied) => {
                "; run as root, or have root open it to all: `chmod 666 /dev/fuse`"
            }
            _ => "",
        };
        Unserved {
            action,
            source,
            hint,
        }
    }
}

const OPENING: &str = "opening /dev/fuse";

/// The server; ended by [`ServerProcess::end`], and with its agent.
#[derive(Debug)]
pub(super) struct ServerProcess {
    pid: i32,
    handle: PidFd,
}

impl ServerProcess {
    /// Ends it. Whoever still waits for it gets an error from the kernel.
    pub fn end(&self) {
        // It cannot refuse.
        let _ = self.handle.signal(Signal::SIGKILL);
        if self.handle.wait(END_LIMIT).unwrap_or(false) {
            let _ = waitpid(Pid::from_raw(self.pid), None);
        }
    }
}

/// Takes the disk away. Files that are open on it stay open.
pub(super) fn unmount(folder: &Path) {
    // It goes with the agent's mount namespace otherwise.
    let _ = umount2(folder, MntFlags::MNT_DETACH);
}

/// Mounts over the folder and starts the server; where it takes orders.
pub(super) fn mount(folder: &Path, seed: u64) -> Result<(ServerProcess, OwnedFd), Unserved> {
    let open = |path: &Path, flags| {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map(OwnedFd::from)
    };
    let device = OpenOptions::new().read(true).write(true).open(DEVICE);
    let device = OwnedFd::from(device.map_err(|error| Unserved::new(OPENING, error))?);
    let root = open(folder, libc::O_PATH | libc::O_DIRECTORY);
    let root = root.map_err(|error| Unserved::new("opening the node's folder", error))?;
    let pair = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    );
    let (ours, theirs) =
        pair.map_err(|errno| Unserved::new("making a socket pair", errno.into()))?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        nix::unistd::getuid(),
        nix::unistd::getgid(),
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(
        Some("shakedown-disk"),
        folder,
        Some("fuse"),
        flags,
        Some(options.as_str()),
    )
    .map_err(|errno| Unserved::new("mounting", errno.into()))?;
    match start(device, root, theirs, seed) {
        Ok(server) => Ok((server, ours)),
        Err(error) => {
            unmount(folder);
            Err(Unserved::new("starting its server", error))
        }
    }
}

fn start(device: OwnedFd, root: OwnedFd, orders: OwnedFd, seed: u64) -> io::Result<ServerProcess> {
    let agent = nix::unistd::getpid();
    // SAFETY: this process has one thread, so the child is a whole copy, in which no lock is held.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // SAFETY: just forked by a process of one thread; only these descriptors are used from here on.
        unsafe {
            be_server(
                agent,
                [device.as_raw_fd(), root.as_raw_fd(), orders.as_raw_fd()],
            )
        };
        let served = serve(device, root, &orders, seed);
        if let Err(error) = served {
            eprintln!("the disk's server cannot go on: {error}");
        }
        // SAFETY: ends this process without what the agent does at its end.
        unsafe { libc::_exit(0) }
    }
    let handle = PidFd::open(pid);
    if handle.is_err() {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    Ok(ServerProcess {
        pid,
        handle: handle?,
    })
}

/// Dies with the agent, keeps nothing of it open but its log and what it serves, and has room for many files.
///
/// # Safety
/// In a child just forked, before anything else; every other descriptor is closed under its owner.
unsafe fn be_server(agent: Pid, mut kept: [RawFd; 3]) {
    // SAFETY: integers, and a local.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != agent.as_raw() {
            libc::_exit(0);
        }
        libc::prctl(libc::PR_SET_NAME, c"shakedown-disk".as_ptr());
        kept.sort_unstable();
        let mut from = 3;
        libc::syscall(libc::SYS_close_range, 0, 1, 0);
        for fd in kept {
            if fd > from {
                libc::syscall(libc::SYS_close_range, from, fd - 1, 0);
            }
            from = fd + 1;
        }
        libc::syscall(libc::SYS_close_range, from, u32::MAX, 0);
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
