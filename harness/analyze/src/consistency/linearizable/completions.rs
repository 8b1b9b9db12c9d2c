//! The completions of a register's operations in order of time, each with what may take effect
//! right before it.
//!
//! Every operation under way has a *slot*, a bit of a mask, which is used again once the operation
//! is over, so that a mask of fixed width serves a history of any length. An indeterminate operation
//! never completes; its slot is free again when nobody who observes its value is left.

use std::collections::BTreeMap;

use shakedown_contracts::time::Moment;

use super::RegisterOperation;

/// Width of a mask: most operations under way at once on one register, and most indeterminate ones
/// that somebody may still observe.
const MASK_BITS: u32 = u128::BITS;

/// A completion, with everything that may take effect right before it.
#[derive(Debug)]
pub struct Completion {
    /// Which operation completes.
    pub operation: usize,
    /// Its slot.
    pub slot: u32,
    /// Operations under way, as (slot, operation), earliest completion first.
    pub open: Vec<(u32, u32)>,
    /// Indeterminate operations invoked by then and still of use, as (slot, operation).
    pub indeterminate: Vec<(u32, u32)>,
    /// Slots of those that are of no use after it.
    pub retired: u128,
}

/// A moment at which something changes. The order of the variants is their order at equal times:
/// what touches in time is concurrent, which only allows more orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Invoked,
    Completed,
}

/// The completions of `operations`.
///
/// # Errors
/// Which limit does not suffice, in words.
pub fn completions(operations: &[RegisterOperation]) -> Result<Vec<Completion>, String> {
    let of_use = of_use(operations);
    let mut changes: Vec<(Moment, Change, usize)> = Vec::with_capacity(operations.len() * 2);
    for (position, operation) in operations.iter().enumerate() {
        if let Some(completed) = operation.completed {
            changes.push((completed, Change::Completed, position));
        } else if !of_use.contains_key(&position) {
            continue;
        }
        changes.push((operation.call, Change::Invoked, position));
    }
    changes.sort();
    let (mut open, mut indeterminate) = (Slots::default(), Slots::default());
    let mut completions = Vec::with_capacity(operations.len());
    for (moment, change, position) in changes {
        let slots = match operations[position].completed {
            Some(_) => &mut open,
            None => &mut indeterminate,
        };
        if change == Change::Invoked {
            slots.take(position)?;
            continue;
        }
        let slot = open.slot_of(position);
        let mut by_completion = open.held.clone();
        by_completion.sort_by_key(|(_, other)| operations[*other as usize].completed);
        let usable = indeterminate.held.clone();
        open.release(slot);
        let mut retired = 0;
        for (slot, other) in &usable {
            // Strictly before: another completion of the same moment may observe it still.
            if of_use[&(*other as usize)] < moment {
                indeterminate.release(*slot);
                retired |= 1 << *slot;
            }
        }
        completions.push(Completion {
            operation: position,
            slot,
            open: by_completion,
            indeterminate: usable,
            retired,
        });
    }
    Ok(completions)
}

/// Indeterminate operations that may matter, each with the last moment at which it can.
///
/// Its value must be observed by an operation that completes after it was invoked, or by an
/// indeterminate one that matters itself.
fn of_use(operations: &[RegisterOperation]) -> BTreeMap<usize, Moment> {
    let mut needed: BTreeMap<u64, Moment> = BTreeMap::new();
    for operation in operations {
        if let (Some(completed), Some(Some(value))) =
            (operation.completed, operation.effect.observes())
        {
            let last = needed.entry(value).or_default();
            *last = (*last).max(completed);
        }
    }
    let matters = |position: usize, needed: &BTreeMap<u64, Moment>| {
        let operation = &operations[position];
        let last = *needed.get(&operation.effect.sets()?)?;
        (last >= operation.call).then_some(last)
    };
    let unknown: Vec<usize> = (0..operations.len())
        .filter(|position| operations[*position].completed.is_none())
        .collect();
    // A chain of indeterminate compare-and-sets is followed one link a round; it is no longer than
    // there are such operations.
    for _ in 0..=unknown.len() {
        let before = needed.clone();
        for position in &unknown {
            if let (Some(last), Some(Some(value))) = (
                matters(*position, &needed),
                operations[*position].effect.observes(),
            ) {
                let known = needed.entry(value).or_default();
                *known = (*known).max(last);
            }
        }
        if needed == before {
            break;
        }
    }
    unknown
        .iter()
        .filter_map(|position| Some((*position, matters(*position, &needed)?)))
        .collect()
}

/// Slots in use.
#[derive(Debug, Default)]
struct Slots {
    mask: u128,
    held: Vec<(u32, u32)>,
}

impl Slots {
    fn take(&mut self, position: usize) -> Result<(), String> {
        let slot = self.mask.trailing_ones();
        if slot == MASK_BITS {
            return Err(format!(
                "more than {MASK_BITS} operations were under way at once; use more keys or fewer operations per key"
            ));
        }
        self.mask |= 1 << slot;
        self.held.push((slot, position as u32));
        Ok(())
    }

    fn slot_of(&self, position: usize) -> u32 {
        let held = self
            .held
            .iter()
            .find(|(_, other)| *other as usize == position);
        held.expect("an operation that completes was invoked before")
            .0
    }

    fn release(&mut self, slot: u32) {
        self.mask &= !(1 << slot);
        self.held.retain(|(other, _)| *other != slot);
    }
}
