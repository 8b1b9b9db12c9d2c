//! When snapshots are begun and where they are kept.
//!
//! `chandy-lamport`: the first node begins one when the interval is over, and not before the one
//! before is on every disk; so of two that are on any disks the older one is complete, and a disk
//! needs to hold two. `uncoordinated`: every node by itself, the second when a part of the interval
//! is over for the first, and so on.
//! Invariant: a disk always holds the newest complete snapshot.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use shakedown_contracts::strategy::Snapshot as Options;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::message::{Body, Purpose};
use super::server::SpreadBank;
use crate::interface::Peer;
use crate::message::Point;
use crate::recovery_log::record::CheckpointState;
use crate::store::Store;

/// What the disk holds: accounts by the number of their snapshot, two at most.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Checkpoints(Vec<(u64, Store)>);

impl Checkpoints {
    /// As it was written; an empty text is an empty disk.
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Number of the newest; 0 for none.
    pub fn newest(&self) -> u64 {
        self.0.last().map_or(0, |(number, _)| *number)
    }

    /// The accounts of a snapshot.
    pub fn of(&self, wanted: u64) -> Option<Store> {
        let found = self.0.iter().find(|(number, _)| *number == wanted);
        found.map(|(_, state)| state.clone())
    }

    /// Adds one, and forgets all but it and the one before.
    fn add(&mut self, number: u64, state: Store) {
        self.0.push((number, state));
        let old = self.0.len().saturating_sub(2);
        self.0.drain(..old);
    }

    /// Forgets all others.
    pub fn keep_only(&mut self, kept: u64) {
        self.0.retain(|(number, _)| *number == kept);
    }
}

/// As the one who begins snapshots: where the last of them is on disk.
#[derive(Debug, Default)]
pub(super) struct Round {
    number: u64,
    stored: BTreeSet<Peer>,
}

impl Round {
    /// Of a snapshot that nobody has said to have.
    pub fn of(number: u64) -> Self {
        Round {
            number,
            stored: BTreeSet::new(),
        }
    }

    /// To a later snapshot, if it is one.
    fn advance(&mut self, number: u64) {
        if number > self.number {
            *self = Round::of(number);
        }
    }

    fn complete(&self, nodes: usize) -> bool {
        self.number == 0 || self.stored.len() == nodes
    }
}

impl SpreadBank {
    fn interval(&self) -> Option<Duration> {
        match self.setting.options {
            Options::None {} => None,
            Options::ChandyLamport { interval } | Options::Uncoordinated { interval } => {
                Some(interval)
            }
        }
    }

    /// When this node begins its first after `now`.
    pub(super) fn first_checkpoint(&self, now: Moment) -> Option<Moment> {
        let interval = self.interval()?;
        let part = u64::from(self.setting.me.0 + 1) * interval.as_nanos();
        let shifted = part / self.setting.names.len().max(1) as u64;
        Some(match self.setting.options {
            Options::Uncoordinated { .. } => now.after(Duration::from_nanos(shifted)),
            _ => now.after(interval),
        })
    }

    /// Begins a checkpoint when its time has come.
    pub(super) fn checkpoint_when_due(&mut self) {
        let due = self.checkpoint_due.is_some_and(|due| self.now >= due);
        let Some(interval) = self.interval().filter(|_| due && self.active) else {
            return;
        };
        if matches!(self.setting.options, Options::Uncoordinated { .. }) {
            self.checkpoint_due = Some(self.now.after(interval));
            let number = self.checkpoints.newest() + 1;
            return self.write_checkpoint(number, self.store.clone());
        }
        let begins = self.setting.me == self.setting.initiator();
        if begins && self.round.complete(self.setting.names.len()) {
            self.checkpoint_due = Some(self.now.after(interval));
            let number = self.begin_snapshot(Purpose::Checkpoint);
            self.round.advance(number);
        }
    }

    /// This node's part of a snapshot is whole: it goes to disk.
    pub(super) fn write_checkpoint(&mut self, number: u64, state: Store) {
        self.checkpoints.add(number, state);
        self.write_checkpoints();
    }

    /// Writes down what is to be kept.
    pub(super) fn write_checkpoints(&mut self) {
        let number = self.checkpoints.newest();
        let service = serde_json::to_string(&self.checkpoints);
        let point = Point {
            epoch: self.era,
            position: number,
        };
        let state = CheckpointState {
            service: service.expect("accounts have no part that JSON lacks"),
            ..CheckpointState::new(point, Store::default())
        };
        let ticket = self.log.checkpoint(self.now, &state, &[], &mut self.out);
        self.when_stored.push_back((ticket, (self.era, number)));
    }

    /// A checkpoint of this node is on disk.
    pub(super) fn is_stored(&mut self, era: u64, number: u64) {
        let coordinated = matches!(self.setting.options, Options::ChandyLamport { .. });
        if era != self.era || !self.active || !coordinated {
            return;
        }
        let initiator = self.setting.initiator();
        if initiator == self.setting.me {
            return self.on_stored(initiator, number);
        }
        self.post(initiator, Body::Stored { number });
    }

    /// As the one who begins snapshots: one is on somebody's disk.
    pub(super) fn on_stored(&mut self, from: Peer, number: u64) {
        self.round.advance(number);
        if self.round.number == number {
            self.round.stored.insert(from);
        }
    }
}
