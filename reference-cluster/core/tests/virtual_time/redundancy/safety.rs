//! Under kills, crashes, pauses and partitions: quorums that meet are linearizable, others are not.

use std::collections::BTreeSet;

use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{AntiEntropy, Erasure, Quorum, ReadRepair, Redundancy};
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Flaw;

use super::register::Clients;
use super::{bare, erasure, notes, quorum, strategy};
use crate::world::World;

/// Turns of a trial, one operation or more each.
const TURNS: u32 = 160;
const KEYS: u64 = 2;

struct Chaos {
    world: World,
    clients: Clients,
    random: Random,
    dead: BTreeSet<u32>,
    size: u32,
    /// So many may be dead at a time.
    deaths: usize,
}

impl Chaos {
    fn new(size: u32, redundancy: Redundancy, seed: u64, flaw: Option<Flaw>) -> Chaos {
        let mut world = World::flawed(size, strategy(redundancy), seed, flaw);
        world.run_for(Duration::from_millis(200));
        Chaos {
            world,
            clients: Clients::default(),
            random: Random::keyed(seed, "chaos", "redundancy"),
            dead: BTreeSet::new(),
            size,
            deaths: (size as usize - 1) / 2,
        }
    }

    fn node(&mut self) -> u32 {
        self.random.below(u64::from(self.size)) as u32
    }

    fn disturb(&mut self) {
        let node = self.node();
        match self.random.below(8) {
            0 | 1 if self.dead.len() < self.deaths && self.dead.insert(node) => {
                self.world.kill(node);
            }
            2 if self.dead.len() < self.deaths && self.dead.insert(node) => self.world.crash(node),
            3 => self.world.isolate(node),
            4 => {
                let other = self.node();
                if other != node {
                    self.world.cut_between(node, other);
                }
            }
            5 => self.world.pause(node),
            _ => self.heal(),
        }
    }

    fn heal(&mut self) {
        self.world.heal();
        for node in 0..self.size {
            self.world.resume(node);
        }
        for node in std::mem::take(&mut self.dead) {
            self.world.start(node);
        }
    }

    fn operate(&mut self) {
        let node = self.node();
        if self.dead.contains(&node) {
            return;
        }
        let key = format!("k{}", self.random.below(KEYS));
        if self.random.chance(0.4) {
            self.clients.put(&mut self.world, node, &key);
        } else {
            self.clients.get(&mut self.world, node, &key);
        }
    }

    fn run(mut self) -> (World, Clients) {
        for turn in 0..TURNS {
            if turn % 8 == 0 {
                self.disturb();
            }
            for _ in 0..=self.random.below(2) {
                self.operate();
            }
            let pause = self.random.duration_up_to(Duration::from_millis(20));
            self.world.run_for(pause);
        }
        self.heal();
        self.world.run_for(Duration::from_secs(2));
        for node in 0..self.size {
            for key in 0..KEYS {
                self.clients.get(&mut self.world, node, &format!("k{key}"));
            }
        }
        self.world.run_for(Duration::from_secs(1));
        (self.world, self.clients)
    }
}

/// Seeds with a violation, and successes of all.
fn broken(
    seeds: std::ops::Range<u64>,
    size: u32,
    redundancy: &Redundancy,
    flaw: Option<Flaw>,
) -> (Vec<String>, usize) {
    let (mut violations, mut successes) = (Vec::new(), 0);
    for seed in seeds {
        let (world, clients) = Chaos::new(size, redundancy.clone(), seed, flaw).run();
        successes += clients.successes(&world);
        let found = clients.violations(&world);
        violations.extend(found.first().map(|first| format!("seed {seed}: {first}")));
    }
    (violations, successes)
}

#[test]
fn quorums_that_meet_are_linearizable_whatever_repairs_their_copies() {
    let slow = |quorum: Quorum| Quorum {
        anti_entropy: AntiEntropy::Every(Duration::from_millis(200)),
        hint_window: Duration::from_millis(300),
        ..quorum
    };
    let unrepaired = |quorum: Quorum| Quorum {
        hinted_handoff: false,
        anti_entropy: AntiEntropy::None,
        ..quorum
    };
    let mut successes = 0;
    for (size, options) in [
        (3, quorum(2, 2)),
        (3, slow(quorum(1, 3))),
        (3, slow(quorum(3, 1))),
        (3, unrepaired(quorum(2, 2))),
        (5, slow(quorum(2, 2))),
        (
            5,
            Quorum {
                n: 5,
                ..slow(quorum(3, 3))
            },
        ),
    ] {
        let redundancy = Redundancy::Quorum(options.clone());
        let (violations, done) = broken(0..15, size, &redundancy, None);
        assert_eq!(violations, [""; 0], "{options:?}");
        successes += done;
    }
    // Little would be proved if little succeeded of some 20,000.
    assert!(successes > 8_000, "{successes} successes");
}

#[test]
fn shards_are_linearizable_too_and_what_was_written_can_be_read_in_the_end() {
    let mut successes = 0;
    for (size, k, m) in [(6, 4, 2), (3, 2, 1), (5, 3, 2)] {
        let redundancy = Redundancy::Erasure(erasure(k, m));
        let (violations, done) = broken(0..25, size, &redundancy, None);
        assert_eq!(violations, [""; 0], "{k}+{m}");
        successes += done;
    }
    assert!(successes > 4_000, "{successes} successes");
    let redundancy = Redundancy::Erasure(erasure(4, 2));
    let flaw = Some(Flaw::RetirementUntold);
    let (violations, _) = broken(0..25, 6, &redundancy, flaw);
    assert!(
        !violations.is_empty(),
        "a node that let go of shards must say so"
    );
}

#[test]
fn quorums_that_miss_each_other_are_not_linearizable() {
    for (r, w) in [(1, 1), (1, 2)] {
        let redundancy = Redundancy::Quorum(bare(r, w));
        let (violations, _) = broken(0..10, 3, &redundancy, None);
        assert!(violations.len() > 5, "R {r}, W {w}: {violations:?}");
    }
}

#[test]
fn sloppy_quorums_are_not_linearizable() {
    let redundancy = Redundancy::Quorum(Quorum {
        sloppy: true,
        ..Quorum::default()
    });
    let (violations, _) = broken(0..30, 5, &redundancy, None);
    assert!(violations.len() > 2, "{violations:?}");
}

/// A write whose node is cut off in the middle of it: some others hold it, or none.
fn half_written(
    size: u32,
    redundancy: Redundancy,
    seed: u64,
    flaw: Option<Flaw>,
) -> (World, Clients) {
    let mut world = World::flawed(size, strategy(redundancy), seed, flaw);
    let mut clients = Clients::default();
    let mut random = Random::keyed(seed, "half", "");
    world.run_for(Duration::from_millis(300));
    clients.put(&mut world, 1, "k");
    world.run_for(Duration::from_millis(100));
    clients.put(&mut world, 0, "k");
    let half = random.duration_up_to(Duration::from_millis(3));
    world.run_for(half);
    world.isolate(0);
    world.run_for(Duration::from_millis(150));
    world.heal();
    world.run_for(Duration::from_millis(300));
    // One after the other: none may return less than the one before.
    for turn in 0..10 {
        clients.get(&mut world, turn % size, "k");
        world.run_for(Duration::from_millis(100));
    }
    (world, clients)
}

/// Seeds in which the reads after half a write contradict each other.
fn turned_back(quorum: &Quorum, flaw: Option<Flaw>) -> usize {
    let turned = |seed: &u64| {
        let redundancy = Redundancy::Quorum(quorum.clone());
        let (world, clients) = half_written(3, redundancy, *seed, flaw);
        !clients.violations(&world).is_empty()
    };
    (0..60).filter(turned).count()
}

#[test]
fn without_write_back_a_later_read_returns_less_than_an_earlier_one() {
    assert_eq!(turned_back(&bare_with_write_back(), None), 0);
    let unrepaired = turned_back(&bare(2, 2), None);
    assert!(unrepaired > 3, "{unrepaired} of 60 seeds");
    let flaw = Some(Flaw::ReadsNotWrittenBack);
    let unrepaired = turned_back(&bare_with_write_back(), flaw);
    assert!(
        unrepaired > 0,
        "{} is not noticed",
        Flaw::ReadsNotWrittenBack.name()
    );
}

#[test]
fn planted_mistakes_are_noticed() {
    let quorum = Redundancy::Quorum(bare_with_write_back());
    for flaw in [
        Flaw::CountsOneCopy,
        Flaw::VersionFromOneCopy,
        Flaw::OlderOverwrites,
    ] {
        let (violations, _) = broken(0..60, 3, &quorum, Some(flaw));
        assert!(!violations.is_empty(), "{} is not noticed", flaw.name());
    }
}

fn bare_with_write_back() -> Quorum {
    Quorum {
        read_repair: ReadRepair::Sync,
        ..bare(2, 2)
    }
}

/// Seeds in which a key cannot be read after half a write.
fn unreadable(flaw: Option<Flaw>) -> usize {
    let unreadable = |seed: &u64| {
        let redundancy = Redundancy::Erasure(Erasure {
            hinted_handoff: false,
            patience: Duration::from_millis(60),
            ..erasure(4, 2)
        });
        let (world, clients) = half_written(6, redundancy, *seed, flaw);
        assert_eq!(clients.violations(&world), [""; 0], "seed {seed}");
        // One or two writes and ten reads.
        clients.successes(&world) < 11
    };
    (0..60).filter(unreadable).count()
}

#[test]
fn a_shard_that_goes_before_the_next_version_is_complete_leaves_a_key_that_nobody_can_read() {
    assert_eq!(unreadable(None), 0);
    let unreadable = unreadable(Some(Flaw::OldShardsDropped));
    assert!(
        unreadable > 0,
        "{} is not noticed",
        Flaw::OldShardsDropped.name()
    );
}

#[test]
fn one_node_a_key_is_served_by_any_and_lost_with_its_node() {
    let mut world = super::nodes(3, Redundancy::None {}, 1);
    let mut clients = Clients::default();
    for key in 0..30 {
        clients.put(&mut world, key % 3, &format!("k{key}"));
    }
    world.run_for(Duration::from_millis(200));
    assert_eq!(clients.successes(&world), 30);
    world.kill(1);
    world.run_for(Duration::from_millis(500));
    for key in 0..30 {
        clients.get(&mut world, 0, &format!("k{key}"));
    }
    world.run_for(Duration::from_millis(500));
    let served = clients.successes(&world) - 30;
    // Ten of thirty in the mean, deviation 2.6.
    assert!(
        (12..=28).contains(&served),
        "{served} of 30 with two of three nodes"
    );
    assert_eq!(notes(&world, "redundancy.degraded"), 2);
}
