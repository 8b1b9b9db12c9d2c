//! Records on their way to the harness: stamped where things happen, sent in batches.
//!
//! A group pushes its records at the moment it stamps them, so the batch is in order of time
//! without sorting.

use shakedown_contracts::history::{Operation, OperationRecord, RecordKind, Register};
use shakedown_contracts::time::Moment;

use super::operation::Outcome;
use super::{Answerer, Reply};

/// A batch of so many records is sent at once.
const BATCH_RECORDS: usize = 256;
/// A batch of about so many bytes is sent at once: far below the longest frame.
const BATCH_BYTES: usize = 1 << 20;

/// Who does an operation, and whether it is a final read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Doer {
    /// The logical process.
    pub process: u64,
    /// A read after settling.
    pub final_read: bool,
}

/// The batch in the making.
#[derive(Debug, Default)]
pub(crate) struct Records {
    batch: Vec<OperationRecord>,
    bytes: usize,
}

impl Records {
    /// An operation begins now.
    pub fn invoke(&mut self, now: Moment, doer: Doer, operation: &Operation, due: Option<Moment>) {
        let record = record(now, doer, RecordKind::Invoke, operation.clone());
        self.push(OperationRecord { due, ..record });
    }

    /// An operation ended just now; returns it with its result.
    pub fn complete(
        &mut self,
        now: Moment,
        doer: Doer,
        operation: Operation,
        outcome: Outcome,
    ) -> Completed {
        let (kind, operation, by, error) = match outcome {
            Outcome::Ok { reply, by } => {
                (RecordKind::Ok, with_reply(operation, reply), Some(by), None)
            }
            Outcome::Fail { reason, by } => (RecordKind::Fail, operation, by, Some(reason)),
            Outcome::Info { reason, by } => (RecordKind::Info, operation, by, Some(reason)),
        };
        let (node, epoch) = by.map(|Answerer { node, epoch }| (node, epoch)).unzip();
        let completion = record(now, doer, kind, operation.clone());
        self.push(OperationRecord {
            node,
            epoch,
            error,
            ..completion
        });
        Completed { kind, operation }
    }

    /// True when the batch should not wait any longer.
    pub fn is_full(&self) -> bool {
        self.batch.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }

    /// The batch, which starts anew.
    pub fn take(&mut self) -> Vec<OperationRecord> {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }

    fn push(&mut self, record: OperationRecord) {
        self.bytes += size(&record.operation);
        self.batch.push(record);
    }
}

/// How an operation ended, with its result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Completed {
    /// How.
    pub kind: RecordKind,
    /// The operation as recorded.
    pub operation: Operation,
}

fn record(now: Moment, doer: Doer, kind: RecordKind, operation: Operation) -> OperationRecord {
    OperationRecord {
        index: 0,
        process: doer.process,
        kind,
        operation,
        time: now,
        due: None,
        node: None,
        epoch: None,
        error: None,
        final_read: doer.final_read,
    }
}

fn with_reply(operation: Operation, reply: Reply) -> Operation {
    match (operation, reply) {
        (Operation::Read(read), Reply::Value(value)) => Operation::Read(Register {
            key: read.key,
            value,
        }),
        (Operation::ReadAll(_), Reply::Accounts(accounts)) => Operation::ReadAll(Some(accounts)),
        (operation, _) => operation,
    }
}

/// About how many bytes the record takes as JSON.
fn size(operation: &Operation) -> usize {
    let journals = match operation {
        Operation::ReadAll(Some(accounts)) => accounts
            .iter()
            .map(|account| 100 + 60 * account.journal.len())
            .sum(),
        _ => 0,
    };
    200 + journals
}
