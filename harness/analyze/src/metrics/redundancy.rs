//! `recovery.redundancy`: t0 of a fault to the moment at which as many copies as wanted are there
//! again, and `recovery.human_steps`: whether that took somebody who repaired.
//!
//! Who leads the copies says when they are too few (`redundancy.degraded`) and when they are all in
//! step again (`redundancy.restored`). Where nobody leads (`target.strategy.redundancy`), each node
//! says what it knows, and all copies are there while no live node knows of a missing one. Of a fault counts the first restoration after the last
//! degradation that is its own: before the next fault, and before it was taken away and a second
//! more. A restoration that degrades again at once is none. A fault that cost no copy has no sample.
//!
//! The harness that takes a fault away stands for the human who repairs: one step where the copies
//! were not all there before.

use std::collections::BTreeSet;

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use crate::reachability::{AFTERMATH, node_of};
use crate::samples::Samples;
use crate::timeline::Injected;
use crate::trial::Trial;

/// All copies are there from this moment on, or not.
type Change = (Moment, bool);

/// Samples both metrics once for each injection that cost a copy; `never` when the copies were not
/// all there again before the end of the settle phase.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let changes = match trial.plan.target.strategy.redundancy {
        Some(_) => changes_of_all(trial),
        None => changes(trial),
    };
    if changes.is_empty() {
        for metric in ["recovery.redundancy", "recovery.human_steps"] {
            let index = trial.index;
            let reason = format!("nobody in trial {index} said how many copies there are");
            samples.lacking(metric, reason);
        }
        return Vec::new();
    }
    for injected in &trial.timeline.injected {
        let Some(degraded) = degraded(trial, injected, &changes) else {
            continue;
        };
        let restored = changes
            .iter()
            .find(|(at, whole)| *whole && *at >= degraded && *at <= trial.timeline.settled)
            .map(|(at, _)| *at);
        let fault = &injected.fault.name;
        match restored {
            Some(at) => {
                let took = at.since(injected.effective.before).as_millis_f64();
                samples.add_for("recovery.redundancy", fault, took);
            }
            None => samples.never("recovery.redundancy", fault),
        }
        // A restart takes itself away.
        if !injected.fault.kind.is_instant()
            && let Some(repaired) = repaired(trial, injected)
        {
            let by_hand = restored.is_none_or(|at| at > repaired);
            samples.add_for("recovery.human_steps", fault, f64::from(u8::from(by_hand)));
        }
    }
    Vec::new()
}

fn changes(trial: &Trial<'_>) -> Vec<Change> {
    let events = trial.events.iter();
    let mut changes: Vec<Change> = events
        .filter_map(|record| match record.event {
            Event::RedundancyDegraded { .. } => Some((record.time, false)),
            Event::RedundancyRestored { .. } => Some((record.time, true)),
            _ => None,
        })
        .collect();
    // Events stand in order of receipt.
    changes.sort();
    changes
}

/// The same where each node speaks for itself.
fn changes_of_all(trial: &Trial<'_>) -> Vec<Change> {
    let mut records: Vec<_> = trial.events.iter().collect();
    // Events stand in order of receipt.
    records.sort_by_key(|record| record.time);
    let mut knowing = BTreeSet::new();
    let mut changes: Vec<Change> = Vec::new();
    for record in records {
        match record.event {
            Event::RedundancyDegraded { .. } => {
                knowing.insert(record.source.clone());
            }
            Event::RedundancyRestored { .. } => {
                knowing.remove(&record.source);
            }
            // What a node knew it took along.
            Event::NodeExited { .. } => {
                let gone = node_of(trial, &record.source);
                knowing.retain(|node| Some(node) != gone.as_ref());
            }
            _ => continue,
        }
        let whole = knowing.is_empty();
        if changes.last().is_none_or(|(_, before)| *before != whole) {
            changes.push((record.time, whole));
        }
    }
    changes
}

/// Since when copies are missing by this fault: its last degradation, or t0 where they were
/// missing before it.
fn degraded(trial: &Trial<'_>, injected: &Injected<'_>, changes: &[Change]) -> Option<Moment> {
    let t0 = injected.effective.before;
    let others = trial.timeline.injected.iter();
    let next = others
        .map(|other| other.effective.before)
        .filter(|other| *other > t0)
        .min();
    let gone = injected.gone_by(trial.timeline.settled).after(AFTERMATH);
    let until = next.map_or(gone, |next| next.min(gone));
    let own = changes
        .iter()
        .rfind(|(at, whole)| !whole && (t0..until).contains(at));
    let before = changes.iter().rfind(|(at, _)| *at < t0);
    let missing_before = before.is_some_and(|(_, whole)| !whole);
    own.map(|(at, _)| *at).or(missing_before.then_some(t0))
}

/// When the harness had taken the fault away.
fn repaired(trial: &Trial<'_>, injected: &Injected<'_>) -> Option<Moment> {
    trial.events.iter().find_map(|record| match &record.event {
        Event::FaultHealed { id, .. } if *id == injected.id => Some(record.time),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::strategy::Redundancy;

    use super::*;
    use crate::made::MadeTrial;

    fn made() -> MadeTrial {
        let mut made = MadeTrial::new();
        restored(&mut made, 1_100);
        made.kill("n3", 3_000, 5_000);
        made
    }

    fn degraded(made: &mut MadeTrial, at: u64) {
        let (copies, wanted) = (2, 3);
        made.event("n1", at, Event::RedundancyDegraded { copies, wanted });
    }

    fn restored(made: &mut MadeTrial, at: u64) {
        let (copies, wanted) = (3, 3);
        made.event("n1", at, Event::RedundancyRestored { copies, wanted });
    }

    fn samples_of(made: &MadeTrial) -> Samples {
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        samples
    }

    #[test]
    fn copies_that_are_back_before_anybody_repaired_took_no_human() {
        let mut made = made();
        degraded(&mut made, 3_010);
        restored(&mut made, 3_800);
        let samples = samples_of(&made);
        assert_eq!(samples.summary("recovery.redundancy/f").max, 800.0);
        assert_eq!(samples.summary("recovery.human_steps/f").max, 0.0);
        assert_eq!(samples.summary("recovery.human_steps/f").count, 1);
    }

    #[test]
    fn copies_that_are_back_only_after_the_repair_took_one() {
        let mut made = made();
        degraded(&mut made, 3_010);
        restored(&mut made, 5_100);
        let samples = samples_of(&made);
        assert_eq!(samples.summary("recovery.redundancy").max, 2_100.0);
        assert_eq!(samples.summary("recovery.human_steps").max, 1.0);
    }

    #[test]
    fn a_restoration_that_degrades_again_is_none_and_one_that_never_comes_is_told() {
        let mut made = made();
        degraded(&mut made, 3_010);
        restored(&mut made, 3_500);
        degraded(&mut made, 3_600);
        let samples = samples_of(&made);
        assert_eq!(samples.summary("recovery.redundancy").never, 1);
        assert_eq!(samples.summary("recovery.human_steps").max, 1.0);
        restored(&mut made, 4_000);
        assert_eq!(
            samples_of(&made).summary("recovery.redundancy").max,
            1_000.0
        );
    }

    #[test]
    fn a_fault_that_cost_no_copy_has_no_sample_and_silence_is_no_evidence() {
        assert_eq!(samples_of(&made()).summary("recovery.redundancy").count, 0);
        let mut silent = MadeTrial::new();
        silent.kill("n3", 3_000, 5_000);
        assert!(samples_of(&silent).lack_of("recovery.redundancy").is_some());
    }

    #[test]
    fn where_nobody_leads_copies_are_back_when_the_last_node_that_missed_some_says_so() {
        let mut made = made();
        made.plan.target.strategy.redundancy = Some(Redundancy::None {});
        let (copies, wanted) = (2, 3);
        for (node, from, to) in [("n1", 3_200, 5_100), ("n2", 3_300, 5_400)] {
            made.event(node, from, Event::RedundancyDegraded { copies, wanted });
            made.event(node, to, Event::RedundancyRestored { copies, wanted });
        }
        let samples = samples_of(&made);
        assert_eq!(samples.summary("recovery.redundancy").max, 2_400.0);
    }

    #[test]
    fn a_fault_that_finds_copies_missing_waits_for_them_too() {
        let mut made = MadeTrial::new();
        degraded(&mut made, 2_500);
        made.kill("n3", 3_000, 5_000);
        restored(&mut made, 3_400);
        assert_eq!(samples_of(&made).summary("recovery.redundancy").max, 400.0);
    }
}
