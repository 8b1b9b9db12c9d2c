//! The register workload: reads, unique writes and compare-and-set on single keys.
//!
//! Values are never written twice in a trial, so that a read names the one write it saw. Keys are
//! retired after a share of their operations and a fresh one takes the place, which keeps the
//! history of each key short and checking cheap. All groups use the same names; each advances by
//! its own count, so that two groups may be a generation apart for a while.

use std::collections::BTreeMap;

use shakedown_contracts::history::{CompareAndSet, Operation, Register};
use shakedown_contracts::random::Random;

use super::share::{Mix, Share};
use super::{Generator, Request, WorkloadError};

/// Written before the load to see that the cluster takes writes; no part of the history.
const WARM_UP_KEY: &str = "warm-up";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Read,
    Write,
    Cas,
}

/// A place for keys: one key at a time, generation after generation.
#[derive(Debug, Clone, Default)]
struct Place {
    generation: u32,
    operations: u32,
    /// The last value this group saw on the key.
    seen: Option<u64>,
}

/// Generates a group's operations on registers.
#[derive(Debug)]
pub(crate) struct RegisterGenerator {
    places: Vec<Place>,
    operations_per_key: Option<u32>,
    mix: Mix<Choice>,
    share: Share,
    written: u64,
    random: Random,
}

impl RegisterGenerator {
    /// Over `keys` keys, each retired after the group's `operations_per_key`.
    ///
    /// # Errors
    /// When the mix names other operations.
    pub fn new(
        keys: u32,
        operations_per_key: Option<u32>,
        mix: &BTreeMap<String, f64>,
        share: &Share,
        seed: u64,
    ) -> Result<Self, WorkloadError> {
        let known = [
            ("read", Choice::Read),
            ("write", Choice::Write),
            ("cas", Choice::Cas),
        ];
        Ok(RegisterGenerator {
            places: vec![Place::default(); keys.max(1) as usize],
            operations_per_key,
            mix: Mix::new(mix, &known, "read write cas")?,
            share: share.clone(),
            written: 0,
            random: Random::keyed(seed, "workload", &share.name),
        })
    }

    fn unique(&mut self) -> u64 {
        self.written += 1;
        self.share.unique(self.written)
    }

    /// Draws a place, retiring its key first where that is worn out.
    fn place(&mut self) -> usize {
        let index = self.random.below(self.places.len() as u64) as usize;
        let place = &mut self.places[index];
        if self
            .operations_per_key
            .is_some_and(|limit| place.operations >= limit)
        {
            *place = Place {
                generation: place.generation + 1,
                ..Place::default()
            };
        }
        place.operations += 1;
        index
    }

    fn see(&mut self, key: &str, value: Option<u64>) {
        let current = |(index, place): &(usize, &mut Place)| key == name(*index, place.generation);
        // A key that has been retired meanwhile is not found, and no longer of interest.
        if let Some((_, place)) = self.places.iter_mut().enumerate().find(current) {
            place.seen = value;
        }
    }
}

impl Generator for RegisterGenerator {
    fn next_operation(&mut self) -> Operation {
        let index = self.place();
        let key = name(index, self.places[index].generation);
        match self.mix.draw(&mut self.random) {
            Choice::Read => Operation::Read(Register { key, value: None }),
            Choice::Write => Operation::Write(Register {
                key,
                value: self.unique(),
            }),
            Choice::Cas => {
                let expected = self.places[index].seen;
                let value = CompareAndSet {
                    expected,
                    new: self.unique(),
                };
                Operation::Cas(Register { key, value })
            }
        }
    }

    fn observe(&mut self, completed: &Operation) {
        match completed {
            Operation::Read(read) => self.see(&read.key, read.value),
            Operation::Write(write) => self.see(&write.key, Some(write.value)),
            Operation::Cas(cas) => self.see(&cas.key, Some(cas.value.new)),
            Operation::Transfer(_) | Operation::ReadAll(_) | Operation::Call(_) => {}
        }
    }

    fn request(&self, operation: &Operation) -> Request {
        Request::Operation(operation.clone())
    }

    fn preparation(&self) -> Request {
        Request::Operation(Operation::Write(Register {
            key: WARM_UP_KEY.to_owned(),
            value: 1,
        }))
    }

    fn final_reads(&self) -> Vec<(Operation, Request)> {
        let names = self.places.iter().enumerate().flat_map(|(index, place)| {
            (0..=place.generation).map(move |generation| name(index, generation))
        });
        let reads = names.map(|key| Operation::Read(Register { key, value: None }));
        reads
            .map(|read| (read.clone(), Request::Operation(read)))
            .collect()
    }
}

/// `k3`, and `k3.1`, `k3.2`, … once it has been retired.
fn name(index: usize, generation: u32) -> String {
    if generation == 0 {
        format!("k{index}")
    } else {
        format!("k{index}.{generation}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::share::tests::workload;
    use super::*;

    fn generator(group: &str, limit: Option<u32>, seed: u64) -> RegisterGenerator {
        let workload = workload(&[2, 2]);
        let share = Share::of(&workload, group).unwrap();
        RegisterGenerator::new(4, limit, &workload.mix, &share, seed).unwrap()
    }

    fn written(operation: &Operation) -> Option<u64> {
        match operation {
            Operation::Write(write) => Some(write.value),
            Operation::Cas(cas) => Some(cas.value.new),
            _ => None,
        }
    }

    fn key(operation: &Operation) -> String {
        match operation {
            Operation::Read(read) => read.key.clone(),
            Operation::Write(write) => write.key.clone(),
            Operation::Cas(cas) => cas.key.clone(),
            other => panic!("{other:?} is no operation on a register"),
        }
    }

    #[test]
    fn no_value_is_written_twice_by_any_group() {
        let mut seen = BTreeSet::new();
        for group in ["c1", "c2"] {
            let mut generator = generator(group, Some(10), 7);
            for _ in 0..1000 {
                if let Some(value) = written(&generator.next_operation()) {
                    assert!(seen.insert(value), "{value} was written twice");
                }
            }
        }
        assert!(seen.len() > 500, "the mix asks for half of 2000 to write");
    }

    #[test]
    fn the_seed_alone_decides_the_operations() {
        let run = |group, seed| -> Vec<Operation> {
            let mut generator = generator(group, Some(10), seed);
            (0..100).map(|_| generator.next_operation()).collect()
        };
        assert_eq!(run("c1", 7), run("c1", 7));
        assert_ne!(run("c1", 7), run("c1", 8));
        assert_ne!(run("c1", 7), run("c2", 7));
    }

    #[test]
    fn operations_come_in_the_proportions_of_the_mix() {
        let mut generator = generator("c1", None, 7);
        let (mut reads, mut writes) = (0_u32, 0_u32);
        for _ in 0..10_000 {
            match generator.next_operation() {
                Operation::Read(_) => reads += 1,
                Operation::Write(_) => writes += 1,
                _ => {}
            }
        }
        // Binomial: the standard deviation is at most 50 of 10,000, so 250 is five of them, and a
        // wrong share (the next one in the mix is 1,000 away) is outside.
        assert!(reads.abs_diff(5_000) < 250, "{reads} reads");
        assert!(writes.abs_diff(3_000) < 250, "{writes} writes");
    }

    #[test]
    fn a_key_is_retired_after_its_operations_and_every_generation_is_read_at_the_end() {
        let mut generator = generator("c1", Some(5), 7);
        let mut counts = BTreeMap::<String, u32>::new();
        for _ in 0..200 {
            *counts.entry(key(&generator.next_operation())).or_default() += 1;
        }
        assert_eq!(counts.values().max(), Some(&5));
        assert!(counts.contains_key("k0") && counts.contains_key("k0.1"));
        let read_back: BTreeSet<_> = generator
            .final_reads()
            .iter()
            .map(|(operation, _)| key(operation))
            .collect();
        assert_eq!(read_back, counts.into_keys().collect());
    }

    #[test]
    fn compare_and_set_expects_the_last_value_seen_on_the_key_and_nothing_of_retired_ones() {
        let mut generator = generator("c1", Some(50), 7);
        let mut last = BTreeMap::<String, u64>::new();
        let (mut fresh, mut known) = (0, 0);
        for _ in 0..1000 {
            let operation = generator.next_operation();
            if let Operation::Cas(cas) = &operation {
                assert_eq!(
                    cas.value.expected,
                    last.get(&cas.key).copied(),
                    "{}",
                    cas.key
                );
                if cas.value.expected.is_some() {
                    known += 1
                } else {
                    fresh += 1
                }
            }
            if let Operation::Write(write) = &operation {
                last.insert(write.key.clone(), write.value);
                generator.observe(&operation);
            }
        }
        assert!(
            fresh > 0 && known > 0,
            "both cases were seen: {fresh}, {known}"
        );
        let late = Operation::Write(Register {
            key: "k0".to_owned(),
            value: 99,
        });
        generator.observe(&late);
        assert!(generator.places.iter().all(|place| place.seen != Some(99)));
    }
}
