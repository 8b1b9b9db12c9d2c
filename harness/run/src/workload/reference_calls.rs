//! The adapter to the reference cluster's cores in the simulator: typed requests and replies, with
//! the same meaning as over HTTP.

use shakedown_contracts::history::Operation;
use shakedown_contracts::node::{
    CasRequest, OpenAccountsRequest, ReadAccountsRequest, TransferRequest,
};
use shakedown_simulator::{CallAnswer, ClientReply, ClientRequest};

use super::{Answerer, Attempt, Reply, Request, Standing, reference};

/// The request as a core takes it; `None` where there is none.
pub(crate) fn call(request: &Request) -> Option<ClientRequest> {
    Some(match request {
        Request::Operation(Operation::Read(read)) => ClientRequest::Get {
            key: read.key.clone(),
        },
        Request::Operation(Operation::Write(write)) => ClientRequest::Put {
            key: write.key.clone(),
            value: write.value,
        },
        Request::Operation(Operation::Cas(cas)) => ClientRequest::Cas {
            key: cas.key.clone(),
            cas: CasRequest {
                expected: cas.value.expected,
                new: cas.value.new,
            },
        },
        Request::Operation(Operation::Transfer(transfer)) => {
            ClientRequest::Transfer(TransferRequest {
                id: transfer.id,
                from: transfer.from.clone(),
                to: transfer.to.clone(),
                amount: transfer.amount,
            })
        }
        Request::ReadAccounts { keys, journal } => {
            ClientRequest::ReadAccounts(ReadAccountsRequest {
                keys: keys.to_vec(),
                journal: *journal,
            })
        }
        Request::OpenAccounts(accounts) => ClientRequest::OpenAccounts(OpenAccountsRequest {
            accounts: accounts.clone(),
        }),
        Request::Operation(Operation::Call(key)) => ClientRequest::Call { key: key.clone() },
        // Which accounts are meant is known to the generator, which asks by ReadAccounts.
        Request::Operation(Operation::ReadAll(_)) => return None,
    })
}

/// What an answer comes to; `nodes` are the names of all, in order.
pub(crate) fn attempt(answer: CallAnswer, nodes: &[String]) -> Attempt {
    let done = |reply, node, epoch| Attempt::Done {
        reply,
        by: Answerer { node, epoch },
    };
    match answer {
        CallAnswer::NotConnected(reason) => Attempt::NotDone { reason },
        CallAnswer::Broken(reason) => Attempt::Unknown { reason, by: None },
        CallAnswer::Reply(ClientReply::Value(answer)) => {
            done(Reply::Value(answer.value), answer.node, answer.epoch)
        }
        CallAnswer::Reply(ClientReply::Accounts(answer)) => {
            done(Reply::Accounts(answer.accounts), answer.node, answer.epoch)
        }
        CallAnswer::Reply(ClientReply::Done(answer)) => {
            done(Reply::Done, answer.node, answer.epoch)
        }
        CallAnswer::Reply(ClientReply::Error(error)) => {
            let status = error.error.http_status();
            let named = |name: &str| nodes.iter().position(|node| node == name);
            reference::refused(status, Some(error), named)
        }
        CallAnswer::Reply(ClientReply::Status(_)) => Attempt::Unknown {
            reason: "a status is no answer to this".to_owned(),
            by: None,
        },
    }
}

/// The answer to a question about a node's role.
pub(crate) fn standing(answer: &CallAnswer) -> Option<Standing> {
    match answer {
        CallAnswer::Reply(ClientReply::Status(status)) => Some(reference::standing(status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::node::{ApiError, ApiErrorKind};

    use super::*;

    #[test]
    fn an_error_means_what_it_means_over_http() {
        let attempt_of = |error| {
            let reply = ClientReply::Error(ApiError {
                error,
                message: "as planned".to_owned(),
                node: "n1".to_owned(),
                epoch: 4,
                primary: Some("n2".to_owned()),
            });
            attempt(CallAnswer::Reply(reply), &["n1".into(), "n2".into()])
        };
        let Attempt::NotPrimary { hint, .. } = attempt_of(ApiErrorKind::NotPrimary) else {
            panic!("421 is a hint");
        };
        assert_eq!(hint.map(|hint| (hint.node, hint.epoch)), Some((1, 4)));
        assert!(matches!(
            attempt_of(ApiErrorKind::Mismatch),
            Attempt::Refused { .. }
        ));
        assert!(matches!(
            attempt_of(ApiErrorKind::BadGateway),
            Attempt::Failed { .. }
        ));
        assert!(matches!(
            attempt_of(ApiErrorKind::Unavailable),
            Attempt::NotDone { .. }
        ));
        assert!(matches!(
            attempt_of(ApiErrorKind::Indeterminate),
            Attempt::Unknown { .. }
        ));
    }

    #[test]
    fn only_a_call_that_never_connected_certainly_did_nothing() {
        let refused = CallAnswer::NotConnected("refused".into());
        assert!(matches!(attempt(refused, &[]), Attempt::NotDone { .. }));
        let broken = CallAnswer::Broken("reset".into());
        assert!(matches!(attempt(broken, &[]), Attempt::Unknown { .. }));
    }
}
