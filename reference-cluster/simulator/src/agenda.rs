//! The event heap: what is due when, and which of two things due at one moment comes first.
//!
//! Ordered by moment, then by the order of planning, so that a run has one order of events and no
//! other. Nothing is ever taken out before its time: whoever planned something and no longer wants
//! it finds out when it is due (epochs, generations and attempts tell).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::Moment;
use shakedown_core::interface::Timer;

use crate::happening::CallId;
use crate::packet::{Leg, Packet, Way};

/// What can be due.
#[derive(Debug)]
pub(crate) enum Due {
    /// A packet reaches its receiver.
    Arrival(Way, Packet),
    /// A packet that a slow link holds may go on.
    Release(Way),
    /// A node's timer, unless it was moved.
    Timer { node: u32, timer: Timer },
    /// The disk has done what it was doing.
    Disk { node: u32, generation: u32 },
    /// A clock is looked at, to see what a fault does to it.
    ClockReading { node: u32, id: FaultId },
    /// A process has read its disk.
    Boot { node: u32, generation: u32 },
    /// The next attempt to connect.
    Dial { way: Way, dial: u32, attempt: u32 },
    /// Something on this connection was not acknowledged in time.
    Retransmission { way: Way, epoch: u32 },
    /// A leg of a call was not answered in time.
    Repeat { call: CallId, leg: Leg },
}

#[derive(Debug)]
struct Entry {
    at: Moment,
    number: u64,
    due: Due,
}

impl Entry {
    /// Less is sooner.
    fn rank(&self) -> u128 {
        u128::from(self.at.0) << 64 | u128::from(self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// Reversed: a [`BinaryHeap`] gives its greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank().cmp(&self.rank())
    }
}

/// Everything that is due, in order.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Entry>,
    planned: u64,
}

impl Agenda {
    pub fn plan(&mut self, at: Moment, due: Due) {
        self.planned += 1;
        let number = self.planned;
        self.heap.push(Entry { at, number, due });
    }

    /// When the first is due.
    pub fn next(&self) -> Option<Moment> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The first, if it is due at or before `moment`.
    pub fn take_due(&mut self, moment: Moment) -> Option<(Moment, Due)> {
        if self.next()? > moment {
            return None;
        }
        self.heap.pop().map(|entry| (entry.at, entry.due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_by_moment_and_then_as_it_was_planned() {
        let mut agenda = Agenda::default();
        for (at, node) in [(5, 0), (3, 1), (5, 2), (3, 3), (9, 4)] {
            let generation = 0;
            agenda.plan(Moment(at), Due::Boot { node, generation });
        }
        assert_eq!(agenda.next(), Some(Moment(3)));
        let mut nodes = Vec::new();
        while let Some((_, due)) = agenda.take_due(Moment(5)) {
            if let Due::Boot { node, .. } = due {
                nodes.push(node);
            }
        }
        assert_eq!(nodes, [1, 3, 0, 2]);
        assert_eq!(agenda.next(), Some(Moment(9)));
    }
}
