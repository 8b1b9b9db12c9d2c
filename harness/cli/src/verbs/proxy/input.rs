//! Lines of standard input, until a signal asks for the end.

use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use anyhow::Context;

/// Longer than any command: whoever writes no line end is not left to fill the memory.
const LINE_BYTES_MAX: usize = 1 << 16;

/// The signals that ask for the end, as something to wait for.
pub struct Signals(SignalFd);

impl Signals {
    /// Takes them over. To be called before any thread exists, since threads inherit the mask.
    pub fn take() -> anyhow::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().context("blocking signals")?;
        let waiting = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC);
        waiting.map(Signals).context("waiting for signals")
    }
}

/// Standard input, line by line.
pub struct Input {
    signals: Signals,
    bytes: Vec<u8>,
    /// Until its end has been read.
    open: bool,
    /// Whether there is something to wait for behind that.
    outlives: bool,
}

impl Input {
    /// `outlives`: the end of standard input is not the end of all.
    pub fn new(signals: Signals, outlives: bool) -> Self {
        Input {
            signals,
            bytes: Vec::new(),
            open: true,
            outlives,
        }
    }

    /// Waits for the next line; none at the end.
    pub fn next(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(line) = self.whole_line() {
                return Ok(Some(line));
            }
            if !self.open && !self.outlives {
                return Ok(None);
            }
            if self.wait()? {
                return Ok(None);
            }
        }
    }

    /// The next of the lines that have come; the last may have no end.
    fn whole_line(&mut self) -> Option<String> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n');
        let rest = !self.open && !self.bytes.is_empty() || self.bytes.len() > LINE_BYTES_MAX;
        let end = end.or(rest.then_some(self.bytes.len()))?;
        let line: Vec<u8> = self.bytes.drain(..end).collect();
        // And the line's end, if it has one.
        self.bytes.drain(..self.bytes.len().min(1));
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Waits for bytes; true when a signal came.
    fn wait(&mut self) -> anyhow::Result<bool> {
        let stdin = io::stdin();
        let mut waits = vec![PollFd::new(self.signals.0.as_fd(), PollFlags::POLLIN)];
        if self.open {
            waits.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut waits, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => return Ok(false),
            result => result.context("waiting for commands")?,
        };
        let came = |wait: &PollFd<'_>| wait.any().unwrap_or(false);
        if came(&waits[0]) {
            return Ok(true);
        }
        if waits.get(1).is_some_and(came) {
            let mut buffer = [0; 4096];
            // Not by way of Rust's own buffer, in which poll would see nothing.
            match nix::unistd::read(stdin.as_fd(), &mut buffer) {
                Ok(0) | Err(nix::errno::Errno::EIO) => self.open = false,
                Ok(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
                Err(error) => return Err(error).context("reading commands"),
            }
        }
        Ok(false)
    }
}
