//! No replication: the first member is a group of one, the others hold nothing and say whom to ask.
//! Its death is an outage until it returns.

use shakedown_contracts::strategy::{Acknowledge, Election, Fencing, Reads};

use super::Rules;
use crate::interface::Peer;

/// The rules for member `me`.
pub fn rules(me: Peer) -> Rules {
    let first = Peer(0);
    Rules {
        voters: if me == first { vec![first] } else { Vec::new() },
        fixed_primary: Some(first),
        acknowledge: Acknowledge::Async,
        fallback: None,
        fencing: Fencing::Epoch,
        election: Election::UpToDate,
        reads: Reads::Local,
        lease: None,
    }
}
