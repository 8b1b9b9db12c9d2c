//! One direction of two peers' talk: the connection that one dialled and on which only it speaks.
//!
//! Epochs instead of a TCP: a connection that is made again is another one, and what belongs to an
//! older one is ignored wherever it turns up. Of TCP's behaviour this keeps what shows outside:
//! order, retransmission of what was lost, and giving up after a second without an acknowledgement
//! (the node's TCP_USER_TIMEOUT).
//!
//! Invariant: messages are handed over in the order sent, each once, and are lost only together
//! with the connection.

use std::collections::VecDeque;

use shakedown_contracts::time::Moment;
use shakedown_core::message::Message;

/// As the dialling end sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is none, and none is being made.
    #[default]
    Closed,
    /// Being made.
    Dialling,
    /// Made.
    Open,
}

/// The connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub phase: Phase,
    /// Which of the connections made so far; packets carry it.
    pub epoch: u32,
    /// The receiving process has its end of it.
    pub accepted: bool,
    /// Which effort to connect; packets carry it.
    pub dial: u32,
    /// Attempts of it.
    pub attempt: u32,
    /// Refused attempts of it.
    pub refusals: u32,
    /// A look at what was not acknowledged is planned.
    pub armed: bool,
    /// Retransmissions since the last acknowledgement.
    pub retransmissions: u32,
    /// From the first that was not acknowledged.
    segments: VecDeque<Segment>,
    /// Sequence number of the first segment.
    acknowledged: u64,
    /// Sequence number of the first that was not handed over.
    delivered: u64,
}

#[derive(Debug)]
struct Segment {
    sent: Moment,
    /// Until it is handed over.
    message: Option<Message>,
    arrived: bool,
    lost: bool,
}

impl Connection {
    /// A new connection stands.
    pub fn open(&mut self, accepted: bool) {
        self.clear();
        self.phase = Phase::Open;
        self.epoch += 1;
        self.accepted = accepted;
        self.armed = false;
        self.retransmissions = 0;
    }

    /// The connection is given up, with what was under way.
    pub fn give_up(&mut self) {
        self.clear();
        self.phase = Phase::Closed;
    }

    fn clear(&mut self) {
        self.acknowledged += self.segments.len() as u64;
        self.delivered = self.acknowledged;
        self.segments.clear();
    }

    /// Takes a message; its sequence number.
    pub fn send(&mut self, now: Moment, message: Message) -> u64 {
        let sequence = self.acknowledged + self.segments.len() as u64;
        self.segments.push_back(Segment {
            sent: now,
            message: Some(message),
            arrived: false,
            lost: false,
        });
        sequence
    }

    fn segment(&mut self, sequence: u64) -> Option<&mut Segment> {
        let index = sequence.checked_sub(self.acknowledged)?;
        self.segments.get_mut(index as usize)
    }

    /// The last copy of it did not get through.
    pub fn mark_lost(&mut self, sequence: u64) {
        if let Some(segment) = self.segment(sequence) {
            segment.lost = true;
        }
    }

    /// A copy of it got through.
    pub fn arrive(&mut self, sequence: u64) {
        if let Some(segment) = self.segment(sequence) {
            segment.arrived = true;
        }
    }

    /// The next message to hand over.
    pub fn take_arrived(&mut self) -> Option<Message> {
        let delivered = self.delivered;
        let segment = self.segment(delivered).filter(|segment| segment.arrived)?;
        let message = segment.message.take();
        self.delivered += 1;
        message
    }

    /// Everything before this sequence number was handed over.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// The sender learns that everything before `up_to` has arrived. Afterwards the first segment is
    /// a gap to be filled at once if this says so.
    pub fn acknowledge(&mut self, up_to: u64) -> Option<u64> {
        if up_to > self.acknowledged {
            let count = up_to.min(self.delivered) - self.acknowledged;
            self.segments.drain(..count as usize);
            self.acknowledged += count;
            self.retransmissions = 0;
        }
        let first = self.segments.front_mut().filter(|first| first.lost)?;
        first.lost = false;
        Some(self.acknowledged)
    }

    /// The first that was not acknowledged, and when it was sent.
    pub fn oldest(&self) -> Option<(u64, Moment)> {
        let first = self.segments.front()?;
        Some((self.acknowledged, first.sent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(round: u64) -> Message {
        Message::Confirm { epoch: 1, round }
    }

    fn open() -> Connection {
        let mut connection = Connection::default();
        connection.open(true);
        connection
    }

    #[test]
    fn messages_that_arrive_in_disorder_or_twice_are_handed_over_in_order_and_once() {
        let mut connection = open();
        let sequences: Vec<u64> = (0..3)
            .map(|n| connection.send(Moment(n), message(n)))
            .collect();
        connection.arrive(sequences[2]);
        connection.arrive(sequences[1]);
        assert_eq!(connection.take_arrived(), None);
        connection.arrive(sequences[0]);
        connection.arrive(sequences[0]);
        for round in 0..3 {
            assert_eq!(connection.take_arrived(), Some(message(round)));
        }
        connection.arrive(sequences[1]);
        assert_eq!(connection.take_arrived(), None);
        assert_eq!(connection.oldest(), Some((sequences[0], Moment(0))));
        assert_eq!(connection.acknowledge(connection.delivered()), None);
        assert_eq!(connection.oldest(), None);
    }

    #[test]
    fn an_acknowledgement_names_the_gap_behind_it_once() {
        let mut connection = open();
        let sequences: Vec<u64> = (0..3)
            .map(|n| connection.send(Moment(n), message(n)))
            .collect();
        connection.mark_lost(sequences[1]);
        connection.arrive(sequences[0]);
        connection.arrive(sequences[2]);
        assert_eq!(connection.take_arrived(), Some(message(0)));
        assert_eq!(connection.take_arrived(), None);
        let up_to = connection.delivered();
        assert_eq!(connection.acknowledge(up_to), Some(sequences[1]));
        assert_eq!(connection.acknowledge(up_to), None);
    }

    #[test]
    fn what_was_under_way_on_an_older_connection_is_gone_and_its_numbers_are_not_used_again() {
        let mut connection = open();
        let older = connection.send(Moment(0), message(0));
        connection.give_up();
        connection.open(true);
        connection.arrive(older);
        assert_eq!(connection.take_arrived(), None);
        let newer = connection.send(Moment(1), message(1));
        assert!(newer > older);
        connection.arrive(newer);
        assert_eq!(connection.take_arrived(), Some(message(1)));
    }
}
