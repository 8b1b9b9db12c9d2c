//! No log: the control group, in which a restarted node is empty. Everything counts as written down
//! at once, so that what this costs is seen in the data and not in a node that waits for ever.

use shakedown_contracts::time::Moment;

use super::record::{CheckpointState, Record};
use super::{Found, RecoveryLog, Ticket};
use crate::interface::{DiskToken, Output};

/// Counts records and keeps none.
#[derive(Debug, Default)]
pub struct Forgetful {
    given: Ticket,
}

impl RecoveryLog for Forgetful {
    fn start(&mut self, _now: Moment, _found: Found, _out: &mut Vec<Output>) -> Ticket {
        self.given
    }

    fn append(&mut self, _record: &Record, _out: &mut Vec<Output>) -> Ticket {
        self.given += 1;
        self.given
    }

    fn force(&mut self, _out: &mut Vec<Output>) {}

    fn acknowledgeable(&self) -> Ticket {
        self.given
    }

    fn synced(&self) -> Ticket {
        self.given
    }

    fn disk_done(&mut self, _now: Moment, _token: DiskToken, _out: &mut Vec<Output>) {}

    fn disk_failed(&mut self, _token: DiskToken, _out: &mut Vec<Output>) {}

    fn sync_due(&mut self, _now: Moment, _out: &mut Vec<Output>) {}

    fn checkpoint_due(&mut self, _now: Moment, _timer: bool, _out: &mut Vec<Output>) -> bool {
        false
    }

    fn checkpoint(
        &mut self,
        _now: Moment,
        _state: &CheckpointState,
        _records: &[Record],
        _out: &mut Vec<Output>,
    ) -> Ticket {
        self.given
    }
}
