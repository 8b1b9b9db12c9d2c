//! What travels on links. Typed values; nothing is encoded.
//!
//! Of a stream's data only the sequence number travels: the message waits in its connection until
//! the packets before it have arrived, which is all that a TCP receiver does with it.

use shakedown_contracts::time::Moment;
use shakedown_core::detector::swim::packet::Probe;
use shakedown_core::message::Heartbeat;

use crate::happening::CallId;

/// A directed link, by the numbers of its ends: nodes first, then client groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    pub from: u32,
    pub to: u32,
}

impl Way {
    pub fn back(self) -> Way {
        Way {
            from: self.to,
            to: self.from,
        }
    }
}

/// One packet.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    /// A datagram.
    Heartbeat(Heartbeat),
    /// A datagram of SWIM.
    Probe(Box<Probe>),
    /// A message on the sender's connection to the receiver.
    Data { epoch: u32, sequence: u64 },
    /// Everything before `up_to` has arrived on the receiver's connection to the sender.
    Acknowledgement { epoch: u32, up_to: u64 },
    /// The receiver's connection to the sender is not known there.
    Reset { epoch: u32 },
    /// An attempt to connect, begun at `sent`.
    Connect { dial: u32, sent: Moment },
    /// The answer to it: which process accepted, or none.
    Connected {
        dial: u32,
        sent: Moment,
        process: Option<u32>,
    },
    /// A part of a client's call.
    Call { call: CallId, leg: Leg },
}

/// The parts of a client's call, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leg {
    /// Client to node.
    Connect,
    /// Node to client: nobody listens.
    Refuse,
    /// Node to client: connected.
    Accept,
    /// Client to node: the request.
    Request,
    /// Node to client: the answer, or the end of the connection.
    Answer,
}

impl Leg {
    /// Whether the client sends it.
    pub fn is_the_clients(self) -> bool {
        matches!(self, Leg::Connect | Leg::Request)
    }
}
