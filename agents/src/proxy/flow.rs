//! One direction of one connection: bytes in from one socket, through the toxics, out to the other.
//!
//! Without a toxic, little messages take the shortest way (one read, one write), and whoever sends much gets a pipe, so that
//! the bytes never come into this process (splice(2)). With a toxic they are read, and each toxic in turn holds them as it
//! likes; one whose successor has no room waits, up to the sender.
//!
//! Invariant: bytes leave in the order in which they came, and none is lost but by an end of the connection.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use shakedown_contracts::time::Moment;

use super::toxics::{Body, Chunk, Given, Item, Stage};
use super::transfer::{Pipe, READ_BYTES, Shared, end, send};
use crate::clock::now;

/// Rounds of one turn, so that one connection does not keep the others waiting.
const ROUNDS_PER_TURN: usize = 32;
/// Items that toxics hand on in one round, for the same reason.
const ITEMS_PER_ROUND: usize = 256;

/// A toxic at work here.
struct Placed {
    /// The toxic's; toxics stand in the order of their numbers.
    number: u64,
    stage: Box<dyn Stage>,
}

/// What a toxic did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// So many bytes passed it, which had come to it at that moment.
    Passed(usize, Moment),
    /// The end of the stream passed it.
    Ended,
    /// It ended the connection, and held so many bytes.
    Cut(usize),
}

/// Is told which toxic did what.
pub(super) type Meter<'a> = dyn FnMut(u64, Deed) + 'a;

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// To be called again when a socket is ready, or at that moment.
    Waits(Option<Moment>),
    /// To be called again as soon as others have had their turn.
    MoreToDo,
    /// Both ends are to be closed, after what is out.
    Close,
    /// Both ends are to be reset.
    Reset,
}

/// What toxics came to.
struct Passing {
    wake: Option<Moment>,
    more: bool,
}

/// The direction.
#[derive(Default)]
pub(super) struct Flow {
    stages: Vec<Placed>,
    /// What has passed all toxics and is not written yet.
    out: VecDeque<Chunk>,
    pipe: Option<Pipe>,
    piped: usize,
    /// The sender sends much: a pipe is worth it.
    bulk: bool,
    bulk_bytes: usize,
    /// The sender may have something to be read.
    pub readable: bool,
    /// The sender's end has been announced: there is something to be read until it is there.
    pub hung_up: bool,
    /// The receiver takes no more for now.
    pub blocked: bool,
    /// The sender's end has been read.
    ended: bool,
    /// And has passed all toxics.
    last: Option<Body>,
    /// And was handed on.
    done: bool,
}

impl Flow {
    /// Whether nothing more will pass.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Whether a toxic is at work here.
    pub fn has(&self, number: u64) -> bool {
        self.stages.iter().any(|placed| placed.number == number)
    }

    /// Puts a toxic in its place among the others.
    pub fn add(&mut self, number: u64, stage: Box<dyn Stage>) {
        let at = self.stages.partition_point(|placed| placed.number < number);
        self.stages.insert(at, Placed { number, stage });
    }

    /// Puts other numbers in the place of a toxic's; what it held waits under those, from when it had come.
    pub fn replace(&mut self, number: u64, stage: Box<dyn Stage>) {
        let mut places = self.stages.iter_mut();
        if let Some(placed) = places.find(|placed| placed.number == number) {
            let held = placed.stage.release();
            placed.stage = stage;
            held.into_iter().for_each(|item| placed.stage.take(item));
        }
    }

    /// Takes a toxic away; what it held goes on in order. How many bytes and ends that was.
    pub fn remove(&mut self, number: u64) -> (usize, usize) {
        let mut places = self.stages.iter();
        let Some(at) = places.position(|placed| placed.number == number) else {
            return (0, 0);
        };
        let held = self.stages.remove(at).stage.release();
        let present = now();
        let (mut bytes, mut ends) = (0, 0);
        for item in held {
            bytes += item.len();
            ends += usize::from(item.is_last());
            self.hand_on(at, item, present);
        }
        (bytes, ends)
    }

    /// Bytes and ends that a toxic holds.
    pub fn held(&mut self, number: u64) -> (usize, usize) {
        let mut places = self.stages.iter_mut();
        let placed = places.find(|placed| placed.number == number);
        placed.map_or((0, 0), |placed| {
            let waiting = placed.stage.waiting();
            (waiting.bytes(), usize::from(waiting.ends_with_last()))
        })
    }

    /// Gives an item to the stage in that place, or out.
    fn hand_on(&mut self, place: usize, mut item: Item, now: Moment) {
        if let Some(placed) = self.stages.get_mut(place) {
            item.entered = now;
            return placed.stage.take(item);
        }
        match item.body {
            Body::Bytes(chunk) => self.out.push_back(chunk),
            last => self.last = Some(last),
        }
    }

    /// Does what can be done now.
    ///
    /// # Errors
    /// When the receiver's socket fails: the connection is over.
    pub fn turn(
        &mut self,
        (from, to): (RawFd, RawFd),
        shared: &mut Shared,
        meter: &mut Meter<'_>,
    ) -> io::Result<Turn> {
        for _ in 0..ROUNDS_PER_TURN {
            if self.done {
                return Ok(Turn::Waits(None));
            }
            let passing = match self.pass_stages(meter) {
                Ok(passing) => passing,
                Err(turn) => return Ok(turn),
            };
            if self.deliver(to, shared)? {
                match self.last {
                    Some(Body::Broken) => return Ok(Turn::Reset),
                    Some(_) => {
                        end(to);
                        self.done = true;
                        return Ok(Turn::Waits(None));
                    }
                    None => {}
                }
            }
            if !self.read(from, to, shared)? && !passing.more {
                return Ok(Turn::Waits(passing.wake));
            }
        }
        Ok(Turn::MoreToDo)
    }

    /// Lets every toxic hand on what it will, as far as the next has room.
    fn pass_stages(&mut self, meter: &mut Meter<'_>) -> Result<Passing, Turn> {
        let mut passing = Passing {
            wake: None,
            more: false,
        };
        if self.stages.is_empty() {
            return Ok(passing);
        }
        let present = now();
        let (mut items, mut held_up) = (0, false);
        for place in 0..self.stages.len() {
            loop {
                if self.is_full(place + 1) {
                    held_up = true;
                    break;
                }
                let placed = &mut self.stages[place];
                let number = placed.number;
                match placed.stage.give(present) {
                    Given::Item(item) => {
                        meter(number, deed(&item));
                        self.hand_on(place + 1, item, present);
                        // Whoever was held up may have room now.
                        passing.more |= held_up;
                        items += 1;
                        if items >= ITEMS_PER_ROUND {
                            passing.more = true;
                            return Ok(passing);
                        }
                    }
                    Given::Until(later) => {
                        passing.wake = Some(passing.wake.map_or(later, |wake| wake.min(later)));
                        break;
                    }
                    Given::Nothing => break,
                    Given::Close => {
                        meter(number, Deed::Cut(placed.stage.waiting().bytes()));
                        return Err(Turn::Close);
                    }
                    Given::Reset => {
                        meter(number, Deed::Cut(placed.stage.waiting().bytes()));
                        return Err(Turn::Reset);
                    }
                }
            }
        }
        Ok(passing)
    }

    /// Whether the stage in that place has no room. What is out has: the sender is not read while it is blocked.
    fn is_full(&mut self, place: usize) -> bool {
        self.stages.get_mut(place).is_some_and(|placed| {
            let room = placed.stage.room_bytes();
            placed.stage.waiting().bytes() >= room
        })
    }

    /// Writes what has passed, as far as the receiver takes it; true when all is written.
    pub fn deliver(&mut self, to: RawFd, shared: &mut Shared) -> io::Result<bool> {
        if self.blocked {
            return Ok(false);
        }
        while self.piped > 0 {
            let sent = self.pipe.as_ref().map(|pipe| pipe.drain(to, self.piped));
            match sent.transpose()?.flatten() {
                None => {
                    self.blocked = true;
                    return Ok(false);
                }
                Some(0) => return Err(io::ErrorKind::BrokenPipe.into()),
                Some(sent) => self.piped -= sent,
            }
        }
        if let Some(pipe) = self.pipe.take() {
            shared.spare(pipe);
        }
        while let Some(first) = self.out.front_mut() {
            match send(to, first.bytes())? {
                None => {
                    self.blocked = true;
                    return Ok(false);
                }
                Some(sent) => {
                    first.take_front(sent);
                    if first.is_empty() {
                        self.out.pop_front();
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads once from the sender; whether there may be more to do.
    fn read(&mut self, from: RawFd, to: RawFd, shared: &mut Shared) -> io::Result<bool> {
        if self.ended || self.blocked || !self.readable || self.is_full(0) {
            return Ok(false);
        }
        match self.stages.is_empty() && self.bulk {
            true => self.read_into_pipe(from, shared),
            false => self.read_into_memory(from, to, shared),
        }
    }

    fn read_into_memory(
        &mut self,
        from: RawFd,
        to: RawFd,
        shared: &mut Shared,
    ) -> io::Result<bool> {
        let healthy = self.stages.is_empty();
        let count = match shared.read(from) {
            Ok(None) => {
                self.readable = false;
                return Ok(false);
            }
            Ok(Some([])) => return Ok(self.end_with(Body::End)),
            // What was sent before arrives before the receiver hears of it.
            Err(_) => return Ok(self.end_with(Body::Broken)),
            Ok(Some(bytes)) if healthy => {
                // Nothing is out: else it would be blocked.
                let sent = send(to, bytes)?.unwrap_or(0);
                if sent < bytes.len() {
                    self.blocked = true;
                    self.out.push_back(Chunk::from(bytes[sent..].to_vec()));
                }
                bytes.len()
            }
            Ok(Some(bytes)) => bytes.len(),
        };
        match count == READ_BYTES {
            true => (self.bulk, self.bulk_bytes) = (healthy, 0),
            // A short read has emptied the socket, and what comes from now on is told.
            false => self.readable = self.hung_up,
        }
        if !healthy {
            self.hand_on(0, Item::bytes(shared.keep(), now()), now());
        }
        Ok(true)
    }

    fn read_into_pipe(&mut self, from: RawFd, shared: &mut Shared) -> io::Result<bool> {
        let pipe = shared.pipe()?;
        match pipe.fill(from) {
            Ok(Some(taken)) if taken > 0 => {
                self.piped = taken;
                self.bulk_bytes += taken;
                self.pipe = Some(pipe);
                Ok(true)
            }
            Ok(Some(_)) => {
                shared.spare(pipe);
                Ok(self.end_with(Body::End))
            }
            Ok(None) => {
                shared.spare(pipe);
                self.readable = false;
                self.bulk = self.bulk_bytes > READ_BYTES;
                self.bulk_bytes = 0;
                Ok(false)
            }
            Err(_) => Ok(self.end_with(Body::Broken)),
        }
    }

    fn end_with(&mut self, body: Body) -> bool {
        self.ended = true;
        let present = now();
        let entered = present;
        self.hand_on(0, Item { body, entered }, present);
        true
    }
}

fn deed(item: &Item) -> Deed {
    match item.is_last() {
        true => Deed::Ended,
        false => Deed::Passed(item.len(), item.entered),
    }
}
