//! What the servers of a Raft group say to each other (paper, figure 2 and figure 13).
//!
//! Calls and answers are messages of their own, because connections lose both alike. Heartbeats are
//! apart from entries: an answer to one says "you lead, as far as I know" at once, an answer to the
//! other "it is on my disk" when it is.
//! Invariant: every message carries a term. That of a trial is the one wanted, and changes nobody's.

use serde::{Deserialize, Serialize};

use crate::message::{Entry, Point};
use crate::store::Store;

/// A message between two servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "raft", rename_all = "kebab-case")]
pub enum RaftMessage {
    /// Candidate to all: vote for me.
    Vote {
        /// The term it wants to lead.
        term: u64,
        /// The last entry of its log.
        last: Point,
        /// True: only say whether you would (PreVote; nothing is written down).
        trial: bool,
    },
    /// The vote is given, and written down unless it is a trial.
    Granted {
        /// The term wanted.
        term: u64,
        /// As asked.
        trial: bool,
    },
    /// It is not.
    Denied {
        /// The newest term known here.
        term: u64,
    },
    /// Leader to all: I lead this term.
    Heartbeat {
        /// The leader's term.
        term: u64,
        /// Counts what the leader asks: am I still? (Reads wait for the answers.)
        round: u64,
    },
    /// The answer: no newer term is known here.
    Alive {
        /// The leader's term.
        term: u64,
        /// As asked.
        round: u64,
    },
    /// Leader to follower: entries that follow `previous`, or none.
    Append {
        /// The leader's term.
        term: u64,
        /// The entry before the first one sent.
        previous: Point,
        /// Consecutive entries.
        entries: Vec<Entry>,
        /// Position up to which the leader has committed.
        committed: u64,
    },
    /// Everything up to `position` is the leader's and is durable here.
    Appended {
        /// The leader's term.
        term: u64,
        /// Up to here.
        position: u64,
    },
    /// `previous` is not in this log.
    Mismatch {
        /// The leader's term.
        term: u64,
        /// Last position at which the logs may agree.
        hint: u64,
        /// The logs disagree about something already applied here, which only a server that lost
        /// its disk can bring about: send the whole state.
        snapshot: bool,
    },
    /// Leader to follower: the whole state.
    Snapshot {
        /// The leader's term.
        term: u64,
        /// Last entry applied in `store`.
        point: Point,
        /// The state.
        store: Store,
    },
    /// To the leader of an older term: refused.
    Stale {
        /// The newest term known here.
        term: u64,
    },
}

impl RaftMessage {
    /// The term that its receiver must not stay behind; `None` for trials.
    pub fn binding_term(&self) -> Option<u64> {
        match self {
            RaftMessage::Vote { trial: true, .. } | RaftMessage::Granted { trial: true, .. } => {
                None
            }
            RaftMessage::Vote { term, .. }
            | RaftMessage::Granted { term, .. }
            | RaftMessage::Denied { term }
            | RaftMessage::Heartbeat { term, .. }
            | RaftMessage::Alive { term, .. }
            | RaftMessage::Append { term, .. }
            | RaftMessage::Appended { term, .. }
            | RaftMessage::Mismatch { term, .. }
            | RaftMessage::Snapshot { term, .. }
            | RaftMessage::Stale { term } => Some(*term),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::store::Command;

    #[test]
    fn a_message_survives_json_inside_the_messages_of_all_strategies() {
        let point = Point {
            epoch: 3,
            position: 7,
        };
        let entries = vec![Entry {
            point,
            command: Command::Put("k".into(), 1),
        }];
        let messages = [
            RaftMessage::Append {
                term: 3,
                previous: Point::default(),
                entries,
                committed: 2,
            },
            RaftMessage::Snapshot {
                term: 3,
                point,
                store: Store::default(),
            },
            RaftMessage::Vote {
                term: 4,
                last: point,
                trial: true,
            },
        ];
        for message in messages.map(Message::Raft) {
            let json = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
        }
    }
}
