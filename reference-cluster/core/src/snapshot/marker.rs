//! What a snapshot records (Chandy & Lamport 1985, section 3).
//!
//! Whoever records its accounts sends a marker on every channel before anything else; whoever sees a
//! snapshot's marker for the first time records at once. Until a channel's own marker has come, what
//! arrives on it was sent before the sender recorded, and taken after this node did: the channel held
//! it. As all that a channel can hold is money for one of this node's accounts, it is added to the
//! record at once: delivering it is the first thing that would be done with it.
//! Invariant: what all nodes record adds up to all the money there is.

use std::collections::BTreeSet;

use shakedown_contracts::node::TransferRequest;

use super::message::{Body, Purpose, SnapshotId};
use super::server::SpreadBank;
use crate::flaw::Flaw;
use crate::interface::Peer;
use crate::store::Store;

/// A snapshot that this node is recording.
#[derive(Debug)]
pub(super) struct Recording {
    /// The accounts when it began, and what the channels held for them.
    state: Store,
    /// Channels whose marker has not come.
    awaiting: BTreeSet<Peer>,
    purpose: Purpose,
}

impl SpreadBank {
    /// Begins a snapshot; its number.
    pub(super) fn begin_snapshot(&mut self, purpose: Purpose) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let initiator = self.setting.me;
        self.record(SnapshotId { initiator, number }, purpose, None);
        number
    }

    fn record(&mut self, id: SnapshotId, purpose: Purpose, from: Option<Peer>) {
        let others = self.setting.others().into_iter();
        let recording = Recording {
            state: self.store.clone(),
            awaiting: others.filter(|peer| Some(*peer) != from).collect(),
            purpose: purpose.clone(),
        };
        self.recordings.insert(id, recording);
        self.post_all(&Body::Marker { id, purpose });
        self.finish_if_whole(id);
    }

    /// A channel's marker.
    pub(super) fn on_marker(&mut self, from: Peer, id: SnapshotId, purpose: Purpose) {
        let late = self.has(Flaw::RecordsAtLastMarker);
        let Some(recording) = self.recordings.get_mut(&id) else {
            return self.record(id, purpose, Some(from));
        };
        recording.awaiting.remove(&from);
        if late {
            recording.state = self.store.clone();
        }
        self.finish_if_whole(id);
    }

    /// Money has come on a channel: it belongs to every snapshot whose marker has not.
    pub(super) fn record_in_flight(&mut self, from: Peer, position: u64, credit: &TransferRequest) {
        if self.has(Flaw::ChannelsNotRecorded) {
            return;
        }
        for recording in self.recordings.values_mut() {
            if recording.awaiting.contains(&from) {
                recording.state.pay_in(position, credit);
            }
        }
    }

    fn finish_if_whole(&mut self, id: SnapshotId) {
        let whole = |recording: &Recording| recording.awaiting.is_empty();
        if !self.recordings.get(&id).is_some_and(whole) {
            return;
        }
        let Some(recording) = self.recordings.remove(&id) else {
            return;
        };
        let (number, state) = (id.number, recording.state);
        match recording.purpose {
            Purpose::Checkpoint => self.write_checkpoint(number, state),
            Purpose::Read(request) => {
                let accounts = state.accounts(&request);
                if id.initiator == self.setting.me {
                    return self.on_recorded(self.setting.me, number, accounts);
                }
                self.post(id.initiator, Body::Recorded { number, accounts });
            }
        }
    }
}
