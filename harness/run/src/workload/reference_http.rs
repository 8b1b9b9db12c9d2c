//! The adapter to the reference cluster: HTTP and JSON, as `contracts::node` describes it.
//!
//! The mapping of answers is the point: an error before the request left proves that nothing was
//! done; after that only an answer proves anything.

use std::time::Duration as StdDuration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shakedown_contracts::control::Endpoint;
use shakedown_contracts::frame::FRAME_BYTES_MAX;
use shakedown_contracts::history::Operation;
use shakedown_contracts::node::{
    AccountsAnswer, Answer, ApiError, CasRequest, OpenAccountsRequest, PutRequest,
    ReadAccountsRequest, Status, TransferRequest, ValueAnswer,
};

use super::{Adapter, Answerer, Attempt, Reply, Request, Standing, WorkloadError, reference};

/// Shortest limit for connecting; more than the round trip of any delay that lets clients work.
const CONNECT_LIMIT_MIN: StdDuration = StdDuration::from_millis(200);

#[derive(Debug)]
struct Node {
    name: String,
    base: String,
}

/// Speaks to the nodes of a reference cluster.
#[derive(Debug)]
pub(crate) struct ReferenceHttp {
    client: reqwest::Client,
    nodes: Vec<Node>,
}

impl ReferenceHttp {
    /// To these nodes, all on the same port; `timeout` is that of a whole operation.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(nodes: &[Endpoint], port: u16, timeout: StdDuration) -> Result<Self, WorkloadError> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout((timeout / 2).max(CONNECT_LIMIT_MIN).min(timeout))
            .build()?;
        let node = |node: &Endpoint| Node {
            name: node.name.clone(),
            base: format!("http://{}:{port}/v1", node.address),
        };
        Ok(ReferenceHttp {
            client,
            nodes: nodes.iter().map(node).collect(),
        })
    }

    fn post<T: Serialize>(&self, url: String, body: &T) -> reqwest::RequestBuilder {
        self.client.post(url).json(body)
    }

    fn build(&self, node: usize, request: &Request) -> Option<reqwest::RequestBuilder> {
        let base = &self.nodes[node].base;
        Some(match request {
            Request::Operation(Operation::Read(read)) => {
                self.client.get(format!("{base}/keys/{}", read.key))
            }
            Request::Operation(Operation::Write(write)) => {
                let body = PutRequest { value: write.value };
                self.client
                    .put(format!("{base}/keys/{}", write.key))
                    .json(&body)
            }
            Request::Operation(Operation::Cas(cas)) => {
                let body = CasRequest {
                    expected: cas.value.expected,
                    new: cas.value.new,
                };
                self.post(format!("{base}/keys/{}/cas", cas.key), &body)
            }
            Request::Operation(Operation::Transfer(transfer)) => {
                let body = TransferRequest {
                    id: transfer.id,
                    from: transfer.from.clone(),
                    to: transfer.to.clone(),
                    amount: transfer.amount,
                };
                self.post(format!("{base}/transfer"), &body)
            }
            Request::ReadAccounts { keys, journal } => {
                let body = ReadAccountsRequest {
                    keys: keys.to_vec(),
                    journal: *journal,
                };
                self.post(format!("{base}/accounts/read"), &body)
            }
            Request::OpenAccounts(accounts) => {
                let body = OpenAccountsRequest {
                    accounts: accounts.clone(),
                };
                self.post(format!("{base}/accounts"), &body)
            }
            Request::Operation(Operation::Call(key)) => {
                self.client.post(format!("{base}/call/{key}"))
            }
            // Which accounts are meant is known to the generator, which asks by ReadAccounts.
            Request::Operation(Operation::ReadAll(_)) => return None,
        })
    }

    /// What an error answer means, by its status; the body adds who said so.
    fn refused(&self, status: u16, body: &[u8]) -> Attempt {
        let error = serde_json::from_slice::<ApiError>(body).ok();
        reference::refused(status, error, |name| self.node_named(name))
    }
}

impl Adapter for ReferenceHttp {
    fn node_count(&self) -> usize {
        self.nodes.len()
    }

    fn node_named(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    async fn attempt(&self, node: usize, request: &Request) -> Attempt {
        let Some(prepared) = self.build(node, request) else {
            return Attempt::Refused {
                reason: "no request for this".to_owned(),
                by: None,
            };
        };
        let response = match prepared.send().await {
            Ok(response) => response,
            // Not connected: the request never left.
            Err(error) if error.is_connect() => {
                return Attempt::NotDone {
                    reason: describe(&error),
                };
            }
            Err(error) => {
                return Attempt::Unknown {
                    reason: describe(&error),
                    by: None,
                };
            }
        };
        let status = response.status();
        let body = match read_body(response).await {
            Ok(body) => body,
            // The status alone says enough of an error; a success must also say by whom.
            Err(_) if !status.is_success() => Vec::new(),
            Err(reason) => return Attempt::Unknown { reason, by: None },
        };
        if !status.is_success() {
            return self.refused(status.as_u16(), &body);
        }
        match parse(request, &body) {
            Ok((reply, by)) => Attempt::Done { reply, by },
            Err(error) => {
                let reason = format!("{}: answer not understood: {error}", status.as_u16());
                Attempt::Unknown { reason, by: None }
            }
        }
    }

    async fn standing(&self, node: usize, limit: StdDuration) -> Option<Standing> {
        let url = format!("{}/status", self.nodes[node].base);
        let response = self.client.get(url).timeout(limit).send().await.ok()?;
        let status: Status = serde_json::from_slice(&read_body(response).await.ok()?).ok()?;
        Some(reference::standing(&status))
    }
}

/// The reply in the body of a success.
fn parse(request: &Request, body: &[u8]) -> serde_json::Result<(Reply, Answerer)> {
    fn read<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
        serde_json::from_slice(body)
    }
    let by = |node, epoch| Answerer { node, epoch };
    Ok(match request {
        Request::Operation(Operation::Read(_)) => {
            let answer: ValueAnswer = read(body)?;
            (Reply::Value(answer.value), by(answer.node, answer.epoch))
        }
        Request::ReadAccounts { .. } => {
            let answer: AccountsAnswer = read(body)?;
            (
                Reply::Accounts(answer.accounts),
                by(answer.node, answer.epoch),
            )
        }
        Request::Operation(_) | Request::OpenAccounts(_) => {
            let answer: Answer = read(body)?;
            (Reply::Done, by(answer.node, answer.epoch))
        }
    })
}

/// The whole body, at most what a report could carry.
async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
        if body.len() + chunk.len() > FRAME_BYTES_MAX / 2 {
            return Err(format!("answer of more than {} bytes", FRAME_BYTES_MAX / 2));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause says what happened; the outer ones repeat the address.
fn describe(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
