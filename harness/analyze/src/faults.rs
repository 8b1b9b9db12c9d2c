//! What became of each fault over all trials.

use std::collections::BTreeMap;

use shakedown_contracts::event::{Achieved, Event, EventRecord};
use shakedown_contracts::plan::Plan;
use shakedown_contracts::verdict::FaultSummary;

/// Gathers summaries, trial by trial; faults stand in the order of the file.
#[derive(Debug, Clone)]
pub struct Faults {
    summaries: Vec<FaultSummary>,
    places: BTreeMap<String, usize>,
}

impl Faults {
    /// No trial yet.
    pub fn new(plan: &Plan) -> Self {
        let summaries: Vec<FaultSummary> = plan
            .faults
            .iter()
            .map(|fault| FaultSummary {
                name: fault.name.clone(),
                kind: fault.kind.name().to_owned(),
                requested: 0,
                effective: 0,
                healed: 0,
                mechanism: String::new(),
                nodes: Vec::new(),
                achieved: Vec::new(),
            })
            .collect();
        let places = summaries
            .iter()
            .enumerate()
            .map(|(place, fault)| (fault.name.clone(), place));
        Faults {
            places: places.collect(),
            summaries,
        }
    }

    /// Adds the events of a trial.
    pub fn add(&mut self, events: &[EventRecord]) {
        for record in events {
            match &record.event {
                Event::FaultRequested { id, .. } => {
                    if let Some(summary) = self.of(&id.fault) {
                        summary.requested += 1;
                    }
                }
                Event::FaultEffective {
                    id,
                    nodes,
                    evidence,
                    ..
                } => {
                    if let Some(summary) = self.of(&id.fault) {
                        summary.effective += 1;
                        summary.mechanism.clone_from(&evidence.mechanism);
                        meet(&mut summary.nodes, nodes);
                        worsen(&mut summary.achieved, &evidence.achieved);
                    }
                }
                Event::FaultHealed { id, .. } => {
                    if let Some(summary) = self.of(&id.fault) {
                        summary.healed += 1;
                    }
                }
                _ => {}
            }
        }
    }

    /// The summaries.
    pub fn into_summaries(self) -> Vec<FaultSummary> {
        self.summaries
    }

    fn of(&mut self, name: &str) -> Option<&mut FaultSummary> {
        self.places
            .get(name)
            .map(|place| &mut self.summaries[*place])
    }
}

fn meet(met: &mut Vec<String>, nodes: &[String]) {
    met.extend(nodes.iter().cloned());
    met.sort();
    met.dedup();
}

/// Keeps the value that is furthest from what was asked for.
fn worsen(worst: &mut Vec<Achieved>, achieved: &[Achieved]) {
    let off = |value: &Achieved| (value.achieved - value.requested).abs();
    for value in achieved {
        match worst.iter_mut().find(|other| other.name == value.name) {
            Some(other) if off(value) > off(other) => *other = value.clone(),
            Some(_) => {}
            None => worst.push(value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    #[test]
    fn a_fault_is_counted_by_what_was_verified() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        let mut faults = Faults::new(&made.plan);
        faults.add(&made.events);
        made.remove("fault.healed");
        faults.add(&made.events);
        let summary = &faults.into_summaries()[0];
        assert_eq!(
            (summary.requested, summary.effective, summary.healed),
            (2, 2, 1)
        );
        assert_eq!(summary.nodes, ["n1"]);
    }

    #[test]
    fn the_worst_achieved_value_is_kept() {
        let value = |achieved| Achieved {
            name: "latency".into(),
            requested: 60.0,
            achieved,
            unit: "ms".into(),
        };
        let mut worst = Vec::new();
        for achieved in [60.2, 58.9, 60.1] {
            worsen(&mut worst, &[value(achieved)]);
        }
        assert_eq!(worst, [value(58.9)]);
    }
}
