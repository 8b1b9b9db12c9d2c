//! Whether a trial's recording is enough to judge it by, and whether the target survived it.
//!
//! Doubts make the experiment unknown; a node that died by itself makes it fail, unless its disk
//! failed it or gave back what it must not believe: then to stop is right, and what the stop cost is
//! measured like any other outage.

use std::collections::BTreeSet;

use shakedown_contracts::event::Event;
use shakedown_contracts::fault::{FaultId, FaultKind};
use shakedown_contracts::host_fault::HostFault;
use shakedown_contracts::plan::{Plan, Start};
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use crate::reachability::node_of;
use crate::text;
use crate::trial::Trial;

/// Kind of the finding that a node ended without a fault or the harness having ended it.
pub const NODE_DIED: &str = "node died";

/// Why the trial does not prove what it should, a sentence each; empty when it does.
pub fn doubts(trial: &Trial<'_>) -> Vec<String> {
    let index = trial.index;
    let mut doubts = unverified(trial);
    let doubted: BTreeSet<FaultId> = doubts.iter().map(|(id, _)| id.clone()).collect();
    doubts.extend(not_seen(trial, &doubted));
    let mut sentences: Vec<String> = doubts
        .into_iter()
        .map(|(id, why)| format!("trial {index}: {id} {why}"))
        .collect();
    sentences.extend(
        trial
            .history
            .problems
            .iter()
            .map(|problem| format!("trial {index}: history.jsonl: {problem}")),
    );
    if trial.history.operations.is_empty() {
        sentences.push(format!("trial {index}: no client operation was recorded"));
    }
    sentences
}

fn unverified(trial: &Trial<'_>) -> Vec<(FaultId, String)> {
    let events = trial.events.iter();
    events
        .filter_map(|record| match &record.event {
            Event::FaultUnverified { id, reason } => {
                Some((id.clone(), format!("was not verified: {reason}")))
            }
            _ => None,
        })
        .collect()
}

/// Planned injections that never took effect or were never healed, other than those in doubt.
fn not_seen(trial: &Trial<'_>, doubted: &BTreeSet<FaultId>) -> Vec<(FaultId, String)> {
    let mut doubts = Vec::new();
    let (planned, unplanned) = schedule(trial.plan, trial.index);
    if let Some(reason) = unplanned {
        let fault = "the schedule".to_owned();
        doubts.push((
            FaultId {
                fault,
                occurrence: 0,
            },
            reason,
        ));
    }
    for (id, start) in planned {
        if doubted.contains(&id) {
            continue;
        }
        match trial
            .timeline
            .injected
            .iter()
            .find(|injected| injected.id == id)
        {
            None => doubts.push((id, missing(start))),
            Some(injected) if injected.healed.is_none() => {
                doubts.push((id, "was not seen to be healed".to_owned()));
            }
            Some(_) => {}
        }
    }
    doubts
}

fn missing(start: &Start) -> String {
    match start {
        Start::At(_) => "was not seen in effect".to_owned(),
        Start::After(event) => {
            format!("was not seen in effect; did {event} happen in the fault phase?")
        }
    }
}

fn schedule(plan: &Plan, index: u32) -> (Vec<(FaultId, &Start)>, Option<String>) {
    match plan.trials.iter().find(|trial| trial.index == index) {
        Some(trial) => {
            let planned = trial.schedule.iter().map(|injection| {
                let fault = injection.fault.clone();
                (
                    FaultId {
                        fault,
                        occurrence: injection.occurrence,
                    },
                    &injection.start,
                )
            });
            (planned.collect(), None)
        }
        None => (Vec::new(), Some("is not in the plan".to_owned())),
    }
}

/// Nodes of the target that ended by themselves.
pub fn deaths(trial: &Trial<'_>) -> Vec<Finding> {
    let events = trial.events.iter();
    events
        .filter_map(|record| match &record.event {
            Event::NodeExited {
                status,
                expected: false,
            } => {
                let node = node_of(trial, &record.source).unwrap_or(record.source.clone());
                if provoked(trial, &node, record.time) {
                    return None;
                }
                Some(Finding {
                    trial: trial.index,
                    kind: NODE_DIED.to_owned(),
                    explanation: format!(
                        "{node} died by itself at {}: {status}; see {}/logs/{node}.log",
                        text::since(trial.timeline.started, record.time),
                        trial.index
                    ),
                    at: Some(record.time),
                })
            }
            _ => None,
        })
        .collect()
}

/// Whether a fault of the node's host had given it reason to stop by then.
fn provoked(trial: &Trial<'_>, node: &str, at: Moment) -> bool {
    trial.timeline.injected.iter().any(|injected| {
        let reason = match &injected.fault.kind {
            FaultKind::Host(fault) => fault.may_end_node(),
            _ => false,
        };
        // Damage stays when the fault is over.
        let lasting = matches!(
            injected.fault.kind,
            FaultKind::Host(HostFault::DiskCorrupt { .. })
        );
        let in_time = lasting || at <= injected.gone_by(trial.timeline.ended);
        let met = injected.nodes.iter().any(|met| met == node);
        reason && met && injected.effective.before <= at && in_time
    })
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::host_fault::Damage;

    use super::*;
    use crate::made::MadeTrial;

    fn sound() -> MadeTrial {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).ok(1_010);
        made.kill("n1", 3_000, 5_000);
        made
    }

    #[test]
    fn a_verified_and_healed_fault_leaves_no_doubt() {
        assert!(doubts(&sound().trial()).is_empty());
        assert!(deaths(&sound().trial()).is_empty());
    }

    #[test]
    fn a_fault_that_was_not_seen_in_effect_or_not_seen_to_be_healed_is_doubtful() {
        let mut made = sound();
        made.remove("fault.healed");
        assert_eq!(
            doubts(&made.trial()),
            ["trial 1: f was not seen to be healed"]
        );
        made.remove("fault.effective");
        assert_eq!(doubts(&made.trial()), ["trial 1: f was not seen in effect"]);
    }

    #[test]
    fn a_fault_that_was_not_verified_is_doubtful_and_named_once() {
        let mut made = sound();
        made.remove("fault.effective");
        made.event(
            "harness",
            3_000,
            Event::FaultUnverified {
                id: FaultId {
                    fault: "f".into(),
                    occurrence: 0,
                },
                reason: "the probe still arrived".into(),
            },
        );
        assert_eq!(
            doubts(&made.trial()),
            ["trial 1: f was not verified: the probe still arrived"]
        );
    }

    #[test]
    fn a_node_that_ends_by_itself_is_found() {
        let mut made = sound();
        let exited = |expected| Event::NodeExited {
            status: "signal 6".into(),
            expected,
        };
        made.event("node-agent n2", 4_000, exited(true));
        assert!(deaths(&made.trial()).is_empty());
        made.event("node-agent n2", 4_100, exited(false));
        assert_eq!(
            deaths(&made.trial())[0].explanation,
            "n2 died by itself at 4.100s: signal 6; see 1/logs/n2.log"
        );
    }

    #[test]
    fn a_node_that_ends_because_its_disk_failed_it_is_excused_while_the_fault_lasts() {
        let full = || FaultKind::Host(HostFault::DiskFull {});
        let damage = Damage::BitFlip;
        let altered = || FaultKind::Host(HostFault::DiskCorrupt { damage, path: None });
        let hang = || FaultKind::Host(HostFault::DiskHang {});
        for (kind, node, at, found) in [
            (full(), "n1", 3_500, 0),
            (full(), "n1", 2_900, 1),
            (full(), "n1", 4_100, 1),
            (full(), "n2", 3_500, 1),
            (altered(), "n1", 4_100, 0),
            (hang(), "n1", 3_500, 1),
        ] {
            let mut made = MadeTrial::new();
            made.fault(kind, &["n1"], 3_000, 4_000);
            let status = "exit code 1".to_owned();
            let event = Event::NodeExited {
                status,
                expected: false,
            };
            made.event(&format!("node-agent {node}"), at, event);
            assert_eq!(deaths(&made.trial()).len(), found, "{node} at {at}");
        }
    }
}
