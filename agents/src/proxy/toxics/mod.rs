//! What a proxy does to the bytes of a stream, by the names of Toxiproxy.
//!
//! One file a toxic, one trait ([`Stage`]), one line in [`KINDS`]. All are pure: time is handed in, and draws come from a
//! seeded stream. Where they mean something else than Toxiproxy's, the toxic's file says so.

mod bandwidth;
mod item;
mod latency;
mod limit_data;
mod reset_peer;
mod settings;
mod slicer;
mod slow_close;
#[cfg(test)]
mod tests;
mod timeout;

use std::collections::VecDeque;

use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;

pub use item::{Body, Chunk, Item, Waiting};
pub use settings::Settings;

/// Every toxic there is.
pub const KINDS: [&Kind; 7] = [
    &latency::KIND,
    &bandwidth::KIND,
    &slow_close::KIND,
    &timeout::KIND,
    &reset_peer::KIND,
    &slicer::KIND,
    &limit_data::KIND,
];

/// What a toxic may hold of one direction of a connection before its sender has to wait: some 200 ms at 2.5 Gbit/s.
const HELD_BYTES_MAX: usize = 64 << 20;

/// A kind of toxic.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Names of its numbers.
    pub attributes: &'static [&'static str],
    /// What is wrong with numbers, in the order of `attributes`, and what would be right.
    pub refuse: fn(&[u64]) -> Option<String>,
    /// At work on a stream from that moment on.
    pub stage: fn(&[u64], Random, Moment) -> Box<dyn Stage>,
    /// Whether it can be seen from what it did that it was in effect.
    pub seen: fn(&Tally) -> bool,
}

/// What a toxic did, or has in hand, on all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Bytes that passed it.
    pub passed_bytes: u64,
    /// Bytes that it holds, or held when it was taken away.
    pub held_bytes: u64,
    /// Ends of streams that passed it or that it holds.
    pub ends: u64,
    /// Connections that it has ended.
    pub ended_connections: u64,
}

/// What a toxic hands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// This, now.
    Item(Item),
    /// Nothing before that moment.
    Until(Moment),
    /// Nothing before something else comes.
    Nothing,
    /// The connection is to end as if both ends had closed it, after what was handed on.
    Close,
    /// The connection is to end with a reset, at both ends.
    Reset,
}

/// A toxic at work on one direction of one connection.
pub trait Stage: Send {
    /// What it holds.
    fn waiting(&mut self) -> &mut Waiting;

    /// What it hands on now; asked again until it has nothing.
    fn give(&mut self, now: Moment) -> Given;

    /// Takes the next item.
    fn take(&mut self, item: Item) {
        self.waiting().push(item);
    }

    /// Gives back all that it holds, in order: it is being taken away, or others' numbers are to take its place.
    fn release(&mut self) -> VecDeque<Item> {
        self.waiting().release()
    }

    /// Bytes that it may hold before whoever is in front has to wait.
    fn room_bytes(&self) -> usize {
        HELD_BYTES_MAX
    }
}

/// For toxics that refuse no numbers.
fn any_numbers(_values: &[u64]) -> Option<String> {
    None
}

/// For toxics that act on bytes.
fn bytes_met(tally: &Tally) -> bool {
    tally.passed_bytes + tally.held_bytes > 0
}
