//! Rollback log: the write-ahead log with before-images, so that a checkpoint need not wait for
//! what is in flight.
//!
//! An operation is in flight from when it is in the log until the group has committed it. A
//! checkpoint of the redo log leaves such operations out; this one takes the state as it would be
//! with all of them (*steal*), and a commit forces no state to disk (*no-force*). So the
//! state on disk may hold what the group never commits, and a restart has to take it back:
//! 1. *analysis*: the checkpoint says which operations were in flight, the log what they found;
//! 2. *redo*: the log is read to its end, as by the redo log; what the group has committed of it is
//!    applied again once the group says so;
//! 3. *undo*: effects of operations in flight are taken back, newest first, and for each that was
//!    not logged as rolled back before, a compensation record is written. Images are physical and
//!    the file is not touched, so a restart that is interrupted can begin again.
//!
//! A node cannot know alone whether the group has committed an operation in flight, so all of them
//! are taken back, from the *state*; they stay in the *log*, for the group to commit or replace.
//!
//! Invariant (the write-ahead rule): before-images are durable before the state that needs them.
//! Source: Mohan et al. 1992 (ARIES), sections 1 to 3; simplified: one page, the whole state.

use shakedown_contracts::strategy::LogOptions;
use shakedown_contracts::time::Moment;

use super::record::{CheckpointState, Record};
use super::redo::RedoLog;
use super::{Found, RecoveryLog, Ticket};
use crate::flaw::{Flaw, Planted};
use crate::interface::{DiskToken, Output};
use crate::node::ConfigError;

/// The log.
#[derive(Debug)]
pub struct UndoRedoLog {
    log: RedoLog,
    planted: Planted,
}

impl UndoRedoLog {
    /// An empty log.
    ///
    /// # Errors
    /// When an option cannot work.
    pub fn new(options: &LogOptions, planted: Planted) -> Result<Self, ConfigError> {
        let log = RedoLog::new(options, planted)?;
        Ok(UndoRedoLog { log, planted })
    }
}

/// The state with the effects of all entries among `records`, and what each of them found.
fn steal(state: &CheckpointState, records: &[Record]) -> (CheckpointState, Vec<Record>) {
    let mut stolen = state.clone();
    let mut images = Vec::new();
    for record in records {
        if let Record::Entry(entry) = record {
            let image = stolen.store.image(&entry.command);
            stolen.store.apply(entry.point.position, &entry.command);
            stolen.in_flight.push(entry.point);
            let point = entry.point;
            images.push(Record::Before { point, image });
        }
    }
    (stolen, images)
}

impl RecoveryLog for UndoRedoLog {
    fn start(&mut self, now: Moment, found: Found, out: &mut Vec<Output>) -> Ticket {
        let compensations = found.compensations.clone();
        let mut ticket = self.log.start(now, found, out);
        for record in &compensations {
            ticket = self.log.append(record, out);
        }
        ticket
    }

    fn append(&mut self, record: &Record, out: &mut Vec<Output>) -> Ticket {
        self.log.append(record, out)
    }

    fn force(&mut self, out: &mut Vec<Output>) {
        self.log.force(out);
    }

    fn acknowledgeable(&self) -> Ticket {
        self.log.acknowledgeable()
    }

    fn synced(&self) -> Ticket {
        self.log.synced()
    }

    fn disk_done(&mut self, now: Moment, token: DiskToken, out: &mut Vec<Output>) {
        self.log.disk_done(now, token, out);
    }

    fn disk_failed(&mut self, token: DiskToken, out: &mut Vec<Output>) {
        self.log.disk_failed(token, out);
    }

    fn sync_due(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.log.sync_due(now, out);
    }

    fn checkpoint_due(&mut self, now: Moment, timer: bool, out: &mut Vec<Output>) -> bool {
        self.log.checkpoint_due(now, timer, out)
    }

    fn checkpoint(
        &mut self,
        now: Moment,
        state: &CheckpointState,
        records: &[Record],
        out: &mut Vec<Output>,
    ) -> Ticket {
        let (stolen, images) = steal(state, records);
        if images.is_empty() {
            return self.log.checkpoint(now, state, records, out);
        }
        if !self.planted.has(Flaw::StealsUnlogged) {
            // A host that dies between the two renames of a checkpoint is left with the new state
            // and the old log.
            for image in &images {
                self.log.append(image, out);
            }
            self.log.force(out);
        }
        let with_images = [records, &images].concat();
        self.log.checkpoint(now, &stolen, &with_images, out)
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::strategy::Checksum;

    use super::*;
    use crate::interface::DiskOperation;
    use crate::message::{Entry, Point};
    use crate::recovery_log::record::{Recovered, encode, recover_planted};
    use crate::store::{Command, Store};

    fn put(position: u64, value: u64) -> Record {
        Record::Entry(Entry {
            point: Point { epoch: 1, position },
            command: Command::Put("k".to_owned(), value),
        })
    }

    /// A checkpoint after `k = 1` while `k = 2` and `k = 3` are in flight: the disk operations.
    fn stolen() -> Vec<DiskOperation> {
        let mut log = UndoRedoLog::new(&LogOptions::default(), Planted::default()).unwrap();
        let (mut store, mut out) = (Store::default(), Vec::new());
        store.apply(1, &Command::Put("k".to_owned(), 1));
        let point = Point {
            epoch: 1,
            position: 1,
        };
        let state = CheckpointState::new(point, store);
        log.checkpoint(Moment(0), &state, &[put(2, 2), put(3, 3)], &mut out);
        let operations = out.into_iter().filter_map(|output| match output {
            Output::Disk { operation, .. } => Some(operation),
            _ => None,
        });
        operations.collect()
    }

    fn recovered(more: &[Record], flaw: Option<Flaw>) -> Recovered {
        let Some(DiskOperation::Checkpoint { bytes, mut log }) = stolen().pop() else {
            panic!("the checkpoint comes last");
        };
        let more = more
            .iter()
            .flat_map(|record| encode(Checksum::Crc32c, record));
        log.extend(more);
        let planted = Planted::from(flaw);
        recover_planted(Checksum::Crc32c, &[bytes], &log, planted).unwrap()
    }

    fn value(recovered: &Recovered) -> Option<u64> {
        recovered.checkpoint.as_ref()?.store.register("k")
    }

    #[test]
    fn what_the_state_needs_to_be_rolled_back_is_synced_before_it() {
        let operations = stolen();
        let place = |wanted: fn(&DiskOperation) -> bool| operations.iter().rposition(wanted);
        let image = place(|operation| matches!(operation, DiskOperation::Append { .. }));
        let sync = place(|operation| *operation == DiskOperation::Sync);
        let state = place(|operation| matches!(operation, DiskOperation::Checkpoint { .. }));
        assert!(image < sync && sync < state, "{image:?} {sync:?} {state:?}");
        assert!(image.is_some());
    }

    #[test]
    fn operations_in_flight_leave_the_state_and_stay_in_the_log() {
        let found = recovered(&[], None);
        assert_eq!((value(&found), found.undone), (Some(1), 2));
        assert_eq!(found.entries.len(), 2);
        let positions = found.compensations.iter().map(|record| match record {
            Record::Compensated { point } => point.position,
            other => panic!("{other:?}"),
        });
        assert_eq!(positions.collect::<Vec<_>>(), [3, 2], "newest first");
    }

    #[test]
    fn a_restart_that_was_interrupted_rolls_back_the_same_and_logs_only_the_rest() {
        let all = recovered(&[], None).compensations;
        for logged in 0..=all.len() {
            let again = recovered(&all[..logged], None);
            assert_eq!(value(&again), Some(1));
            assert_eq!(again.compensations, all[logged..]);
        }
    }

    #[test]
    fn a_rollback_left_out_or_in_the_wrong_order_shows() {
        let value_with = |flaw| value(&recovered(&[], Some(flaw)));
        assert_eq!(value_with(Flaw::UndoSkipped), Some(3));
        assert_eq!(value_with(Flaw::UndoesForwards), Some(2));
    }
}
