//! What nodes say to each other: heartbeats by datagram, everything else on ordered connections.
//!
//! A heartbeat is 48 bytes with a checksum, so that a corrupted datagram is dropped instead of
//! believed. SWIM's datagrams travel on the same socket; their first byte tells them apart. A [`Message`] is a serde type; its driver frames it.
//! Invariant: every message about the log carries the epoch of its sender, so that the receiver can
//! refuse a deposed primary where the data is stored.

use serde::{Deserialize, Serialize};
use shakedown_contracts::time::Moment;

use crate::automation::message::AutomationMessage;
use crate::balancing::message::BalancingMessage;
use crate::detector::swim::packet::Probe;
use crate::redundancy::message::RedundancyMessage;
use crate::replication::chain::message::ChainMessage;
use crate::replication::raft::message::RaftMessage;
use crate::snapshot::message::SpreadMessage;
use crate::store::{Command, Store};
use crate::transactions::message::TransactionMessage;

/// Bytes of an encoded [`Heartbeat`].
pub const HEARTBEAT_BYTES: usize = 48;
/// Those before the checksum.
const CHECKED_BYTES: usize = HEARTBEAT_BYTES - 4;

const BEAT: u8 = 1;
const ACK: u8 = 2;

/// "I live", or the answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// False: a node's own heartbeat. True: the answer to one, with its sequence and incarnation.
    pub ack: bool,
    /// True when the sender of this datagram acts as primary in `epoch`.
    pub primary: bool,
    /// Which run of the process sent the heartbeat (its start on the monotonic clock): an ACK to a
    /// process that is gone proves nothing to its successor.
    pub incarnation: u64,
    /// The point of the incarnation's schedule that the heartbeat stands for, counted from 1; the
    /// same to all peers. Points that were slept through are skipped.
    pub sequence: u64,
    /// The newest epoch the sender of this datagram knows.
    pub epoch: u64,
    /// Position of its last log entry.
    pub position: u64,
    /// The newest probe that passed through its disk; 0 before the first, and without probes.
    pub progress: u64,
}

/// What travels on the socket of heartbeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datagram {
    /// Of the detectors that let every node speak to every other.
    Heartbeat(Heartbeat),
    /// Of SWIM.
    Probe(Probe),
}

impl Datagram {
    /// From its bytes; `None` for anything else or anything damaged.
    pub fn decode(bytes: &[u8]) -> Option<Datagram> {
        let heartbeat = Heartbeat::decode(bytes).map(Datagram::Heartbeat);
        heartbeat.or_else(|| Probe::decode(bytes).map(Datagram::Probe))
    }
}

impl Heartbeat {
    /// As bytes of a datagram.
    pub fn encode(&self) -> [u8; HEARTBEAT_BYTES] {
        let mut bytes = [0; HEARTBEAT_BYTES];
        bytes[0] = if self.ack { ACK } else { BEAT };
        bytes[1] = u8::from(self.primary);
        let numbers = [
            self.incarnation,
            self.sequence,
            self.epoch,
            self.position,
            self.progress,
        ];
        for (index, number) in numbers.into_iter().enumerate() {
            bytes[4 + 8 * index..12 + 8 * index].copy_from_slice(&number.to_be_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// From the bytes of a datagram; `None` for anything else or anything damaged.
    pub fn decode(bytes: &[u8]) -> Option<Heartbeat> {
        let bytes: &[u8; HEARTBEAT_BYTES] = bytes.try_into().ok()?;
        let checksum = u32::from_be_bytes(*bytes.last_chunk()?);
        if crc32c::crc32c(&bytes[..CHECKED_BYTES]) != checksum {
            return None;
        }
        let ack = match bytes[0] {
            BEAT => false,
            ACK => true,
            _ => return None,
        };
        let number = |index: usize| bytes[4 + 8 * index..].first_chunk().copied();
        Some(Heartbeat {
            ack,
            primary: bytes[1] == 1,
            incarnation: u64::from_be_bytes(number(0)?),
            sequence: u64::from_be_bytes(number(1)?),
            epoch: u64::from_be_bytes(number(2)?),
            position: u64::from_be_bytes(number(3)?),
            progress: u64::from_be_bytes(number(4)?),
        })
    }
}

/// A place in the group's log. Ordered by epoch first: the greater one is the more up to date log.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Point {
    /// Epoch of the entry at `position`; 0 for the empty log.
    pub epoch: u64,
    /// Position, counted from 1; 0 for the empty log.
    pub position: u64,
}

/// One entry of the group's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands and who put it there.
    #[serde(flatten)]
    pub point: Point,
    /// What it does to the state.
    pub command: Command,
}

/// A message between two nodes on their ordered connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
pub enum Message {
    /// Primary to backup: entries that follow `previous`; without entries, a sign of life.
    Append {
        /// The primary's epoch.
        epoch: u64,
        /// The entry before the first one sent.
        previous: Point,
        /// Consecutive entries.
        entries: Vec<Entry>,
        /// Position up to which the group has committed.
        committed: u64,
        /// When it was sent, by the primary's clock.
        sent: Moment,
    },
    /// Backup to primary: everything up to `position` is the primary's and is durable here.
    Appended {
        /// The primary's epoch.
        epoch: u64,
        /// Up to here.
        position: u64,
        /// That of the answered `Append`: from then on the backup grants a lease, where there are
        /// leases. A `Snapshot` is answered without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent: Option<Moment>,
    },
    /// Backup to primary: `previous` is not in this log.
    Mismatch {
        /// The primary's epoch.
        epoch: u64,
        /// Last position at which the logs may agree.
        hint: u64,
        /// The logs disagree about something already applied here: only the whole state helps.
        snapshot: bool,
    },
    /// Primary to backup: the whole state.
    Snapshot {
        /// The primary's epoch.
        epoch: u64,
        /// Last entry applied in `store`.
        point: Point,
        /// The state.
        store: Store,
    },
    /// Primary to backup: am I still primary? (A read is waiting.)
    Confirm {
        /// The primary's epoch.
        epoch: u64,
        /// Which question this is.
        round: u64,
    },
    /// Backup to primary: in `round` no newer epoch was known here.
    Confirmed {
        /// The primary's epoch.
        epoch: u64,
        /// Which question.
        round: u64,
    },
    /// To a primary of an older epoch: refused.
    Rejected {
        /// The newest epoch known here.
        epoch: u64,
    },
    /// Candidate to everyone: promise me this epoch.
    Ask {
        /// The wanted epoch.
        epoch: u64,
        /// The candidate's last entry.
        last: Point,
        /// True: only say whether you would (nothing is written down, nobody is disturbed).
        trial: bool,
    },
    /// Answer to `Ask`: promised, and durable unless it was a trial.
    Promise {
        /// The wanted epoch.
        epoch: u64,
        /// As asked.
        trial: bool,
    },
    /// Answer to `Ask`: no.
    Refuse {
        /// The newest epoch known here.
        epoch: u64,
        /// As asked.
        trial: bool,
    },
    /// First member to everyone at its first start: is there a group already?
    Join {},
    /// Answer to `Join`.
    Joined {
        /// True when this node has never held, promised or heard anything.
        fresh: bool,
    },
    /// Nothing: the receiving kernel acknowledges it, or the sending one gives the connection up.
    KeepAlive {},
    /// Between the servers of a Raft group.
    Raft(RaftMessage),
    /// Between the members of a chain.
    Chain(ChainMessage),
    /// Between the nodes of a spread bank.
    Spread(SpreadMessage),
    /// Between a balancer and its backends.
    Balancing(BalancingMessage),
    /// Between a supervisor, a primary and nodes that do not vote.
    Automation(AutomationMessage),
    /// Between the nodes of a transaction.
    Transactions(TransactionMessage),
    /// Between nodes that keep values without a primary.
    Redundancy(RedundancyMessage),
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Heartbeat = Heartbeat {
        ack: true,
        primary: true,
        incarnation: 7,
        sequence: u64::MAX,
        epoch: 3,
        position: 9,
        progress: 11,
    };

    #[test]
    fn a_heartbeat_survives_its_encoding() {
        assert_eq!(Heartbeat::decode(&BEAT.encode()), Some(BEAT));
        assert_eq!(Heartbeat::decode(&BEAT.encode()[1..]), None);
    }

    #[test]
    fn a_heartbeat_with_any_flipped_bit_is_not_believed() {
        for bit in 0..HEARTBEAT_BYTES * 8 {
            let mut bytes = BEAT.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Heartbeat::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn a_message_survives_json() {
        let entry = Entry {
            point: Point {
                epoch: 2,
                position: 5,
            },
            command: Command::Nothing,
        };
        let message = Message::Append {
            epoch: 2,
            previous: Point {
                epoch: 1,
                position: 4,
            },
            entries: vec![entry],
            committed: 3,
            sent: Moment(5),
        };
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
    }
}
