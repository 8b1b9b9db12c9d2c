//! Deaths are found by all, and nobody else is suspected; whoever lives is taken back.

use std::collections::BTreeMap;

use shakedown_contracts::strategy::Swim;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::{Flaw, Planted};

use crate::crowd::Crowd;
use crate::{INTERVAL, crowd, intervals, options, plain};

/// Time from a death to each observer's lasting suspicion, in intervals; `None`: one never had it.
pub fn detection(size: u32, options: &Swim, seed: u64, flaw: Option<Flaw>) -> Option<Vec<f64>> {
    let mut crowd = Crowd::new(size, options, seed, Planted::from(flaw));
    let phase = crowd.draw(INTERVAL.as_nanos());
    crowd.run_for(intervals(20).saturating_add(Duration::from_nanos(phase)));
    let dead = crowd.draw(u64::from(size)) as u32;
    let died = crowd.now;
    crowd.kill(dead);
    let latest = died.after(bound(size));
    while crowd.now < latest && crowd.opinions.len() as u32 + 1 < size {
        crowd.run_for(intervals(1));
    }
    let mut found: BTreeMap<u32, f64> = BTreeMap::new();
    for opinion in &crowd.opinions {
        assert!(opinion.subject == dead && opinion.suspected, "{opinion:?}");
        assert!(opinion.at >= died, "{opinion:?}");
        let after = opinion.at.since(died).as_secs_f64() / INTERVAL.as_secs_f64();
        found.insert(opinion.observer, after);
    }
    (found.len() as u32 + 1 == size).then(|| found.into_values().collect())
}

/// Within this every live member knows of a death: its turn comes within 2n − 1 intervals and the
/// probe takes one, it may object for as long as one accuser gives it, and gossip takes an interval
/// or two (five rounds an interval, three listeners each).
fn bound(size: u32) -> Duration {
    let object = match size {
        0..4 => 4,
        4..10 => 24,
        _ => 6 * 4 * 2,
    };
    intervals(2 * u64::from(size) + object + 3)
}

#[test]
fn nobody_is_suspected_where_nothing_is_lost_and_answers_come_in_time() {
    for seed in 0..20 {
        let mut crowd = crowd(2 + seed as u32, &options(), seed);
        // There and back 48 ms at most, of the timeout's 50 ms.
        crowd.delay = (Duration::from_millis(1), Duration::from_millis(23));
        crowd.run_for(intervals(100));
        assert_eq!(crowd.opinions, [], "seed {seed}");
    }
}

#[test]
fn every_death_is_found_by_every_live_member_within_the_bound() {
    for seed in 0..20 {
        for options in [options(), plain()] {
            let size = 2 + 3 * seed as u32;
            let found = detection(size, &options, seed, None);
            assert!(
                found.is_some(),
                "seed {seed}, {size} members: somebody never knew"
            );
        }
    }
}

#[test]
fn the_first_finds_a_death_after_an_interval_or_three_and_the_time_to_object() {
    let mut total = 0.0;
    let runs = 60;
    for seed in 0..runs {
        let times = detection(40, &plain(), seed, None).unwrap();
        total += times.iter().copied().fold(f64::MAX, f64::min);
    }
    let mean = total / runs as f64;
    // 4 · log₁₀ 40 = 6.41 intervals to object. Each of 39 pings a drawn member once an interval, so
    // that the first ping comes after about one interval (exponentially), and the probe takes one.
    // Four standard errors of 1 ÷ √60.
    assert!((7.9..8.9).contains(&mean), "{mean} intervals");
}

#[test]
fn one_bad_link_makes_no_suspect_because_others_are_asked() {
    for seed in 0..10 {
        // A suspect is dead at once here, so nobody can object.
        let mut crowd = crowd(
            6,
            &Swim {
                suspicion_mult: 0,
                ..options()
            },
            seed,
        );
        crowd.cut.extend([(1, 4), (4, 1)]);
        crowd.run_for(intervals(200));
        assert_eq!(crowd.opinions, [], "seed {seed}");
    }
}

#[test]
fn where_nobody_else_is_asked_one_bad_link_is_taken_for_a_death() {
    let options = Swim {
        suspicion_mult: 0,
        indirect_checks: 0,
        ..options()
    };
    let mut crowd = crowd(6, &options, 1);
    crowd.cut.extend([(1, 4), (4, 1)]);
    crowd.run_for(intervals(50));
    assert!(!crowd.opinions.is_empty());
}

#[test]
fn lost_datagrams_are_made_up_for_by_asking_others_and_by_objecting() {
    for seed in 0..20 {
        let mut crowd = crowd(10, &options(), seed);
        crowd.loss = 0.1;
        crowd.run_for(intervals(100));
        assert_eq!(crowd.opinions, [], "seed {seed}");
    }
}

/// Who is held for dead by whom in the end.
fn accusations(crowd: &Crowd, size: u32) -> usize {
    (0..size)
        .map(|member| crowd.suspected_by(member).len())
        .sum()
}

#[test]
fn an_isolated_member_is_dead_to_all_and_revives_when_it_is_back() {
    for seed in 0..12 {
        let size = 3 + seed as u32 % 12;
        let mut crowd = crowd(size, &options(), seed);
        crowd.run_for(intervals(10));
        crowd.isolate(1);
        crowd.run_for(intervals(300));
        assert_eq!(
            accusations(&crowd, size) as u32,
            2 * (size - 1),
            "seed {seed}"
        );
        let (healed, before) = (crowd.now, crowd.opinions.len());
        crowd.cut.clear();
        // Who has not heard the objection hears it when it greets the member in its turn.
        crowd.run_for(intervals(2 * u64::from(size) + 3));
        assert_eq!(accusations(&crowd, size), 0, "seed {seed}");
        // Nobody was accused anew meanwhile.
        let later = &crowd.opinions[before..];
        assert!(
            later.iter().all(|opinion| !opinion.suspected),
            "{healed} {later:?}"
        );
    }
}

#[test]
fn a_restarted_process_is_taken_back_although_it_has_forgotten_its_incarnation() {
    for seed in 0..12 {
        let size = 3 + seed as u32 % 12;
        let mut crowd = crowd(size, &options(), seed);
        crowd.run_for(intervals(10));
        // Each time it begins with 0, and is held for dead with a greater one than before.
        for _ in 0..3 {
            crowd.kill(1);
            crowd.run_for(intervals(150));
            assert_eq!(accusations(&crowd, size) as u32, size - 1, "seed {seed}");
            crowd.start(1);
            crowd.run_for(intervals(2 * u64::from(size) + 3));
            assert_eq!(accusations(&crowd, size), 0, "seed {seed}");
        }
    }
}

#[test]
fn a_restart_faster_than_the_time_to_object_is_no_death() {
    for seed in 0..12 {
        // Four tellings miss one member in fifty, eight one in three thousand.
        let thorough = Swim {
            retransmit_mult: 8,
            ..options()
        };
        let mut crowd = crowd(8, &thorough, seed);
        crowd.run_for(intervals(10));
        for _ in 0..5 {
            crowd.kill(3);
            crowd.run_for(intervals(2));
            crowd.start(3);
            crowd.run_for(intervals(20));
        }
        assert_eq!(crowd.opinions, [], "seed {seed}");
    }
}

#[test]
fn a_stopped_member_is_suspected_but_suspects_nobody_when_it_goes_on() {
    for seed in 0..12 {
        let mut crowd = crowd(8, &options(), seed);
        let phase = crowd.draw(INTERVAL.as_nanos());
        crowd.run_for(intervals(10).saturating_add(Duration::from_nanos(phase)));
        crowd.stop_for(3, intervals(100));
        crowd.run_for(intervals(130));
        assert_eq!(accusations(&crowd, 8), 0, "seed {seed}");
        assert!(!crowd.opinions.is_empty(), "seed {seed}");
        for opinion in &crowd.opinions {
            assert_eq!(opinion.subject, 3, "seed {seed}: {opinion:?}");
        }
    }
}

#[test]
fn a_companion_finds_deaths_and_nobody_watches_it() {
    for seed in 0..10 {
        let mut crowd = crowd(6, &options(), seed);
        let companion = crowd.join_companion();
        crowd.run_for(intervals(20));
        crowd.kill(2);
        crowd.run_for(bound(6));
        assert_eq!(crowd.suspected_by(companion).len(), 1, "seed {seed}");
        crowd.start(2);
        crowd.run_for(bound(6));
        assert_eq!(crowd.suspected_by(companion).len(), 0, "seed {seed}");
        crowd.kill(companion);
        crowd.run_for(bound(6));
        let others = crowd.opinions.iter().find(|opinion| opinion.subject != 2);
        assert_eq!(others, None, "seed {seed}");
    }
}

#[test]
fn when_all_others_are_dead_the_last_one_still_takes_them_back() {
    let mut crowd = crowd(20, &options(), 5);
    crowd.run_for(intervals(10));
    (1..20).for_each(|member| crowd.kill(member));
    crowd.run_for(intervals(400));
    assert_eq!(crowd.suspected_by(0).len(), 19);
    (1..20).for_each(|member| crowd.start(member));
    crowd.run_for(intervals(20));
    assert_eq!(accusations(&crowd, 20), 0);
}
