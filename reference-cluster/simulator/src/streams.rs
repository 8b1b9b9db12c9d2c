//! Messages between nodes on connections that stand.
//!
//! On healthy links a message is one event, and its acknowledgement none. Where a packet or an
//! acknowledgement did not get through, the connection is *armed*: it looks after 200 ms (TCP's
//! least retransmission timeout on Linux), then at doubling intervals, at what was not acknowledged,
//! sends the oldest again, and gives the connection up when that is a second old, as the node's
//! TCP_USER_TIMEOUT does.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::Ending;
use shakedown_core::message::Message;

use crate::agenda::Due;
use crate::connection::{Connection, Phase};
use crate::links::Passage;
use crate::machine::Notice;
use crate::packet::{Packet, Way};
use crate::world::World;

/// Wait before the first retransmission; doubled for each next one.
pub(crate) const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Doublings at most: 51 s.
pub(crate) const DOUBLINGS_MAX: u32 = 8;
/// Unacknowledged for this long, a connection is given up (`UNACKNOWLEDGED_MAX` of the node).
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(1);

/// `first`, doubled so often.
pub(crate) fn doubled(first: Duration, times: u32) -> Duration {
    Duration::from_nanos(first.as_nanos() << times.min(DOUBLINGS_MAX))
}

impl World {
    /// The connection that `way.from` dials to `way.to`.
    pub(crate) fn connection(&mut self, way: Way) -> &mut Connection {
        let connections = &mut self.machines[way.from as usize].connections;
        connections.entry(way.to).or_default()
    }

    /// A node sends; without a connection the message is dropped.
    pub(crate) fn send(&mut self, way: Way, message: Message) {
        let now = self.now;
        let connection = self.connection(way);
        if connection.phase == Phase::Open {
            let epoch = connection.epoch;
            let sequence = connection.send(now, message);
            self.transmit_data(way, epoch, sequence);
        }
    }

    fn transmit_data(&mut self, way: Way, epoch: u32, sequence: u64) {
        match self.transmit(way, Packet::Data { epoch, sequence }) {
            Passage::Passes => {}
            Passage::Held(_) => self.arm(way),
            Passage::Lost => {
                self.connection(way).mark_lost(sequence);
                self.arm(way);
            }
            // The router answers in the receiver's name.
            Passage::Refused => self.go_on(way.back(), Packet::Reset { epoch }),
        }
    }

    /// Plans a look at what was not acknowledged.
    fn arm(&mut self, way: Way) {
        let at = self.now.after(RETRANSMISSION);
        let connection = self.connection(way);
        if !connection.armed {
            connection.armed = true;
            let epoch = connection.epoch;
            self.agenda.plan(at, Due::Retransmission { way, epoch });
        }
    }

    pub(crate) fn retransmission_is_due(&mut self, way: Way, epoch: u32) {
        let now = self.now;
        let connection = self.connection(way);
        if connection.epoch != epoch {
            return;
        }
        connection.armed = false;
        let Some((sequence, sent)) = connection.oldest() else {
            return;
        };
        if connection.phase != Phase::Open {
            return;
        }
        let given_up = sent.after(UNACKNOWLEDGED_MAX);
        if now >= given_up {
            return self.break_connection(way, Ending::GivenUp);
        }
        connection.armed = true;
        connection.retransmissions += 1;
        let next = now.after(doubled(RETRANSMISSION, connection.retransmissions));
        let at: Moment = next.min(given_up);
        self.agenda.plan(at, Due::Retransmission { way, epoch });
        self.transmit_data(way, epoch, sequence);
    }

    /// The dialling end is gone; its process hears of it.
    fn break_connection(&mut self, way: Way, ending: Ending) {
        self.connection(way).give_up();
        self.notify(way.from, Notice::Broken(way.to, ending));
    }

    pub(crate) fn data_arrives(&mut self, way: Way, epoch: u32, sequence: u64) {
        let host_is_up = self.machines[way.to as usize].host_is_up;
        let connection = self.connection(way);
        if connection.epoch != epoch {
            return;
        }
        if !host_is_up {
            return self.arm(way);
        }
        if !connection.accepted {
            // Nobody knows this connection here.
            if self.transmit(way.back(), Packet::Reset { epoch }) != Passage::Passes {
                self.arm(way);
            }
            return;
        }
        connection.arrive(sequence);
        while let Some(message) = self.connection(way).take_arrived() {
            if let Some(peer) = self.machines[way.to as usize].peer(way.from) {
                self.notify(way.to, Notice::Message(peer, message));
            }
        }
        self.acknowledge(way, epoch);
    }

    /// The receiving kernel acknowledges what has arrived.
    fn acknowledge(&mut self, way: Way, epoch: u32) {
        let up_to = self.connection(way).delivered();
        if !self.links.is_troubled(way.back()) {
            // Not an event: nothing waits for it.
            return self.acknowledgement_arrives(way, epoch, up_to);
        }
        let packet = Packet::Acknowledgement { epoch, up_to };
        if self.transmit(way.back(), packet) == Passage::Refused {
            // The router tells the receiver that the sender is gone.
            self.connection(way).accepted = false;
        }
        self.arm(way);
    }

    pub(crate) fn acknowledgement_arrives(&mut self, way: Way, epoch: u32, up_to: u64) {
        let connection = self.connection(way);
        if connection.epoch != epoch {
            return;
        }
        let gap = connection.acknowledge(up_to);
        if connection.phase == Phase::Open
            && let Some(sequence) = gap
        {
            self.transmit_data(way, epoch, sequence);
        }
    }

    pub(crate) fn reset_arrives(&mut self, way: Way, epoch: u32) {
        let connection = self.connection(way);
        if connection.epoch == epoch && connection.phase == Phase::Open {
            self.break_connection(way, Ending::Closed);
        }
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
