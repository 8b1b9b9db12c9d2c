//! Bytes of the log and of checkpoints, and how they are read back.
//!
//! Record: payload length u32, position u64, epoch u64, CRC32C u32 over all else, payload (JSON).
//! Numbers are big-endian. The log is only ever appended to: a record at position p stands for
//! "p is this, and nothing follows", so that a divergent tail needs no cutting.
//! Checkpoint: magic, CRC32C u32 over the rest, JSON.
//!
//! Damage: when a record cannot be read and no readable record follows, a write was under way when
//! the host died: the tail is cut. When a readable record does follow, bytes that were once whole
//! have changed: refused. (A change in the very last record looks like a torn write. No log
//! without a second copy can tell them apart.) Under `checksum = "none"` (wrong on purpose) what
//! parses is believed, and the first record that does not is taken for the end of the log.

use serde::{Deserialize, Serialize};
use shakedown_contracts::strategy::Checksum;
use thiserror::Error;

use super::checksum;
use super::rollback::Rollback;
use crate::flaw::Planted;
use crate::interface::Peer;
use crate::message::{Entry, Point};
use crate::store::{Command, Image, Store};

/// Bytes before the payload.
const HEADER_BYTES: usize = 24;
/// Longest payload; a longer length is damage.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;
const CHECKPOINT_MAGIC: &[u8; 8] = b"SHKDCKP1";

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An entry of the group's log.
    Entry(Entry),
    /// No epoch below this one, and in this one nobody but `to`.
    Promise {
        /// The epoch.
        epoch: u64,
        /// Whom it was promised.
        to: Peer,
    },
    /// No epoch below this one, and nobody was promised it yet.
    Term(u64),
    /// What an entry found whose effect a checkpoint holds before the group has committed it.
    Before {
        /// The entry.
        point: Point,
        /// What it found.
        image: Image,
    },
    /// Such an entry's effect was taken back.
    Compensated {
        /// The entry.
        point: Point,
    },
    /// What a service without a group's log writes down, as JSON of its own.
    Service(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Payload {
    Entry(Command),
    Promise(Peer),
    Term,
    Before(Image),
    Compensated,
    Service(String),
}

/// The state, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointState {
    /// Last entry applied in `store` that the group has committed.
    pub point: Point,
    /// The state after it.
    pub store: Store,
    /// Entries in flight, consecutive, whose effects are in `store` too (rollback log alone).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<Point>,
    /// The state of a service without a group's log, as JSON of its own; empty for others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
}

impl CheckpointState {
    /// With nothing in flight.
    pub fn new(point: Point, store: Store) -> Self {
        CheckpointState {
            point,
            store,
            in_flight: Vec::new(),
            service: String::new(),
        }
    }
}

/// What a disk gave back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Newest readable checkpoint.
    pub checkpoint: Option<CheckpointState>,
    /// Entries after it, consecutive.
    pub entries: Vec<Entry>,
    /// What a service without a group's log wrote down after it, in order.
    pub service: Vec<String>,
    /// Newest epoch seen in anything.
    pub epoch: u64,
    /// Whom `epoch` was promised, if anybody.
    pub promised: Option<Peer>,
    /// Records read.
    pub records: u64,
    /// Length of the log that was read; anything behind it is torn.
    pub log_bytes: u64,
    /// Entries in flight whose effects were taken back from the checkpoint's state.
    pub undone: u64,
    /// Those of them that the log does not know as rolled back.
    pub compensations: Vec<Record>,
}

/// Why a node must not start from its disk.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecoveryError {
    /// Bytes in the middle of the log have changed.
    #[error(
        "the log is damaged at byte {offset} and readable again at byte {readable}; restore the \
         folder from another node or empty it so that the node is brought up to date from scratch"
    )]
    Damaged {
        /// First unreadable byte.
        offset: usize,
        /// Where the next whole record begins.
        readable: usize,
    },
    /// Entries are missing.
    #[error(
        "the log has position {found} after {last}; the checkpoint that held those between is \
         missing or unreadable: restore it or empty the folder"
    )]
    Gap {
        /// Last position before.
        last: u64,
        /// Position found.
        found: u64,
    },
    /// The checkpoint's state cannot be rolled back.
    #[error(
        "the checkpoint holds position {position}, which was in flight, and the log does not say \
         what it found: restore the folder from another node or empty it"
    )]
    NoImage {
        /// The entry in flight.
        position: u64,
    },
    /// There were checkpoints, and none can be read.
    #[error("none of {count} checkpoint files can be read; restore one or empty the folder")]
    Checkpoints {
        /// How many there are.
        count: usize,
    },
}

/// Bytes of a record.
pub fn encode(rule: Checksum, record: &Record) -> Vec<u8> {
    let (point, payload) = match record {
        Record::Entry(entry) => (entry.point, Payload::Entry(entry.command.clone())),
        Record::Promise { epoch, to } => (
            Point {
                epoch: *epoch,
                position: 0,
            },
            Payload::Promise(*to),
        ),
        Record::Term(epoch) => (
            Point {
                epoch: *epoch,
                position: 0,
            },
            Payload::Term,
        ),
        Record::Before { point, image } => (*point, Payload::Before(image.clone())),
        Record::Compensated { point } => (*point, Payload::Compensated),
        Record::Service(note) => (Point::default(), Payload::Service(note.clone())),
    };
    let payload = serde_json::to_vec(&payload).expect("a payload has no part that JSON lacks");
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(point.position.to_be_bytes());
    bytes.extend(point.epoch.to_be_bytes());
    bytes.extend(checksum::over(rule, &[&bytes, &payload]));
    bytes.extend(payload);
    bytes
}

/// The record that begins at the first byte, and its length.
fn decode(rule: Checksum, bytes: &[u8]) -> Option<(Record, usize)> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let length = u32::from_be_bytes(*header.first_chunk()?) as usize;
    if length == 0 || length > PAYLOAD_BYTES_MAX {
        return None;
    }
    let payload = rest.get(..length)?;
    if !checksum::holds(rule, &[&header[..20], payload], &header[20..]) {
        return None;
    }
    let position = u64::from_be_bytes(*header[4..].first_chunk()?);
    let epoch = u64::from_be_bytes(*header[12..].first_chunk()?);
    let record = match serde_json::from_slice(payload).ok()? {
        Payload::Entry(command) => Record::Entry(Entry {
            point: Point { epoch, position },
            command,
        }),
        Payload::Promise(to) => Record::Promise { epoch, to },
        Payload::Term => Record::Term(epoch),
        Payload::Before(image) => Record::Before {
            point: Point { epoch, position },
            image,
        },
        Payload::Compensated => Record::Compensated {
            point: Point { epoch, position },
        },
        Payload::Service(note) => Record::Service(note),
    };
    Some((record, HEADER_BYTES + length))
}

/// All records of a log and the length they take; a torn tail is left out.
pub fn decode_log(rule: Checksum, log: &[u8]) -> Result<(Vec<Record>, usize), RecoveryError> {
    let mut records = Vec::new();
    let mut offset = 0;
    while offset < log.len() {
        let Some((record, length)) = decode(rule, &log[offset..]) else {
            return match readable_after(rule, log, offset) {
                Some(readable) => Err(RecoveryError::Damaged { offset, readable }),
                None => Ok((records, offset)),
            };
        };
        records.push(record);
        offset += length;
    }
    Ok((records, offset))
}

/// Where a whole record follows an unreadable one. Without a checksum nothing tells a record from
/// chance, so nobody looks.
fn readable_after(rule: Checksum, log: &[u8], offset: usize) -> Option<usize> {
    let mut later = offset + 1..log.len();
    match rule {
        Checksum::Crc32c => later.find(|start| decode(rule, &log[*start..]).is_some()),
        Checksum::None => None,
    }
}

/// Bytes of a checkpoint.
pub fn encode_checkpoint(rule: Checksum, state: &CheckpointState) -> Vec<u8> {
    let body = serde_json::to_vec(state).expect("a state has no part that JSON lacks");
    let mut bytes = CHECKPOINT_MAGIC.to_vec();
    bytes.extend(checksum::over(rule, &[&body]));
    bytes.extend(body);
    bytes
}

fn decode_checkpoint(rule: Checksum, bytes: &[u8]) -> Option<CheckpointState> {
    let rest = bytes.strip_prefix(CHECKPOINT_MAGIC)?;
    let (stored, body) = rest.split_first_chunk::<4>()?;
    if !checksum::holds(rule, &[body], stored) {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// The state of a node from what its disk held.
///
/// # Errors
/// When the node must not start from it.
pub fn recover(
    rule: Checksum,
    checkpoints: &[Vec<u8>],
    log: &[u8],
) -> Result<Recovered, RecoveryError> {
    recover_planted(rule, checkpoints, log, Planted::default())
}

/// The same by a node that may make a mistake.
pub(crate) fn recover_planted(
    rule: Checksum,
    checkpoints: &[Vec<u8>],
    log: &[u8],
    planted: Planted,
) -> Result<Recovered, RecoveryError> {
    let checkpoint = checkpoints
        .iter()
        .find_map(|bytes| decode_checkpoint(rule, bytes));
    if checkpoint.is_none() && !checkpoints.is_empty() {
        return Err(RecoveryError::Checkpoints {
            count: checkpoints.len(),
        });
    }
    let base = checkpoint
        .as_ref()
        .map_or_else(Point::default, |checkpoint| checkpoint.point);
    let (records, log_bytes) = decode_log(rule, log)?;
    let mut recovered = Recovered {
        checkpoint,
        epoch: base.epoch,
        records: records.len() as u64,
        log_bytes: log_bytes as u64,
        ..Recovered::default()
    };
    let mut rollback = Rollback::default();
    for record in records {
        rollback.note(&record);
        recovered.replay(base, record)?;
    }
    if let Some(checkpoint) = &mut recovered.checkpoint {
        recovered.undone = checkpoint.in_flight.len() as u64;
        recovered.compensations = rollback.undo(checkpoint, planted)?;
    }
    Ok(recovered)
}

impl Recovered {
    fn replay(&mut self, base: Point, record: Record) -> Result<(), RecoveryError> {
        match record {
            Record::Promise { epoch, to } => {
                if epoch >= self.epoch {
                    self.epoch = epoch;
                    self.promised = Some(to);
                }
            }
            Record::Service(note) => self.service.push(note),
            Record::Term(epoch) => {
                if epoch > self.epoch {
                    self.epoch = epoch;
                    self.promised = None;
                }
            }
            Record::Before { .. } | Record::Compensated { .. } => {}
            Record::Entry(entry) => {
                let Point { epoch, position } = entry.point;
                let last = base.position + self.entries.len() as u64;
                if position > last + 1 {
                    return Err(RecoveryError::Gap {
                        last,
                        found: position,
                    });
                }
                if epoch > self.epoch {
                    self.epoch = epoch;
                    self.promised = None;
                }
                // A record from before the checkpoint still ends whatever stood behind it.
                self.entries
                    .truncate(position.saturating_sub(base.position + 1) as usize);
                if position > base.position {
                    self.entries.push(entry);
                }
            }
        }
        Ok(())
    }
}
