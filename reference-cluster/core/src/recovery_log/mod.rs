//! What a node remembers over its own death.
//!
//! A log takes records in order and says up to which of them a promise to others may rely: by the
//! fsync policy ([`RecoveryLog::acknowledgeable`]) and in truth ([`RecoveryLog::synced`]). Records
//! are counted by tickets, because positions of the group's log can be written more than once.
//! Invariant: both numbers only grow, and nothing that counts as synced is lost with the host.

mod checksum;
mod none;
pub mod record;
pub mod redo;
mod rollback;
pub mod undo_redo;
mod young_daly;

use std::fmt::Debug;

use shakedown_contracts::strategy::{Checksum, Fsync, RecoveryLog as Options};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::flaw::Planted;
use crate::interface::{DiskToken, Output};
use crate::node::ConfigError;
use record::{CheckpointState, Record};

/// Counts the records a log was given; the first is 1.
pub type Ticket = u64;

/// What the log file held at the start.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Length of the whole records.
    pub log_bytes: u64,
    /// There is more behind them, which was never whole.
    pub torn: bool,
    /// What was rolled back and is not logged as such.
    pub compensations: Vec<Record>,
}

/// Where records go so that they outlive the node.
pub trait RecoveryLog: Debug + Send {
    /// Begins at `now`; the ticket of what was found.
    fn start(&mut self, now: Moment, found: Found, out: &mut Vec<Output>) -> Ticket;

    /// Writes a record; its ticket.
    fn append(&mut self, record: &Record, out: &mut Vec<Output>) -> Ticket;

    /// Makes everything written so far durable, whatever the policy says.
    fn force(&mut self, out: &mut Vec<Output>);

    /// Up to which ticket the policy lets others be told "it is written down".
    fn acknowledgeable(&self) -> Ticket;

    /// Up to which ticket everything is on the disk in truth.
    fn synced(&self) -> Ticket;

    /// A disk operation is done.
    fn disk_done(&mut self, now: Moment, token: DiskToken, out: &mut Vec<Output>);

    /// A sync failed, and the driver goes on: nothing that rests on it is durable.
    fn disk_failed(&mut self, token: DiskToken, out: &mut Vec<Output>);

    /// The sync timer is due.
    fn sync_due(&mut self, now: Moment, out: &mut Vec<Output>);

    /// True when it is time to write the state whole. `timer`: asked by the checkpoint timer.
    fn checkpoint_due(&mut self, now: Moment, timer: bool, out: &mut Vec<Output>) -> bool;

    /// Writes the state whole and begins the log anew with `records`; the ticket that is durable
    /// with it.
    fn checkpoint(
        &mut self,
        now: Moment,
        state: &CheckpointState,
        records: &[Record],
        out: &mut Vec<Output>,
    ) -> Ticket;
}

/// Time between two syncs of `fsync = "interval"`.
pub const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// True when an empty disk proves that the node never promised or acknowledged anything.
pub fn empty_means_new(options: &Options) -> bool {
    let synced = |fsync| matches!(fsync, Fsync::PerOperation | Fsync::Group);
    options.options().is_some_and(|log| synced(log.fsync))
}

/// How altered bytes are noticed when the disk is read.
pub fn checksum(options: &Options) -> Checksum {
    options
        .options()
        .map(|log| log.checksum)
        .unwrap_or_default()
}

/// The log of the options.
pub fn recovery_log(
    options: &Options,
    planted: Planted,
) -> Result<Box<dyn RecoveryLog>, ConfigError> {
    Ok(match options {
        Options::None {} => Box::new(none::Forgetful::default()),
        Options::Redo(options) => Box::new(redo::RedoLog::new(options, planted)?),
        Options::UndoRedo(options) => Box::new(undo_redo::UndoRedoLog::new(options, planted)?),
    })
}
