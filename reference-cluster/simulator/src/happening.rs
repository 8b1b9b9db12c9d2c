//! What a world tells its caller: what nodes and their agents would report, and what clients hear.

use shakedown_contracts::event::Event;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::time::Moment;
use shakedown_core::interface::ClientReply;

/// Names a client's call; unique in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Something the caller may want to react to, at the moment it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// What a node notes, and what its node agent would report: `node.started`, `node.ready`,
    /// `node.exited`.
    Event {
        /// Whose event.
        node: String,
        /// When.
        time: Moment,
        /// What.
        event: Event,
    },
    /// A fault of a node's host was seen to do something, for the first time: `World::effect` says
    /// what.
    Disturbed {
        /// Whose host.
        node: String,
        /// Which fault.
        id: FaultId,
    },
    /// A call has ended. A call that is cancelled has no answer.
    Answer {
        /// Which call.
        call: CallId,
        /// When the client heard.
        time: Moment,
        /// What it heard.
        answer: CallAnswer,
    },
}

/// How a call ended. Over a link that drops packets a call need not end at all: the caller has its
/// own timeouts, and cancels.
#[derive(Debug, Clone, PartialEq)]
pub enum CallAnswer {
    /// The node answered.
    Reply(ClientReply),
    /// No connection, in words: no process there, or a cut that rejects. Certainly not delivered.
    NotConnected(String),
    /// The connection broke, in words. The request may have been delivered.
    Broken(String),
}
