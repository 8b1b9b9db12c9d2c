//! Client operations: each invocation joined with its completion.
//!
//! Jepsen's form has two records an operation; a process has at most one open, so joining is a map
//! from process to the open operation. An operation without a completion is indeterminate: it may
//! have happened, now or at any later time.

use std::collections::BTreeMap;

use shakedown_contracts::history::{Operation, OperationRecord, RecordKind};
use shakedown_contracts::time::Moment;

/// Most inconsistencies that are described; a broken file has one on every line.
const PROBLEMS_MAX: usize = 3;

/// One operation of a client, from invocation to completion.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientOperation {
    /// Who asked.
    pub process: u64,
    /// What was asked; with the result once the completion is `ok`.
    pub operation: Operation,
    /// When it was asked.
    pub invoked: Moment,
    /// When the open loop had it due; `invoked` where that is not recorded.
    pub due: Moment,
    /// The completion; `None` when there is none.
    pub completion: Option<Completion>,
    /// True for the reads after settling.
    pub final_read: bool,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// `ok`, `fail` or `info`.
    pub kind: RecordKind,
    /// When the client knew.
    pub at: Moment,
    /// Who answered.
    pub node: Option<String>,
    /// In which epoch, as primary.
    pub epoch: Option<u64>,
}

impl ClientOperation {
    /// The completion, if the operation happened for certain.
    pub fn ok(&self) -> Option<&Completion> {
        self.completion
            .as_ref()
            .filter(|completion| completion.kind == RecordKind::Ok)
    }

    /// True when the operation certainly did not happen.
    pub fn failed(&self) -> bool {
        self.completion
            .as_ref()
            .is_some_and(|completion| completion.kind == RecordKind::Fail)
    }

    /// True when the operation may have happened.
    pub fn indeterminate(&self) -> bool {
        self.ok().is_none() && !self.failed()
    }
}

/// All operations of a trial in order of invocation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// The operations.
    pub operations: Vec<ClientOperation>,
    /// What is inconsistent in the records, in words; such a history decides nothing.
    pub problems: Vec<String>,
    open: BTreeMap<u64, usize>,
}

impl History {
    /// Joins records in the order of their file.
    pub fn from_records(records: impl IntoIterator<Item = OperationRecord>) -> Self {
        let mut history = History::default();
        for record in records {
            history.push(record);
        }
        history
    }

    /// Takes the next record of the file.
    pub fn push(&mut self, record: OperationRecord) {
        if record.kind == RecordKind::Invoke {
            self.invoke(record);
        } else {
            self.complete(record);
        }
    }

    /// The operations of the workload: all but the final reads.
    pub fn workload(&self) -> impl Iterator<Item = &ClientOperation> {
        self.operations
            .iter()
            .filter(|operation| !operation.final_read)
    }

    fn invoke(&mut self, record: OperationRecord) {
        let position = self.operations.len();
        if self.open.insert(record.process, position).is_some() {
            self.problem(format!(
                "process {} invoked while it had an operation open",
                record.process
            ));
        }
        self.operations.push(ClientOperation {
            process: record.process,
            operation: record.operation,
            invoked: record.time,
            due: record.due.unwrap_or(record.time),
            completion: None,
            final_read: record.final_read,
        });
    }

    fn complete(&mut self, record: OperationRecord) {
        let Some(position) = self.open.remove(&record.process) else {
            self.problem(format!(
                "process {} completed what it never invoked",
                record.process
            ));
            return;
        };
        let operation = &mut self.operations[position];
        if record.time < operation.invoked {
            let process = record.process;
            self.problem(format!(
                "process {process} completed an operation before it was invoked"
            ));
            return;
        }
        if record.kind == RecordKind::Ok {
            // It repeats the arguments and has the result besides.
            operation.operation = record.operation;
        }
        operation.completion = Some(Completion {
            kind: record.kind,
            at: record.time,
            node: record.node,
            epoch: record.epoch,
        });
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{self, MadeHistory};

    #[test]
    fn an_operation_without_completion_may_have_happened() {
        let mut made = MadeHistory::default();
        made.write("k", 1, 10).ok(20);
        made.write("k", 2, 30);
        let history = made.history();
        assert!(history.operations[0].ok().is_some());
        assert!(history.operations[1].indeterminate());
        assert!(history.problems.is_empty());
    }

    #[test]
    fn a_completion_that_was_never_invoked_is_a_problem() {
        let mut made = MadeHistory::default();
        made.write("k", 1, 10).ok(20);
        let mut records = made.records();
        records.remove(0);
        assert_eq!(History::from_records(records).problems.len(), 1);
    }

    #[test]
    fn latency_counts_from_the_due_moment() {
        let mut made = MadeHistory::default();
        made.write("k", 1, 10).due(4).ok(20);
        assert_eq!(made.history().operations[0].due, made::at(4));
    }
}
