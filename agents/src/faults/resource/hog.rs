//! Hogs: processes of the agent's own that use a resource up.

use std::io;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use shakedown_contracts::units::Duration;

use crate::process::child::Child;

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

/// A hog; it ends with this.
#[derive(Debug)]
pub(super) struct Hog(Child);

impl Hog {
    /// Starts one, in a session of its own. It waits for SIGCONT first if `stopped`.
    pub fn start(work: Work, stopped: bool) -> io::Result<Self> {
        // SAFETY: async-signal-safe calls only.
        let child = unsafe { Child::start(c"shakedown-hog", &[], || be(work, stopped)) }?;
        if stopped {
            waitpid(Pid::from_raw(child.pid()), Some(WaitPidFlag::WUNTRACED))?;
        }
        Ok(Hog(child))
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// Lets one that was started stopped go on.
    pub fn go_on(&self) -> io::Result<()> {
        self.0.signal(Signal::SIGCONT)
    }

    /// The signal that ended it, if one has within the limit.
    pub fn ended_by(&self, limit: Duration) -> io::Result<Option<Signal>> {
        self.0.ended_by(limit)
    }
}

/// Does its work until it is killed.
///
/// # Safety
/// Only in a child just forked.
unsafe fn be(work: Work, stopped: bool) -> ! {
    // SAFETY: async-signal-safe calls; pointers are to locals.
    unsafe {
        libc::setsid();
        be_first_to_go();
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
