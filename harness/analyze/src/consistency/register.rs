//! Linearizability of a register workload: key by key.
//!
//! A system of registers is linearizable when each register is (Herlihy & Wing 1990, locality), so
//! the history is split by key. Failed operations certainly did not happen and say nothing about
//! what did; indeterminate reads say nothing at all.

use std::collections::BTreeMap;

use shakedown_contracts::history::{Operation, RecordKind};
use shakedown_contracts::plan::WorkloadKind;
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use super::linearizable::{Decision, Effect, Limits, RegisterOperation, decide};
use super::stale::contradiction;
use super::witness::shrink;
use crate::history::{ClientOperation, History};
use crate::text;
use crate::trial::Trial;

/// Most keys of a trial whose violation is explained.
const EXPLAINED_MAX: usize = 3;
/// Most operations that a witness names.
const NAMED_MAX: usize = 6;

/// What the history of a trial shows about its consistency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consistency {
    /// Every register is linearizable.
    Linearizable,
    /// So many are not.
    Violated(usize),
    /// No violation was seen, but not everything could be decided; why, in words.
    Undecided(String),
}

/// Decides the trial's history.
pub fn check(trial: &Trial<'_>) -> (Consistency, Vec<Finding>) {
    let WorkloadKind::Register { .. } = trial.plan.workload.kind else {
        let workload = trial.plan.workload.kind.name();
        let reason =
            format!("the history of a {workload} workload does not decide linearizability");
        return (Consistency::Undecided(reason), Vec::new());
    };
    let keys = by_key(trial.history);
    if keys.is_empty() {
        let reason = format!("trial {} has no operation on any key", trial.index);
        return (Consistency::Undecided(reason), Vec::new());
    }
    let (mut violated, mut findings, mut undecided) = (0, Vec::new(), None);
    for (key, positions) in keys {
        let operations: Vec<(usize, RegisterOperation)> = positions
            .into_iter()
            .filter_map(|position| Some((position, of(&trial.history.operations[position])?)))
            .collect();
        let register: Vec<RegisterOperation> =
            operations.iter().map(|(_, operation)| *operation).collect();
        match judge(&register) {
            Judgement::Linearizable => {}
            Judgement::Undecided(reason) => {
                undecided.get_or_insert(format!("trial {}, key {key}: {reason}", trial.index));
            }
            Judgement::Violated { operation, witness } => {
                violated += 1;
                if findings.len() < EXPLAINED_MAX {
                    let shown = witness.unwrap_or_else(|| shrink(&register, operation));
                    let witness = Witness {
                        trial,
                        key,
                        operations: &operations,
                    };
                    findings.push(witness.finding(&shown, operation));
                }
            }
        }
    }
    let consistency = match (violated, undecided) {
        (0, None) => Consistency::Linearizable,
        (0, Some(reason)) => Consistency::Undecided(reason),
        (keys, _) => Consistency::Violated(keys),
    };
    (consistency, findings)
}

/// What became of one register.
enum Judgement {
    Linearizable,
    /// At this operation; with the operations that show it where they are known already.
    Violated {
        operation: usize,
        witness: Option<Vec<usize>>,
    },
    Undecided(String),
}

/// The quick check first: where it finds a violation, the search could take exponentially long.
fn judge(register: &[RegisterOperation]) -> Judgement {
    if let Some(witness) = contradiction(register)
        && let Some(observer) = witness.last()
    {
        return Judgement::Violated {
            operation: *observer,
            witness: Some(witness),
        };
    }
    match decide(register, Limits::default()) {
        Decision::Linearizable => Judgement::Linearizable,
        Decision::Undecided(reason) => Judgement::Undecided(reason),
        Decision::Violation { operation } => Judgement::Violated {
            operation,
            witness: None,
        },
    }
}

/// Positions of the operations on each key.
pub fn by_key(history: &History) -> BTreeMap<&str, Vec<usize>> {
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (position, operation) in history.operations.iter().enumerate() {
        let key = match &operation.operation {
            Operation::Read(register) => &register.key,
            Operation::Write(register) => &register.key,
            Operation::Cas(register) => &register.key,
            Operation::Transfer(_) | Operation::ReadAll(_) | Operation::Call(_) => continue,
        };
        keys.entry(key).or_default().push(position);
    }
    keys
}

/// The operation as the search sees it; `None` when it says nothing.
pub fn of(operation: &ClientOperation) -> Option<RegisterOperation> {
    if operation.failed() {
        return None;
    }
    let completed = operation.ok().map(|completion| completion.at);
    let effect = match &operation.operation {
        Operation::Read(register) => {
            completed?;
            Effect::Read(register.value)
        }
        Operation::Write(register) => Effect::Write(register.value),
        Operation::Cas(register) => {
            Effect::CompareAndSet(register.value.expected, register.value.new)
        }
        Operation::Transfer(_) | Operation::ReadAll(_) | Operation::Call(_) => return None,
    };
    Some(RegisterOperation {
        call: operation.invoked,
        completed,
        effect,
    })
}

/// A violation on one key, to be told to people.
struct Witness<'t> {
    trial: &'t Trial<'t>,
    key: &'t str,
    operations: &'t [(usize, RegisterOperation)],
}

impl Witness<'_> {
    fn finding(&self, witness: &[usize], violating: usize) -> Finding {
        let (_, last) = self.operations[violating];
        let end = last.completed.unwrap_or(last.call);
        let start = witness
            .iter()
            .map(|position| self.operations[*position].1.call)
            .min();
        let named: Vec<String> = witness
            .iter()
            .take(NAMED_MAX)
            .map(|position| self.tell(*position))
            .collect();
        let more = witness.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        Finding {
            trial: self.trial.index,
            kind: "not linearizable".to_owned(),
            explanation: format!(
                "key {}: {}: {}{more}{}",
                self.key,
                self.why(witness),
                named.join("; "),
                self.faults(start.unwrap_or(last.call), end),
            ),
            at: Some(last.call),
        }
    }

    /// The contradiction in a sentence, where it is of a known shape.
    fn why(&self, witness: &[usize]) -> String {
        let all = || witness.iter().map(|position| &self.operations[*position].1);
        for read in all() {
            let (Effect::Read(seen), Some(_)) = (read.effect, read.completed) else {
                continue;
            };
            let source =
                all().find(|other| other.effect.sets().is_some() && other.effect.sets() == seen);
            if seen.is_some() && source.is_none() {
                return format!("a read returned {} that nobody wrote", shown(seen));
            }
            let known_since = source.map_or(Some(Moment::default()), |source| source.completed);
            let newer = all().find(|other| {
                other.effect.sets().is_some()
                    && other.effect.sets() != seen
                    && known_since.is_some_and(|since| other.call > since)
                    && other
                        .completed
                        .is_some_and(|completed| completed < read.call)
            });
            if let Some(newer) = newer {
                return format!(
                    "a read returned {} although {} had been written after it and before the read began",
                    shown(seen),
                    shown(newer.effect.sets()),
                );
            }
        }
        "no order of these operations explains their results".to_owned()
    }

    fn tell(&self, position: usize) -> String {
        let (index, operation) = &self.operations[position];
        let client = &self.trial.history.operations[*index];
        let what = match operation.effect {
            Effect::Read(seen) => format!("read → {}", shown(seen)),
            Effect::Write(value) => format!("write {value}"),
            Effect::CompareAndSet(expected, new) => format!("cas {} → {new}", shown(expected)),
        };
        let since = |moment| text::since(self.trial.timeline.started, moment);
        let called = since(operation.call);
        let ended = match (&client.completion, operation.completed) {
            (_, Some(completed)) => since(completed),
            _ => "outcome unknown".to_owned(),
        };
        let by = client
            .completion
            .as_ref()
            .filter(|completion| completion.kind == RecordKind::Ok)
            .and_then(|completion| Some((completion.node.as_ref()?, completion.epoch?)))
            .map(|(node, epoch)| format!(" by {node} in epoch {epoch}"));
        format!("{what} [{called} – {ended}]{}", by.unwrap_or_default())
    }

    fn faults(&self, from: Moment, to: Moment) -> String {
        let since = |moment| text::since(self.trial.timeline.started, moment);
        let timeline = &self.trial.timeline;
        let active: Vec<String> = timeline
            .active(from, to)
            .map(|injected| {
                let until = injected.gone_by(timeline.settled);
                format!(
                    "{} on {} [{} – {}]",
                    injected.id,
                    injected.nodes.join(", "),
                    since(injected.effective.before),
                    since(until)
                )
            })
            .collect();
        if active.is_empty() {
            "; no fault was active".to_owned()
        } else {
            format!("; active then: {}", active.join(", "))
        }
    }
}

fn shown(value: Option<u64>) -> String {
    value.map_or("nothing".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    #[test]
    fn a_stale_read_is_explained_with_its_operations_and_the_fault() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.history.write("k", 1, 1_000).by("n1", 1).ok(1_010);
        made.history.write("other", 9, 1_000).ok(1_010);
        made.history.read("k", Some(1), 1_100).by("n1", 1).ok(1_110);
        made.history.write("k", 2, 2_900).by("n1", 1).ok(2_990);
        made.history.read("k", Some(1), 4_000).by("n2", 2).ok(4_010);
        let (consistency, findings) = check(&made.trial());
        assert_eq!(consistency, Consistency::Violated(1));
        assert_eq!(
            findings[0].explanation,
            "key k: a read returned 1 although 2 had been written after it and before the read began: \
             write 1 [1.000s – 1.010s] by n1 in epoch 1; write 2 [2.900s – 2.990s] by n1 in epoch 1; \
             read → 1 [4.000s – 4.010s] by n2 in epoch 2; active then: f on n1 [3.000s – 5.000s]"
        );
    }

    #[test]
    fn failed_and_indeterminate_operations_are_no_violation() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).ok(1_010);
        made.history.cas("k", Some(7), 2, 1_100).fail(1_110);
        made.history.write("k", 3, 1_200).info(1_300);
        made.history.read("k", None, 1_350).info(1_390);
        made.history.read("k", Some(1), 1_400).ok(1_410);
        made.history.read("k", Some(3), 1_500).ok(1_510);
        assert_eq!(
            check(&made.trial()),
            (Consistency::Linearizable, Vec::new())
        );
    }

    #[test]
    fn a_history_without_operations_decides_nothing() {
        assert!(matches!(
            check(&MadeTrial::new().trial()).0,
            Consistency::Undecided(_)
        ));
    }
}
