//! A process of the agent's own, forked and not executed: it dies with the agent, and with its handle here.

use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use shakedown_contracts::units::Duration;

use super::pidfd::PidFd;

/// A killed process ends at once, and within seconds on a machine that is busy.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The process; ended and reaped when dropped.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    handle: PidFd,
}

impl Child {
    /// Forks a process of that name, which runs `body` with nothing open but the log and what it is to keep, and ends
    /// with it.
    ///
    /// # Errors
    /// When the kernel gives no process.
    ///
    /// # Safety
    /// The calling process has one thread, so that no lock is held in the child; or `body` makes async-signal-safe calls
    /// only. Of what it uses, `body` has every descriptor in `kept`.
    pub unsafe fn start(name: &CStr, kept: &[RawFd], body: impl FnOnce()) -> io::Result<Self> {
        let agent = nix::unistd::getpid();
        let mut kept = kept.to_vec();
        kept.sort_unstable();
        // SAFETY: as this function's own.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            // SAFETY: just forked; nothing has been done yet.
            unsafe { settle(name, &kept, agent) };
            body();
            // SAFETY: ends this process without what the agent does at its end.
            unsafe { libc::_exit(0) }
        }
        let handle = PidFd::open(pid);
        if handle.is_err() {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        Ok(Child {
            pid,
            handle: handle?,
        })
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.handle.signal(signal)
    }

    /// Kills it; true once it is gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn end(&self) -> io::Result<bool> {
        self.handle.signal(Signal::SIGKILL)?;
        let gone = self.handle.wait(END_LIMIT)?;
        if gone {
            waitpid(Pid::from_raw(self.pid), None)?;
        }
        Ok(gone)
    }

    /// The signal that ended it, if one has within the limit.
    ///
    /// # Errors
    /// The kernel's.
    pub fn ended_by(&self, limit: Duration) -> io::Result<Option<Signal>> {
        if !self.handle.wait(limit)? {
            return Ok(None);
        }
        match waitpid(Pid::from_raw(self.pid), None)? {
            WaitStatus::Signaled(_, signal, _) => Ok(Some(signal)),
            _ => Ok(None),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // One that was reaped is gone; one that takes longer is seen by whoever looks for it.
        let _ = self.end();
    }
}

/// Dies with the agent, has its own name, and closes what is not its own.
///
/// # Safety
/// In a child just forked. `kept` is in order; every other descriptor is closed under its owner.
unsafe fn settle(name: &CStr, kept: &[RawFd], agent: Pid) {
    const FIRST_UNUSUAL: RawFd = 3;
    // SAFETY: integers, and a terminated string.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != agent.as_raw() {
            libc::_exit(0);
        }
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        // Standard input and output are the agent's conversation with the harness.
        libc::syscall(libc::SYS_close_range, 0, 1, 0);
        let mut from = FIRST_UNUSUAL;
        for fd in kept {
            if *fd > from {
                libc::syscall(libc::SYS_close_range, from, fd - 1, 0);
            }
            from = fd + 1;
        }
        libc::syscall(libc::SYS_close_range, from, u32::MAX, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_child_has_what_it_is_to_keep_and_is_gone_with_its_handle() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let (kept, other) = (write.as_raw_fd(), read.as_raw_fd());
        // SAFETY: async-signal-safe calls only.
        let child = unsafe {
            Child::start(c"shakedown-test", &[kept], || {
                let closed = libc::fcntl(other, libc::F_GETFD) < 0;
                let byte = u8::from(closed);
                libc::write(kept, (&raw const byte).cast(), 1);
                libc::pause();
            })
        };
        let child = child.unwrap();
        drop(write);
        let mut said = [9];
        let mut read = File::from(read);
        read.read_exact(&mut said).unwrap();
        assert_eq!(said, [1], "what it was not to keep is closed");
        let name = std::fs::read_to_string(format!("/proc/{}/comm", child.pid())).unwrap();
        assert_eq!(name, "shakedown-test\n");
        drop(child);
        assert_eq!(read.read(&mut said).unwrap(), 0, "its end is closed");
    }
}
