//! Write-ahead log of operations: written before it is acknowledged, replayed at restart.
//!
//! Policies differ in when a sync is issued and in what counts as written down. A promise for an
//! epoch is synced under every policy: a node that forgets whom it promised breaks the group, not
//! only its own memory.
//! Invariant: disk operations complete in order of issue, so one queue of tickets is enough.

use std::collections::VecDeque;

use shakedown_contracts::event::Event;
use shakedown_contracts::strategy::{
    Checkpoint, Checksum, DEFAULT_MEAN_TIME_BETWEEN_FAILURES, Fsync, LogOptions, OnFsyncError,
};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::record::{CheckpointState, Record, encode, encode_checkpoint};
use super::young_daly::YoungDaly;
use super::{Found, RecoveryLog, SYNC_INTERVAL, Ticket};
use crate::flaw::{Flaw, Planted};
use crate::interface::{DiskOperation, DiskToken, Output, Timer};
use crate::node::ConfigError;

const FAILED: &str = "a disk operation failed: what is on the disk is unknown from here on; free or \
                      repair the disk and start the node again";

/// What a disk operation under way will prove.
#[derive(Debug)]
enum Issued {
    Append,
    Sync(Ticket),
    Checkpoint {
        covers: Ticket,
        position: u64,
        bytes: u64,
        begun: Moment,
    },
}

/// The log.
#[derive(Debug)]
pub struct RedoLog {
    fsync: Fsync,
    checkpoint: Checkpoint,
    young_daly: YoungDaly,
    checksum: Checksum,
    on_fsync_error: OnFsyncError,
    next_token: u64,
    issued: VecDeque<(DiskToken, Issued)>,
    given: Ticket,
    /// Last ticket for which a sync was asked.
    sync_asked: Ticket,
    synced: Ticket,
    syncs_under_way: u32,
    checkpoint_under_way: bool,
    bytes_since_checkpoint: u64,
    planted: Planted,
}

impl RedoLog {
    /// An empty log.
    ///
    /// # Errors
    /// When an option cannot work.
    pub fn new(options: &LogOptions, planted: Planted) -> Result<Self, ConfigError> {
        let LogOptions {
            fsync,
            checkpoint,
            mean_time_between_failures,
            checksum,
            on_fsync_error,
        } = *options;
        let zero = match checkpoint {
            Checkpoint::Bytes(bytes) => bytes.0 == 0,
            Checkpoint::Every(every) => every < Duration::from_millis(10),
            Checkpoint::None | Checkpoint::Default | Checkpoint::YoungDaly => false,
        };
        if zero {
            return Err(ConfigError::Value {
                key: "recovery_log.checkpoint",
                value: String::from(checkpoint),
                hint: "give at least 1B or 10ms, or \"none\"",
            });
        }
        Ok(RedoLog {
            fsync,
            checkpoint,
            young_daly: YoungDaly::new(
                mean_time_between_failures.unwrap_or(DEFAULT_MEAN_TIME_BETWEEN_FAILURES),
            ),
            checksum,
            on_fsync_error,
            next_token: 0,
            issued: VecDeque::new(),
            given: 0,
            sync_asked: 0,
            synced: 0,
            syncs_under_way: 0,
            checkpoint_under_way: false,
            bytes_since_checkpoint: 0,
            planted,
        })
    }

    fn issue(&mut self, issued: Issued, operation: DiskOperation, out: &mut Vec<Output>) {
        self.next_token += 1;
        let token = DiskToken(self.next_token);
        self.issued.push_back((token, issued));
        out.push(Output::Disk { token, operation });
    }

    fn sync(&mut self, out: &mut Vec<Output>) {
        if self.sync_asked < self.given {
            self.sync_asked = self.given;
            self.syncs_under_way += 1;
            self.issue(Issued::Sync(self.given), DiskOperation::Sync, out);
        }
    }

    /// Time between two checkpoints, where that is the rule.
    fn checkpoint_interval(&self) -> Option<Duration> {
        match self.checkpoint {
            Checkpoint::Every(every) => Some(every),
            Checkpoint::YoungDaly => Some(self.young_daly.interval()),
            Checkpoint::None | Checkpoint::Bytes(_) | Checkpoint::Default => None,
        }
    }

    fn set_checkpoint_timer(&self, now: Moment, out: &mut Vec<Output>) {
        if let Some(interval) = self.checkpoint_interval() {
            out.push(Output::SetTimer {
                timer: Timer::Checkpoint,
                at: now.after(interval),
            });
        }
    }

    fn group_sync(&mut self, out: &mut Vec<Output>) {
        if self.fsync == Fsync::Group && self.syncs_under_way == 0 {
            self.sync(out);
        }
    }
}

impl RecoveryLog for RedoLog {
    fn start(&mut self, now: Moment, found: Found, out: &mut Vec<Output>) -> Ticket {
        self.bytes_since_checkpoint = found.log_bytes;
        self.given += 1;
        if found.torn {
            let operation = DiskOperation::TruncateLog {
                length: found.log_bytes,
            };
            self.issue(Issued::Append, operation, out);
        }
        // What was read may have been in the page cache alone: it counts after a sync.
        self.sync(out);
        if self.fsync == Fsync::Interval {
            out.push(Output::SetTimer {
                timer: Timer::Sync,
                at: now.after(SYNC_INTERVAL),
            });
        }
        self.set_checkpoint_timer(now, out);
        self.given
    }

    fn append(&mut self, record: &Record, out: &mut Vec<Output>) -> Ticket {
        let bytes = encode(self.checksum, record);
        self.bytes_since_checkpoint += bytes.len() as u64;
        self.given += 1;
        self.issue(Issued::Append, DiskOperation::Append { bytes }, out);
        match self.fsync {
            Fsync::PerOperation => self.sync(out),
            Fsync::Group => self.group_sync(out),
            Fsync::Interval | Fsync::Never => {}
        }
        self.given
    }

    fn force(&mut self, out: &mut Vec<Output>) {
        self.sync(out);
    }

    fn acknowledgeable(&self) -> Ticket {
        if self.planted.has(Flaw::AcknowledgesBeforeSync) {
            return self.given;
        }
        match self.fsync {
            Fsync::PerOperation | Fsync::Group => self.synced,
            Fsync::Interval | Fsync::Never => self.given,
        }
    }

    fn synced(&self) -> Ticket {
        self.synced
    }

    fn disk_done(&mut self, now: Moment, token: DiskToken, out: &mut Vec<Output>) {
        if self.issued.front().is_none_or(|(first, _)| *first != token) {
            return;
        }
        let Some((_, issued)) = self.issued.pop_front() else {
            return;
        };
        match issued {
            Issued::Append => {}
            Issued::Sync(ticket) => {
                self.syncs_under_way -= 1;
                self.synced = self.synced.max(ticket);
                self.group_sync(out);
            }
            Issued::Checkpoint {
                covers,
                position,
                bytes,
                begun,
            } => {
                self.checkpoint_under_way = false;
                self.young_daly.measured(now.since(begun));
                if self.checkpoint == Checkpoint::YoungDaly {
                    self.set_checkpoint_timer(now, out);
                }
                self.synced = self.synced.max(covers);
                let event = Event::CheckpointCompleted { position, bytes };
                out.push(Output::Note { event });
            }
        }
    }

    fn disk_failed(&mut self, token: DiskToken, out: &mut Vec<Output>) {
        let position = self.issued.iter().position(|(issued, _)| *issued == token);
        let failed = position.and_then(|position| self.issued.remove(position));
        match (self.on_fsync_error, failed) {
            // Wrong on purpose: the disk has given the bytes up, and has nothing to say against a
            // second sync.
            (OnFsyncError::Retry, Some((_, Issued::Sync(ticket)))) => {
                self.issue(Issued::Sync(ticket), DiskOperation::Sync, out);
            }
            _ => out.push(Output::Fatal {
                message: FAILED.to_owned(),
            }),
        }
    }

    fn sync_due(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.fsync == Fsync::Interval {
            if self.syncs_under_way == 0 {
                self.sync(out);
            }
            out.push(Output::SetTimer {
                timer: Timer::Sync,
                at: now.after(SYNC_INTERVAL),
            });
        }
    }

    fn checkpoint_due(&mut self, now: Moment, timer: bool, out: &mut Vec<Output>) -> bool {
        let due = match self.checkpoint {
            Checkpoint::Every(_) | Checkpoint::YoungDaly if timer => {
                self.set_checkpoint_timer(now, out);
                self.bytes_since_checkpoint > 0
            }
            rule => rule
                .bytes()
                .is_some_and(|bytes| self.bytes_since_checkpoint >= bytes),
        };
        due && !self.checkpoint_under_way
    }

    fn checkpoint(
        &mut self,
        now: Moment,
        state: &CheckpointState,
        records: &[Record],
        out: &mut Vec<Output>,
    ) -> Ticket {
        let bytes = encode_checkpoint(self.checksum, state);
        let dropped = usize::from(self.planted.has(Flaw::CheckpointDropsRecord));
        let encoded = records[..records.len().saturating_sub(dropped)]
            .iter()
            .flat_map(|record| encode(self.checksum, record));
        let log = encoded.collect::<Vec<_>>();
        self.bytes_since_checkpoint = log.len() as u64;
        self.checkpoint_under_way = true;
        // Everything written so far is in the state or in the new log.
        self.given += 1;
        self.sync_asked = self.given;
        let covers = self.given;
        let position = state.point.position;
        let issued = Issued::Checkpoint {
            covers,
            position,
            bytes: bytes.len() as u64,
            begun: now,
        };
        self.issue(issued, DiskOperation::Checkpoint { bytes, log }, out);
        covers
    }
}
