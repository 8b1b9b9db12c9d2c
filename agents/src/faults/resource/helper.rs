//! Processes of the agent's own that use a resource up: they die with the agent, and with their handle here.

use std::io;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use shakedown_contracts::units::Duration;

use crate::process::pidfd::PidFd;

const END_LIMIT: Duration = Duration::from_secs(5);
/// Between two rounds over all pages, so that they stay in use and the processors free.
const ROUND_MICROS: u32 = 100_000;

/// What it does until it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Compute.
    Spin,
    /// Take so many bytes of memory, and keep using them.
    Hold(usize),
}

/// A process; it ends with this.
#[derive(Debug)]
pub(super) struct Helper {
    pub pid: i32,
    handle: PidFd,
}

impl Helper {
    /// Starts one, in a session of its own. It waits for SIGCONT first if `stopped`.
    pub fn start(work: Work, stopped: bool) -> io::Result<Self> {
        let agent = nix::unistd::getpid();
        // SAFETY: this process has one thread, so no lock is held by another; the child makes
        // async-signal-safe calls only and never returns.
        let pid = unsafe { libc::fork() };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        if pid == 0 {
            // SAFETY: as above.
            unsafe { be(work, stopped, agent) }
        }
        let handle = PidFd::open(pid);
        if handle.is_err() {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let handle = handle?;
        if stopped {
            waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WUNTRACED))?;
        }
        Ok(Helper { pid, handle })
    }

    /// Lets one that was started stopped go on.
    pub fn go_on(&self) -> io::Result<()> {
        self.handle.signal(Signal::SIGCONT)
    }

    /// The signal that ended it, if one has within the limit.
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

impl Drop for Helper {
    fn drop(&mut self) {
        // It cannot refuse; a machine that takes longer is seen by whoever looks for it.
        let _ = self.handle.signal(Signal::SIGKILL);
        if self.handle.wait(END_LIMIT).unwrap_or(false) {
            let _ = waitpid(Pid::from_raw(self.pid), None);
        }
    }
}

/// Does its work until it is killed, or its agent ends.
///
/// # Safety
/// Only in a child just forked by a process of one thread.
unsafe fn be(work: Work, stopped: bool, agent: Pid) -> ! {
    // SAFETY: async-signal-safe calls; pointers are to locals and to the mapping just made.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != agent.as_raw() {
            libc::_exit(0);
        }
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"shakedown-hog".as_ptr());
        be_first_to_go();
        libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
        let mut mask = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut mask);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const mask, std::ptr::null_mut());
        if stopped {
            libc::kill(libc::getpid(), libc::SIGSTOP);
        }
        match work {
            Work::Spin => spin(),
            Work::Hold(bytes) => hold(bytes),
        }
    }
}

/// When memory runs out, the kernel is to end this before anything of the machine's owner.
unsafe fn be_first_to_go() {
    // SAFETY: terminated strings and their lengths.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY);
        if file >= 0 {
            libc::write(file, c"1000".as_ptr().cast(), 4);
        }
    }
}

fn spin() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

unsafe fn hold(bytes: usize) -> ! {
    const PAGE_BYTES: usize = 4096;
    // SAFETY: an anonymous mapping, written within its length.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let begin = libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0);
        if begin == libc::MAP_FAILED {
            libc::_exit(1);
        }
        let mut round = 1_u8;
        loop {
            for offset in (0..bytes).step_by(PAGE_BYTES) {
                begin.cast::<u8>().add(offset).write_volatile(round);
            }
            round = round.wrapping_add(1);
            libc::usleep(ROUND_MICROS);
        }
    }
}
