//! What goes into a node and what comes out: the whole boundary between the pure core and whoever
//! drives it.
//!
//! The driver calls [`crate::node::Node::step`] with one [`Input`] at a time and carries out the
//! returned [`Output`]s in order. Peers are numbers: a node's index in the group's member list.

use serde::{Deserialize, Serialize};
use shakedown_contracts::event::Event;
use shakedown_contracts::node::{
    AccountsAnswer, Answer, ApiError, CasRequest, OpenAccountsRequest, ReadAccountsRequest, Status,
    TransferRequest, ValueAnswer,
};
use shakedown_contracts::time::Moment;

use crate::detector::swim::packet::Probe;
use crate::message::{Heartbeat, Message};

/// A member of the group, by its index in the member list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Peer(pub u32);

/// Names a client request to its driver; unique per node and incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// Names a disk operation; completions come back with it, in the order they were issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskToken(pub u64);

/// A timer's purpose; setting a timer again moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timer {
    /// Send the next heartbeats.
    Heartbeat,
    /// The earliest moment at which a peer could become suspect.
    Suspicion,
    /// Resend what a peer did not acknowledge; retry a takeover. Of a balancer and its backends:
    /// whatever is due next.
    Replication,
    /// Force the log to disk (`fsync = "interval"`).
    Sync,
    /// Write a checkpoint (by time).
    Checkpoint,
}

/// Everything that can happen to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "kebab-case")]
pub enum Input {
    /// The first input: what the disk held. Empty vectors on a first start.
    Start {
        /// Newest readable checkpoint file, and the one before it.
        checkpoints: Vec<Vec<u8>>,
        /// The log file from its beginning.
        log: Vec<u8>,
    },
    /// A heartbeat datagram arrived.
    Heartbeat {
        /// Who sent it.
        from: Peer,
        /// It.
        heartbeat: Heartbeat,
    },
    /// A datagram of SWIM arrived.
    Probe {
        /// Who sent it.
        from: Peer,
        /// It.
        probe: Probe,
    },
    /// A message arrived on the ordered, reliable connection from a peer. Messages are lost only
    /// with the connection.
    Message {
        /// Who sent it.
        from: Peer,
        /// It.
        message: Message,
    },
    /// The own connection to a peer was made, or made anew: what was sent and not answered may be
    /// lost.
    Reconnected {
        /// The peer.
        peer: Peer,
    },
    /// The own connection to a peer broke: what was sent and not answered may be lost.
    Disconnected {
        /// The peer.
        peer: Peer,
        /// Who ended it.
        ending: Ending,
    },
    /// A timer is due.
    Timer {
        /// Which.
        timer: Timer,
    },
    /// A disk operation is done.
    DiskDone {
        /// Which.
        token: DiskToken,
    },
    /// A sync or probe failed. Comes only where `on_fsync_error = "retry"` (wrong on purpose): at any
    /// other failure the driver ends the process, because a failed fsync must not be retried.
    DiskFailed {
        /// Which.
        token: DiskToken,
    },
    /// A client asks.
    Request {
        /// To be used in the reply.
        id: RequestId,
        /// What it asks.
        request: ClientRequest,
    },
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The other end closed it: a FIN or an RST has come.
    Closed,
    /// This end gave it up: what was sent was not acknowledged, or nobody took it.
    GivenUp,
}

/// What a client can ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum ClientRequest {
    /// `GET /v1/status`
    Status,
    /// `GET /v1/keys/{key}`
    Get {
        /// The key.
        key: String,
    },
    /// `PUT /v1/keys/{key}`
    Put {
        /// The key.
        key: String,
        /// The new value.
        value: u64,
    },
    /// `POST /v1/keys/{key}/cas`
    Cas {
        /// The key.
        key: String,
        /// Expected and new value.
        cas: CasRequest,
    },
    /// `POST /v1/accounts`
    OpenAccounts(OpenAccountsRequest),
    /// `POST /v1/transfer`
    Transfer(TransferRequest),
    /// `POST /v1/accounts/read`
    ReadAccounts(ReadAccountsRequest),
    /// `POST /v1/call/{key}`
    Call {
        /// The key.
        key: String,
    },
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum ClientReply {
    /// To [`ClientRequest::Status`].
    Status(Status),
    /// To [`ClientRequest::Get`].
    Value(ValueAnswer),
    /// To writes.
    Done(Answer),
    /// To [`ClientRequest::ReadAccounts`].
    Accounts(AccountsAnswer),
    /// To anything that was not carried out, or may not have been.
    Error(ApiError),
}

/// Everything a node can want.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "output", rename_all = "kebab-case")]
pub enum Output {
    /// Send a datagram; it may get lost.
    SendHeartbeat {
        /// To whom.
        to: Peer,
        /// What.
        heartbeat: Heartbeat,
    },
    /// Send a datagram of SWIM; it may get lost.
    SendProbe {
        /// To whom.
        to: Peer,
        /// What.
        probe: Probe,
    },
    /// Send on the connection to a peer; dropped when there is none.
    Send {
        /// To whom.
        to: Peer,
        /// What.
        message: Message,
    },
    /// Set (or move) a timer; a moment that has passed means at once.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When.
        at: Moment,
    },
    /// Do this on disk and answer [`Input::DiskDone`] in order of issue.
    Disk {
        /// For the answer.
        token: DiskToken,
        /// What.
        operation: DiskOperation,
    },
    /// Answer a client.
    Reply {
        /// Its request.
        id: RequestId,
        /// The answer.
        reply: ClientReply,
    },
    /// Report an event (the driver stamps it; it also fills in the `took` of
    /// `recovery.completed`, because a step takes no time to itself).
    Note {
        /// It.
        event: Event,
    },
    /// The node must not go on (its log is damaged): the driver prints this and ends with code 1.
    Fatal {
        /// What is wrong and what to do.
        message: String,
    },
}

/// What a node does on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "disk", rename_all = "kebab-case")]
pub enum DiskOperation {
    /// Append to the log file; not yet durable.
    Append {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Make everything appended so far durable (fdatasync).
    Sync,
    /// Write this number to the probe file, over what was there, and sync it: proves that the disk
    /// that holds the log still works. Nobody reads it.
    Probe {
        /// The number.
        position: u64,
    },
    /// Cut the log file to this length (divergent tail); durable when done.
    TruncateLog {
        /// New length in bytes.
        length: u64,
    },
    /// Write a checkpoint: temporary file, fsync, rename, fsync of the folder; the previous one
    /// is kept. Then replace the log file in the same way by `log`, the records after the
    /// checkpoint.
    Checkpoint {
        /// The state.
        bytes: Vec<u8>,
        /// What the new log file begins with.
        log: Vec<u8>,
    },
}
