//! The few operations that show a violation.
//!
//! Operations are taken away in ever smaller pieces as long as what is left still cannot be
//! ordered (delta debugging, Zeller & Hildebrandt 2002). Taking away must not *make* a violation:
//! a read may always go; a write may go when nothing that is left observes its value, since in any
//! valid order such a write can be left out. Hence what is left proves that the whole is not
//! linearizable.

use std::collections::{BTreeMap, BTreeSet};

use super::linearizable::{Decision, Limits, RegisterOperation, search};

/// Most searches while shrinking, and the limit of each: a witness is for people and need not be
/// the smallest.
const SEARCHES_MAX: usize = 2_000;
const LIMITS: Limits = Limits {
    configurations: 20_000,
};

/// Positions of a small part of `operations` that is not linearizable, in order of invocation.
///
/// `violating` is the operation at whose completion the search had to give up.
pub fn shrink(operations: &[RegisterOperation], violating: usize) -> Vec<usize> {
    let Some(end) = operations[violating].completed else {
        return vec![violating];
    };
    let prefix: Vec<RegisterOperation> = operations
        .iter()
        .map(|operation| RegisterOperation {
            // What completes later is under way at the end of the prefix.
            completed: operation.completed.filter(|completed| *completed <= end),
            ..*operation
        })
        .collect();
    let mut kept: Vec<usize> = (0..operations.len())
        .filter(|position| operations[*position].call <= end)
        .collect();
    let mut searches = 0;
    let mut piece = kept.len().div_ceil(2).max(1);
    // Each round halves the pieces or, at single operations, ends when nothing more goes.
    loop {
        let before = kept.len();
        let mut start = 0;
        while start < kept.len() && searches < SEARCHES_MAX {
            let without = with_writers(&prefix, &kept, start..(start + piece).min(kept.len()));
            searches += 1;
            if without.len() < kept.len() && violates(&prefix, &without) {
                kept = without;
            } else {
                start += piece;
            }
        }
        if searches >= SEARCHES_MAX || (piece == 1 && kept.len() == before) {
            break;
        }
        piece = (piece / 2).max(1);
    }
    kept.sort_by_key(|position| operations[*position].call);
    kept
}

/// `kept` without the piece, but with the writers of all values that the rest observes.
fn with_writers(
    operations: &[RegisterOperation],
    kept: &[usize],
    piece: std::ops::Range<usize>,
) -> Vec<usize> {
    let mut writers: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for position in kept {
        if let Some(value) = operations[*position].effect.sets() {
            writers.entry(value).or_default().push(*position);
        }
    }
    let (head, tail) = (&kept[..piece.start], &kept[piece.end..]);
    let mut queue: Vec<usize> = head.iter().chain(tail).copied().collect();
    let mut rest = BTreeSet::new();
    // Each operation is taken from the queue once for each that observes it, and expanded once.
    while let Some(position) = queue.pop() {
        if rest.insert(position)
            && let Some(Some(value)) = operations[position].effect.observes()
        {
            queue.extend(writers.get(&value).into_iter().flatten());
        }
    }
    rest.into_iter().collect()
}

fn violates(operations: &[RegisterOperation], kept: &[usize]) -> bool {
    let part: Vec<RegisterOperation> = kept.iter().map(|position| operations[*position]).collect();
    matches!(search(&part, LIMITS), Decision::Violation { .. })
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::random::Random;
    use shakedown_contracts::time::Moment;

    use super::super::linearizable::{Effect, decide};
    use super::*;

    #[test]
    fn a_stale_read_among_two_thousand_operations_is_shown_by_a_handful() {
        let mut random = Random::keyed(1, "witness", "");
        let mut operations = Vec::new();
        let mut state = None;
        for number in 0..2_000_u64 {
            let call = number * 10;
            let effect = if random.chance(0.5) {
                Effect::Read(state)
            } else {
                Effect::Write(number)
            };
            state = effect.apply(state).unwrap();
            let completed = Some(Moment(call + 5));
            operations.push(RegisterOperation {
                call: Moment(call),
                completed,
                effect,
            });
        }
        let stale = operations
            .iter()
            .take(1_000)
            .rev()
            .filter_map(|operation| operation.effect.sets())
            .nth(1);
        operations[1_200].effect = Effect::Read(stale);
        let Decision::Violation { operation } = decide(&operations, Limits::default()) else {
            panic!("the planted stale read was not found");
        };
        let witness = shrink(&operations, operation);
        assert!((2..=6).contains(&witness.len()), "{witness:?}");
        assert!(witness.contains(&1_200));
        assert!(
            violates(&operations, &witness),
            "what is left proves the violation by itself"
        );
    }
}
