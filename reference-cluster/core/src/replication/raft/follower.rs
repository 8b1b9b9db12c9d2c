//! What a follower takes, and from whom.
//!
//! A leader of an older term is refused; one of the present or a newer term is followed. Its entries
//! are taken where the logs meet, and replace whatever stood there: that was never committed.
//! Invariant: after an answer `Appended` up to a position, this log equals the leader's up to there,
//! on disk.
//! Source: paper, §5.3 (the conflict hint is from its end), §7 and figure 13.

use shakedown_contracts::event::Event;

use super::message::RaftMessage;
use super::role::Position;
use super::server::Raft;
use crate::flaw::Flaw;
use crate::interface::Peer;
use crate::message::{Entry, Point};
use crate::replication::merge::Meeting;
use crate::store::Store;

impl Raft {
    /// True when a message that only a leader sends is to be taken.
    pub(super) fn accept_leader(&mut self, from: Peer, term: u64) -> bool {
        if term < self.log.term() && !self.has(Flaw::FencingSkipped) {
            let sender = self.setting.name(from);
            self.note(Event::Fenced {
                sender,
                epoch: term,
            });
            let term = self.log.term();
            self.send(from, RaftMessage::Stale { term });
            return false;
        }
        // Never so in one's own term, unless a term has two leaders.
        if matches!(self.position, Position::Leader(_)) {
            return false;
        }
        self.follow(Some(from));
        self.postpone_election();
        true
    }

    /// Entries from a leader.
    pub(super) fn on_append(
        &mut self,
        from: Peer,
        term: u64,
        (previous, entries): (Point, Vec<Entry>),
        committed: u64,
    ) {
        if !self.accept_leader(from, term) {
            return;
        }
        let end = previous.position + entries.len() as u64;
        match self
            .log
            .merge((previous, entries), self.committed, &mut self.out)
        {
            Meeting::Met => {
                self.wants_snapshot = false;
                let unmatched = self.has(Flaw::CommitsUnmatched);
                self.commit_to(if unmatched {
                    committed
                } else {
                    committed.min(end)
                });
                // What is committed here is in every leader's log, however little was sent.
                self.acknowledge(from, term, end.max(self.committed));
            }
            Meeting::Apart { hint, snapshot } => {
                self.wants_snapshot |= snapshot;
                let message = RaftMessage::Mismatch {
                    term,
                    hint,
                    snapshot,
                };
                self.send(from, message);
            }
        }
    }

    fn acknowledge(&mut self, to: Peer, term: u64, position: u64) {
        let message = RaftMessage::Appended { term, position };
        let ticket = self.log.last_ticket();
        self.when_acknowledgeable.push_back((ticket, (to, message)));
    }

    /// The whole state from a leader.
    pub(super) fn on_snapshot(&mut self, from: Peer, term: u64, point: Point, store: Store) {
        if !self.accept_leader(from, term) {
            return;
        }
        if self.log.entries.point(point.position) == Some(point) {
            self.commit_to(point.position);
        } else if point.position > self.committed || self.wants_snapshot {
            self.install(point, store);
        }
        self.wants_snapshot = false;
        self.acknowledge(from, term, point.position);
    }
}
