//! What of a checkpoint's state was in flight, and how it is taken back: analysis and undo of the
//! rollback log (`undo_redo` has the whole picture).
//!
//! Invariant: of the same checkpoint and the same log, or a longer one, comes the same state,
//! however often a restart is interrupted.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{CheckpointState, Record, RecoveryError};
use crate::flaw::{Flaw, Planted};
use crate::message::Point;
use crate::store::Image;

/// What the log says about operations that were in flight.
#[derive(Debug, Default)]
pub(super) struct Rollback {
    before: BTreeMap<Point, Image>,
    compensated: BTreeSet<Point>,
}

impl Rollback {
    /// Analysis: takes a record of the log in.
    pub fn note(&mut self, record: &Record) {
        match record {
            Record::Before { point, image } => {
                self.before.insert(*point, image.clone());
                // A newer checkpoint holds its effect again.
                self.compensated.remove(point);
            }
            Record::Compensated { point } => {
                self.compensated.insert(*point);
            }
            Record::Entry(_) | Record::Promise { .. } | Record::Term(_) | Record::Service(_) => {}
        }
    }

    /// Undo: takes everything in flight back, newest first; what remains to be logged of it.
    ///
    /// # Errors
    /// When the log does not say what an operation found.
    pub fn undo(
        &self,
        checkpoint: &mut CheckpointState,
        planted: Planted,
    ) -> Result<Vec<Record>, RecoveryError> {
        let mut in_flight = std::mem::take(&mut checkpoint.in_flight);
        if !planted.has(Flaw::UndoesForwards) {
            in_flight.reverse();
        }
        let mut unlogged = Vec::new();
        for point in in_flight {
            if planted.has(Flaw::UndoSkipped) {
                break;
            }
            let image = self.before.get(&point).ok_or(RecoveryError::NoImage {
                position: point.position,
            })?;
            checkpoint.store.put_back(image);
            if !self.compensated.contains(&point) {
                unlogged.push(Record::Compensated { point });
            }
        }
        Ok(unlogged)
    }
}
