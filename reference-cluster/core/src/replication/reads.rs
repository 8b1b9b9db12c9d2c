//! When may a read be answered?
//!
//! `read-index` (Ongaro 2014, §6.4): a primary that was deposed without noticing would answer with
//! the past. So a read notes how far the group had committed when it arrived, then asks the others
//! whether a newer epoch is known; when a majority says no, the primary was one after the read
//! arrived, and what it had committed is the newest there was.
//! `lease` asks nobody, because nobody else can be primary while the lease holds (see `lease`).
//! `local` leaves the question out. All wait until this epoch has committed an entry: before, a
//! new primary does not know how much of its log was acknowledged.

use super::replica::{Position, Replica};
use crate::flaw::Flaw;
use crate::interface::{ClientRequest, Output, Peer, RequestId};
use crate::message::Message;
use crate::replication::leader::Leadership;
use shakedown_contracts::strategy::Reads;

/// A read that waits.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub id: RequestId,
    pub request: ClientRequest,
    /// The question whose answers it waits for; 0 for none.
    round: u64,
    /// What has to be applied.
    index: u64,
}

impl Leadership {
    fn confirmed_by(&self, round: u64, voters: &[Peer], me: Peer) -> usize {
        let confirmed = |peer: &Peer| {
            let progress = self.backups.get(peer);
            *peer == me || progress.is_some_and(|progress| progress.confirmed >= round)
        };
        voters.iter().filter(|peer| confirmed(peer)).count()
    }
}

impl Replica {
    /// Takes a read as primary.
    pub(super) fn read(&mut self, id: RequestId, request: ClientRequest) {
        if !self.setting.rules.fenced() {
            return self.answer_read(id, &request);
        }
        let unconfirmed = self.has(Flaw::ReadsUnconfirmed);
        let asks = self.setting.rules.reads == Reads::ReadIndex && !unconfirmed;
        let committed = self.committed;
        let Position::Primary(leadership) = &mut self.position else {
            return;
        };
        leadership.round += u64::from(asks);
        let round = if asks { leadership.round } else { 0 };
        let index = committed.max(leadership.first);
        leadership.reads.push_back(PendingRead {
            id,
            request,
            round,
            index,
        });
        if asks {
            self.ask_for_confirmation();
        }
    }

    /// Asks every backup that has not confirmed the newest round a read waits for.
    pub(super) fn ask_for_confirmation(&mut self) {
        let Position::Primary(leadership) = &self.position else {
            return;
        };
        let Some(round) = leadership.reads.back().map(|read| read.round) else {
            return;
        };
        let behind = leadership
            .backups
            .iter()
            .filter(|(_, progress)| progress.confirmed < round);
        let peers: Vec<_> = behind.map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.send(
                peer,
                Message::Confirm {
                    epoch: self.epoch,
                    round,
                },
            );
        }
    }

    /// A backup knew of no newer epoch.
    pub(super) fn on_confirmed(&mut self, from: Peer, epoch: u64, round: u64) {
        if epoch != self.epoch {
            return;
        }
        let Position::Primary(leadership) = &mut self.position else {
            return;
        };
        if let Some(progress) = leadership.backups.get_mut(&from) {
            progress.confirmed = progress.confirmed.max(round);
        }
    }

    /// Answers the reads that may be.
    pub(super) fn answer_reads(&mut self) {
        if !self.may_read() {
            return;
        }
        let majority = self.setting.rules.majority();
        loop {
            let committed = self.committed;
            let (voters, me) = (&self.setting.rules.voters, self.setting.me);
            let Position::Primary(leadership) = &mut self.position else {
                return;
            };
            let Some(read) = leadership.reads.front() else {
                return;
            };
            // Rounds and indices grow along the queue; for local and leased reads nobody is asked.
            let confirmed =
                read.round == 0 || leadership.confirmed_by(read.round, voters, me) >= majority;
            if committed < read.index || !confirmed {
                return;
            }
            let Some(read) = leadership.reads.pop_front() else {
                return;
            };
            self.answer_read(read.id, &read.request);
        }
    }

    fn answer_read(&mut self, id: RequestId, request: &ClientRequest) {
        let reply = self.read_reply(request);
        self.out.push(Output::Reply { id, reply });
    }
}
