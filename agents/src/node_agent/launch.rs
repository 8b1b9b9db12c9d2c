//! Starting a node in a pid namespace of its own.
//!
//! ```text
//! agent ──clone(NEWPID, NEWNS)──► init (pid 1) ──fork──► node: "hello" ► agent
//!       notes pid and pidfd, writes the ledger, "go" ►  node: exec
//! ```
//! The node says hello on a socket whose kernel-made credentials carry its pid in the *agent's*
//! namespace. It waits for the answer, so the pid cannot be another's when the pidfd is opened, and
//! the ledger knows the process before it runs a single instruction of its own program.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, pipe2};
use shakedown_contracts::control::Program;
use shakedown_contracts::units::Duration;

use super::child::{self, Prepared};
use super::error::{LaunchError, refuse, system};
use super::meeting::meet;
use crate::ledger::Ledger;
use crate::process::pidfd::PidFd;
use crate::process::status::PidNamespace;

/// From clone to exec; microseconds on an idle machine.
pub(super) const LAUNCH_LIMIT: Duration = Duration::from_secs(20);

/// Descriptors passed to the child lie from here on, out of the way of the number it asks for.
const FIRST_HIGH_DESCRIPTOR: i32 = 64;

/// A started node.
#[derive(Debug)]
pub(super) struct Launched {
    /// The init, in our pid namespace.
    pub init_pid: i32,
    /// The init; once it has ended nothing of its namespace lives.
    pub init: PidFd,
    /// The node, in our pid namespace.
    pub node_pid: i32,
    /// The node.
    pub node: PidFd,
    /// Where it lives.
    pub namespace: PidNamespace,
    /// The init's report of the node's end arrives here.
    pub status: OwnedFd,
    /// The node's events arrive here.
    pub events: Option<OwnedFd>,
}

/// The descriptors that only the child keeps once it exists.
struct ChildEnds {
    socket: OwnedFd,
    failures: OwnedFd,
    null: OwnedFd,
    log: OwnedFd,
    events: Option<(OwnedFd, i32)>,
}

/// Starts the program and returns once it executes.
pub(super) fn launch(program: &Program, ledger: &mut Ledger) -> Result<Launched, LaunchError> {
    let (status, socket) = socket_pair()?;
    let (failures, failures_write) = high_pipe("making a pipe for failures")?;
    let (events, events_write) = match events_descriptor(program)? {
        Some(number) => {
            let (read, write) = high_pipe("making a pipe for events")?;
            (Some(read), Some((write, number)))
        }
        None => (None, None),
    };
    let null = File::open("/dev/null").map_err(system("opening /dev/null"))?;
    let ends = ChildEnds {
        socket,
        failures: failures_write,
        null: high(null.as_fd())?,
        log: open_log(program)?,
        events: events_write,
    };
    let prepared = prepare(program, &ends)?;
    let (init_pid, init) = clone_init(&prepared, &status)?;
    // Only the child holds the other ends now, so that their closing can be seen.
    drop(ends);
    match meet(program, &status, failures, ledger, init_pid) {
        Ok((node_pid, node, namespace)) => Ok(Launched {
            init_pid,
            init,
            node_pid,
            node,
            namespace,
            status,
            events,
        }),
        Err(error) => {
            end_init(&init, init_pid);
            Err(error)
        }
    }
}

/// The number under which the program wants its events pipe, if any.
fn events_descriptor(program: &Program) -> Result<Option<i32>, LaunchError> {
    match program.events_descriptor {
        Some(number) if !(3..FIRST_HIGH_DESCRIPTOR).contains(&number) => Err(refuse(
            program,
            format!(
                "events descriptor {number} is outside 3..{FIRST_HIGH_DESCRIPTOR}; ask for another"
            ),
        )),
        number => Ok(number),
    }
}

/// Everything the child needs as it needs it, since it cannot allocate.
fn prepare(program: &Program, ends: &ChildEnds) -> Result<Prepared, LaunchError> {
    if !program.executable.is_absolute() {
        return Err(refuse(
            program,
            "path is not absolute; write it from the root".to_owned(),
        ));
    }
    let text = |bytes: &[u8]| {
        CString::new(bytes)
            .map_err(|_| refuse(program, "a text holds a NUL byte; remove it".to_owned()))
    };
    let executable = program.executable.as_os_str().as_bytes();
    Ok(Prepared {
        executable: text(executable)?,
        arguments: std::iter::once(executable)
            .chain(program.arguments.iter().map(String::as_bytes))
            .map(text)
            .collect::<Result<_, _>>()?,
        environment: environment(),
        directory: text(program.directory.as_os_str().as_bytes())?,
        socket: ends.socket.as_raw_fd(),
        failures: ends.failures.as_raw_fd(),
        null: ends.null.as_raw_fd(),
        log: ends.log.as_raw_fd(),
        events: ends
            .events
            .as_ref()
            .map(|(fd, number)| (fd.as_raw_fd(), *number)),
    })
}

/// Ends and reaps an init whose node was not started.
fn end_init(init: &PidFd, init_pid: i32) {
    // It may have ended by itself, which is as good.
    let _ended = init.signal(Signal::SIGKILL);
    if init.wait(LAUNCH_LIMIT).unwrap_or(false) {
        let _status = waitpid(Pid::from_raw(init_pid), None);
    }
}

/// Clones the init into new pid and mount namespaces, with a handle on it from its first moment.
fn clone_init(prepared: &Prepared, ours: &OwnedFd) -> Result<(i32, PidFd), LaunchError> {
    let arguments = Prepared::pointers(&prepared.arguments);
    let environment = Prepared::pointers(&prepared.environment);
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM the child is a copy like fork's. This process has one thread, so no
    // lock is held by another; the child makes async-signal-safe calls only and never returns.
    // The order of the arguments is that of x86-64 and aarch64; the last two are unused.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    if pid < 0 {
        return Err(system(
            "making a pid namespace (needs root or a user namespace)",
        )(io::Error::last_os_error()));
    }
    if pid == 0 {
        // SAFETY: our copy of the agent's end must go, or the agent's death would not be seen;
        // then as above: a just cloned child of a single-threaded process.
        unsafe {
            libc::close(ours.as_raw_fd());
            child::init(prepared, &arguments, &environment)
        }
    }
    // SAFETY: CLONE_PIDFD made this descriptor, and nobody else owns it.
    Ok((
        pid as i32,
        PidFd::from_owned(unsafe { OwnedFd::from_raw_fd(pidfd) }),
    ))
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd), LaunchError> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(system("making a socket pair"))?;
    setsockopt(&ours, sockopt::PassCred, &true).map_err(system("asking for credentials"))?;
    Ok((ours, high(theirs.as_fd())?))
}

fn high_pipe(action: &'static str) -> Result<(OwnedFd, OwnedFd), LaunchError> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(system(action))?;
    Ok((read, high(write.as_fd())?))
}

/// A copy of the descriptor that cannot collide with the number the node asks for.
fn high(fd: BorrowedFd<'_>) -> Result<OwnedFd, LaunchError> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST_HIGH_DESCRIPTOR))
        .map_err(system("moving a descriptor"))?;
    // SAFETY: fcntl just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

fn open_log(program: &Program) -> Result<OwnedFd, LaunchError> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&program.log)
        .map_err(|error| {
            refuse(
                program,
                format!("log {} cannot be opened: {error}", program.log.display()),
            )
        })?;
    high(file.as_fd())
}

fn environment() -> Vec<CString> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut text = name.as_bytes().to_vec();
            text.push(b'=');
            text.extend_from_slice(value.as_bytes());
            CString::new(text).ok()
        })
        .collect()
}
