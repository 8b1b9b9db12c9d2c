//! A handle on a process that stays with it: signals through it never reach a later process of
//! the same number, and it becomes readable when the process ends. Source: pidfd_open(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use shakedown_contracts::units::Duration;

use crate::clock;
use crate::process::identity::ProcessIdentity;

/// The handle.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// A handle on whoever has the number now.
    ///
    /// # Errors
    /// ESRCH when nobody has it.
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just returned this descriptor, and nobody else owns it.
        Ok(PidFd(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// A handle on exactly this process; `None` when it is gone.
    ///
    /// The handle is opened first and the start time compared after: a process that still has the
    /// number at the comparison had it at the opening.
    pub fn open_exactly(process: ProcessIdentity) -> Option<Self> {
        let handle = PidFd::open(process.pid).ok()?;
        process.is_alive().then_some(handle)
    }

    /// Takes over a descriptor that the kernel made for a new process.
    pub fn from_owned(fd: OwnedFd) -> Self {
        PidFd(fd)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// ESRCH when the process has ended and been reaped.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a null siginfo is allowed, and the descriptor is open for as long as `self`.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal as i32,
                no_info,
                0,
            )
        };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// True once the process has ended.
    ///
    /// # Errors
    /// When polling fails.
    pub fn has_ended(&self) -> io::Result<bool> {
        self.wait(Duration::ZERO)
    }

    /// Waits for the end of the process; false when it still runs after `limit`.
    ///
    /// # Errors
    /// When polling fails.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let deadline = clock::now().after(limit);
        loop {
            let left = deadline.since(clock::now());
            let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, poll_timeout(left)) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Poll's timeout for a wait, rounded up to the next millisecond and at most a minute.
pub fn poll_timeout(wait: Duration) -> PollTimeout {
    let milliseconds = wait.as_nanos().div_ceil(1_000_000).min(60_000);
    PollTimeout::from(milliseconds as u16)
}
