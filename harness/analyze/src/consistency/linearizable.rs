//! Whether the operations on one register can be put into an order that respects real time and
//! explains every result.
//!
//! Intuition: walk along the completions in order of time. An operation must take effect at the
//! latest when it completes; so at each completion, either it has taken effect already, or some
//! operation that is under way takes effect now, and we go on. What is known of the past is a small
//! *configuration*: how many completions are behind us, which operations under way have taken
//! effect, and the register's value. A configuration seen before need not be searched again.
//!
//! * A read that fits takes effect at once, without branching: that never rules anything out.
//! * Indeterminate operations stand in a set of their own. One takes effect only right before an
//!   operation that observes its value: in any valid order, one whose value nobody observes can be
//!   left out and the order stays valid.
//! * A value that one operation alone sets never comes back, so nothing may overwrite it before all
//!   who observe it have done so. With unique values this leaves little to choose.
//! * The search has limits on steps and memory, and says so when it reaches them.
//!
//! Invariant: `Violation` and `Linearizable` are proofs; everything else is `Undecided`.
//! Source: Wing & Gong 1993; Lowe 2017, "Testing for linearizability" (just-in-time linearization
//! and memoisation).

mod completions;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use shakedown_contracts::time::Moment;

use completions::{Completion, completions};

/// An operation on one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterOperation {
    /// When it was invoked.
    pub call: Moment,
    /// When it completed; `None`: it may take effect at any time, or never.
    pub completed: Option<Moment>,
    /// What it does.
    pub effect: Effect,
}

/// What an operation does to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It saw this value; `None`: the register was absent.
    Read(Option<u64>),
    /// It set this value.
    Write(u64),
    /// It saw the first and set the second.
    CompareAndSet(Option<u64>, u64),
}

impl Effect {
    /// The value after it took effect, if it can take effect on `state`.
    pub fn apply(self, state: Option<u64>) -> Option<Option<u64>> {
        match self {
            Effect::Read(seen) => (seen == state).then_some(state),
            Effect::Write(value) => Some(Some(value)),
            Effect::CompareAndSet(expected, value) => (expected == state).then_some(Some(value)),
        }
    }

    /// The value it must find, if it must find one.
    pub fn observes(self) -> Option<Option<u64>> {
        match self {
            Effect::Read(seen) | Effect::CompareAndSet(seen, _) => Some(seen),
            Effect::Write(_) => None,
        }
    }

    /// The value it leaves behind, if it sets one.
    pub fn sets(self) -> Option<u64> {
        match self {
            Effect::Read(_) => None,
            Effect::Write(value) | Effect::CompareAndSet(_, value) => Some(value),
        }
    }
}

/// How far a search may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most distinct configurations; each takes about 20 bytes.
    pub configurations: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // About 10 MB and a few seconds a register; legal histories need about one an operation.
        Limits {
            configurations: 500_000,
        }
    }
}

/// What the search showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is an order.
    Linearizable,
    /// There is none: already the operations invoked before this one completed cannot be ordered.
    Violation {
        /// Position of that operation in the slice.
        operation: usize,
    },
    /// A limit was reached; which, in words.
    Undecided(String),
}

/// Decides the operations of one register that is absent at first.
pub fn decide(operations: &[RegisterOperation], limits: Limits) -> Decision {
    match search(operations, limits) {
        Decision::Violation { operation } => Decision::Violation {
            operation: first_violated(operations, limits).unwrap_or(operation),
        },
        decision => decision,
    }
}

/// As [`decide`], but the operation it names may come before the first that cannot be ordered.
pub fn search(operations: &[RegisterOperation], limits: Limits) -> Decision {
    match Search::new(operations) {
        Ok(search) => search.run(limits),
        Err(reason) => Decision::Undecided(reason),
    }
}

/// The operation whose completion ends the shortest prefix that is a violation. The search looks
/// ahead and so gives up earlier; a prefix of what can be ordered can be ordered, so it is bisected.
fn first_violated(operations: &[RegisterOperation], limits: Limits) -> Option<usize> {
    let mut ends: Vec<(Moment, usize)> = operations
        .iter()
        .enumerate()
        .filter_map(|(position, operation)| Some((operation.completed?, position)))
        .collect();
    ends.sort();
    let first = ends.partition_point(|(end, _)| {
        let prefix = prefix(operations, *end);
        !matches!(search(&prefix, limits), Decision::Violation { .. })
    });
    ends.get(first).map(|(_, position)| *position)
}

/// What was known at that moment: later completions have not happened, later calls say nothing.
fn prefix(operations: &[RegisterOperation], end: Moment) -> Vec<RegisterOperation> {
    let invoked = operations.iter().filter(|operation| operation.call <= end);
    let cut = |operation: &RegisterOperation| RegisterOperation {
        completed: operation.completed.filter(|completed| *completed <= end),
        ..*operation
    };
    invoked.map(cut).collect()
}

#[derive(Debug)]
struct Search<'a> {
    operations: &'a [RegisterOperation],
    completions: Vec<Completion>,
    /// For each value that one operation alone sets, the last invocation of a completed operation
    /// that observes it. The register never comes back to such a value.
    last_observed: BTreeMap<Option<u64>, Moment>,
}

/// Where a search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Configuration {
    /// Completions behind us.
    passed: u32,
    /// Operations under way that have taken effect, by slot.
    done: u128,
    /// Indeterminate operations that have taken effect.
    used: u128,
    state: Option<u64>,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [RegisterOperation]) -> Result<Self, String> {
        Ok(Search {
            operations,
            completions: completions(operations)?,
            last_observed: last_observed(operations),
        })
    }

    fn run(&self, limits: Limits) -> Decision {
        let mut seen: HashSet<u128, BuildHasherDefault<LowBits>> = HashSet::default();
        let mut stack = vec![Configuration {
            passed: 0,
            done: 0,
            used: 0,
            state: None,
        }];
        let mut furthest = 0;
        let mut next = Vec::new();
        // Bounded by the limit on `seen`: each configuration is expanded once.
        while let Some(mut configuration) = stack.pop() {
            let Some(completion) = self.advance(&mut configuration) else {
                return Decision::Linearizable;
            };
            furthest = furthest.max(configuration.passed);
            if !seen.insert(configuration.fingerprint()) {
                continue;
            }
            if seen.len() > limits.configurations {
                return Decision::Undecided(format!(
                    "gave up after {} configurations; use more keys or fewer operations per key",
                    limits.configurations
                ));
            }
            next.clear();
            self.expand(configuration, completion, &mut next);
            stack.extend(next.iter().rev());
        }
        Decision::Violation {
            operation: self.completions[furthest as usize].operation,
        }
    }

    /// Goes on as long as there is nothing to choose; `None` when everything is explained.
    fn advance(&self, configuration: &mut Configuration) -> Option<&Completion> {
        loop {
            let completion = self.completions.get(configuration.passed as usize)?;
            for (slot, operation) in &completion.open {
                let effect = self.operations[*operation as usize].effect;
                let changes_nothing = effect.observes().is_some()
                    && effect.apply(configuration.state) == Some(configuration.state);
                configuration.done |= u128::from(changes_nothing) << slot;
            }
            if configuration.done >> completion.slot & 1 == 0 {
                return Some(completion);
            }
            configuration.done &= !(1 << completion.slot);
            configuration.used &= !completion.retired;
            configuration.passed += 1;
        }
    }

    /// Everything that may take effect next, most promising first.
    fn expand(&self, from: Configuration, completion: &Completion, next: &mut Vec<Configuration>) {
        let waiting = |(slot, _): &&(u32, u32)| from.done >> *slot & 1 == 0;
        let effect = |operation: &u32| self.operations[*operation as usize].effect;
        // Whoever observes a value that never comes back must do so before it is overwritten.
        let last = self.last_observed.get(&from.state);
        let now = self.operations[completion.operation].completed;
        if last.is_some_and(|last| Some(*last) > now) {
            return;
        }
        let must = completion
            .open
            .iter()
            .filter(waiting)
            .find(|(_, operation)| {
                last.is_some() && effect(operation).observes() == Some(from.state)
            });
        for (slot, operation) in completion.open.iter().filter(waiting) {
            if must.is_none_or(|must| must.0 == *slot)
                && let Some(state) = effect(operation).apply(from.state)
            {
                next.push(Configuration {
                    done: from.done | 1 << slot,
                    state,
                    ..from
                });
            }
        }
        if must.is_some() {
            return;
        }
        let unused = |(slot, _): &&(u32, u32)| from.used >> *slot & 1 == 0;
        let indeterminate = || completion.indeterminate.iter().filter(unused);
        for (slot, operation) in indeterminate() {
            let Some(state) = self.operations[*operation as usize]
                .effect
                .apply(from.state)
            else {
                continue;
            };
            let others = indeterminate().filter(|(other, _)| other != slot);
            let observed =
                completion
                    .open
                    .iter()
                    .filter(waiting)
                    .chain(others)
                    .any(|(_, other)| {
                        self.operations[*other as usize].effect.observes() == Some(state)
                    });
            if observed {
                next.push(Configuration {
                    used: from.used | 1 << slot,
                    state,
                    ..from
                });
            }
        }
    }
}

fn last_observed(operations: &[RegisterOperation]) -> BTreeMap<Option<u64>, Moment> {
    let mut setters: BTreeMap<u64, u32> = BTreeMap::new();
    for value in operations
        .iter()
        .filter_map(|operation| operation.effect.sets())
    {
        *setters.entry(value).or_default() += 1;
    }
    let mut last: BTreeMap<Option<u64>, Moment> = BTreeMap::new();
    for operation in operations
        .iter()
        .filter(|operation| operation.completed.is_some())
    {
        if let Some(seen) = operation.effect.observes()
            && seen.is_none_or(|value| setters.get(&value) == Some(&1))
        {
            let last = last.entry(seen).or_default();
            *last = (*last).max(operation.call);
        }
    }
    last
}

impl Configuration {
    /// 128 bits that differ for different configurations but for a chance of about
    /// configurations² / 2^129.
    fn fingerprint(&self) -> u128 {
        let state = self.state.map_or([0, 0], |value| [1, value]);
        let words = [
            u64::from(self.passed),
            self.done as u64,
            (self.done >> 64) as u64,
            self.used as u64,
            (self.used >> 64) as u64,
            state[0],
            state[1],
        ];
        let (mut low, mut high) = (0x243f_6a88_85a3_08d3_u64, 0x1319_8a2e_0370_7344_u64);
        for word in words {
            low = mixed(low ^ word);
            high = mixed(high.rotate_left(23).wrapping_add(word));
        }
        u128::from(high) << 64 | u128::from(low)
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A fingerprint is a hash already.
#[derive(Debug, Default)]
struct LowBits(u64);

impl Hasher for LowBits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}

#[cfg(test)]
mod tests;
