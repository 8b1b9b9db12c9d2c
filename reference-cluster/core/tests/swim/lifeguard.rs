//! What each of Lifeguard's three parts does, by itself.

use shakedown_contracts::strategy::Swim;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::{Flaw, Planted};

use crate::crowd::Crowd;
use crate::{crowd, intervals, options, plain};

/// Longer than an interval and the time to object together.
pub const LATE: Duration = Duration::from_millis(500);

/// False suspicions of the others in a crowd with one member that hears everything late. Of the late
/// one itself there are as many in any case: nobody can tell it from a dead one.
pub fn with_a_slow_member(options: &Swim, seed: u64, flaw: Option<Flaw>) -> usize {
    let mut crowd = Crowd::new(8, options, seed, Planted::from(flaw));
    crowd.run_for(intervals(10));
    crowd.slow.insert(2, LATE);
    crowd.run_for(intervals(100));
    let accused = crowd.opinions.iter();
    let accused = accused.filter(|opinion| opinion.suspected && opinion.subject != 2);
    accused.count()
}

/// Over five seeds.
fn false_suspicions(options: &Swim) -> usize {
    (0..5)
        .map(|seed| with_a_slow_member(options, seed, None))
        .sum()
}

#[test]
fn a_slow_member_suspects_falsely_and_each_part_alone_makes_that_rarer() {
    let plain = plain();
    let without = false_suspicions(&plain);
    let aware = false_suspicions(&Swim {
        self_awareness: true,
        ..plain.clone()
    });
    let dogpile = false_suspicions(&Swim {
        dogpile: true,
        ..plain.clone()
    });
    let all = false_suspicions(&options());
    println!("without {without}, aware {aware}, dogpile {dogpile}, all {all}");
    assert!(without > 250, "{without}");
    assert!(aware * 2 < without, "{aware} of {without}");
    assert!(dogpile * 2 < without, "{dogpile} of {without}");
    assert!(all * 10 < without, "{all} of {without}");
}

#[test]
fn with_dogpile_a_real_death_that_others_confirm_is_found_nearly_as_soon() {
    let mean = |options: &Swim| {
        let times: Vec<f64> = (0..20)
            .flat_map(|seed| crate::deaths::detection(30, options, seed, None).unwrap())
            .collect();
        times.iter().sum::<f64>() / times.len() as f64
    };
    let fixed = mean(&plain());
    let dogpile = mean(&Swim {
        dogpile: true,
        ..plain()
    });
    // Two confirmations take a few intervals; without them it would be 30 intervals later.
    assert!(dogpile < fixed + 4.0, "{dogpile} and {fixed} intervals");
}

/// Deaths of a member that was out of reach for a moment, where claims travel on pings alone, and
/// each but once: whom it does not reach that way is told by its pinger or not at all.
fn deaths_of_one_out_of_reach(buddy: bool, seed: u64) -> usize {
    let quiet = Swim {
        buddy,
        gossip_interval: Duration::from_secs(3_600),
        retransmit_mult: 1,
        suspicion_mult: 6,
        ..plain()
    };
    let mut crowd = crowd(8, &quiet, seed);
    crowd.run_for(intervals(10));
    crowd.isolate(3);
    crowd.run_for(intervals(4));
    crowd.cut.clear();
    crowd.run_for(intervals(40));
    crowd
        .opinions
        .iter()
        .filter(|opinion| opinion.suspected)
        .count()
}

#[test]
fn a_buddy_tells_the_suspect_in_time() {
    let told: usize = (0..15)
        .map(|seed| deaths_of_one_out_of_reach(true, seed))
        .sum();
    let untold: usize = (0..15)
        .map(|seed| deaths_of_one_out_of_reach(false, seed))
        .sum();
    println!("told {told}, untold {untold}");
    assert!(told * 2 < untold, "{told} and {untold}");
}
