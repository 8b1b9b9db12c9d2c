//! How a leader shows itself, and learns that it still is one.
//!
//! A heartbeat keeps followers from standing for election, and its answer, given at once, says that
//! no newer term was known there. With `check_quorum` a leader that got no answer from a majority
//! for the longest election timeout steps down: it could commit nothing anyway, and its clients
//! learn to look elsewhere.
//! Source: paper, §5.2; dissertation, §6.2.

use super::message::RaftMessage;
use super::role::Position;
use super::server::Raft;
use crate::flaw::Flaw;
use crate::interface::Peer;

impl Raft {
    /// Heartbeats to all, and whatever else a follower is to be told.
    pub(super) fn beat(&mut self) {
        let next = self.now.after(self.setting.heartbeat_interval);
        let Position::Leader(leadership) = &mut self.position else {
            return;
        };
        leadership.heartbeat_due = next;
        self.show_leadership();
        for peer in self.setting.others() {
            self.replicate_to(peer, true);
        }
    }

    /// A heartbeat to all, with the newest round.
    pub(super) fn show_leadership(&mut self) {
        for peer in self.setting.others() {
            self.show_leadership_to(peer);
        }
    }

    pub(super) fn show_leadership_to(&mut self, peer: Peer) {
        let Position::Leader(leadership) = &self.position else {
            return;
        };
        let (term, round) = (self.log.term(), leadership.round);
        self.send(peer, RaftMessage::Heartbeat { term, round });
    }

    /// A leader shows itself.
    pub(super) fn on_heartbeat(&mut self, from: Peer, term: u64, round: u64) {
        if self.accept_leader(from, term) {
            self.send(from, RaftMessage::Alive { term, round });
        }
    }

    /// A follower knew of no newer term.
    pub(super) fn on_alive(&mut self, from: Peer, term: u64, round: u64) {
        if let Some(progress) = self.progress(from, term) {
            progress.confirmed = progress.confirmed.max(round);
        }
    }

    /// CheckQuorum.
    pub(super) fn step_down_without_quorum(&mut self) {
        let Position::Leader(leadership) = &self.position else {
            return;
        };
        let patience = self.setting.election_timeout.high();
        let followers = leadership.followers.values();
        let heard = followers.filter(|progress| self.now.since(progress.heard) <= patience);
        let checks = self.setting.check_quorum && !self.has(Flaw::QuorumUnchecked);
        if checks && heard.count() + 1 < self.setting.majority() {
            self.follow(None);
        }
    }
}
