//! Log, term and vote of a server of Raft or of a chain, and what its disk has proved of them.
//!
//! Both are right only if a server never goes back on what it said, so term, vote and entries are
//! written down before anything that depends on them is said. The recovery log below counts its
//! records by tickets; this file remembers which ticket stands for what.
//! Invariants: the term never falls; a term has one vote; terms never fall along the log; what
//! counts as durable is a prefix of the log.
//! Source: Ongaro & Ousterhout 2014, section 5.1 and figure 2 ("updated on stable storage before responding to RPCs").

use std::collections::VecDeque;

use shakedown_contracts::time::Moment;

use crate::flaw::{Flaw, Planted};
use crate::interface::{DiskToken, Output, Peer};
use crate::message::{Entry, Point};
use crate::recovery_log::record::{CheckpointState, Record, Recovered};
use crate::recovery_log::{Found, RecoveryLog, Ticket};
use crate::replication::entry_log::EntryLog;
use crate::replication::replica::released;
use crate::store::Store;

/// What a server must not forget.
#[derive(Debug)]
pub(in crate::replication) struct Log {
    disk: Box<dyn RecoveryLog>,
    pub entries: EntryLog,
    term: u64,
    vote: Option<Peer>,
    /// Ticket of the newest record.
    last_ticket: Ticket,
    /// Ticket of the record that holds term and vote.
    term_ticket: Ticket,
    durable: u64,
    /// Positions that become durable with a ticket.
    unsynced: VecDeque<(Ticket, u64)>,
    pub(super) planted: Planted,
}

impl Log {
    /// An empty log above `disk`.
    pub fn new(disk: Box<dyn RecoveryLog>, planted: Planted) -> Self {
        Log {
            disk,
            entries: EntryLog::default(),
            term: 0,
            vote: None,
            last_ticket: 0,
            term_ticket: 0,
            durable: 0,
            unsynced: VecDeque::new(),
            planted,
        }
    }

    /// Begins with what the disk held; the state of the checkpoint.
    pub fn start(
        &mut self,
        now: Moment,
        recovered: Recovered,
        found: Option<Found>,
        out: &mut Vec<Output>,
    ) -> Option<Store> {
        self.last_ticket = self.disk.start(now, found.unwrap_or_default(), out);
        self.term_ticket = self.last_ticket;
        self.term = recovered.epoch;
        self.vote = recovered.promised;
        let base = recovered
            .checkpoint
            .as_ref()
            .map_or_else(Point::default, |checkpoint| checkpoint.point);
        let entries = terms_that_never_fall(base, recovered.entries);
        self.entries = EntryLog::new(base, entries);
        self.unsynced
            .push_back((self.last_ticket, self.last().position));
        recovered.checkpoint.map(|checkpoint| checkpoint.store)
    }

    /// The newest term known.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Who got this server's vote in the term.
    pub fn vote(&self) -> Option<Peer> {
        self.vote
    }

    /// The last entry.
    pub fn last(&self) -> Point {
        self.entries.last()
    }

    /// Position up to which the log is on disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Ticket of the newest record.
    pub fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// Writes down a term and the vote in it, or a vote in the present term; its ticket.
    pub fn write_term(&mut self, term: u64, vote: Option<Peer>, out: &mut Vec<Output>) -> Ticket {
        debug_assert!(term >= self.term, "a term never falls");
        self.term = term;
        self.vote = vote;
        let record = self.term_record();
        self.last_ticket = self.disk.append(&record, out);
        self.term_ticket = self.last_ticket;
        self.disk.force(out);
        self.last_ticket
    }

    fn term_record(&self) -> Record {
        let epoch = self.term;
        match self.vote {
            Some(to) if !self.planted.has(Flaw::ForgetsVote) => Record::Promise { epoch, to },
            _ => Record::Term(epoch),
        }
    }

    /// Writes an entry behind the last.
    pub fn append(&mut self, entry: Entry, out: &mut Vec<Output>) {
        let position = entry.point.position;
        let record = Record::Entry(entry);
        self.last_ticket = self.disk.append(&record, out);
        let Record::Entry(entry) = record else { return };
        self.entries.push(entry);
        self.unsynced.push_back((self.last_ticket, position));
    }

    /// Removes a divergent tail. On disk the next record replaces it.
    pub fn truncate_from(&mut self, position: u64) {
        self.entries.truncate_from(position);
        self.unsynced.retain(|(_, unsynced)| *unsynced < position);
        self.durable = self.durable.min(position.saturating_sub(1));
    }

    /// Writes the state up to `point` whole, and keeps what follows it in the log.
    pub fn checkpoint(&mut self, now: Moment, point: Point, store: &Store, out: &mut Vec<Output>) {
        let tail = self.entries.tail(point.position + 1).cloned();
        let records: Vec<Record> = std::iter::once(self.term_record())
            .chain(tail.map(Record::Entry))
            .collect();
        let state = CheckpointState::new(point, store.clone());
        self.last_ticket = self.disk.checkpoint(now, &state, &records, out);
    }

    /// Replaces everything by the state up to `point`.
    pub fn install(&mut self, now: Moment, point: Point, store: &Store, out: &mut Vec<Output>) {
        self.entries = EntryLog::new(point, Vec::new());
        self.checkpoint(now, point, store, out);
        self.durable = 0;
        self.unsynced.clear();
        self.unsynced.push_back((self.last_ticket, point.position));
    }

    /// True when it is time to write the state whole.
    pub fn checkpoint_due(&mut self, now: Moment, timer: bool, out: &mut Vec<Output>) -> bool {
        self.disk.checkpoint_due(now, timer, out)
    }

    /// A disk operation is done.
    pub fn disk_done(&mut self, now: Moment, token: DiskToken, out: &mut Vec<Output>) {
        self.disk.disk_done(now, token, out);
    }

    /// A sync failed.
    pub fn disk_failed(&mut self, token: DiskToken, out: &mut Vec<Output>) {
        self.disk.disk_failed(token, out);
    }

    /// The sync timer is due.
    pub fn sync_due(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.disk.sync_due(now, out);
    }

    /// Draws the consequences of what the disk has done.
    pub fn settle(&mut self) {
        let up_to = self.acknowledgeable();
        while let Some(position) = released(&mut self.unsynced, up_to) {
            self.durable = self.durable.max(position);
        }
    }

    /// Up to which ticket others may be told "it is written down": as far as the fsync policy lets
    /// them, but nothing before the term is on disk in truth.
    pub fn acknowledgeable(&self) -> Ticket {
        if self.planted.has(Flaw::AcknowledgesBeforeSync) {
            return self.last_ticket;
        }
        if self.disk.synced() < self.term_ticket {
            return 0;
        }
        self.disk.acknowledgeable()
    }

    /// Up to which ticket everything is on disk in truth.
    pub fn synced(&self) -> Ticket {
        self.disk.synced()
    }
}

/// The entries up to the first whose term falls. A host that dies while a state from the leader
/// replaces the log can leave the new checkpoint with entries of the old log behind it.
fn terms_that_never_fall(base: Point, entries: Vec<Entry>) -> Vec<Entry> {
    let mut term = base.epoch;
    let rising = |entry: &Entry| {
        let rises = entry.point.epoch >= term;
        term = entry.point.epoch;
        rises
    };
    entries.into_iter().take_while(rising).collect()
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::strategy::Checksum;

    use super::*;
    use crate::interface::DiskOperation;
    use crate::recovery_log::record::recover;
    use crate::recovery_log::recovery_log;
    use crate::store::Command;

    fn entry(epoch: u64, position: u64) -> Entry {
        Entry {
            point: Point { epoch, position },
            command: Command::Nothing,
        }
    }

    fn log(flaw: Option<Flaw>) -> Log {
        let planted = Planted::from(flaw);
        let disk = recovery_log(&Default::default(), planted).unwrap();
        Log::new(disk, planted)
    }

    /// What the disk holds after these operations.
    fn written(out: &[Output]) -> Vec<u8> {
        let bytes = |output: &Output| match output {
            Output::Disk {
                operation: DiskOperation::Append { bytes },
                ..
            } => bytes.clone(),
            _ => Vec::new(),
        };
        out.iter().flat_map(bytes).collect()
    }

    fn done(log: &mut Log, out: &mut Vec<Output>) {
        for output in std::mem::take(out) {
            if let Output::Disk { token, .. } = output {
                log.disk_done(Moment(0), token, out);
            }
        }
        log.settle();
    }

    #[test]
    fn term_vote_and_entries_are_read_back_as_written() {
        for (flaw, vote) in [(None, Some(Peer(2))), (Some(Flaw::ForgetsVote), None)] {
            let (mut log, mut out) = (log(flaw), Vec::new());
            log.write_term(3, None, &mut out);
            log.append(entry(3, 1), &mut out);
            log.append(entry(3, 2), &mut out);
            log.write_term(4, None, &mut out);
            log.write_term(4, Some(Peer(2)), &mut out);
            log.truncate_from(2);
            log.append(entry(4, 2), &mut out);
            let recovered = recover(Checksum::Crc32c, &[], &written(&out)).unwrap();
            assert_eq!((recovered.epoch, recovered.promised), (4, vote));
            assert_eq!(recovered.entries, [entry(3, 1), entry(4, 2)]);
        }
    }

    #[test]
    fn nothing_is_durable_before_the_disk_has_said_so() {
        let (mut log, mut out) = (log(None), Vec::new());
        log.write_term(1, None, &mut out);
        log.append(entry(1, 1), &mut out);
        log.settle();
        assert_eq!((log.durable(), log.acknowledgeable()), (0, 0));
        // The first sync holds the term alone, the second the entry.
        done(&mut log, &mut out);
        assert_eq!(log.durable(), 0);
        done(&mut log, &mut out);
        assert_eq!(log.durable(), 1);
    }

    #[test]
    fn entries_left_over_behind_a_newer_checkpoint_are_left_out() {
        let base = Point {
            epoch: 5,
            position: 10,
        };
        let left = terms_that_never_fall(base, vec![entry(5, 11), entry(3, 12), entry(6, 13)]);
        assert_eq!(left, [entry(5, 11)]);
    }
}
