//! What clients do: one worker process a client group, offering its share of the load.
//!
//! A `generator` says which operation comes next, a `schedule` when it is due, an `Adapter` how
//! it is put to a node. A `group` ties them together and reports the history as it happens: it
//! records and never judges. Invariant: `ok` and `fail` are claimed only where the answer proves
//! them; whatever may have happened is `info`.

use std::rc::Rc;
use std::time::Duration as StdDuration;

use shakedown_contracts::history::{Account, Operation};
use shakedown_contracts::plan::{Workload, WorkloadKind};

mod bank;
mod clients;
mod error;
#[cfg(test)]
mod fake_cluster;
pub(crate) mod group;
mod operation;
mod pipes;
pub(crate) mod primary;
mod records;
mod reference;
pub(crate) mod reference_calls;
mod reference_http;
mod register;
mod requests;
mod schedule;
mod share;
pub mod worker;
#[cfg(test)]
mod worker_tests;

pub use error::WorkloadError;
use share::Share;

/// How a kind of target is spoken to. A new one is a new file beside `reference_http`.
pub(crate) trait Adapter: 'static {
    /// How many nodes there are; they are spoken of by their position.
    fn node_count(&self) -> usize;

    /// Position of the node of this name.
    fn node_named(&self, name: &str) -> Option<usize>;

    /// Puts one request to one node, once. The caller bounds the wait.
    async fn attempt(&self, node: usize, request: &Request) -> Attempt;

    /// Asks a node for its role; `None` when it does not say so within `limit`.
    async fn standing(&self, node: usize, limit: StdDuration) -> Option<Standing>;
}

/// What a node is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    /// A read, write, compare-and-set or transfer.
    Operation(Operation),
    /// One snapshot of these accounts.
    ReadAccounts {
        /// Which.
        keys: Rc<[String]>,
        /// How many of the latest journal entries of each; `None`: all.
        journal: Option<u32>,
    },
    /// Open these accounts unless they exist.
    OpenAccounts(Vec<(String, i64)>),
}

/// What an operation brought back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// Nothing but that it was done.
    Done,
    /// A register's value.
    Value(Option<u64>),
    /// A snapshot.
    Accounts(Vec<Account>),
}

/// A node and the epoch of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answerer {
    /// The node's name.
    pub node: String,
    /// The epoch it spoke of.
    pub epoch: u64,
}

/// What one request to one node came to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Attempt {
    /// Carried out.
    Done {
        /// What came back.
        reply: Reply,
        /// Who served it.
        by: Answerer,
    },
    /// Certainly not done, and asking again would not help.
    Refused {
        /// Why.
        reason: String,
        /// Who said so.
        by: Option<Answerer>,
    },
    /// It failed and leaves nothing behind; whoever said so has tried what could be tried.
    Failed {
        /// Why.
        reason: String,
        /// Who said so.
        by: Option<Answerer>,
    },
    /// Certainly not done: another node is to be asked.
    NotPrimary {
        /// Why.
        reason: String,
        /// Position of the node to ask instead, and the epoch in which it is primary.
        hint: Option<primary::Primary>,
    },
    /// Certainly not done; asking again may help.
    NotDone {
        /// Why.
        reason: String,
    },
    /// It may have been done, or may be done later.
    Unknown {
        /// Why.
        reason: String,
        /// Who said so, if anybody did.
        by: Option<Answerer>,
    },
}

/// Names an attempt; unique within a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AttemptId(u64);

/// What clients want done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// Put this request to this node, once, and answer.
    Attempt {
        /// For the answer.
        id: AttemptId,
        /// Position of the node.
        node: usize,
        /// What is asked.
        request: Rc<Request>,
    },
    /// Nobody waits for this attempt any more.
    Cancel {
        /// Which.
        id: AttemptId,
    },
    /// Ask a node for its role, and answer.
    Ask(primary::Question),
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It claims to be primary in this epoch.
    Primary(u64),
    /// It serves without being primary, as others may beside it.
    Serves,
    /// It does not.
    Other,
}

/// Says which operations a group's clients do. Pure: the same seed, the same choices.
pub(crate) trait Generator {
    /// The next operation.
    fn next_operation(&mut self) -> Operation;

    /// Takes note of an operation that was carried out, with its result.
    fn observe(&mut self, completed: &Operation);

    /// How the operation is asked for during the load.
    fn request(&self, operation: &Operation) -> Request;

    /// What is written, any number of times, before the load.
    fn preparation(&self) -> Request;

    /// The reads after settling.
    fn final_reads(&self) -> Vec<(Operation, Request)>;
}

/// Registry of generators.
///
/// # Errors
/// [`WorkloadError::Mix`] when the mix names no operation of the kind.
pub(crate) fn generator(
    workload: &Workload,
    share: &Share,
    seed: u64,
) -> Result<Box<dyn Generator>, WorkloadError> {
    Ok(match &workload.kind {
        WorkloadKind::Register {
            keys,
            operations_per_key,
        } => {
            let limit = operations_per_key.map(|limit| share.divide(limit));
            Box::new(register::RegisterGenerator::new(
                *keys,
                limit,
                &workload.mix,
                share,
                seed,
            )?)
        }
        WorkloadKind::Bank { transfer_max, .. } => Box::new(bank::BankGenerator::new(
            workload,
            *transfer_max,
            share,
            seed,
        )?),
        WorkloadKind::Requests { keys, hot } => {
            Box::new(requests::RequestsGenerator::new(*keys, *hot, share, seed))
        }
    })
}
