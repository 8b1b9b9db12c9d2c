//! What clients are told.
//!
//! Invariant: "not done" (`NotPrimary`, `Unavailable`, `BadRequest`) is said only of what never
//! entered the log; what entered it and was not committed before the head lost its role is
//! `Indeterminate`.

use shakedown_contracts::node::{ApiError, ApiErrorKind};
use shakedown_contracts::strategy::ChainReads;

use super::head::Headship;
use super::server::{Chain, Position};
use crate::flaw::Flaw;
use crate::interface::{ClientReply, ClientRequest, Output, RequestId};
use crate::replication::answers::{Speaker, command};

/// Most requests that wait at one head, reads and writes and those held back apart.
const OPEN_REQUESTS_MAX: usize = 4096;

impl Chain {
    pub(super) fn speaker(&self) -> Speaker {
        let status = self.describe_status();
        Speaker {
            node: status.node,
            epoch: status.epoch,
            primary: status.primary,
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
        let is_read = matches!(
            request,
            ClientRequest::Get { .. } | ClientRequest::ReadAccounts(_)
        );
        if is_read && self.setting.reads == ChainReads::Local {
            self.read_locally(id, &request);
            return Ok(());
        }
        let (live, stands) = (self.majority_is_live(), self.standing().is_some());
        let Position::Head(headship) = &mut self.position else {
            let message = "this node is not the head of the chain";
            return Err(self.speaker().error(ApiErrorKind::NotPrimary, message));
        };
        let open = headship.waiting.len().max(headship.reads.len());
        if open.max(headship.held_back.len()) >= OPEN_REQUESTS_MAX {
            let message = "too many requests are waiting";
            return Err(self.speaker().error(ApiErrorKind::Unavailable, message));
        }
        if !live {
            let message = "so many members are suspected that no chain is left";
            return Err(self.speaker().error(ApiErrorKind::Unavailable, message));
        }
        if !stands {
            headship.held_back.push_back((id, request));
            return Ok(());
        }
        match command(request) {
            Ok(command) => {
                let position = self.propose(command);
                if let Position::Head(headship) = &mut self.position {
                    headship.waiting.insert(position, id);
                }
            }
            Err(read) => self.read(id, read),
        }
        Ok(())
    }

    /// A head that lost its role answers whoever still waits.
    pub(super) fn give_up(&mut self, headship: Headship) {
        let undecided = match self.has(Flaw::DeniesWhatMayBe) {
            true => ApiErrorKind::NotPrimary,
            false => ApiErrorKind::Indeterminate,
        };
        let writes = headship.waiting.into_values();
        let writes = writes.map(|id| {
            let message = "the head lost its role while the request was under way";
            (id, undecided, message)
        });
        let never_taken = headship.held_back.into_iter().map(|(id, _)| id);
        let others = headship.reads.into_values().map(|open| open.id);
        let others = others.chain(never_taken);
        let others = others.map(|id| {
            let message = "the head lost its role before the request was taken";
            (id, ApiErrorKind::NotPrimary, message)
        });
        for (id, kind, message) in writes.chain(others) {
            let reply = ClientReply::Error(self.speaker().error(kind, message));
            self.out.push(Output::Reply { id, reply });
        }
    }
}
