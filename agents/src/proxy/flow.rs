//! One direction of one connection: bytes in from one socket, through the toxics, out to the other.
//!
//! Without a toxic bytes never come into this process: the kernel moves them through a pipe (splice(2)). With one they are
//! read, and each toxic in turn holds them as it likes.
//!
//! Invariant: bytes leave in the order in which they came, and none is lost but by an end of the connection.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use shakedown_contracts::time::Moment;

use super::toxics::{Given, Item, Stage};

/// Read at once where toxics are at work.
const READ_BYTES: usize = 64 << 10;
/// What toxics may hold of one direction before its sender has to wait.
const HELD_BYTES_MAX: usize = 64 << 20;
/// What a pipe is asked to hold; the kernel may give less.
const PIPE_BYTES: i32 = 1 << 20;
/// Rounds of one turn, so that one connection does not keep the others waiting.
const ROUNDS_PER_TURN: usize = 32;

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
        unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
        Ok(Pipe { read, write })
    }
}

/// A toxic at work here.
pub(super) struct Placed {
    /// Its name.
    pub name: String,
    stage: Box<dyn Stage>,
}

/// What went through a toxic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed<'a> {
    /// Its name.
    pub name: &'a str,
    /// So many bytes.
    pub bytes: usize,
    /// When they had come to the proxy.
    pub arrived: Moment,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// To be called again when a socket is ready, or at that moment.
    Waits(Option<Moment>),
    /// To be called again as soon as others have had their turn.
    MoreToDo,
    /// Both ends are to be closed.
    Close,
    /// Both ends are to be reset.
    Reset,
}

/// The direction.
#[derive(Default)]
pub(super) struct Flow {
    stages: Vec<Placed>,
    /// What has passed all toxics and is not written yet; of the first so many bytes are.
    out: VecDeque<Vec<u8>>,
    written: usize,
    pipe: Option<Pipe>,
    piped: usize,
    /// The sender's end has been read.
    ended: bool,
    /// And has passed all toxics.
    end_is_out: bool,
    /// And was handed on.
    done: bool,
    /// The receiver takes no more for now.
    pub blocked: bool,
}

impl Flow {
    /// Whether nothing more will pass.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Puts a toxic behind the others.
    pub fn add(&mut self, name: String, stage: Box<dyn Stage>) {
        self.stages.push(Placed { name, stage });
    }

    /// Takes a toxic away, or puts another in its place; what it held goes on in order.
    pub fn replace(&mut self, name: &str, by: Option<Box<dyn Stage>>, now: Moment) -> bool {
        let Some(at) = self.stages.iter().position(|placed| placed.name == name) else {
            return false;
        };
        let held = self.stages[at].stage.release();
        let next = match by {
            Some(stage) => {
                self.stages[at].stage = stage;
                at
            }
            None => {
                self.stages.remove(at);
                at
            }
        };
        for item in held {
            self.hand_on(next, item, now);
        }
        true
    }

    /// Gives an item to the stage of that number, or out.
    fn hand_on(&mut self, number: usize, item: Item, now: Moment) {
        match (self.stages.get_mut(number), item) {
            (Some(placed), item) => placed.stage.take(item, now),
            (None, Item::Bytes(bytes, _)) => self.out.push_back(bytes),
            (None, Item::End(_)) => self.end_is_out = true,
        }
    }

    /// Does what can be done now; `pipes` are spare ones, `meter` is told what passes toxics.
    ///
    /// # Errors
    /// When a socket fails: the connection is over.
    pub fn turn(
        &mut self,
        (from, to): (RawFd, RawFd),
        now: Moment,
        pipes: &mut Vec<Pipe>,
        meter: &mut dyn FnMut(Passed<'_>),
    ) -> io::Result<Turn> {
        for _ in 0..ROUNDS_PER_TURN {
            if self.done {
                return Ok(Turn::Waits(None));
            }
            let wake = match self.pass_stages(now, meter) {
                Ok(wake) => wake,
                Err(turn) => return Ok(turn),
            };
            let mut moved = self.write(to)?;
            moved |= self.drain_pipe(to, pipes)?;
            if self.end_is_out && self.out.is_empty() && self.piped == 0 {
                // The receiver may have gone already.
                // SAFETY: integers.
                unsafe { libc::shutdown(to, libc::SHUT_WR) };
                self.done = true;
                return Ok(Turn::Waits(None));
            }
            moved |= self.read(from, now, pipes)?;
            if !moved {
                return Ok(Turn::Waits(wake));
            }
        }
        Ok(Turn::MoreToDo)
    }

    /// Lets every toxic hand on what it will; when the first of them will again.
    fn pass_stages(
        &mut self,
        now: Moment,
        meter: &mut dyn FnMut(Passed<'_>),
    ) -> Result<Option<Moment>, Turn> {
        let mut wake: Option<Moment> = None;
        for number in 0..self.stages.len() {
            loop {
                match self.stages[number].stage.give(now) {
                    Given::Item(item) => {
                        meter(Passed {
                            name: &self.stages[number].name,
                            bytes: item.len(),
                            arrived: item.arrived(),
                        });
                        self.hand_on(number + 1, item, now);
                    }
                    Given::Until(later) => {
                        wake = Some(wake.map_or(later, |wake| wake.min(later)));
                        break;
                    }
                    Given::Nothing => break,
                    Given::Close => {
                        // What is out already is still delivered by whoever closes.
                        return Err(Turn::Close);
                    }
                    Given::Reset => return Err(Turn::Reset),
                }
            }
        }
        Ok(wake)
    }

    /// Writes what is out, as far as the receiver takes it.
    pub fn write(&mut self, to: RawFd) -> io::Result<bool> {
        let mut moved = false;
        while let Some(first) = self.out.front() {
            let rest = &first[self.written..];
            // SAFETY: the slice is valid for its length.
            let sent = unsafe {
                libc::send(
                    to,
                    rest.as_ptr().cast(),
                    rest.len(),
                    libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
                )
            };
            match would_block(sent)? {
                None => {
                    self.blocked = true;
                    return Ok(moved);
                }
                Some(sent) => {
                    moved = true;
                    self.written += sent;
                    if self.written == first.len() {
                        self.out.pop_front();
                        self.written = 0;
                    }
                }
            }
        }
        self.blocked = false;
        Ok(moved)
    }

    fn drain_pipe(&mut self, to: RawFd, pipes: &mut Vec<Pipe>) -> io::Result<bool> {
        let Some(pipe) = &self.pipe else {
            return Ok(false);
        };
        let mut moved = false;
        while self.piped > 0 {
            match splice(pipe.read.as_raw_fd(), to, self.piped)? {
                None => {
                    self.blocked = true;
                    return Ok(moved);
                }
                Some(0) => return Err(io::ErrorKind::BrokenPipe.into()),
                Some(sent) => {
                    moved = true;
                    self.piped -= sent;
                }
            }
        }
        self.blocked = false;
        pipes.extend(self.pipe.take());
        Ok(moved)
    }

    fn read(&mut self, from: RawFd, now: Moment, pipes: &mut Vec<Pipe>) -> io::Result<bool> {
        if self.ended || self.blocked {
            return Ok(false);
        }
        if self.stages.is_empty() {
            return self.read_into_pipe(from, now, pipes);
        }
        let held: usize = self
            .stages
            .iter()
            .map(|placed| placed.stage.held_bytes())
            .sum();
        if held >= HELD_BYTES_MAX {
            return Ok(false);
        }
        let mut bytes = vec![0; READ_BYTES];
        // SAFETY: the buffer is as long as is said.
        let read = unsafe {
            libc::recv(
                from,
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match would_block(read)? {
            None => Ok(false),
            Some(0) => {
                self.end(now);
                Ok(true)
            }
            Some(read) => {
                bytes.truncate(read);
                bytes.shrink_to_fit();
                self.hand_on(0, Item::Bytes(bytes, now), now);
                Ok(true)
            }
        }
    }

    fn read_into_pipe(
        &mut self,
        from: RawFd,
        now: Moment,
        pipes: &mut Vec<Pipe>,
    ) -> io::Result<bool> {
        if !self.out.is_empty() || self.piped > 0 {
            return Ok(false);
        }
        let pipe = match self.pipe.take().or_else(|| pipes.pop()) {
            Some(pipe) => pipe,
            None => Pipe::new()?,
        };
        let taken = splice(from, pipe.write.as_raw_fd(), PIPE_BYTES as usize);
        match taken {
            Ok(Some(taken)) if taken > 0 => {
                self.piped = taken;
                self.pipe = Some(pipe);
                Ok(true)
            }
            other => {
                pipes.push(pipe);
                match other? {
                    Some(_) => {
                        self.end(now);
                        Ok(true)
                    }
                    None => Ok(false),
                }
            }
        }
    }

    fn end(&mut self, now: Moment) {
        self.ended = true;
        self.hand_on(0, Item::End(now), now);
    }
}

/// Moves bytes between a pipe and a socket; `None` when nothing can be moved now.
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
