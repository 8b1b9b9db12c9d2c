//! What clients are told.
//!
//! Invariant: "not done" (`NotPrimary`, `Unavailable`, `BadRequest`) is said only of what never
//! entered the log; what entered it and was not committed before the leader lost its role is
//! `Indeterminate`.

use shakedown_contracts::node::{ApiError, ApiErrorKind};

use super::leader::Leadership;
use super::role::Position;
use super::server::Raft;
use crate::flaw::Flaw;
use crate::interface::{ClientReply, ClientRequest, Output, RequestId};
use crate::replication::answers::{Speaker, command};

/// Most requests that wait at one leader, reads and writes apart.
const OPEN_REQUESTS_MAX: usize = 4096;

impl Raft {
    pub(super) fn speaker(&self) -> Speaker {
        Speaker {
            node: self.setting.name(self.setting.me),
            epoch: self.log.term(),
            primary: self.leader.map(|leader| self.setting.name(leader)),
        }
    }

    /// Answers a client, or lets it wait.
    pub(super) fn serve(&mut self, id: RequestId, request: ClientRequest) {
        if let Err(error) = self.take(id, request) {
            let reply = ClientReply::Error(error);
            self.out.push(Output::Reply { id, reply });
        }
    }

    fn take(&mut self, id: RequestId, request: ClientRequest) -> Result<(), ApiError> {
        if let ClientRequest::Status = request {
            let reply = ClientReply::Status(self.describe_status());
            self.out.push(Output::Reply { id, reply });
            return Ok(());
        }
        self.speaker().check(&request)?;
        let Position::Leader(leadership) = &self.position else {
            let message = "this node is not the leader";
            return Err(self.speaker().error(ApiErrorKind::NotPrimary, message));
        };
        if leadership.waiting.len().max(leadership.reads.len()) >= OPEN_REQUESTS_MAX {
            let message = "too many requests are waiting";
            return Err(self.speaker().error(ApiErrorKind::Unavailable, message));
        }
        match command(request) {
            Ok(command) => {
                let position = self.propose(command);
                if let Position::Leader(leadership) = &mut self.position {
                    leadership.waiting.insert(position, id);
                }
                self.replicate();
            }
            Err(read) => self.read(id, read),
        }
        Ok(())
    }

    /// A leader that lost its role answers whoever still waits.
    pub(super) fn give_up(&mut self, leadership: Leadership) {
        let undecided = match self.has(Flaw::DeniesWhatMayBe) {
            true => ApiErrorKind::NotPrimary,
            false => ApiErrorKind::Indeterminate,
        };
        let writes = leadership.waiting.into_values();
        let writes = writes.map(|id| {
            let message = "the leader lost its role while the request was under way";
            (id, undecided, message)
        });
        let reads = leadership.reads.into_iter().map(|read| {
            let message = "the leader lost its role before the read was confirmed";
            (read.id, ApiErrorKind::NotPrimary, message)
        });
        for (id, kind, message) in writes.chain(reads) {
            let reply = ClientReply::Error(self.speaker().error(kind, message));
            self.out.push(Output::Reply { id, reply });
        }
    }
}
