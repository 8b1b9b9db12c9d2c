//! The TCP side between nodes.
//!
//! Every node dials every other: what A tells B travels on the connection that A dialled, and on no
//! other. So there is nothing to agree on about whose connection stands, and a one-way partition
//! breaks one direction alone. `outgoing` dials and writes, `incoming` accepts and reads, `link` is
//! the loop's handle on a connection.
//!
//! Invariant: messages of one peer reach the loop in the order sent; they are lost only together
//! with the connection, and then the sender's loop is told.

mod incoming;
mod link;
mod outgoing;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use shakedown_core::interface::{Ending, Peer};
use shakedown_core::message::Message;
use tokio::sync::mpsc;

use crate::config::Config;

pub use incoming::accept;
pub use link::Link;

/// What the connections tell the loop.
#[derive(Debug)]
pub enum PeerEvent {
    /// A message arrived.
    Message {
        /// From whom.
        from: Peer,
        /// It.
        message: Message,
    },
    /// The own connection to a peer stands.
    Connected {
        /// The peer.
        peer: Peer,
        /// To send on.
        link: Link,
    },
    /// The own connection to a peer broke.
    Broken {
        /// The peer.
        peer: Peer,
        /// Who ended it.
        ending: Ending,
    },
}

/// First frame on every connection.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    /// Who dialled.
    name: String,
    /// Whom it meant to reach.
    to: String,
}

/// Messages of peers that may wait for the loop; then their connections wait, and TCP slows the
/// senders down.
const INBOX_MESSAGES_MAX: usize = 1024;

/// The queue between the connections and the loop.
pub fn inbox() -> (mpsc::Sender<PeerEvent>, mpsc::Receiver<PeerEvent>) {
    mpsc::channel(INBOX_MESSAGES_MAX)
}

/// Starts dialling every peer, for as long as the runtime lives.
pub fn dial(config: &Config, events: &mpsc::Sender<PeerEvent>) {
    for (peer, member) in config.peers() {
        let hello = Hello {
            name: config.node.name.clone(),
            to: member.name.clone(),
        };
        let route = outgoing::Route::new(config.own_member(), member);
        tokio::spawn(outgoing::keep_connected(peer, route, hello, events.clone()));
    }
}
