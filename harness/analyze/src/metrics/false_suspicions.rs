//! `false_suspicions.*`: trust→suspect transitions about a node that was live and reachable.
//!
//! Counted from the warm-up to the end of the settle phase. What is live and reachable is decided
//! by `Reachability`: a slow link is no excuse, a paused observer or subject is (a class of its
//! own). A repeated suspicion without trust between is one transition.
//!
//! Of bystanders: of nodes that no fault was acting on at the time. Whoever suspects a node behind slow
//! links is wrong, but misled by the node's own trouble; whoever suspects a bystander is misled by
//! somebody else's, its own or what it was told (Lifeguard 2018, section V, counts these alone).
//!
//! Source: Chen, Toueg & Aguilera 2002 (mistake rate); the bound with none seen is in
//! [`crate::samples`].

use std::collections::BTreeSet;

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use crate::reachability::Reachability;
use crate::samples::Samples;
use crate::text;
use crate::trial::Trial;

/// Samples `false_suspicions.count`, `.bystanders` and `.rate` once a trial; one finding with the first of them.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let nodes = trial.plan.target.nodes.len();
    if nodes < 2 {
        return Vec::new();
    }
    let unverified = trial
        .events
        .iter()
        .any(|record| matches!(record.event, Event::FaultUnverified { .. }));
    if unverified {
        // Whoever was suspected may have been out of reach: nobody saw what the fault did.
        let reason = format!("trial {} has a fault that was not verified", trial.index);
        samples.lacking("false_suspicions.count", reason.clone());
        samples.lacking("false_suspicions.bystanders", reason.clone());
        samples.lacking("false_suspicions.rate", reason);
        return Vec::new();
    }
    let window = (trial.timeline.warm_up, trial.timeline.settled);
    let reachability = Reachability::new(trial);
    let hours = reachability.observer_hours(window, nodes);
    let mistakes: Vec<_> = transitions(trial)
        .into_iter()
        .filter(|(at, ..)| (window.0..=window.1).contains(at))
        .filter(|(at, observer, subject)| reachability.reachable(observer, subject, *at))
        .collect();
    samples.add("false_suspicions.count", mistakes.len() as f64);
    let bystanders = mistakes
        .iter()
        .filter(|(at, _, subject)| is_bystander(trial, subject, *at));
    samples.add("false_suspicions.bystanders", bystanders.count() as f64);
    if hours > 0.0 {
        samples.add("false_suspicions.rate", mistakes.len() as f64 / hours);
        samples.expose("false_suspicions.rate", hours);
    }
    let finding = mistakes.first().map(|(at, observer, subject)| Finding {
        trial: trial.index,
        kind: "false suspicion".to_owned(),
        explanation: format!(
            "{observer} suspected {subject} at {} though it was live and reachable{}; {} in {:.1} observer-seconds",
            text::since(trial.timeline.started, *at),
            under(trial, *at),
            text::plural(mistakes.len() as u64, "such suspicion"),
            hours * 3_600.0,
        ),
        at: Some(*at),
    });
    finding.into_iter().collect()
}

/// Whether no fault was acting on the node.
fn is_bystander(trial: &Trial<'_>, node: &str, at: Moment) -> bool {
    let mut active = trial.timeline.active(at, at);
    !active.any(|injected| injected.nodes.iter().any(|met| met == node))
}

fn under(trial: &Trial<'_>, at: Moment) -> String {
    let active: Vec<String> = trial
        .timeline
        .active(at, at)
        .map(|injected| injected.id.to_string())
        .collect();
    if active.is_empty() {
        String::new()
    } else {
        format!(" (under {})", active.join(", "))
    }
}

/// Each change from trust to suspicion: when, by whom, of whom.
fn transitions<'t>(trial: &'t Trial<'_>) -> Vec<(Moment, &'t str, &'t str)> {
    let mut opinions: Vec<_> = trial
        .events
        .iter()
        .filter_map(|record| match &record.event {
            Event::Suspicion { subject } => Some((record.time, true, &*record.source, &**subject)),
            Event::Trust { subject } => Some((record.time, false, &*record.source, &**subject)),
            // A restarted node trusts everyone afresh.
            Event::NodeReady {} => Some((record.time, false, &*record.source, "")),
            _ => None,
        })
        .collect();
    opinions.sort_by_key(|opinion| opinion.0);
    let mut suspected = BTreeSet::new();
    let mut transitions = Vec::new();
    for (at, suspects, observer, subject) in opinions {
        if suspects && suspected.insert((observer, subject)) {
            transitions.push((at, observer, subject));
        } else if !suspects && subject.is_empty() {
            suspected.retain(|(other, _)| *other != observer);
        } else if !suspects {
            suspected.remove(&(observer, subject));
        }
    }
    transitions
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::fault::{FaultId, FaultKind};

    use super::*;
    use crate::made::MadeTrial;

    fn count(made: &MadeTrial) -> f64 {
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        samples.summary("false_suspicions.count").max
    }

    #[test]
    fn nobody_is_accused_where_a_fault_was_not_verified() {
        let mut made = MadeTrial::new();
        made.suspicion("n2", "n1", 3_000);
        let mut samples = Samples::default();
        assert_eq!(measure(&made.trial(), &mut samples).len(), 1);
        let id = FaultId {
            fault: "slow".into(),
            occurrence: 0,
        };
        let reason = "no report".to_owned();
        made.event("harness", 2_900, Event::FaultUnverified { id, reason });
        let mut samples = Samples::default();
        assert_eq!(measure(&made.trial(), &mut samples), []);
        assert!(samples.lack_of("false_suspicions.count").is_some());
    }

    #[test]
    fn suspecting_a_delayed_node_is_false() {
        let mut made = MadeTrial::new();
        made.delay("n1", 3_000, 5_000);
        made.suspicion("n2", "n1", 3_400);
        made.suspicion("n2", "n1", 3_500);
        made.trust("n2", "n1", 3_600);
        made.suspicion("n2", "n1", 3_700);
        assert_eq!(count(&made), 2.0);
        let findings = measure(&made.trial(), &mut Samples::default());
        assert!(findings[0].explanation.contains("under f"), "{findings:?}");
    }

    #[test]
    fn suspecting_whom_no_fault_acts_on_is_suspecting_a_bystander() {
        let mut made = MadeTrial::new();
        made.delay("n1", 3_000, 5_000);
        made.suspicion("n1", "n2", 3_400);
        made.suspicion("n2", "n1", 3_500);
        made.suspicion("n3", "n1", 5_500);
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        assert_eq!(samples.summary("false_suspicions.count").max, 3.0);
        // n2 all the time, n1 after the heal.
        assert_eq!(samples.summary("false_suspicions.bystanders").max, 2.0);
    }

    #[test]
    fn suspecting_a_dead_node_or_in_the_aftermath_is_right() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.suspicion("n2", "n1", 3_400);
        made.trust("n2", "n1", 5_050);
        made.suspicion("n1", "n3", 5_900);
        assert_eq!(count(&made), 0.0);
        made.suspicion("n2", "n1", 6_100);
        assert_eq!(count(&made), 1.0, "1.1 s after the heal it is false");
        made.suspicion("n3", "n2", 3_500);
        assert_eq!(count(&made), 2.0, "n2 and n3 could reach each other");
    }

    #[test]
    fn a_paused_observer_is_a_class_of_its_own() {
        let mut made = MadeTrial::new();
        made.fault(FaultKind::Pause {}, &["n2"], 3_000, 4_000);
        made.suspicion("n2", "n1", 4_010);
        assert_eq!(count(&made), 0.0);
    }

    #[test]
    fn with_none_seen_the_rate_has_a_bound() {
        let mut samples = Samples::default();
        measure(&MadeTrial::new().trial(), &mut samples);
        let rate = samples.summary("false_suspicions.rate");
        // 3 observers from 1 s to 7 s: 18 s = 0.005 h, 3 / 0.005 = 600.
        assert!((rate.bound.unwrap() - 600.0).abs() < 1e-6, "{rate:?}");
        assert_eq!(rate.max, 0.0);
    }
}
