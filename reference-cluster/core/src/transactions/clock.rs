//! Times of transactions, and their names made of them.
//!
//! A node's clock never shows the same twice and never less than anything it has heard, so that
//! what follows something has a later time on every node (Lamport 1978, "Time, Clocks, and the
//! Ordering of Events"); as long as nobody is ahead it is the machine's own time.
//! A transaction is named by when it began and who coordinates it; the smaller name is the older.

use std::fmt;

use serde::{Deserialize, Serialize};
use shakedown_contracts::time::Moment;

use crate::interface::Peer;

/// Low bits of a name that say who coordinates; the rest are nanoseconds, enough for nine years.
const NODE_BITS: u32 = 6;

/// Most nodes that names can tell apart.
pub const NODES_MAX: usize = 1 << NODE_BITS;

/// The name of a transaction, ordered by age: the smaller began earlier.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TransactionId(u64);

impl TransactionId {
    /// Of the transaction that `coordinator` begins at a time that it has never used before.
    pub fn new(began: u64, coordinator: Peer) -> Self {
        TransactionId(began << NODE_BITS | u64::from(coordinator.0))
    }

    /// Who coordinates it.
    pub fn coordinator(self) -> Peer {
        Peer((self.0 % NODES_MAX as u64) as u32)
    }

    /// When it began.
    pub fn began(self) -> u64 {
        self.0 >> NODE_BITS
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.coordinator().0 + 1, self.began())
    }
}

/// A node's clock, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    newest: u64,
}

impl Clock {
    /// A time later than all that this clock has shown or heard.
    pub fn tick(&mut self, now: Moment) -> u64 {
        self.newest = now.0.max(self.newest + 1);
        self.newest
    }

    /// Whatever is shown from now on is later than `time`.
    pub fn hear(&mut self, time: u64) {
        self.newest = self.newest.max(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_when_and_by_whom_and_the_older_is_smaller() {
        let id = TransactionId::new(1_000, Peer(5));
        assert_eq!((id.began(), id.coordinator()), (1_000, Peer(5)));
        assert!(id < TransactionId::new(1_001, Peer(0)));
        assert_eq!(id.to_string(), "6-1000");
    }

    #[test]
    fn a_clock_never_repeats_itself_and_is_ahead_of_all_it_has_heard() {
        let mut clock = Clock::default();
        let first = clock.tick(Moment(10));
        assert_eq!((first, clock.tick(Moment(10))), (10, 11));
        clock.hear(50);
        assert_eq!(clock.tick(Moment(12)), 51);
        assert_eq!(clock.tick(Moment(90)), 90);
    }
}
