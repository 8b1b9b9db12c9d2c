//! `detection.*`: t0 of a fault to the *lasting* suspicion of the failed node by its observers.
//!
//! A suspicion lasts when the observer does not trust the node again before the fault is taken
//! away. t0 is the early end of the fault's bracket, so that the figure never flatters. An observer
//! that held the node for failed before t0, and never changed its mind, detected nothing: it gives
//! no sample, neither a detection in no time nor a miss (its suspicion counts as a false one).
//!
//! Source: Chen, Toueg & Aguilera 2002, section 2 (detection time T_D is to the *final*
//! S-transition).

use shakedown_contracts::event::Event;
use shakedown_contracts::fault::{Crash, FaultKind, PartitionShape};
use shakedown_contracts::host_fault::HostFault;
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use crate::reachability::node_of;
use crate::samples::Samples;
use crate::timeline::Injected;
use crate::trial::Trial;

/// What one observer made of one failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// It suspected lastingly from then on.
    Suspected(Moment),
    /// It suspected already before t0.
    Before,
    /// It never did.
    Missed,
}

/// Samples `detection.first`, `.majority`, `.last` and `.missed` for each injection that takes a
/// whole node away; of several nodes the one noticed last counts.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    for injected in &trial.timeline.injected {
        let Some(lasting) = takes_nodes_away(injected) else {
            continue;
        };
        let mut worst = Worst::default();
        // Nobody watches the processes of a cluster that are no nodes.
        let nodes = &trial.plan.target.nodes;
        for subject in injected.nodes.iter().filter(|met| nodes.contains(met)) {
            let until = outage_end(trial, injected, subject);
            let lasting = lasting && !restarted(trial, injected, subject, until);
            let observations: Vec<Observation> = observers(trial, injected, until)
                .map(|observer| observe(trial, observer, subject, injected.effective.before, until))
                .filter(|observation| *observation != Observation::Before)
                .filter(|observation| lasting || *observation != Observation::Missed)
                .collect();
            worst.include(injected.effective.before, &observations);
        }
        worst.report(&injected.fault.name, lasting, samples);
    }
    Vec::new()
}

/// Whether the fault makes whole nodes unreachable; `Some(false)` when it may be over before
/// anyone can notice, so that not noticing is no miss.
fn takes_nodes_away(injected: &Injected<'_>) -> Option<bool> {
    match &injected.fault.kind {
        FaultKind::Kill { .. } | FaultKind::Terminate {} | FaultKind::Pause {} => Some(true),
        // Cut at some ports a node may be heard at others.
        FaultKind::Partition { shape, ports, .. } => {
            let alone = matches!(shape, PartitionShape::Isolate | PartitionShape::OneWay);
            (alone && ports.is_all()).then_some(true)
        }
        FaultKind::Restart {} => Some(false),
        FaultKind::Reset { .. } => None,
        // The node is there and can do nothing: whoever cannot tell has missed a failure.
        FaultKind::Host(HostFault::DiskHang {}) => Some(true),
        FaultKind::Delay { .. }
        | FaultKind::Loss { .. }
        | FaultKind::Packets { .. }
        | FaultKind::Host(_) => None,
    }
}

/// Whether a supervisor had the killed node back, perhaps before anyone could notice.
fn restarted(trial: &Trial<'_>, injected: &Injected<'_>, subject: &str, until: Moment) -> bool {
    let process = FaultKind::Kill {
        crash: Crash::Process,
    };
    let mut events = trial.events.iter();
    injected.fault.kind == process
        && events.any(|record| {
            let at = record.time;
            matches!(&record.event, Event::SupervisorRestart { node, .. } if node == subject)
                && (injected.effective.before..=until).contains(&at)
        })
}

/// When the node may be heard again: a killed node is healed once it serves, but its new process
/// sends heartbeats from its start on.
pub fn outage_end(trial: &Trial<'_>, injected: &Injected<'_>, subject: &str) -> Moment {
    let healed = injected
        .healed
        .map_or(trial.timeline.settled, |healed| healed.before);
    let started = trial.events.iter().find(|record| {
        matches!(record.event, Event::NodeStarted { .. })
            && record.time >= injected.effective.after
            && node_of(trial, &record.source).as_deref() == Some(subject)
    });
    started.map_or(healed, |record| record.time.min(healed))
}

/// Nodes that are up and in touch all the time from t0 to the heal.
pub fn observers<'t>(
    trial: &'t Trial<'_>,
    injected: &'t Injected<'_>,
    until: Moment,
) -> impl Iterator<Item = &'t String> {
    trial.plan.target.nodes.iter().filter(move |node| {
        let met =
            |other: &Injected<'_>| takes_nodes_away(other).is_some() && other.nodes.contains(*node);
        !trial
            .timeline
            .active(injected.effective.before, until)
            .any(met)
    })
}

/// What `observer` made of the failure of `subject` from `t0` until it may be heard again.
pub fn observe(
    trial: &Trial<'_>,
    observer: &str,
    subject: &str,
    t0: Moment,
    until: Moment,
) -> Observation {
    let mut suspected: Option<Moment> = None;
    let mut transitions: Vec<(Moment, bool)> = trial
        .events
        .iter()
        .filter(|record| record.source == observer && record.time < until)
        .filter_map(|record| match &record.event {
            Event::Suspicion { subject: of } if of == subject => Some((record.time, true)),
            Event::Trust { subject: of } if of == subject => Some((record.time, false)),
            _ => None,
        })
        .collect();
    // Events stand in order of receipt.
    transitions.sort();
    for (time, suspects) in transitions {
        suspected = if suspects {
            suspected.or(Some(time))
        } else {
            None
        };
    }
    match suspected {
        Some(time) if time >= t0 => Observation::Suspected(time),
        Some(_) => Observation::Before,
        None => Observation::Missed,
    }
}

/// The slowest detection over the nodes of an injection; `None` inside: it never came.
#[derive(Debug, Default)]
struct Worst {
    first: Option<Option<f64>>,
    majority: Option<Option<f64>>,
    last: Option<Option<f64>>,
    missed: Option<u64>,
}

impl Worst {
    fn include(&mut self, t0: Moment, observations: &[Observation]) {
        if observations.is_empty() {
            return;
        }
        let mut times: Vec<f64> = observations
            .iter()
            .filter_map(|observation| match observation {
                Observation::Suspected(at) => Some(at.since(t0).as_millis_f64()),
                Observation::Before | Observation::Missed => None,
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let count = observations.len();
        slower(&mut self.first, times.first().copied());
        slower(&mut self.majority, times.get(count / 2).copied());
        slower(&mut self.last, times.get(count - 1).copied());
        *self.missed.get_or_insert(0) += (count - times.len()) as u64;
    }

    fn report(self, fault: &str, lasting: bool, samples: &mut Samples) {
        let named = [
            ("detection.first", self.first),
            ("detection.majority", self.majority),
            ("detection.last", self.last),
        ];
        for (metric, worst) in named {
            match worst {
                Some(Some(milliseconds)) => samples.add_for(metric, fault, milliseconds),
                Some(None) => samples.never(metric, fault),
                None => {}
            }
        }
        if let Some(missed) = self.missed.filter(|_| lasting) {
            samples.add_for("detection.missed", fault, missed as f64);
        }
    }
}

fn slower(worst: &mut Option<Option<f64>>, other: Option<f64>) {
    *worst = Some(match (*worst, other) {
        (None, other) => other,
        (Some(Some(one)), Some(other)) => Some(one.max(other)),
        _ => None,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    fn samples_of(made: &MadeTrial) -> Samples {
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        samples
    }

    #[test]
    fn a_hung_disk_takes_its_node_away_and_a_wrong_clock_does_not() {
        for (kind, missed) in [
            (HostFault::DiskHang {}, 1),
            (HostFault::ClockRate { rate: 0.5 }, 0),
        ] {
            let mut made = MadeTrial::new();
            made.fault(FaultKind::Host(kind), &["n1"], 3_000, 5_000);
            let mut samples = Samples::default();
            measure(&made.trial(), &mut samples);
            assert_eq!(samples.summary("detection.missed").count, missed);
        }
    }

    #[test]
    fn a_node_cut_off_at_some_ports_alone_is_not_taken_away() {
        for (ports, missed) in [(vec![], 1), (vec![7000], 0)] {
            let mut made = MadeTrial::new();
            let isolated = FaultKind::Partition {
                shape: PartitionShape::Isolate,
                behavior: shakedown_contracts::fault::CutBehavior::Drop,
                ports: ports.into_iter().collect(),
            };
            made.fault(isolated, &["n1"], 3_000, 4_000);
            let missed_by = samples_of(&made).summary("detection.missed").count;
            assert_eq!(missed_by, missed);
        }
    }

    #[test]
    fn the_lasting_suspicion_counts_and_not_a_false_alarm_that_was_taken_back() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.suspicion("n2", "n1", 3_100);
        made.trust("n2", "n1", 3_200);
        made.suspicion("n2", "n1", 3_400);
        made.suspicion("n3", "n1", 3_900);
        made.trust("n3", "n1", 5_400);
        let samples = samples_of(&made);
        assert_eq!(samples.summary("detection.first/f").max, 400.0);
        assert_eq!(samples.summary("detection.majority/f").max, 900.0);
        assert_eq!(samples.summary("detection.last").max, 900.0);
        assert_eq!(samples.summary("detection.missed").max, 0.0);
    }

    #[test]
    fn an_observer_that_never_suspects_is_missed_and_the_last_detection_never_came() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.suspicion("n2", "n1", 3_400);
        made.suspicion("n3", "n2", 3_450);
        let samples = samples_of(&made);
        assert_eq!(samples.summary("detection.missed/f").max, 1.0);
        assert_eq!(samples.summary("detection.first").never, 0);
        assert_eq!(samples.summary("detection.last").never, 1);
        assert_eq!(samples.summary("detection.last").count, 0);
    }

    #[test]
    fn who_suspected_before_the_fault_detected_nothing() {
        let mut made = MadeTrial::new();
        made.suspicion("n2", "n1", 2_900);
        made.kill("n1", 3_000, 5_000);
        made.suspicion("n3", "n1", 3_500);
        let samples = samples_of(&made);
        assert_eq!(samples.summary("detection.first").min, 500.0);
        assert_eq!(samples.summary("detection.missed").max, 0.0);
    }

    #[test]
    fn trust_in_the_new_process_of_a_killed_node_takes_nothing_back() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.node_started("n1", 4_500);
        for observer in ["n2", "n3"] {
            made.suspicion(observer, "n1", 3_400);
            made.trust(observer, "n1", 4_600);
        }
        assert_eq!(samples_of(&made).summary("detection.missed").max, 0.0);
    }

    #[test]
    fn a_killed_node_that_a_supervisor_had_back_at_once_is_no_miss() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.suspicion("n2", "n1", 3_200);
        let (node, attempt) = ("n1".to_owned(), 1);
        made.event("s1", 3_250, Event::SupervisorRestart { node, attempt });
        made.node_started("n1", 3_255);
        let samples = samples_of(&made);
        assert_eq!(samples.summary("detection.missed").max, 0.0);
        assert_eq!(samples.summary("detection.last").max, 200.0);
    }

    #[test]
    fn nobody_misses_a_process_that_is_no_node() {
        let mut made = MadeTrial::new();
        made.kill("s1", 3_000, 5_000);
        assert_eq!(samples_of(&made).summary("detection.missed").count, 0);
    }

    #[test]
    fn a_restart_that_nobody_notices_is_no_miss() {
        let mut made = MadeTrial::new();
        made.fault(FaultKind::Restart {}, &["n1"], 3_000, 3_050);
        assert_eq!(samples_of(&made).summary("detection.missed").count, 0);
        assert_eq!(samples_of(&made).summary("detection.first").never, 0);
    }

    #[test]
    fn a_delayed_node_is_not_failed() {
        let mut made = MadeTrial::new();
        made.delay("n1", 3_000, 5_000);
        made.suspicion("n2", "n1", 3_400);
        assert_eq!(samples_of(&made).summary("detection.first").count, 0);
    }
}
