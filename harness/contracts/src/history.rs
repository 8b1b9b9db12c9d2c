//! The history: what clients asked and what they were told, one record a line of `history.jsonl`.
//!
//! Jepsen's form: an operation is an `invoke` record and a completion of the same process: `ok`
//! (it happened), `fail` (it certainly did not), `info` (either, and open to the end). A process
//! whose operation ended in `info` is never used again.

use serde::{Deserialize, Serialize};

use crate::time::Moment;

/// One record of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Position in the file, from 0; given by the recorder.
    #[serde(default)]
    pub index: u64,
    /// Logical process; at most one operation of it is open at a time.
    pub process: u64,
    /// Invocation or kind of completion.
    #[serde(rename = "type")]
    pub kind: RecordKind,
    /// What was asked.
    #[serde(flatten)]
    pub operation: Operation,
    /// When: before the request was sent, after the answer was read.
    pub time: Moment,
    /// On an invocation: when it was due by the open loop; latency counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Moment>,
    /// On a completion: the node that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// On a completion: the epoch in which it answered as primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Why it failed or is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// True for the reads after settling.
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub final_read: bool,
}

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// The operation began.
    Invoke,
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// It may have happened, now or at any later time.
    Info,
}

/// An operation with its arguments and, on a completion, its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "f", content = "value", rename_all = "kebab-case")]
pub enum Operation {
    /// Read a register; the value is known on `ok` alone, `None` for an absent key.
    Read(Register<Option<u64>>),
    /// Write a register.
    Write(Register<u64>),
    /// Compare-and-set a register.
    Cas(Register<CompareAndSet>),
    /// Move money.
    Transfer(Transfer),
    /// Read all accounts in one snapshot; the snapshot is known on `ok` alone.
    ReadAll(Option<Vec<Account>>),
    /// Have something worked out for this key; nothing is kept of it.
    Call(String),
}

/// A key and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register<T> {
    /// The key.
    pub key: String,
    /// The argument or result.
    pub value: T,
}

/// Arguments of a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareAndSet {
    /// Set only if the register holds this; `None`: only if the key is absent.
    pub expected: Option<u64>,
    /// The new value.
    pub new: u64,
}

/// A transfer between two accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Unique in the trial.
    pub id: u64,
    /// Account that pays.
    pub from: String,
    /// Account that receives.
    pub to: String,
    /// How much; positive.
    pub amount: i64,
}

/// One account in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account's key.
    pub key: String,
    /// What it holds.
    pub balance: i64,
    /// Latest transfers applied to it, oldest first; the final read has all of them.
    pub journal: Vec<JournalEntry>,
    /// True when `journal` holds every transfer ever applied to the account.
    pub journal_complete: bool,
}

/// One transfer as one account saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// The transfer's id.
    pub id: u64,
    /// What it added to the account.
    pub delta: i64,
    /// Position of the transfer in the group's log, or with accounts on several nodes the time at
    /// which it was committed: both sides of one transfer carry the same. Where nothing makes them
    /// one (no protocol, sagas) each side has the time at which its node changed it.
    pub position: u64,
}
