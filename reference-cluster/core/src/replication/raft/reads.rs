//! When may a read be answered?
//!
//! `read-index`: a leader that was deposed without noticing would answer with the past. So a read
//! notes how far the group had committed when it arrived, then waits for a round of heartbeats that
//! began afterwards; when a majority answers, no newer leader had been elected at that moment, and
//! what this one had committed is the newest there was. Reads that arrive during a round share the
//! next. `local` leaves the round out, and can answer with the past. Both wait until the leader's
//! term has committed an entry: before, it does not know how much of its log was acknowledged.
//!
//! Invariant (read-index): an answer is no older than any write that was acknowledged before the
//! read arrived.
//! Source: dissertation, §6.4.

use shakedown_contracts::strategy::Reads;

use super::leader::Leadership;
use super::role::Position;
use super::server::Raft;
use crate::flaw::Flaw;
use crate::interface::{ClientRequest, Output, RequestId};

/// A read that waits.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub id: RequestId,
    request: ClientRequest,
    /// The round whose answers it waits for; 0 for none.
    round: u64,
    /// What has to be applied.
    index: u64,
}

impl Leadership {
    /// The newest round that a majority has answered.
    fn confirmed(&self, majority: usize) -> u64 {
        let followers = self.followers.values();
        let mut rounds: Vec<u64> = followers.map(|progress| progress.confirmed).collect();
        rounds.push(self.round);
        rounds.sort_unstable_by(|left, right| right.cmp(left));
        rounds[majority - 1]
    }
}

impl Raft {
    /// Takes a read as leader.
    pub(super) fn read(&mut self, id: RequestId, request: ClientRequest) {
        let unconfirmed = self.has(Flaw::ReadsUnconfirmed);
        let asks = self.setting.reads == Reads::ReadIndex && !unconfirmed;
        let committed = self.committed;
        let Position::Leader(leadership) = &mut self.position else {
            return;
        };
        leadership.reads.push_back(PendingRead {
            id,
            request,
            round: if asks { leadership.round + 1 } else { 0 },
            index: committed.max(leadership.first),
        });
    }

    /// Begins the next round when a read waits for it and none is under way.
    fn begin_round(&mut self) {
        let majority = self.setting.majority();
        let Position::Leader(leadership) = &mut self.position else {
            return;
        };
        let wanted = leadership.reads.back().map_or(0, |read| read.round);
        let idle = leadership.confirmed(majority) >= leadership.round;
        if wanted > leadership.round && idle {
            leadership.round += 1;
            self.show_leadership();
        }
    }

    /// Answers the reads that may be.
    pub(super) fn answer_reads(&mut self) {
        self.begin_round();
        let (majority, committed) = (self.setting.majority(), self.committed);
        let Position::Leader(leadership) = &mut self.position else {
            return;
        };
        let confirmed = leadership.confirmed(majority);
        // Rounds and indices grow along the queue.
        let ready = leadership
            .reads
            .partition_point(|read| read.round <= confirmed && read.index <= committed);
        let ready: Vec<PendingRead> = leadership.reads.drain(..ready).collect();
        for PendingRead { id, request, .. } in ready {
            let reply = self.speaker().read(&self.store, &request);
            self.out.push(Output::Reply { id, reply });
        }
    }
}
