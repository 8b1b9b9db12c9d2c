//! A short visit to a running process by ptrace: one of its threads is made to call a function and to
//! come back, and goes on as if nothing had been (ptrace(2)).
//!
//! Should the agent die meanwhile, the kernel detaches the thread; it may then end by SIGTRAP, for
//! which the visit is over in well under a millisecond.

use std::cell::RefCell;
use std::io;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Below what a function may use without asking (the red zone of the System V ABI), and more.
const STACK_LEFT_ALONE: u64 = 512;
/// More signals than come during one call.
const SIGNALS_MAX: usize = 64;

/// A thread that is held still.
#[derive(Debug)]
pub struct Visit {
    thread: Pid,
    registers: libc::user_regs_struct,
    /// Signals that came meanwhile; they are handed over at the end.
    owed: RefCell<Vec<Signal>>,
}

impl Visit {
    /// Stops a thread of a process, the main one if it lives, and takes its registers.
    ///
    /// # Errors
    /// As the kernel gives them: another tracer has it, or it may not be traced by us.
    pub fn begin(process: i32) -> io::Result<Self> {
        let tasks = std::fs::read_dir(format!("/proc/{process}/task"))?;
        let names = tasks
            .flatten()
            .filter_map(|task| task.file_name().into_string().ok());
        let mut threads: Vec<i32> = names.filter_map(|name| name.parse().ok()).collect();
        threads.sort_by_key(|thread| (*thread != process, *thread));
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for thread in threads {
            match Visit::of(Pid::from_raw(thread)) {
                Ok(visit) => return Ok(visit),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn of(thread: Pid) -> io::Result<Self> {
        ptrace::seize(thread, ptrace::Options::empty())?;
        let owed = RefCell::default();
        let stopped = ptrace::interrupt(thread)
            .map_err(io::Error::from)
            .and_then(|()| wait(thread, &owed))
            .and_then(|()| Ok(ptrace::getregs(thread)?));
        match stopped {
            Ok(registers) => Ok(Visit {
                thread,
                registers,
                owed,
            }),
            Err(error) => {
                // It has gone, or goes on.
                let _ = ptrace::detach(thread, None);
                Err(error)
            }
        }
    }

    /// Has it call the function at an address with a number and room for 16 bytes; the trap is where
    /// it returns to. Where those bytes are.
    ///
    /// # Errors
    /// When it does not come back to the trap.
    pub fn call(&self, function: u64, argument: u64, trap: u64) -> io::Result<u64> {
        let mut registers = self.registers;
        let room = (registers.rsp - STACK_LEFT_ALONE) & !15;
        // As after a call: the return address on top, the stack 16-aligned before it.
        registers.rsp = room - 8;
        registers.rip = function;
        registers.rdi = argument;
        registers.rsi = room;
        // No system call is to be restarted by what follows.
        registers.orig_rax = u64::MAX;
        ptrace::write(self.thread, registers.rsp as *mut _, trap as i64)?;
        ptrace::setregs(self.thread, registers)?;
        ptrace::cont(self.thread, None)?;
        wait_for_trap(self.thread, &self.owed)?;
        let after = ptrace::getregs(self.thread)?;
        if after.rip != trap + 1 {
            let message = format!("the visited thread stopped at {:#x}", after.rip);
            return Err(io::Error::other(message));
        }
        Ok(room)
    }

    /// Lets it go on where it was.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn end(self) -> io::Result<()> {
        let restored = ptrace::setregs(self.thread, self.registers);
        let mut owed = self.owed.take().into_iter();
        ptrace::detach(self.thread, owed.next())?;
        for signal in owed {
            nix::sys::signal::kill(self.thread, signal)?;
        }
        Ok(restored?)
    }
}

/// Until it is at the trap of a call. What it does on the way can fail only by our own mistake about where it was
/// sent; that is told, and the signal not handed over.
fn wait_for_trap(thread: Pid, owed: &RefCell<Vec<Signal>>) -> io::Result<()> {
    let before = owed.borrow().len();
    loop {
        match waitpid(thread, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) | WaitStatus::PtraceEvent(..) => return Ok(()),
            WaitStatus::Stopped(
                _,
                signal @ (Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGILL | Signal::SIGFPE),
            ) => return Err(io::Error::other(format!("the visited thread met {signal}"))),
            WaitStatus::Stopped(_, signal) if owed.borrow().len() < before + SIGNALS_MAX => {
                owed.borrow_mut().push(signal);
                ptrace::cont(thread, None)?;
            }
            other => return Err(io::Error::other(format!("the visited thread: {other:?}"))),
        }
    }
}

/// Until it stops at our wish; another signal's stop is passed over.
fn wait(thread: Pid, owed: &RefCell<Vec<Signal>>) -> io::Result<()> {
    loop {
        match waitpid(thread, Some(WaitPidFlag::__WALL))? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) | WaitStatus::PtraceEvent(..) => return Ok(()),
            WaitStatus::Stopped(_, signal) if owed.borrow().len() < SIGNALS_MAX => {
                owed.borrow_mut().push(signal);
                ptrace::cont(thread, None)?;
            }
            other => return Err(io::Error::other(format!("the visited thread: {other:?}"))),
        }
    }
}
