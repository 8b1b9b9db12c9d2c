//! The search against hand-made histories, against a checker that tries every order, and against
//! the clock.

use proptest::prelude::*;
use shakedown_contracts::random::Random;

use super::*;
use crate::consistency::stale::contradiction;

fn operation(call: u64, completed: Option<u64>, effect: Effect) -> RegisterOperation {
    RegisterOperation {
        call: Moment(call),
        completed: completed.map(Moment),
        effect,
    }
}

fn write(value: u64, call: u64, completed: u64) -> RegisterOperation {
    operation(call, Some(completed), Effect::Write(value))
}

fn read(value: Option<u64>, call: u64, completed: u64) -> RegisterOperation {
    operation(call, Some(completed), Effect::Read(value))
}

fn cas(from: Option<u64>, to: u64, call: u64, completed: u64) -> RegisterOperation {
    operation(call, Some(completed), Effect::CompareAndSet(from, to))
}

fn decided(operations: &[RegisterOperation]) -> Decision {
    decide(operations, Limits::default())
}

#[test]
fn a_stale_read_is_a_violation_at_that_read() {
    let history = [
        write(1, 0, 10),
        write(2, 20, 30),
        read(Some(1), 40, 50),
        read(Some(2), 60, 70),
    ];
    assert_eq!(decided(&history), Decision::Violation { operation: 2 });
}

#[test]
fn a_lost_write_is_a_violation() {
    let history = [write(1, 0, 10), read(None, 20, 30)];
    assert_eq!(decided(&history), Decision::Violation { operation: 1 });
}

#[test]
fn two_compare_and_sets_cannot_both_take_the_same_value() {
    let history = [
        write(1, 0, 10),
        cas(Some(1), 2, 20, 40),
        cas(Some(1), 3, 20, 40),
    ];
    assert!(matches!(decided(&history), Decision::Violation { .. }));
}

#[test]
fn a_value_from_nowhere_and_a_value_from_the_future_are_violations() {
    assert!(matches!(
        decided(&[read(Some(9), 0, 10)]),
        Decision::Violation { .. }
    ));
    let future = [read(Some(1), 0, 10), write(1, 20, 30)];
    assert!(matches!(decided(&future), Decision::Violation { .. }));
}

#[test]
fn reads_that_turn_back_while_a_write_is_under_way_are_a_violation() {
    let history = [
        write(1, 0, 10),
        write(2, 20, 100),
        read(Some(2), 30, 40),
        read(Some(1), 50, 60),
    ];
    assert!(matches!(decided(&history), Decision::Violation { .. }));
}

#[test]
fn concurrent_operations_may_take_effect_in_any_order() {
    let history = [
        write(1, 0, 100),
        write(2, 0, 100),
        read(Some(2), 110, 120),
        cas(Some(2), 3, 115, 130),
    ];
    assert_eq!(decided(&history), Decision::Linearizable);
}

#[test]
fn an_indeterminate_write_may_take_effect_late_and_once() {
    let late = operation(0, None, Effect::Write(7));
    let history = [
        late,
        write(1, 10, 20),
        read(Some(1), 30, 40),
        read(Some(7), 50, 60),
    ];
    assert_eq!(decided(&history), Decision::Linearizable);
    let twice = [
        history.as_slice(),
        &[write(2, 70, 80), read(Some(7), 90, 95)],
    ]
    .concat();
    assert!(matches!(
        decided(&twice),
        Decision::Violation { operation: 5 }
    ));
}

#[test]
fn an_indeterminate_operation_does_not_happen_before_it_was_invoked() {
    let history = [read(Some(7), 0, 10), operation(20, None, Effect::Write(7))];
    assert!(matches!(decided(&history), Decision::Violation { .. }));
}

#[test]
fn a_search_over_its_limit_is_undecided_and_not_passed() {
    let history: Vec<_> = (0..12)
        .map(|value| write(value, 0, 100))
        .chain([read(Some(99), 200, 210)])
        .collect();
    let decision = decide(&history, Limits { configurations: 50 });
    assert!(matches!(decision, Decision::Undecided(_)), "{decision:?}");
    let crowd: Vec<_> = (0..129).map(|value| write(value, 0, 100)).collect();
    assert!(matches!(decided(&crowd), Decision::Undecided(_)));
}

/// Tries every order of every subset that contains all completed operations.
fn brute_force(operations: &[RegisterOperation]) -> bool {
    fn search(operations: &[RegisterOperation], taken: u32, state: Option<u64>) -> bool {
        let left = |position: usize| taken >> position & 1 == 0;
        let waiting: Vec<usize> = (0..operations.len())
            .filter(|position| left(*position))
            .collect();
        if waiting
            .iter()
            .all(|position| operations[*position].completed.is_none())
        {
            return true;
        }
        waiting.iter().any(|position| {
            let candidate = operations[*position];
            let first = waiting.iter().all(|other| {
                operations[*other]
                    .completed
                    .is_none_or(|completed| completed >= candidate.call)
            });
            let indeterminate_read =
                candidate.completed.is_none() && candidate.effect.sets().is_none();
            first
                && !indeterminate_read
                && candidate
                    .effect
                    .apply(state)
                    .is_some_and(|state| search(operations, taken | 1 << position, state))
        })
    }
    search(operations, 0, None)
}

/// A small random history over few values, so that many are legal and many are not.
fn small_history(seed: u64) -> Vec<RegisterOperation> {
    let mut random = Random::keyed(seed, "small history", "");
    let count = 2 + random.below(6);
    let span = 4 + random.below(20);
    let unique = random.chance(0.5);
    (0..count)
        .map(|number| {
            let call = random.below(span);
            let completed = random
                .chance(0.8)
                .then(|| call + 1 + random.below(span / 2));
            let seen = |random: &mut Random| match random.below(count + 1) {
                0 => None,
                value => Some(value - 1),
            };
            let value = if unique { number } else { random.below(3) };
            let effect = match random.below(5) {
                0 | 1 => Effect::Read(seen(&mut random)),
                2 | 3 => Effect::Write(value),
                _ => Effect::CompareAndSet(seen(&mut random), value),
            };
            operation(call, completed, effect)
        })
        .collect()
}

#[test]
fn it_agrees_with_trying_every_order_on_20_000_small_histories() {
    let (mut legal, mut illegal, mut stale) = (0, 0, 0);
    for seed in 0..20_000 {
        let history = small_history(seed);
        let expected = brute_force(&history);
        let found = decided(&history) == Decision::Linearizable;
        assert_eq!(found, expected, "seed {seed}: {history:?}");
        if contradiction(&history).is_some() {
            assert!(
                !expected,
                "seed {seed}: called stale and is not: {history:?}"
            );
            stale += 1;
        }
        legal += usize::from(expected);
        illegal += usize::from(!expected);
    }
    assert!(stale > 500, "{stale} stale: too few to compare");
    assert!(
        legal > 2_000 && illegal > 2_000,
        "{legal} legal, {illegal} illegal: too one-sided"
    );
}

/// A legal history: each operation takes effect at a moment between its call and its completion.
fn legal_history(seed: u64, clients: u64, count: u64) -> Vec<RegisterOperation> {
    let mut random = Random::keyed(seed, "legal history", "");
    let mut effects: Vec<(u64, u64, u64)> = Vec::new();
    let mut free = vec![0_u64; clients as usize];
    for _ in 0..count {
        let client = random.below(clients) as usize;
        let call = free[client] + random.below(20);
        let at = call + 1 + random.below(50);
        let completed = at + 1 + random.below(50);
        free[client] = completed + 1;
        effects.push((at, call, completed));
    }
    effects.sort();
    let mut state = None;
    let mut next_value = 0;
    let mut history = Vec::new();
    for (_, call, completed) in effects {
        next_value += 1;
        let effect = match random.below(4) {
            0 | 1 => Effect::Read(state),
            2 => Effect::Write(next_value),
            _ => Effect::CompareAndSet(state, next_value),
        };
        state = effect.apply(state).unwrap();
        let lost = random.chance(0.02);
        history.push(operation(call, (!lost).then_some(completed), effect));
    }
    history
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_history_that_happened_is_linearizable(seed: u64, clients in 1_u64..20) {
        prop_assert_eq!(decided(&legal_history(seed, clients, 300)), Decision::Linearizable);
    }

    #[test]
    fn a_stale_read_planted_at_the_end_of_a_history_is_found(seed: u64, clients in 1_u64..10) {
        let mut history = legal_history(seed, clients, 200);
        let end = history.iter().filter_map(|operation| operation.completed).max().unwrap().0;
        history.extend([
            write(1_000_001, end + 1, end + 2),
            write(1_000_002, end + 3, end + 4),
            read(Some(1_000_001), end + 5, end + 6),
        ]);
        let operation = history.len() - 1;
        prop_assert_eq!(decided(&history), Decision::Violation { operation });
    }
}

#[test]
fn a_stale_read_among_fifty_busy_clients_is_found_without_a_search() {
    let mut history = legal_history(3, 50, 1_000);
    assert_eq!(contradiction(&history), None);
    let value = history[100]
        .effect
        .sets()
        .or(history[101].effect.sets())
        .or(history[102].effect.sets());
    history[900].effect = Effect::Read(value);
    history[900].completed = Some(Moment(history[900].call.0 + 10));
    assert_eq!(
        contradiction(&history).and_then(|found| found.last().copied()),
        Some(900)
    );
}

#[test]
fn fifty_clients_that_are_never_idle_do_not_make_the_search_branch() {
    let history = legal_history(4, 50, 1_000);
    assert_eq!(
        decide(
            &history,
            Limits {
                configurations: 20_000
            }
        ),
        Decision::Linearizable
    );
}

#[test]
fn a_hundred_thousand_operations_of_ten_clients_need_about_one_configuration_each() {
    // The limit proves the claim without a stopwatch: the search may not branch much.
    let history = legal_history(1, 10, 100_000);
    let decision = decide(
        &history,
        Limits {
            configurations: 300_000,
        },
    );
    assert_eq!(decision, Decision::Linearizable);
}
