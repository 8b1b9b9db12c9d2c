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
//! in the node's disk thread; after one that failed the thread ends, unless a sync may fail.
//!
//! A sync that fails gives its bytes up: they count as clean and are not on the device, so they read
//! back as zeros, and the next sync has nothing to say about them (Rebello 2020, section 3; ext4 and XFS
//! go on showing them until the page is evicted, which here is at once). Where nothing is written
//! behind them, the file on the device ends before them.
//!
//! Invariants: `synced ≤ clean ≤` length of the log; synced bytes never change but by the core's
//! orders and by a fault that says so.

use std::collections::VecDeque;

use shakedown_contracts::host_fault::{Damage, DiskMethod, Errno};
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::{Flaw, Planted};
use shakedown_core::interface::{DiskOperation, DiskToken};

use crate::draws::exponential;
use crate::setup::{DiskModel, Unsynced};
use crate::troubles::Troubles;

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
    /// What the kernel will not write any more: synced, or given up.
    clean: usize,
    /// Appended and kept in the process, with `hold_unsynced` alone.
    held: Vec<u8>,
    hold_unsynced: bool,
    waiting: VecDeque<(DiskToken, DiskOperation)>,
    under_way: Vec<(DiskToken, DiskOperation)>,
    /// When that began, and how long it takes on a sound disk.
    begun: Moment,
    sound: Duration,
    /// Its time is over, and it does not complete.
    hangs: bool,
    pub troubles: Troubles,
    /// Checkpoints and log as the folder has them on the device, where it was not synced.
    folder: Option<(Vec<Vec<u8>>, Vec<u8>)>,
    pub planted: Planted,
    random: Random,
}

/// An operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub token: DiskToken,
    pub errno: Errno,
    /// A sync or a probe, not a write.
    pub of_sync: bool,
}

impl Disk {
    pub fn new(hold_unsynced: bool, random: Random) -> Self {
        Disk {
            checkpoints: Vec::new(),
            log: Vec::new(),
            synced: 0,
            clean: 0,
            held: Vec::new(),
            hold_unsynced,
            waiting: VecDeque::new(),
            under_way: Vec::new(),
            begun: Moment(0),
            sound: Duration::ZERO,
            hangs: false,
            troubles: Troubles::default(),
            folder: None,
            planted: Planted::default(),
            random,
        }
    }

    /// What a process that starts finds: checkpoints, log.
    pub fn content(&mut self) -> (Vec<Vec<u8>>, Vec<u8>) {
        // A node that opens its folder syncs it.
        self.folder = None;
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
    pub fn begin(&mut self, model: &DiskModel, now: Moment) -> Option<Duration> {
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
        (self.begun, self.sound) = (now, took);
        Some(took.saturating_add(self.troubles.delay()))
    }

    /// The time of what is under way is over; false when it does not complete all the same.
    pub fn is_done(&mut self, now: Moment) -> bool {
        self.hangs = !self.under_way.is_empty() && self.troubles.hold(now);
        !self.hangs
    }

    /// True, once, when what hung may complete.
    pub fn goes_on(&mut self, now: Moment) -> bool {
        self.hangs && !self.under_way.is_empty() && self.is_done(now)
    }

    /// Ends what is under way, and gives its tokens up to one that failed.
    pub fn finish(&mut self, now: Moment, mut done: impl FnMut(DiskToken)) -> Option<Failure> {
        if self.under_way.is_empty() {
            return None;
        }
        let took = now.since(self.begun).as_nanos();
        let added = Duration::from_nanos(took.saturating_sub(self.sound.as_nanos()));
        self.troubles.delayed(added, now);
        let mut under_way = std::mem::take(&mut self.under_way);
        let mut failure = None;
        for (token, operation) in under_way.drain(..) {
            let of_sync = matches!(operation, DiskOperation::Sync | DiskOperation::Probe { .. });
            if failure.is_none() {
                match self.carry_out(operation, now) {
                    Ok(()) => done(token),
                    Err(errno) => {
                        failure = Some(Failure {
                            token,
                            errno,
                            of_sync,
                        });
                    }
                }
            }
        }
        self.under_way = under_way;
        failure
    }

    /// One sector of the synced log, not the last, reads back altered: which, and in how many bits.
    pub fn corrupt(&mut self, damage: Damage, random: &mut Random) -> Option<(u64, u32)> {
        let others = (self.synced / SECTOR_BYTES).checked_sub(1)?;
        if others == 0 {
            return None;
        }
        let sector = random.below(others as u64);
        let from = sector as usize * SECTOR_BYTES;
        let before = self.log[from..from + SECTOR_BYTES].to_vec();
        match damage {
            Damage::BitFlip => {
                let bit = random.below(SECTOR_BYTES as u64 * 8) as usize;
                self.log[from + bit / 8] ^= 1 << (bit % 8);
            }
            Damage::Scramble => {
                for byte in &mut self.log[from..from + SECTOR_BYTES] {
                    *byte = random.next_u64() as u8;
                }
            }
        }
        let pairs = self.log[from..].iter().zip(before);
        let bits = pairs.map(|(now, before)| (now ^ before).count_ones()).sum();
        Some((sector, bits))
    }

    /// The process dies.
    pub fn kill(&mut self, now: Moment) {
        self.stop(now, false);
    }

    fn stop(&mut self, now: Moment, host: bool) {
        self.waiting.clear();
        self.hangs = false;
        let under_way = std::mem::take(&mut self.under_way);
        if !under_way.is_empty() && self.random.chance(0.5) {
            for (_, operation) in under_way {
                if self.carry_out(operation, now).is_err() {
                    break;
                }
            }
        } else if let Some((_, DiskOperation::Checkpoint { bytes, .. })) = under_way.first() {
            self.stop_in_checkpoint(bytes, host);
        }
        self.held.clear();
    }

    /// The host dies.
    pub fn crash(&mut self, unsynced: Unsynced, now: Moment) {
        self.stop(now, true);
        let kept = match unsynced {
            Unsynced::Lost => 0,
            Unsynced::Prefix | Unsynced::Torn => {
                let most = self.log.len() - self.clean;
                self.random.below(most as u64 + 1) as usize
            }
        };
        self.log.truncate(match kept {
            0 => self.synced,
            kept => self.clean + kept,
        });
        if unsynced == Unsynced::Torn && kept > 0 {
            self.tear_last_sector();
        }
        // What is on the device when the host is back is as good as synced.
        if let Some((checkpoints, log)) = self.folder.take() {
            (self.checkpoints, self.log) = (checkpoints, log);
        }
        self.synced = self.log.len();
        self.clean = self.synced;
    }

    fn tear_last_sector(&mut self) {
        let end = self.log.len();
        let sector = (end - 1) / SECTOR_BYTES * SECTOR_BYTES;
        let first = sector.max(self.clean);
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

    /// Stops before one of the three renames of a checkpoint. Where the host stops, the folder may have
    /// the second of those before its sync without the first.
    fn stop_in_checkpoint(&mut self, bytes: &[u8], host: bool) {
        let step = self.random.below(if host { 4 } else { 3 });
        if step == 3 {
            self.checkpoints.drain(..self.checkpoints.len().min(1));
            return self.checkpoints.insert(0, bytes.to_vec());
        }
        // The present checkpoint becomes the previous one; there may be none.
        if step >= 1 {
            self.checkpoints.truncate(1);
        }
        if step >= 2 {
            self.checkpoints.insert(0, bytes.to_vec());
        }
    }

    fn carry_out(&mut self, operation: DiskOperation, now: Moment) -> Result<(), Errno> {
        match operation {
            DiskOperation::Append { bytes } if self.hold_unsynced => {
                self.held.extend(bytes);
                Ok(())
            }
            DiskOperation::Append { bytes } => self.append(&bytes, now),
            DiskOperation::Sync => self.sync(now),
            // Nobody reads it; that it takes its time and may fail is all there is to it.
            DiskOperation::Probe { .. } => self.try_to(DiskMethod::Sync, 0, now),
            DiskOperation::TruncateLog { length } => {
                self.try_to(DiskMethod::Sync, 0, now)?;
                let length = length as usize;
                self.held.truncate(length.saturating_sub(self.log.len()));
                self.log.truncate(length);
                self.log.append(&mut self.held);
                (self.synced, self.clean) = (self.log.len(), self.log.len());
                Ok(())
            }
            DiskOperation::Checkpoint { bytes, log } => self.checkpoint(bytes, log, now),
        }
    }

    fn try_to(&mut self, method: DiskMethod, bytes: usize, now: Moment) -> Result<(), Errno> {
        match self.troubles.fail(method, bytes, now) {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }

    /// A write that fails may have written a part.
    fn append(&mut self, bytes: &[u8], now: Moment) -> Result<(), Errno> {
        let tried = self.try_to(DiskMethod::Write, 0, now);
        let written = match tried {
            Ok(()) => bytes.len(),
            Err(_) => self.random.below(bytes.len() as u64 + 1) as usize,
        };
        self.log.extend(&bytes[..written]);
        tried
    }

    /// Makes dirty bytes durable. Where there are none, the device is not asked.
    fn sync(&mut self, now: Moment) -> Result<(), Errno> {
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            self.append(&held, now)?;
        }
        let dirty = self.log.len() - self.clean;
        if dirty == 0 {
            return Ok(());
        }
        let tried = self.try_to(DiskMethod::Sync, dirty, now);
        match tried {
            Ok(()) => self.synced = self.log.len(),
            Err(_) => self.log[self.clean..].fill(0),
        }
        self.clean = self.log.len();
        tried
    }

    /// Fails at its first file or not at all.
    fn checkpoint(&mut self, bytes: Vec<u8>, log: Vec<u8>, now: Moment) -> Result<(), Errno> {
        self.try_to(DiskMethod::Write, 0, now)?;
        self.try_to(DiskMethod::Sync, 0, now)?;
        if self.planted.has(Flaw::FolderUnsynced) && self.folder.is_none() {
            self.folder = Some((self.checkpoints.clone(), self.log[..self.synced].to_vec()));
        }
        self.checkpoints.insert(0, bytes);
        self.checkpoints.truncate(2);
        self.held.clear();
        self.log = log;
        (self.synced, self.clean) = (self.log.len(), self.log.len());
        Ok(())
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
