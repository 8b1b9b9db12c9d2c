//! For each pair of nodes: when a suspicion of one by the other would have been *false*.
//!
//! A suspicion is false when the subject was live and reachable by the observer. Kill, pause,
//! restart and partition take that away; delay and loss do not: the node is live and reachable,
//! only slow, and a detector that suspects it is wrong. Losing every packet is a partition. A node
//! that died by itself is not live, nor is one whose disk hangs; one whose disk is slow is. A wrong
//! clock excuses nobody: what is suspected by it is suspected falsely.
//!
//! Invariant: where the links that a partition cut are not known for certain, every pair it may
//! have cut is left out, of the suspicions and of the exposure alike: a suspicion is never called
//! false without evidence.

use std::collections::BTreeMap;

use shakedown_contracts::event::{Event, EventRecord};
use shakedown_contracts::fault::{FaultKind, PartitionShape};
use shakedown_contracts::host_fault::HostFault;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::timeline::Injected;
use crate::trial::Trial;

/// After a heal, suspicions are still its aftermath for so long: a resumed node handles its overdue
/// timers, a restarted one has no heartbeats to go by yet.
pub const AFTERMATH: Duration = Duration::from_secs(1);

/// A stretch of time, from the first to the last moment.
type Span = (Moment, Moment);

/// When which ordered pair (observer, subject) does not count.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reachability {
    excused: BTreeMap<(String, String), Vec<Span>>,
}

impl Reachability {
    /// Derives it from the faults and deaths of a trial.
    pub fn new(trial: &Trial<'_>) -> Self {
        let nodes = &trial.plan.target.nodes;
        let deaths = deaths(trial);
        let mut excused = BTreeMap::new();
        for observer in nodes {
            for subject in nodes.iter().filter(|subject| *subject != observer) {
                let mut spans: Vec<Span> = trial
                    .timeline
                    .injected
                    .iter()
                    .filter(|injected| separates(injected, nodes, observer, subject))
                    .map(|injected| span_of(injected, trial.timeline.ended))
                    .collect();
                let own = |node: &String| node == observer || node == subject;
                spans.extend(
                    deaths
                        .iter()
                        .filter(|(node, _)| own(node))
                        .map(|(_, span)| *span),
                );
                excused.insert((observer.clone(), subject.clone()), merged(spans));
            }
        }
        Reachability { excused }
    }

    /// True when a suspicion at that time would be false.
    pub fn reachable(&self, observer: &str, subject: &str, at: Moment) -> bool {
        self.excused
            .get(&(observer.to_owned(), subject.to_owned()))
            .is_some_and(|spans| !spans.iter().any(|(from, to)| (*from..=*to).contains(&at)))
    }

    /// Observer-hours of the window: each observer watches all its peers, so the time of all pairs
    /// is divided by the number of peers.
    pub fn observer_hours(&self, window: Span, nodes: usize) -> f64 {
        let length = |(from, to): Span| to.since(from).as_secs_f64();
        let seconds: f64 = self
            .excused
            .values()
            .map(|spans| {
                let inside = spans.iter().map(|(from, to)| {
                    length(((*from).max(window.0), (*to).min(window.1).max(window.0)))
                });
                (length(window) - inside.sum::<f64>()).max(0.0)
            })
            .sum();
        seconds / nodes.saturating_sub(1).max(1) as f64 / 3_600.0
    }
}

/// Whether the fault makes one of the two unreachable for the other.
pub fn separates(injected: &Injected<'_>, nodes: &[String], one: &str, other: &str) -> bool {
    let met = |name: &str| injected.nodes.iter().any(|node| node == name);
    match &injected.fault.kind {
        FaultKind::Kill { .. }
        | FaultKind::Terminate {}
        | FaultKind::Pause {}
        | FaultKind::Restart {} => met(one) || met(other),
        FaultKind::Partition { shape, .. } => cuts(shape, injected, nodes, one, other),
        FaultKind::Loss { loss, .. } if loss.loss.as_f64() >= 1.0 => met(one) || met(other),
        FaultKind::Host(HostFault::DiskHang {}) => met(one) || met(other),
        FaultKind::Delay { .. }
        | FaultKind::Loss { .. }
        | FaultKind::Packets { .. }
        | FaultKind::Reset { .. }
        | FaultKind::Host(_) => false,
    }
}

fn cuts(
    shape: &PartitionShape,
    injected: &Injected<'_>,
    nodes: &[String],
    one: &str,
    other: &str,
) -> bool {
    let met = |name: &str| injected.nodes.iter().any(|node| node == name);
    match shape {
        PartitionShape::Isolate | PartitionShape::OneWay => met(one) || met(other),
        PartitionShape::Halves => {
            let first = |name: &str| nodes[..nodes.len() / 2].iter().any(|node| node == name);
            first(one) != first(other)
        }
        PartitionShape::Grudge(grudge) => {
            let deaf = |hearer: &str, sender: &str| {
                grudge
                    .get(hearer)
                    .is_some_and(|unheard| unheard.contains(sender))
            };
            deaf(one, other) || deaf(other, one)
        }
        PartitionShape::FromTo { from, to } => {
            let named = |list: &str, name: &str| list.split(',').any(|item| item.trim() == name);
            let known = |list: &str| {
                list.split(',')
                    .all(|item| nodes.iter().any(|node| node == item.trim()))
            };
            let cut = |sender: &str, hearer: &str| named(from, sender) && named(to, hearer);
            // A role was resolved at injection to nodes that the event does not tell apart.
            !(known(from) && known(to)) || cut(one, other) || cut(other, one)
        }
        // The event names the nodes on the side that is cut off.
        PartitionShape::RandomHalves | PartitionShape::MinorityThird => {
            let sides = nodes.iter().any(|node| met(node)) && !nodes.iter().all(|node| met(node));
            !sides || met(one) != met(other)
        }
        PartitionShape::Bridge | PartitionShape::MajoritiesRing => true,
    }
}

fn span_of(injected: &Injected<'_>, ended: Moment) -> Span {
    let to = injected
        .healed
        .map_or(ended, |healed| healed.after.after(AFTERMATH));
    (injected.effective.before, to)
}

/// Nodes that died by themselves, until they were ready again.
fn deaths(trial: &Trial<'_>) -> Vec<(String, Span)> {
    let died = |record: &&EventRecord| {
        matches!(
            record.event,
            Event::NodeExited {
                expected: false,
                ..
            }
        )
    };
    trial
        .events
        .iter()
        .filter(died)
        .filter_map(|record| {
            let node = node_of(trial, &record.source)?;
            let ready = trial.events.iter().find(|later| {
                later.time > record.time
                    && later.source == node
                    && matches!(later.event, Event::NodeReady {})
            });
            let until = ready.map_or(trial.timeline.ended, |ready| ready.time.after(AFTERMATH));
            Some((node, (record.time, until)))
        })
        .collect()
}

/// The node that a source such as `n1` or `node-agent n1` speaks of.
pub fn node_of(trial: &Trial<'_>, source: &str) -> Option<String> {
    let name = source.rsplit(' ').next().unwrap_or(source);
    trial
        .plan
        .target
        .nodes
        .iter()
        .find(|node| *node == name)
        .cloned()
}

fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.0 <= last.1 => last.1 = last.1.max(span.1),
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::fault::{LinkSelection, Loss};
    use shakedown_contracts::ports::Ports;
    use shakedown_contracts::units::Ratio;

    use super::*;
    use crate::made::{self, MadeTrial};

    #[test]
    fn exposure_is_the_window_of_every_observer_without_what_a_fault_took() {
        let quiet = MadeTrial::new();
        let window = (made::at(0), made::at(10_000));
        let hours = Reachability::new(&quiet.trial()).observer_hours(window, 3);
        assert!(
            (hours * 3_600.0 - 30.0).abs() < 1e-9,
            "3 observers for 10 s, not {hours} h"
        );

        let mut killed = MadeTrial::new();
        killed.kill("n1", 3_000, 4_000);
        // n1 is unreachable for 1 s and 1 s of aftermath: of 6 ordered pairs 4 lose 2 s.
        let hours = Reachability::new(&killed.trial()).observer_hours(window, 3);
        assert!((hours * 3_600.0 - 26.0).abs() < 1e-9, "{}", hours * 3_600.0);
    }

    #[test]
    fn a_partition_into_halves_separates_nodes_of_different_sides_alone() {
        let mut made = MadeTrial::new();
        let shape = PartitionShape::RandomHalves;
        let behavior = shakedown_contracts::fault::CutBehavior::Drop;
        made.fault(
            FaultKind::Partition {
                shape,
                behavior,
                ports: Ports::all(),
            },
            &["n2"],
            3_000,
            4_000,
        );
        let reachability = Reachability::new(&made.trial());
        assert!(reachability.reachable("n1", "n3", made::at(3_500)));
        assert!(!reachability.reachable("n1", "n2", made::at(3_500)));
        assert!(
            !reachability.reachable("n2", "n3", made::at(4_900)),
            "in the aftermath"
        );
        assert!(reachability.reachable("n2", "n3", made::at(5_100)));
    }

    #[test]
    fn losing_every_packet_separates_and_losing_many_does_not() {
        let reachable_at = |share: f64| {
            let mut made = MadeTrial::new();
            let loss = Loss {
                loss: Ratio::new(share).expect("a share"),
                correlation: Ratio::default(),
                bursts: None,
            };
            let links = LinkSelection {
                direction: Default::default(),
                peers: Vec::new(),
                ports: Ports::all(),
            };
            made.fault(FaultKind::Loss { loss, links }, &["n1"], 3_000, 4_000);
            Reachability::new(&made.trial()).reachable("n2", "n1", made::at(3_500))
        };
        assert!(reachable_at(0.9));
        assert!(!reachable_at(1.0));
    }

    #[test]
    fn overlapping_faults_are_not_subtracted_twice() {
        let spans = vec![
            (made::at(1), made::at(5)),
            (made::at(3), made::at(4)),
            (made::at(4), made::at(9)),
        ];
        assert_eq!(merged(spans), vec![(made::at(1), made::at(9))]);
    }
}
