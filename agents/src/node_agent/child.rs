//! What runs between clone and exec: the init of a node's pid namespace, and the node until it is
//! its own program.
//!
//! The agent has one thread, so a clone without exec is sound; still, everything here was made
//! ready before the clone, and only async-signal-safe calls follow it (no allocation, no locks).
//! The init does three things: it dies with the agent, it reaps, and it ends with the node, so that
//! the kernel takes the rest of the namespace along. Sources: pid_namespaces(7), signal-safety(7).

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;

use libc::{c_char, c_int};

/// Everything the child needs, made before the clone.
pub(super) struct Prepared {
    /// Executable.
    pub executable: CString,
    /// Arguments with the program's name first, null-terminated by [`Prepared::pointers`].
    pub arguments: Vec<CString>,
    /// `NAME=value`.
    pub environment: Vec<CString>,
    /// Working directory.
    pub directory: CString,
    /// The child's end of the handshake.
    pub socket: RawFd,
    /// Failures go here; closed by exec.
    pub failures: RawFd,
    /// Becomes standard input.
    pub null: RawFd,
    /// Becomes standard output and error.
    pub log: RawFd,
    /// Write end of the events pipe and the number it must get.
    pub events: Option<(RawFd, c_int)>,
}

impl Prepared {
    /// The null-terminated pointers exec takes; valid while the strings are.
    pub fn pointers(strings: &[CString]) -> Vec<*const c_char> {
        strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    }
}

/// Steps that can fail, in the order they are taken; sent as a number through the failures pipe.
pub(super) const STEPS: [&str; 8] = [
    "making mounts private",
    "forking the node",
    "asking to die with the agent",
    "closing descriptors",
    "placing descriptors",
    "entering its working directory",
    "meeting the agent",
    "executing it",
];

/// First byte of the node's message before it executes; the kernel adds who sent it.
pub(super) const HELLO: u8 = b'H';
/// First byte of the init's message that the node ended; the wait status follows.
pub(super) const ENDED: u8 = b'E';

/// The init. Never returns.
///
/// # Safety
/// Only in a process just cloned by a single-threaded one, into new pid and mount namespaces.
/// `arguments` and `environment` are null-terminated.
pub(super) unsafe fn init(
    prepared: &Prepared,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> ! {
    // SAFETY: only async-signal-safe calls on descriptors and memory that `prepared` keeps alive.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            fail(prepared, 2);
        }
        // An agent that died before the call above has closed its end.
        let mut byte = 0_u8;
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        if libc::recv(prepared.socket, (&raw mut byte).cast(), 1, flags) == 0 {
            libc::_exit(1);
        }
        libc::prctl(libc::PR_SET_NAME, c"shakedown-init".as_ptr());
        mount_proc(prepared);
        let node = libc::fork();
        if node < 0 {
            fail(prepared, 1);
        }
        if node == 0 {
            node_process(prepared, arguments, environment);
        }
        libc::chdir(c"/".as_ptr());
        libc::dup2(prepared.socket, 3);
        libc::syscall(libc::SYS_close_range, 4, u32::MAX, 0);
        reap_until(node, 3)
    }
}

/// A `/proc` that shows this pid namespace. Where the kernel refuses it (a nested user namespace
/// under a masked `/proc`), the node sees the agent's `/proc`; the log says so.
unsafe fn mount_proc(prepared: &Prepared) {
    let none: *const c_char = std::ptr::null();
    // SAFETY: constant strings; the mount namespace is this process's own.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        if libc::mount(none, c"/".as_ptr(), none, private, std::ptr::null()) != 0 {
            fail(prepared, 0);
        }
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        let (source, target) = (c"proc".as_ptr(), c"/proc".as_ptr());
        if libc::mount(source, target, source, flags, std::ptr::null()) != 0 {
            let text: &CStr = c"warning: the kernel refuses a /proc of the node's own\n";
            libc::write(2, text.as_ptr().cast(), text.count_bytes());
        }
    }
}

/// Reaps until the node has ended, reports its status, and ends with it.
unsafe fn reap_until(node: c_int, socket: RawFd) -> ! {
    // Bounded by the node's life: wait fails only when there is no child any more.
    loop {
        let mut status = 0;
        // SAFETY: `status` is a local; waiting and sending are async-signal-safe.
        unsafe {
            let ended = libc::waitpid(-1, &raw mut status, 0);
            if ended == node {
                let mut message = [ENDED, 0, 0, 0, 0];
                message[1..].copy_from_slice(&status.to_ne_bytes());
                libc::send(
                    socket,
                    message.as_ptr().cast(),
                    message.len(),
                    libc::MSG_NOSIGNAL,
                );
                libc::_exit(0);
            }
            if ended < 0 && *libc::__errno_location() != libc::EINTR {
                libc::_exit(1);
            }
        }
    }
}

/// Becomes the node's program. Never returns.
unsafe fn node_process(
    prepared: &Prepared,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> ! {
    // SAFETY: only async-signal-safe calls on descriptors and memory that `prepared` keeps alive.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            fail(prepared, 2);
        }
        libc::setsid();
        for signal in 1..=64 {
            // Fails for SIGKILL, SIGSTOP and libc's own two, which need no reset.
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut nothing = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut nothing);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const nothing, std::ptr::null_mut());
        if libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        ) != 0
        {
            fail(prepared, 3);
        }
        let standard = [(prepared.null, 0), (prepared.log, 1), (prepared.log, 2)];
        for (from, to) in standard.into_iter().chain(prepared.events) {
            if libc::dup2(from, to) < 0 {
                fail(prepared, 4);
            }
        }
        if libc::chdir(prepared.directory.as_ptr()) != 0 {
            fail(prepared, 5);
        }
        let mut byte = HELLO;
        if libc::send(
            prepared.socket,
            (&raw const byte).cast(),
            1,
            libc::MSG_NOSIGNAL,
        ) != 1
        {
            fail(prepared, 6);
        }
        // The agent holds a handle on us and has written us down when it answers.
        if libc::recv(prepared.socket, (&raw mut byte).cast(), 1, 0) != 1 {
            fail(prepared, 6);
        }
        libc::execve(
            prepared.executable.as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
        );
        fail(prepared, 7)
    }
}

/// Tells the agent which step failed with which errno, and ends.
unsafe fn fail(prepared: &Prepared, step: u8) -> ! {
    // SAFETY: the errno location is valid, the buffer is local, the calls are async-signal-safe.
    unsafe {
        let mut message = [step, 0, 0, 0, 0];
        message[1..].copy_from_slice(&(*libc::__errno_location()).to_ne_bytes());
        libc::write(prepared.failures, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}
