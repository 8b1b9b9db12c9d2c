//! Oracle: with n nodes up with probability a each, independently, a quorum of q is there with
//! probability Σ C(n,i)·aⁱ·(1−a)ⁿ⁻ⁱ over i from q to n.

use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{AntiEntropy, Quorum, Redundancy};
use shakedown_contracts::units::Duration;
use shakedown_core::redundancy::placement::ranking;

use super::register::Clients;
use super::{bare, erasure, nodes};

const ROUNDS: u32 = 300;

/// The textbook's figure.
fn expected(n: u32, q: u32, a: f64) -> f64 {
    let choose = |k: u32| {
        (0..k).fold(1.0, |product, i| {
            product * f64::from(n - i) / f64::from(i + 1)
        })
    };
    let exactly = |i: u32| choose(i) * a.powi(i as i32) * (1.0 - a).powi((n - i) as i32);
    (q..=n).map(exactly).sum()
}

/// A key that the last of the nodes, which is always up and asks, does not keep.
fn key_without(last: u32, copies: u32) -> String {
    let names: Vec<String> = (1..=last + 1).map(|number| format!("n{number}")).collect();
    let keys = (0..).map(|number| format!("k{number}"));
    let mut keys = keys.filter(|key| {
        let keep = ranking(&names, key);
        keep[..copies as usize].iter().all(|peer| peer.0 != last)
    });
    keys.next().expect("some key is kept by others")
}

/// The share of rounds in which a read succeeded.
fn simulated(n: u32, redundancy: Redundancy, a: f64, seed: u64) -> f64 {
    let mut world = nodes(n + 1, redundancy, seed);
    let mut random = Random::keyed(seed, "up", "");
    let key = key_without(n, n);
    let mut clients = Clients::default();
    clients.put(&mut world, n, &key);
    world.run_for(Duration::from_millis(100));
    assert_eq!(clients.successes(&world), 1);
    let mut dead = Vec::new();
    for _ in 0..ROUNDS {
        for node in std::mem::take(&mut dead) {
            world.start(node);
        }
        dead.extend((0..n).filter(|_| !random.chance(a)));
        world.run_for(Duration::from_millis(50));
        for node in &dead {
            world.kill(*node);
        }
        clients.get(&mut world, n, &key);
        world.run_for(Duration::from_millis(350));
    }
    (clients.successes(&world) - 1) as f64 / f64::from(ROUNDS)
}

fn agrees(n: u32, q: u32, redundancy: Redundancy, a: f64) {
    let (measured, expected) = (simulated(n, redundancy, a, 7), expected(n, q, a));
    let deviation = (expected * (1.0 - expected) / f64::from(ROUNDS)).sqrt();
    let off = (measured - expected).abs();
    assert!(
        off <= 4.0 * deviation,
        "{q} of {n}: {measured:.3}, not {expected:.3}"
    );
}

#[test]
fn availability_is_the_binomial_sum_of_the_textbook() {
    assert!((expected(3, 2, 0.9) - 0.972).abs() < 1e-12);
    for (n, q, a) in [(3, 2, 0.7), (5, 3, 0.6), (3, 3, 0.8), (3, 1, 0.5)] {
        let quorum = Quorum {
            n,
            ..bare(q, n.min(n - q + 1))
        };
        agrees(n, q, Redundancy::Quorum(quorum), a);
    }
    let mut code = erasure(4, 2);
    code.anti_entropy = AntiEntropy::None;
    agrees(6, 4, Redundancy::Erasure(code), 0.7);
}
