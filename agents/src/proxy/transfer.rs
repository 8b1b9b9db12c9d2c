//! How bytes get out of a socket and into another: through our memory, or through a pipe that never leaves the kernel.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Read at once through our memory. Whoever sends more than that at a time gets a pipe.
pub(super) const READ_BYTES: usize = 64 << 10;
/// What a pipe is asked to hold; the kernel may give less.
pub(super) const PIPE_BYTES: usize = 1 << 20;
/// Pipes that are kept for the next who needs one.
const SPARE_PIPES: usize = 64;
/// So much unread is thrown away before a close, in pieces.
const DISCARDS: usize = 64;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pipes: Vec<Pipe>,
    /// Empty, with room for [`READ_BYTES`].
    buffer: Vec<u8>,
}

impl Shared {
    pub fn new() -> Self {
        Shared {
            pipes: Vec::new(),
            buffer: Vec::with_capacity(READ_BYTES),
        }
    }

    /// Reads once; `None` when there is nothing to be read now, empty at the end.
    pub fn read(&mut self, from: RawFd) -> io::Result<Option<&[u8]>> {
        self.buffer.clear();
        let room = self.buffer.spare_capacity_mut();
        // SAFETY: the room is as long as is said, and the kernel writes it.
        let read = unsafe {
            libc::recv(
                from,
                room.as_mut_ptr().cast(),
                READ_BYTES,
                libc::MSG_DONTWAIT,
            )
        };
        let Some(read) = would_block(read)? else {
            return Ok(None);
        };
        // SAFETY: so many bytes have been written, at most READ_BYTES, which the buffer has room for.
        unsafe { self.buffer.set_len(read) };
        Ok(Some(&self.buffer))
    }

    /// What was read last, to be kept.
    pub fn keep(&mut self) -> Vec<u8> {
        // Little is copied, so that little memory is held; much keeps its buffer.
        match self.buffer.len() < READ_BYTES / 4 {
            true => self.buffer.clone(),
            false => std::mem::replace(&mut self.buffer, Vec::with_capacity(READ_BYTES)),
        }
    }

    pub fn pipe(&mut self) -> io::Result<Pipe> {
        self.pipes.pop().map_or_else(Pipe::new, Ok)
    }

    /// Takes an empty pipe back.
    pub fn spare(&mut self, pipe: Pipe) {
        if self.pipes.len() < SPARE_PIPES {
            self.pipes.push(pipe);
        }
    }
}

/// A pipe between two sockets.
#[derive(Debug)]
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: room for both descriptors, which nobody else owns then.
        let (read, write) = unsafe {
            if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) < 0 {
                return Err(io::Error::last_os_error());
            }
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        // SAFETY: integers; a refusal leaves the usual size.
        unsafe {
            libc::fcntl(
                write.as_raw_fd(),
                libc::F_SETPIPE_SZ,
                PIPE_BYTES as libc::c_int,
            )
        };
        Ok(Pipe { read, write })
    }

    /// Takes what a socket has; `None` when it has nothing now, 0 at its end.
    pub fn fill(&self, from: RawFd) -> io::Result<Option<usize>> {
        splice(from, self.write.as_raw_fd(), PIPE_BYTES)
    }

    /// Gives a socket up to so many bytes; `None` when it takes none now.
    pub fn drain(&self, to: RawFd, bytes: usize) -> io::Result<Option<usize>> {
        splice(self.read.as_raw_fd(), to, bytes)
    }
}

/// Sends once; `None` when the socket takes nothing now.
pub(super) fn send(to: RawFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the slice is valid for its length.
    would_block(unsafe { libc::send(to, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// No more will be sent that way. The other side may be gone already.
pub(super) fn end(to: RawFd) {
    // SAFETY: integers.
    unsafe { libc::shutdown(to, libc::SHUT_WR) };
}

/// Throws away what has come: a close with unread bytes is a reset, which may overtake what was sent before.
pub(super) fn discard(from: RawFd) {
    for _ in 0..DISCARDS {
        // SAFETY: with MSG_TRUNC the kernel writes nothing to the buffer, and there is none.
        let read = unsafe {
            libc::recv(
                from,
                std::ptr::null_mut(),
                READ_BYTES,
                libc::MSG_TRUNC | libc::MSG_DONTWAIT,
            )
        };
        if read <= 0 {
            return;
        }
    }
}

fn splice(from: RawFd, to: RawFd, bytes: usize) -> io::Result<Option<usize>> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    let none = std::ptr::null_mut();
    // SAFETY: integers and null offsets.
    would_block(unsafe { libc::splice(from, none, to, none, bytes, flags) })
}

/// What a call moved; `None` when it would have had to wait.
fn would_block(moved: isize) -> io::Result<Option<usize>> {
    if moved >= 0 {
        return Ok(Some(moved as usize));
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
        _ => Err(error),
    }
}
