//! The words of answers to clients, the same for every strategy.
//!
//! Invariant: every answer names its node and the epoch in which it was given, every error also
//! whom to ask instead, where that is known.

use shakedown_contracts::node::{
    AccountsAnswer, Answer, ApiError, ApiErrorKind, TransferRequest, ValueAnswer,
};

use crate::interface::{ClientReply, ClientRequest};
use crate::store::{Command, Outcome, Store};

/// Who answers.
#[derive(Debug)]
pub(crate) struct Speaker {
    pub node: String,
    pub epoch: u64,
    pub primary: Option<String>,
}

impl Speaker {
    pub fn error(self, error: ApiErrorKind, message: &str) -> ApiError {
        ApiError {
            error,
            message: message.to_owned(),
            node: self.node,
            epoch: self.epoch,
            primary: self.primary,
        }
    }

    /// Refuses what no state could make right.
    pub fn check(self, request: &ClientRequest) -> Result<(), ApiError> {
        let ClientRequest::Transfer(TransferRequest {
            from, to, amount, ..
        }) = request
        else {
            return Ok(());
        };
        if *amount <= 0 {
            let message = format!("amount = {amount} is not positive; swap from and to instead");
            return Err(self.error(ApiErrorKind::BadRequest, &message));
        }
        if from == to {
            let message = format!("from and to are both {from:?}; name two accounts");
            return Err(self.error(ApiErrorKind::BadRequest, &message));
        }
        Ok(())
    }

    /// The answer to a command that was applied.
    pub fn outcome(self, outcome: Outcome) -> ClientReply {
        match outcome {
            Outcome::Done => ClientReply::Done(Answer {
                node: self.node,
                epoch: self.epoch,
            }),
            Outcome::Mismatch => {
                let message = "the key holds another value than the expected one";
                ClientReply::Error(self.error(ApiErrorKind::Mismatch, message))
            }
            Outcome::InsufficientFunds => {
                let message = "an account of the transfer does not exist or holds too little";
                ClientReply::Error(self.error(ApiErrorKind::InsufficientFunds, message))
            }
        }
    }

    /// The answer to a read.
    pub fn read(self, store: &Store, request: &ClientRequest) -> ClientReply {
        match request {
            ClientRequest::Get { key } => ClientReply::Value(ValueAnswer {
                value: store.register(key),
                node: self.node,
                epoch: self.epoch,
            }),
            ClientRequest::ReadAccounts(request) => ClientReply::Accounts(AccountsAnswer {
                accounts: store.accounts(request),
                node: self.node,
                epoch: self.epoch,
            }),
            _ => ClientReply::Error(self.error(ApiErrorKind::BadRequest, "this is no read")),
        }
    }
}

/// The command of a write; a read comes back.
pub(super) fn command(request: ClientRequest) -> Result<Command, ClientRequest> {
    match request {
        ClientRequest::Put { key, value } => Ok(Command::Put(key, value)),
        ClientRequest::Cas { key, cas } => Ok(Command::Cas(key, cas)),
        ClientRequest::OpenAccounts(request) => Ok(Command::OpenAccounts(request)),
        ClientRequest::Transfer(request) => Ok(Command::Transfer(request)),
        read => Err(read),
    }
}
