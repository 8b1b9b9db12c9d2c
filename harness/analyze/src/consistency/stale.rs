//! Stale reads, found without a search.
//!
//! Where only one operation sets a value, the register never comes back to it. So when that value
//! was certainly in effect, then another write began and completed, and then somebody began to read
//! and saw the old value, no order explains it, however many other operations were under way. A
//! general search may need exponentially long for the same answer; this takes O(n log n). It proves
//! violations alone: finding none says nothing.
//!
//! Source: a special case of the zones of Gibbons & Korach 1997.

use std::collections::BTreeMap;

use shakedown_contracts::time::Moment;

use super::linearizable::{Effect, RegisterOperation};

/// An operation with the moment by which its value was certainly in effect.
type Known = (Moment, usize);

/// Positions of operations that contradict each other, the stale observer last; `None` when there
/// are none of this kind.
pub fn contradiction(operations: &[RegisterOperation]) -> Option<Vec<usize>> {
    contradictions(operations).into_iter().next()
}

/// How many reads returned what was certainly over when they began.
pub fn stale_reads(operations: &[RegisterOperation]) -> usize {
    let reads = |found: &Vec<usize>| {
        let observer = found.last().map(|position| operations[*position].effect);
        matches!(observer, Some(Effect::Read(_)))
    };
    contradictions(operations)
        .iter()
        .filter(|found| reads(found))
        .count()
}

/// One contradiction for each observer that is stale, in order.
fn contradictions(operations: &[RegisterOperation]) -> Vec<Vec<usize>> {
    let known = known(operations);
    let mut writes: Vec<(Moment, Moment, usize)> = operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.effect.sets().is_some())
        .filter_map(|(position, operation)| Some((operation.completed?, operation.call, position)))
        .collect();
    writes.sort();
    // The latest call among the writes up to each one.
    let mut latest: Vec<(Moment, usize)> = Vec::with_capacity(writes.len());
    for (_, call, position) in &writes {
        let last = latest.last().copied().unwrap_or((*call, *position));
        latest.push(last.max((*call, *position)));
    }
    let mut all = Vec::new();
    for (position, operation) in operations.iter().enumerate() {
        let (Some(_), Some(seen)) = (operation.completed, operation.effect.observes()) else {
            continue;
        };
        let before = writes.partition_point(|write| write.0 < operation.call);
        let Some((call, write)) = before.checked_sub(1).map(|last| latest[last]) else {
            continue;
        };
        match seen {
            // Nothing sets a register back to absent.
            None => all.push(vec![write, position]),
            Some(value) => {
                if let Some(Some((since, witness))) = known.get(&value)
                    && call > *since
                {
                    let setter = operations
                        .iter()
                        .position(|other| other.effect.sets() == seen);
                    let mut found: Vec<usize> = setter.into_iter().collect();
                    found.extend([*witness, write, position]);
                    found.dedup();
                    all.push(found);
                }
            }
        }
    }
    all
}

/// For each value that one operation alone sets, when and by whom it was first known to be in
/// effect; `None` for a value that several set.
fn known(operations: &[RegisterOperation]) -> BTreeMap<u64, Option<Known>> {
    let mut known: BTreeMap<u64, Option<Known>> = BTreeMap::new();
    for (position, operation) in operations.iter().enumerate() {
        if let Some(value) = operation.effect.sets() {
            let at = operation.completed.unwrap_or(Moment(u64::MAX));
            known
                .entry(value)
                .and_modify(|known| *known = None)
                .or_insert(Some((at, position)));
        }
    }
    for (position, operation) in operations.iter().enumerate() {
        if let (Some(completed), Some(Some(value))) =
            (operation.completed, operation.effect.observes())
            && let Some(Some(first)) = known.get_mut(&value)
        {
            *first = (*first).min((completed, position));
        }
    }
    known
}
