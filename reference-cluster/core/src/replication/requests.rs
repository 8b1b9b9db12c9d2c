//! What clients are told.
//!
//! Invariant: "not done" (`NotPrimary`, `Unavailable`, `BadRequest`) is said only of what never
//! entered the log; what entered it and was not committed before the role was lost is
//! `Indeterminate`.

use shakedown_contracts::node::{ApiError, ApiErrorKind};

use super::answers::{Speaker, command};
use super::leader::Leadership;
use super::replica::{Position, Replica};
use crate::flaw::Flaw;
use crate::interface::{ClientReply, ClientRequest, Output, Peer, RequestId};
use crate::message::Message;
use crate::store::{Command, Outcome};

/// Most requests that wait at one primary, reads and writes apart.
const OPEN_REQUESTS_MAX: usize = 4096;

impl Replica {
    /// A client asks.
    pub fn request(&mut self, id: RequestId, request: ClientRequest) {
        if let Err(error) = self.take(id, request) {
            self.out.push(Output::Reply {
                id,
                reply: ClientReply::Error(error),
            });
        }
    }

    fn take(&mut self, id: RequestId, request: ClientRequest) -> Result<(), ApiError> {
        if let ClientRequest::Status = request {
            let reply = ClientReply::Status(self.status());
            self.out.push(Output::Reply { id, reply });
            return Ok(());
        }
        self.speaker().check(&request)?;
        let Position::Primary(leadership) = &self.position else {
            return Err(self.error(ApiErrorKind::NotPrimary, "this node is not the primary"));
        };
        if leadership.waiting.len().max(leadership.reads.len()) >= OPEN_REQUESTS_MAX {
            return Err(self.error(ApiErrorKind::Unavailable, "too many requests are waiting"));
        }
        if self.setting.rules.fenced() && !self.majority_is_live() {
            let message = "so many members are suspected that no majority is left";
            return Err(self.error(ApiErrorKind::Unavailable, message));
        }
        if self.committed >= leadership.first && !self.may_serve() {
            let message = "the lease has run out: no majority has answered in time";
            return Err(self.error(ApiErrorKind::Unavailable, message));
        }
        match command(request) {
            Ok(command) => self.write_for(id, command),
            Err(read) => self.read(id, read),
        }
        Ok(())
    }

    fn write_for(&mut self, id: RequestId, command: Command) {
        let position = self.propose(command);
        if let Position::Primary(leadership) = &mut self.position {
            leadership.waiting.insert(position, id);
        }
        self.replicate();
    }

    fn majority_is_live(&self) -> bool {
        let voters = self.setting.rules.voters.iter();
        let live = voters.filter(|peer| !self.suspected.contains(peer)).count();
        live >= self.setting.rules.majority()
    }

    fn speaker(&self) -> Speaker {
        Speaker {
            node: self.name(self.setting.me),
            epoch: self.epoch,
            primary: self.leader.map(|leader| self.name(leader)),
        }
    }

    fn error(&self, error: ApiErrorKind, message: &str) -> ApiError {
        self.speaker().error(error, message)
    }

    /// A primary that lost its role answers whoever still waits.
    pub(super) fn give_up(&mut self, leadership: Leadership) {
        for id in leadership.waiting.into_values() {
            let message = "the primary lost its role while the request was under way";
            let kind = match self.has(Flaw::DeniesWhatMayBe) {
                true => ApiErrorKind::NotPrimary,
                false => ApiErrorKind::Indeterminate,
            };
            let reply = ClientReply::Error(self.error(kind, message));
            self.out.push(Output::Reply { id, reply });
        }
        for read in leadership.reads {
            let message = "the primary lost its role before the read was confirmed";
            let reply = ClientReply::Error(self.error(ApiErrorKind::NotPrimary, message));
            self.out.push(Output::Reply { id: read.id, reply });
        }
    }

    pub(super) fn outcome_reply(&self, outcome: Outcome) -> ClientReply {
        self.speaker().outcome(outcome)
    }

    pub(super) fn read_reply(&self, request: &ClientRequest) -> ClientReply {
        self.speaker().read(&self.store, request)
    }

    /// A message from a peer.
    pub fn message(&mut self, from: Peer, message: Message) {
        match message {
            Message::Append {
                epoch,
                previous,
                entries,
                committed,
                sent,
            } => {
                self.on_append(from, epoch, (previous, entries), (committed, sent));
            }
            Message::Appended {
                epoch,
                position,
                sent,
            } => self.on_appended(from, epoch, position, sent),
            Message::Mismatch {
                epoch,
                hint,
                snapshot,
            } => {
                self.on_mismatch(from, epoch, hint, snapshot);
            }
            Message::Snapshot {
                epoch,
                point,
                store,
            } => {
                self.on_snapshot(from, epoch, point, store);
            }
            Message::Confirm { epoch, round } => self.on_confirm(from, epoch, round),
            Message::Confirmed { epoch, round } => self.on_confirmed(from, epoch, round),
            Message::Rejected { epoch } => self.on_rejected(epoch),
            Message::Ask { epoch, last, trial } => self.on_ask(from, epoch, last, trial),
            Message::Promise { epoch, trial } => self.promised_by(from, epoch, trial),
            Message::Refuse { epoch, .. } => self.on_refuse(epoch),
            Message::Join {} => self.on_join(from),
            Message::Joined { fresh } => self.on_joined(from, fresh),
            // That it came is all that it says.
            Message::KeepAlive {} => {}
            // Of a group with another strategy: nothing here understands it.
            Message::Raft(_)
            | Message::Chain(_)
            | Message::Spread(_)
            | Message::Balancing(_)
            | Message::Transactions(_)
            | Message::Redundancy(_) => {}
            Message::Automation(message) => self.about_voters(from, message),
        }
    }
}
