//! `writes.lost` of a register workload: acknowledged writes that are gone at the end.
//!
//! Values are unique, so the value read at the end names the write that is the last one. A write is
//! lost when it *must* come after that one and yet does not show: it was acknowledged, and invoked
//! after the last one had certainly taken effect (it had completed, or its value had been read).
//! An absent key has lost every acknowledged write. Concurrent writes may have come in any order
//! and are never called lost: each one counted here is certain.

use std::collections::BTreeMap;

use shakedown_contracts::history::Operation;
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use super::limited;
use crate::consistency::register::by_key;
use crate::history::ClientOperation;
use crate::samples::Samples;
use crate::text;
use crate::trial::Trial;

/// Samples `writes.lost` once a trial, with a finding for each write that is lost.
pub fn check(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    if !trial.plan.workload.final_reads {
        samples.lacking(
            "writes.lost",
            "the workload has final_reads = false".to_owned(),
        );
        return Vec::new();
    }
    let (mut lost, mut unread) = (Vec::new(), None);
    for (key, positions) in by_key(trial.history) {
        let operations: Vec<&ClientOperation> = positions
            .iter()
            .map(|position| &trial.history.operations[*position])
            .collect();
        match last_value(&operations) {
            Some(value) => {
                let gone = lost_writes(&operations, value);
                lost.extend(gone.into_iter().map(|write| (key, write, value)));
            }
            None if operations
                .iter()
                .any(|operation| acknowledged(operation).is_some()) =>
            {
                unread.get_or_insert(key);
            }
            None => {}
        }
    }
    if let Some(key) = unread {
        samples.lacking(
            "writes.lost",
            format!(
                "key {key} could not be read back after settling in trial {}",
                trial.index
            ),
        );
    }
    if unread.is_none() || !lost.is_empty() {
        samples.add("writes.lost", lost.len() as f64);
    }
    limited(
        lost.into_iter()
            .map(|(key, write, value)| finding(trial, key, write, value))
            .collect(),
    )
}

/// The result of the last final read that succeeded.
fn last_value(operations: &[&ClientOperation]) -> Option<Option<u64>> {
    operations
        .iter()
        .rev()
        .filter(|operation| operation.final_read && operation.ok().is_some())
        .find_map(|operation| match &operation.operation {
            Operation::Read(register) => Some(register.value),
            _ => None,
        })
}

/// The value that the operation set, if it certainly did.
fn acknowledged(operation: &ClientOperation) -> Option<u64> {
    operation.ok()?;
    set_value(operation)
}

fn set_value(operation: &ClientOperation) -> Option<u64> {
    match &operation.operation {
        Operation::Write(register) => Some(register.value),
        Operation::Cas(register) => Some(register.value.new),
        _ => None,
    }
}

fn lost_writes<'t>(
    operations: &[&'t ClientOperation],
    last: Option<u64>,
) -> Vec<&'t ClientOperation> {
    let certain_from = match last {
        None => Some(Moment::default()),
        Some(value) => in_effect_by(operations).get(&value).copied(),
    };
    let writes = operations
        .iter()
        .filter(|operation| acknowledged(operation).is_some());
    writes
        .filter(|write| {
            let after_it = certain_from.is_some_and(|from| write.invoked > from);
            after_it || (last.is_none() && certain_from == Some(write.invoked))
        })
        .copied()
        .collect()
}

/// For each value, the first moment at which its write had certainly taken effect.
fn in_effect_by(operations: &[&ClientOperation]) -> BTreeMap<u64, Moment> {
    let mut known: BTreeMap<u64, Moment> = BTreeMap::new();
    for operation in operations {
        let Some(completion) = operation.ok() else {
            continue;
        };
        let value = match &operation.operation {
            Operation::Read(register) if !operation.final_read => register.value,
            _ => set_value(operation),
        };
        if let Some(value) = value {
            let first = known.entry(value).or_insert(completion.at);
            *first = (*first).min(completion.at);
        }
    }
    known
}

fn finding(trial: &Trial<'_>, key: &str, write: &ClientOperation, last: Option<u64>) -> Finding {
    let value = set_value(write).unwrap_or_default();
    let at = write.ok().map_or(write.invoked, |completion| completion.at);
    let by = write
        .ok()
        .and_then(|completion| completion.node.as_deref())
        .unwrap_or("the cluster");
    let found = last.map_or("nothing".to_owned(), |last| {
        format!("the older value {last}")
    });
    Finding {
        trial: trial.index,
        kind: "lost write".to_owned(),
        explanation: format!(
            "{by} acknowledged {value} for key {key} at {}; after settling the key holds {found}",
            text::since(trial.timeline.started, at)
        ),
        at: Some(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    fn lost(made: &MadeTrial) -> (u64, f64, Vec<Finding>) {
        let mut samples = Samples::default();
        let findings = check(&made.trial(), &mut samples);
        let summary = samples.summary("writes.lost");
        (summary.count, summary.max, findings)
    }

    #[test]
    fn acknowledged_writes_after_the_one_that_is_left_are_lost() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).ok(1_010);
        made.history.write("k", 2, 1_005).ok(1_020);
        made.history.write("k", 3, 1_100).by("n1", 1).ok(1_110);
        made.history.cas("k", Some(3), 4, 1_200).ok(1_210);
        made.history.final_read("k", Some(1), 7_100).ok(7_110);
        let (count, lost, findings) = lost(&made);
        assert_eq!(
            (count, lost),
            (1, 2.0),
            "2 was concurrent with 1 and may have come first"
        );
        assert_eq!(
            findings[0].explanation,
            "n1 acknowledged 3 for key k at 1.110s; after settling the key holds the older value 1"
        );
    }

    #[test]
    fn an_absent_key_has_lost_all_that_was_acknowledged() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).ok(1_010);
        made.history.write("k", 2, 1_100).info(1_200);
        made.history.final_read("k", None, 7_100).ok(7_110);
        assert_eq!(lost(&made).1, 1.0);
    }

    #[test]
    fn an_indeterminate_write_that_shows_at_the_end_may_have_come_last() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).info(1_100);
        made.history.write("k", 2, 1_200).ok(1_210);
        made.history.final_read("k", Some(1), 7_100).ok(7_110);
        assert_eq!(lost(&made).1, 0.0);
        // Once it was read it had taken effect, and what came after it is lost.
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).info(1_100);
        made.history.read("k", Some(1), 1_110).ok(1_120);
        made.history.write("k", 2, 1_200).ok(1_210);
        made.history.final_read("k", Some(1), 7_100).ok(7_110);
        assert_eq!(lost(&made).1, 1.0);
    }

    #[test]
    fn a_key_that_was_not_read_back_leaves_the_question_open() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).ok(1_010);
        made.history.final_read("k", None, 7_100).info(7_600);
        assert_eq!(lost(&made).0, 0);
    }
}
