//! One node's disk: what is durable, what is not yet, and what a death leaves.
//!
//! Three places hold bytes of the log: the process (operations that wait, and with `hold_unsynced`
//! everything not synced), the kernel's page cache (`log`), the device (`log[..synced]`). A kill
//! takes the first; a host crash takes the second too, except for what happened to be written back:
//! a prefix, whose last sector may be torn. An operation under way at that moment has happened or
//! not, by a draw. A checkpoint is four steps, each of which leaves files that a node can start from
//! (`node/src/disk/files.rs` says how), and stops before one of them.
//!
//! Operations go one after the other in the order issued; appends that wait together are one, as
//! in the node's disk thread. Invariant: `synced` bytes never change but by the core's orders.

use std::collections::VecDeque;

use shakedown_contracts::random::Random;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::{DiskOperation, DiskToken};

use crate::draws::exponential;
use crate::setup::{DiskModel, Unsynced};

const SECTOR_BYTES: usize = 512;
/// Syncs in replacing checkpoint and log: two files, the folder after each.
const CHECKPOINT_SYNCS: u64 = 4;
const MIB: u64 = 1 << 20;

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Newest first, at most two.
    checkpoints: Vec<Vec<u8>>,
    log: Vec<u8>,
    synced: usize,
    /// Appended and kept in the process, with `hold_unsynced` alone.
    held: Vec<u8>,
    hold_unsynced: bool,
    waiting: VecDeque<(DiskToken, DiskOperation)>,
    under_way: Vec<(DiskToken, DiskOperation)>,
    random: Random,
}

impl Disk {
    pub fn new(hold_unsynced: bool, random: Random) -> Self {
        Disk {
            checkpoints: Vec::new(),
            log: Vec::new(),
            synced: 0,
            held: Vec::new(),
            hold_unsynced,
            waiting: VecDeque::new(),
            under_way: Vec::new(),
            random,
        }
    }

    /// What a process that starts finds: checkpoints, log.
    pub fn content(&self) -> (Vec<Vec<u8>>, Vec<u8>) {
        (self.checkpoints.clone(), self.log.clone())
    }

    /// How much that is.
    pub fn bytes(&self) -> u64 {
        let checkpoints: usize = self.checkpoints.iter().map(Vec::len).sum();
        (checkpoints + self.log.len()) as u64
    }

    pub fn submit(&mut self, token: DiskToken, operation: DiskOperation) {
        self.waiting.push_back((token, operation));
    }

    /// Begins what waits, unless something is under way; how long it will take.
    pub fn begin(&mut self, model: &DiskModel) -> Option<Duration> {
        if !self.under_way.is_empty() {
            return None;
        }
        let first = self.waiting.pop_front()?;
        let mut took = self.time(&first.1, model);
        let append = is_append(&first);
        self.under_way.push(first);
        while append && self.waiting.front().is_some_and(is_append) {
            let Some(next) = self.waiting.pop_front() else {
                break;
            };
            took = took.saturating_add(writing(length(&next.1), model));
            self.under_way.push(next);
        }
        Some(took)
    }

    /// Ends what is under way, and gives its tokens.
    pub fn finish(&mut self, mut done: impl FnMut(DiskToken)) {
        let mut under_way = std::mem::take(&mut self.under_way);
        for (token, operation) in under_way.drain(..) {
            self.carry_out(operation);
            done(token);
        }
        self.under_way = under_way;
    }

    /// The process dies.
    pub fn kill(&mut self) {
        self.waiting.clear();
        let under_way = std::mem::take(&mut self.under_way);
        if !under_way.is_empty() && self.random.chance(0.5) {
            under_way
                .into_iter()
                .for_each(|(_, operation)| self.carry_out(operation));
        } else if let Some((_, DiskOperation::Checkpoint { bytes, .. })) = under_way.first() {
            self.stop_in_checkpoint(bytes);
        }
        self.held.clear();
    }

    /// The host dies.
    pub fn crash(&mut self, unsynced: Unsynced) {
        self.kill();
        let kept = match unsynced {
            Unsynced::Lost => 0,
            Unsynced::Prefix | Unsynced::Torn => {
                let most = self.log.len() - self.synced;
                self.random.below(most as u64 + 1) as usize
            }
        };
        self.log.truncate(self.synced + kept);
        if unsynced == Unsynced::Torn && kept > 0 {
            self.tear_last_sector();
        }
        // What is on the device when the host is back is as good as synced.
        self.synced = self.log.len();
    }

    fn tear_last_sector(&mut self) {
        let end = self.log.len();
        let sector = (end - 1) / SECTOR_BYTES * SECTOR_BYTES;
        let first = sector.max(self.synced);
        let from = first + self.random.below((end - first) as u64) as usize;
        match self.random.below(3) {
            0 => {}
            1 => self.log[from..].fill(0),
            _ => {
                for byte in &mut self.log[from..] {
                    *byte = self.random.next_u64() as u8;
                }
            }
        }
    }

    /// Stops before one of the three renames of a checkpoint.
    fn stop_in_checkpoint(&mut self, bytes: &[u8]) {
        let step = self.random.below(3);
        // The present checkpoint becomes the previous one; there may be none.
        if step >= 1 {
            self.checkpoints.truncate(1);
        }
        if step >= 2 {
            self.checkpoints.insert(0, bytes.to_vec());
        }
    }

    fn carry_out(&mut self, operation: DiskOperation) {
        match operation {
            DiskOperation::Append { bytes } if self.hold_unsynced => self.held.extend(bytes),
            DiskOperation::Append { bytes } => self.log.extend(bytes),
            DiskOperation::Sync => self.sync(),
            // Nobody reads it; that it takes its time is all there is to it.
            DiskOperation::Probe { .. } => {}
            DiskOperation::TruncateLog { length } => {
                let length = length as usize;
                self.held.truncate(length.saturating_sub(self.log.len()));
                self.log.truncate(length);
                self.sync();
            }
            DiskOperation::Checkpoint { bytes, log } => {
                self.checkpoints.insert(0, bytes);
                self.checkpoints.truncate(2);
                self.held.clear();
                self.synced = log.len();
                self.log = log;
            }
        }
    }

    fn sync(&mut self) {
        self.log.append(&mut self.held);
        self.synced = self.log.len();
    }

    fn time(&mut self, operation: &DiskOperation, model: &DiskModel) -> Duration {
        let written = writing(length(operation), model);
        let syncs = match operation {
            DiskOperation::Append { .. } => return model.append.saturating_add(written),
            DiskOperation::Sync
            | DiskOperation::Probe { .. }
            | DiskOperation::TruncateLog { .. } => 1,
            DiskOperation::Checkpoint { .. } => CHECKPOINT_SYNCS,
        };
        let sync = |random: &mut Random| {
            let added = exponential(random, model.sync_jitter);
            model.sync.saturating_add(added)
        };
        (0..syncs).fold(written, |sum, _| sum.saturating_add(sync(&mut self.random)))
    }
}

fn is_append((_, operation): &(DiskToken, DiskOperation)) -> bool {
    matches!(operation, DiskOperation::Append { .. })
}

fn length(operation: &DiskOperation) -> u64 {
    let length = match operation {
        DiskOperation::Append { bytes } => bytes.len(),
        DiskOperation::Checkpoint { bytes, log } => bytes.len() + log.len(),
        DiskOperation::Sync | DiskOperation::Probe { .. } | DiskOperation::TruncateLog { .. } => 0,
    };
    length as u64
}

fn writing(bytes: u64, model: &DiskModel) -> Duration {
    per_mib(model.write_mib, bytes)
}

/// The time of `bytes` at so much a MiB.
pub(crate) fn per_mib(time: Duration, bytes: u64) -> Duration {
    Duration::from_nanos(time.as_nanos().saturating_mul(bytes) / MIB)
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
