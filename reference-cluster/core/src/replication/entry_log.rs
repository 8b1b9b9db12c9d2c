//! The group's log in memory: the entries behind a base point.
//!
//! Applied entries are kept for a while so that a backup that is a little behind can be brought up
//! to date from them; one that is further behind gets the whole state.
//! Invariant: positions are consecutive, and the base is never beyond what is applied.

use std::collections::VecDeque;

use crate::message::{Entry, Point};

/// Applied entries kept for backups that are behind.
const RETAINED: usize = 4096;
/// Most entries in one message.
const BATCH_ENTRIES: usize = 256;
/// Most bytes of commands in one message, roughly.
const BATCH_BYTES: usize = 1 << 20;

/// The log.
#[derive(Debug, Default)]
pub struct EntryLog {
    base: Point,
    entries: VecDeque<Entry>,
}

impl EntryLog {
    /// A log of `entries` after `base`.
    pub fn new(base: Point, entries: Vec<Entry>) -> Self {
        EntryLog {
            base,
            entries: entries.into(),
        }
    }

    /// The point before the first entry in memory.
    pub fn base(&self) -> Point {
        self.base
    }

    /// The last point.
    pub fn last(&self) -> Point {
        self.entries.back().map_or(self.base, |entry| entry.point)
    }

    /// The entry at a position.
    pub fn entry(&self, position: u64) -> Option<&Entry> {
        let index = position.checked_sub(self.base.position + 1)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The point at a position; also that of the base.
    pub fn point(&self, position: u64) -> Option<Point> {
        if position == self.base.position {
            return Some(self.base);
        }
        self.entry(position).map(|entry| entry.point)
    }

    /// The last position before the run of entries that has the epoch of the one at `position`.
    pub fn before_epoch_of(&self, position: u64) -> u64 {
        let epoch = self.point(position).map(|point| point.epoch);
        let mut position = position;
        while position > self.base.position && self.point(position).map(|p| p.epoch) == epoch {
            position -= 1;
        }
        position
    }

    /// Adds the next entry.
    pub fn push(&mut self, entry: Entry) {
        debug_assert_eq!(
            entry.point.position,
            self.last().position + 1,
            "positions have no gap"
        );
        self.entries.push_back(entry);
    }

    /// Removes the entry at `position` and all behind it.
    pub fn truncate_from(&mut self, position: u64) {
        let kept = position.saturating_sub(self.base.position + 1);
        self.entries
            .truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    }

    /// Entries from `position` on, as many as go into one message.
    pub fn batch(&self, position: u64) -> Vec<Entry> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while let Some(entry) = self.entry(position + batch.len() as u64) {
            bytes += entry.command.size();
            if batch.len() == BATCH_ENTRIES || (bytes > BATCH_BYTES && !batch.is_empty()) {
                break;
            }
            batch.push(entry.clone());
        }
        batch
    }

    /// Entries from `position` to the end.
    pub fn tail(&self, position: u64) -> impl Iterator<Item = &Entry> {
        (position..=self.last().position).filter_map(|position| self.entry(position))
    }

    /// Forgets applied entries beyond those retained.
    pub fn compact(&mut self, applied: u64) {
        // Twice as many before it begins, so that it does not move entries at every step.
        if self.entries.len() < 2 * RETAINED {
            return;
        }
        while self.entries.len() > RETAINED
            && self
                .entries
                .front()
                .is_some_and(|entry| entry.point.position <= applied)
        {
            if let Some(entry) = self.entries.pop_front() {
                self.base = entry.point;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Command;

    fn log(epochs: &[u64]) -> EntryLog {
        let entries = epochs.iter().zip(6..).map(|(epoch, position)| Entry {
            point: Point {
                epoch: *epoch,
                position,
            },
            command: Command::Nothing,
        });
        EntryLog::new(
            Point {
                epoch: 1,
                position: 5,
            },
            entries.collect(),
        )
    }

    #[test]
    fn positions_count_from_the_base() {
        let mut log = log(&[1, 2, 2, 3]);
        assert_eq!(
            log.last(),
            Point {
                epoch: 3,
                position: 9
            }
        );
        assert_eq!(
            log.point(5),
            Some(Point {
                epoch: 1,
                position: 5
            })
        );
        assert_eq!((log.point(4), log.point(10)), (None, None));
        assert_eq!(log.before_epoch_of(8), 6);
        assert_eq!(log.before_epoch_of(6), 5);
        log.truncate_from(8);
        assert_eq!(
            log.last(),
            Point {
                epoch: 2,
                position: 7
            }
        );
        log.truncate_from(3);
        assert_eq!(
            log.last(),
            Point {
                epoch: 1,
                position: 5
            }
        );
    }

    #[test]
    fn batches_and_memory_are_bounded_and_nothing_unapplied_is_forgotten() {
        let mut log = log(&[1; 3 * RETAINED]);
        assert_eq!(log.batch(6).len(), BATCH_ENTRIES);
        log.compact(50);
        assert_eq!(log.base().position, 50);
        log.compact(3 * RETAINED as u64);
        assert_eq!(log.tail(1).count(), RETAINED);
    }
}
