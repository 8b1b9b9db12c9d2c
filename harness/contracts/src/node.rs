//! What a node of the reference cluster is started with, and its client API.
//!
//! `shakedown node --config FILE` reads a [`NodeConfig`]. Clients speak HTTP/JSON, so `curl` works:
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `GET /v1/keys/{key}` | | [`ValueAnswer`] (`value: null` for an absent key) |
//! | `PUT /v1/keys/{key}` | [`PutRequest`] | [`Answer`] |
//! | `POST /v1/keys/{key}/cas` | [`CasRequest`] | [`Answer`]; 409 when the value was another |
//! | `POST /v1/accounts` | [`OpenAccountsRequest`] | [`Answer`] |
//! | `POST /v1/transfer` | [`TransferRequest`] | [`Answer`]; 409 when the account holds too little |
//! | `POST /v1/accounts/read` | [`ReadAccountsRequest`] | [`AccountsAnswer`], one snapshot |
//! | `POST /v1/call/{key}` | | [`Answer`] of the backend that served it (a balancer alone) |
//!
//! With `transactions` every node carries out transfers and reads of accounts on all nodes, and there are
//! no keys.
//!
//! Every error answer is an [`ApiError`]. 421: this node is not the primary. 409: refused by the
//! data. 400: not understood. 502: no backend served it. 503: certainly not done. 504: may have been
//! done.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::event::Role;
use crate::history::Account;
use crate::strategy::Strategy;

/// Version of [`NodeConfig`].
pub const NODE_CONFIG_FORMAT: u32 = 1;

/// TCP port of the client API on every node's address.
pub const CLIENT_PORT: u16 = 7000;
/// TCP port on which nodes take each other's data.
pub const PEER_PORT: u16 = 7001;
/// UDP port of heartbeats.
pub const HEARTBEAT_PORT: u16 = 7002;

/// Everything a node needs to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// [`NODE_CONFIG_FORMAT`].
    pub format: u32,
    /// The node's own name; one of `members`.
    pub name: String,
    /// All nodes of the group in rank order, then its companions. Of a new primary-backup group the first is primary in
    /// epoch 1; Raft elects.
    pub members: Vec<Member>,
    /// Log and checkpoints live here; the folder exists.
    pub data_directory: PathBuf,
    /// The strategies.
    pub strategy: Strategy,
    /// Seeds the node's own randomness.
    pub seed: u64,
    /// Hold written bytes back until they are synced, so that a kill loses exactly the unsynced.
    pub hold_unsynced: bool,
    /// Client API port; [`CLIENT_PORT`] in a run, others where nodes share one address.
    pub client_port: u16,
}

/// One node of the group, as seen by the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// TCP port for data; [`PEER_PORT`] in a run.
    pub peer_port: u16,
    /// UDP port for heartbeats; [`HEARTBEAT_PORT`] in a run.
    pub heartbeat_port: u16,
    /// What it is.
    #[serde(default)]
    pub kind: MemberKind,
}

/// What a member of a cluster is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberKind {
    /// A node: it holds data or does the work.
    #[default]
    Node,
    /// A companion that passes requests on to nodes.
    Balancer,
    /// A companion that has nodes restarted and replaced.
    Supervisor,
}

/// Answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The node's name.
    pub node: String,
    /// Its role.
    pub role: Role,
    /// The newest epoch it knows.
    pub epoch: u64,
    /// Who it thinks is primary.
    pub primary: Option<String>,
    /// Position of its last log record.
    pub position: u64,
    /// Position up to which the group has committed, as far as it knows.
    pub committed: u64,
}

/// Answer to a request that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The node that served it.
    pub node: String,
    /// The epoch in which it served as primary.
    pub epoch: u64,
}

/// Answer to a read of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValueAnswer {
    /// `None` for an absent key.
    pub value: Option<u64>,
    /// The node that served it.
    pub node: String,
    /// The epoch in which it served as primary.
    pub epoch: u64,
}

/// Answer to a read of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountsAnswer {
    /// The accounts, in the order asked for; absent ones are left out.
    pub accounts: Vec<Account>,
    /// The node that served it.
    pub node: String,
    /// The epoch in which it served as primary.
    pub epoch: u64,
}

/// Body of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutRequest {
    /// The new value.
    pub value: u64,
}

/// Body of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasRequest {
    /// Set only if the key holds this; null: only if it is absent.
    pub expected: Option<u64>,
    /// The new value.
    pub new: u64,
}

/// Body of an opening of accounts; an account that exists is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAccountsRequest {
    /// Key and first balance of each.
    pub accounts: Vec<(String, i64)>,
}

/// Body of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// Unique; a repeated id is answered like the first time and not carried out again.
    pub id: u64,
    /// Account that pays.
    pub from: String,
    /// Account that receives.
    pub to: String,
    /// How much; positive.
    pub amount: i64,
}

/// Body of a read of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadAccountsRequest {
    /// Which, in this order.
    pub keys: Vec<String>,
    /// How many of the latest journal entries of each; `None`: all.
    pub journal: Option<u32>,
}

/// Body of every error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What is wrong.
    pub error: ApiErrorKind,
    /// In words.
    pub message: String,
    /// The node that answered.
    pub node: String,
    /// The newest epoch it knows.
    pub epoch: u64,
    /// Whom to ask instead, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<String>,
}

/// Kinds of error answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiErrorKind {
    /// 421: ask the primary. Not done.
    NotPrimary,
    /// 409: the compared value was another. Not done.
    Mismatch,
    /// 409: the account does not exist or holds too little. Not done.
    InsufficientFunds,
    /// 400: not understood. Not done.
    BadRequest,
    /// 502: the balancer has given up; no backend answered in time or would serve it. A call changes
    /// nothing, so that nothing is left of it.
    BadGateway,
    /// 503: certainly not done.
    Unavailable,
    /// 504: may have been done (the primary lost its role while the request was under way).
    Indeterminate,
}

impl ApiErrorKind {
    /// The HTTP status that carries it.
    pub const fn http_status(self) -> u16 {
        match self {
            ApiErrorKind::NotPrimary => 421,
            ApiErrorKind::Mismatch | ApiErrorKind::InsufficientFunds => 409,
            ApiErrorKind::BadRequest => 400,
            ApiErrorKind::BadGateway => 502,
            ApiErrorKind::Unavailable => 503,
            ApiErrorKind::Indeterminate => 504,
        }
    }
}
