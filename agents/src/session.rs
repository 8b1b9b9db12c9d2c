//! What every agent has in common: frames on standard input and output, and an end that comes with
//! the harness's.
//!
//! The descriptors 0 and 1 are moved out of the way at once, so that nothing printed by accident
//! and no child can reach the harness's stream. An agent ends when the stream closes, on SIGTERM or
//! SIGHUP, and by the kernel's hand when its parent dies. It ignores SIGINT: Ctrl-C goes to the
//! whole foreground group, and the harness decides.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{dup2_stdin, dup2_stdout, getppid};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shakedown_contracts::frame::{Decoder, FrameError, encode};
use thiserror::Error;

/// How much is read from the stream at once.
const READ_BYTES: usize = 64 << 10;

/// Why an agent cannot speak with its harness.
#[derive(Debug, Error)]
pub enum SessionError {
    /// A call on the stream or on this process failed.
    #[error("{action} failed: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The bytes are no message.
    #[error("order is not understood: {0}")]
    Frame(#[from] FrameError),
    /// The harness is gone in the middle of a message.
    #[error("stream ended in the middle of an order; did the harness die?")]
    Torn,
    /// The parent died before the kernel could be told to end us with it.
    #[error("parent has died; nobody is left to serve")]
    Orphaned,
}

fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> SessionError {
    move |error| SessionError::System {
        action,
        source: error.into(),
    }
}

/// The writing end; clones share it, and messages of several threads do not mix.
#[derive(Debug, Clone)]
pub struct Outgoing(Arc<Mutex<File>>);

impl Outgoing {
    /// Writes into this descriptor.
    pub fn new(fd: OwnedFd) -> Self {
        Outgoing(Arc::new(Mutex::new(File::from(fd))))
    }

    /// Sends one message, whole.
    ///
    /// # Errors
    /// [`SessionError`] when the harness no longer reads; the agent should heal and end.
    pub fn send<T: Serialize>(&self, message: &T) -> Result<(), SessionError> {
        let bytes = encode(message)?;
        // A thread that panicked while writing has torn the stream; the reader will refuse it.
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&bytes).map_err(system("writing a report"))
    }
}

/// The reading end.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    decoder: Decoder,
}

impl Incoming {
    /// Reads from this descriptor.
    pub fn new(fd: OwnedFd) -> Self {
        Incoming {
            file: File::from(fd),
            decoder: Decoder::default(),
        }
    }

    /// Waits for the next message; `None` once the harness has closed its end.
    ///
    /// # Errors
    /// [`SessionError`]; the stream cannot be used after it.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, SessionError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if !self.read_once()? {
                return Ok(None);
            }
        }
    }

    /// A message that has already been read whole. For use with poll: call [`Incoming::read_once`]
    /// when the descriptor is readable, then this until it returns `None`.
    ///
    /// # Errors
    /// [`SessionError::Frame`]; the stream cannot be used after it.
    pub fn buffered<T: DeserializeOwned>(&mut self) -> Result<Option<T>, SessionError> {
        Ok(self.decoder.next_message()?)
    }

    /// One read; false at the end of the stream.
    ///
    /// # Errors
    /// [`SessionError::Torn`] when the stream ends within a message.
    pub fn read_once(&mut self) -> Result<bool, SessionError> {
        let mut buffer = vec![0; READ_BYTES];
        let count = loop {
            match self.file.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map_err(system("reading an order"))?,
            }
        };
        if count == 0 && self.decoder.is_mid_frame() {
            return Err(SessionError::Torn);
        }
        self.decoder.feed(&buffer[..count]);
        Ok(count > 0)
    }
}

impl AsFd for Incoming {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes standard input and output for frames. Afterwards 0 is `/dev/null` and 1 is the log, 2.
///
/// # Errors
/// [`SessionError`] when descriptors cannot be moved.
pub fn open() -> Result<(Incoming, Outgoing), SessionError> {
    let input = move_away(io::stdin().as_fd())?;
    let output = move_away(io::stdout().as_fd())?;
    let nothing = File::open("/dev/null").map_err(system("opening /dev/null"))?;
    dup2_stdin(&nothing).map_err(system("closing standard input"))?;
    dup2_stdout(io::stderr()).map_err(system("turning standard output to the log"))?;
    Ok((Incoming::new(input), Outgoing::new(output)))
}

fn move_away(fd: BorrowedFd<'_>) -> Result<OwnedFd, SessionError> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3)).map_err(system("moving a descriptor"))?;
    // SAFETY: fcntl just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Has the kernel SIGKILL this process when the thread that started it ends.
///
/// A parent that died before the call is found by the change of parent; one that died before even
/// that has closed the stream, which ends the agent too.
///
/// # Errors
/// [`SessionError::Orphaned`] when the parent died meanwhile.
pub fn die_with_parent() -> Result<(), SessionError> {
    let parent = getppid();
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(system("asking to die with the parent"))?;
    if getppid() == parent {
        Ok(())
    } else {
        Err(SessionError::Orphaned)
    }
}

/// Becomes readable when this process is asked to end.
#[derive(Debug)]
pub struct Termination(SignalFd);

impl Termination {
    /// Takes SIGTERM and SIGHUP over, and ignores SIGINT. Call it before any thread exists, since
    /// threads inherit the mask.
    ///
    /// # Errors
    /// [`SessionError`] when the kernel refuses.
    pub fn new() -> Result<Self, SessionError> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGHUP);
        signals.thread_block().map_err(system("blocking signals"))?;
        // SAFETY: ignoring a signal installs no handler that could run.
        unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }.map_err(system("ignoring SIGINT"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&signals, flags)
            .map(Termination)
            .map_err(system("making a signalfd"))
    }
}

impl AsFd for Termination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_several_threads_arrive_whole_and_the_end_is_told() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let outgoing = Outgoing::new(write);
        let writers: Vec<_> = (0..4)
            .map(|writer: u32| {
                let outgoing = outgoing.clone();
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        outgoing.send(&vec![writer; 5_000]).unwrap();
                    }
                })
            })
            .collect();
        drop(outgoing);
        let mut incoming = Incoming::new(read);
        let mut count = 0;
        while let Some(message) = incoming.receive::<Vec<u32>>().unwrap() {
            assert!(message.iter().all(|number| *number == message[0]));
            count += 1;
        }
        assert_eq!(count, 400);
        for writer in writers {
            writer.join().unwrap();
        }
    }

    #[test]
    fn a_stream_that_ends_within_a_message_is_an_error_and_not_an_end() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let bytes = encode(&"whole").unwrap();
        File::from(write)
            .write_all(&bytes[..bytes.len() - 1])
            .unwrap();
        let mut incoming = Incoming::new(read);
        assert!(matches!(
            incoming.receive::<String>(),
            Err(SessionError::Torn)
        ));
    }
}
