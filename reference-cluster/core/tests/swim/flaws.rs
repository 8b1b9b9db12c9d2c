//! Mistakes that the checks above must notice.

use shakedown_contracts::strategy::Swim;
use shakedown_core::flaw::{Flaw, Planted};

use crate::crowd::Crowd;
use crate::deaths::detection;
use crate::lifeguard::with_a_slow_member;
use crate::{intervals, options, plain};

#[test]
fn where_hearsay_is_not_told_a_death_takes_long_to_be_known() {
    let last = |flaw| {
        let times = (0..20).filter_map(|seed| detection(30, &plain(), seed, flaw));
        times.flatten().fold(0.0, f64::max)
    };
    let (told, kept) = (last(None), last(Some(Flaw::HearsayNotTold)));
    assert!(kept > told + 10.0, "{kept} and {told} intervals");
}

#[test]
fn where_dogpile_is_ignored_a_death_is_noticed_late() {
    let first = |flaw| {
        let times = detection(30, &options(), 1, flaw).unwrap();
        times.into_iter().fold(f64::MAX, f64::min)
    };
    let (heeded, ignored) = (first(None), first(Some(Flaw::DogpileIgnored)));
    assert!(ignored > heeded + 20.0, "{ignored} and {heeded} intervals");
}

#[test]
fn a_slow_member_that_is_not_aware_of_itself_suspects_more() {
    let options = Swim {
        self_awareness: true,
        ..plain()
    };
    let count = |flaw| -> usize {
        (0..5)
            .map(|seed| with_a_slow_member(&options, seed, flaw))
            .sum()
    };
    let (aware, unaware) = (count(None), count(Some(Flaw::AwarenessIgnored)));
    assert!(unaware > 10 * aware.max(5), "{unaware} and {aware}");
}

#[test]
fn who_objects_with_the_accused_incarnation_stays_dead() {
    let still_dead = |flaw| {
        let mut crowd = Crowd::new(5, &options(), 1, Planted::from(flaw));
        crowd.isolate(1);
        crowd.run_for(intervals(200));
        crowd.cut.clear();
        crowd.run_for(intervals(50));
        (0..5)
            .map(|member| crowd.suspected_by(member).len())
            .sum::<usize>()
    };
    assert_eq!(still_dead(None), 0);
    assert!(still_dead(Some(Flaw::ObjectsInVain)) > 0);
}
