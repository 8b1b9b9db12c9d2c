//! The agent's side of the handshake with a node that has been forked and not yet executed.
//!
//! The invariant: before the node runs an instruction of its own program, the agent holds a pidfd
//! on it and the ledger names it. Source: unix(7) on SCM_CREDENTIALS, whose pid the kernel
//! translates into the receiver's namespace.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, send};
use shakedown_contracts::control::Program;
use shakedown_contracts::units::Duration;

use super::child::{HELLO, STEPS};
use super::error::{LaunchError, refuse, system};
use super::launch::LAUNCH_LIMIT;
use crate::clock;
use crate::ledger::Ledger;
use crate::process::pidfd::{PidFd, poll_timeout};
use crate::process::status::PidNamespace;

/// Takes the node's hello, writes it down, lets it go, and waits until it has executed.
pub(super) fn meet(
    program: &Program,
    ours: &OwnedFd,
    failures: OwnedFd,
    ledger: &mut Ledger,
    init_pid: i32,
) -> Result<(i32, PidFd, PidNamespace), LaunchError> {
    let deadline = clock::now().after(LAUNCH_LIMIT);
    wait_readable(
        &[ours.as_fd(), failures.as_fd()],
        deadline.since(clock::now()),
    )?;
    let Some(node_pid) = receive_hello(ours)? else {
        let reason = "its init ended before it started; see the agent's log".to_owned();
        return Err(read_failure(program, failures)?.unwrap_or_else(|| refuse(program, reason)));
    };
    let node = PidFd::open(node_pid).map_err(system("opening a handle on the node"))?;
    let namespace = PidNamespace::of(node_pid).map_err(system("looking at the node"))?;
    ledger.record_process(init_pid)?;
    ledger.record_process(node_pid)?;
    send(ours.as_raw_fd(), b"G", MsgFlags::MSG_NOSIGNAL).map_err(system("letting the node go"))?;
    wait_readable(&[failures.as_fd()], deadline.since(clock::now()))?;
    match read_failure(program, failures)? {
        Some(error) => Err(error),
        None => Ok((node_pid, node, namespace)),
    }
}

/// The pid of the process that said hello; `None` when there is none yet.
fn receive_hello(ours: &OwnedFd) -> Result<Option<i32>, LaunchError> {
    let mut byte = [0_u8];
    let mut slices = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(nix::sys::socket::UnixCredentials);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let (bytes, sender) = {
        let received = recvmsg::<UnixAddr>(ours.as_raw_fd(), &mut slices, Some(&mut space), flags);
        let message = match received {
            Err(Errno::EAGAIN) => return Ok(None),
            result => result.map_err(system("taking the node's hello"))?,
        };
        let messages = message
            .cmsgs()
            .map_err(system("reading the node's credentials"))?;
        let sender = messages.filter_map(|message| match message {
            ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
            _ => None,
        });
        (message.bytes, sender.last())
    };
    Ok(sender.filter(|pid| bytes == 1 && byte[0] == HELLO && *pid > 0))
}

/// What the child said about its failure; `None` when it has executed.
fn read_failure(program: &Program, failures: OwnedFd) -> Result<Option<LaunchError>, LaunchError> {
    let mut message = [0_u8; 5];
    match File::from(failures)
        .read(&mut message)
        .map_err(system("reading a failure"))?
    {
        0 => Ok(None),
        _ => {
            let [step, errno @ ..] = message;
            let number = i32::from_ne_bytes(errno);
            let hint = match Errno::from_raw(number) {
                Errno::ENOENT => "; does it exist?",
                Errno::EACCES => "; may it be executed, and its folders be entered?",
                Errno::ENOEXEC => "; is it built for this machine?",
                _ => "",
            };
            Ok(Some(LaunchError::Step {
                executable: program.executable.clone(),
                step: STEPS
                    .get(usize::from(step))
                    .copied()
                    .unwrap_or("an unknown step"),
                source: io::Error::from_raw_os_error(number),
                hint,
            }))
        }
    }
}

/// Waits until one of the descriptors is readable or closed.
fn wait_readable(fds: &[BorrowedFd<'_>], limit: Duration) -> Result<(), LaunchError> {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    // No signal has a handler in an agent, so a poll is never interrupted for long.
    match poll(&mut fds, poll_timeout(limit)).map_err(system("waiting for the node"))? {
        0 => Err(LaunchError::System {
            action: "starting the node",
            source: io::Error::new(io::ErrorKind::TimedOut, format!("not done within {limit}")),
        }),
        _ => Ok(()),
    }
}
