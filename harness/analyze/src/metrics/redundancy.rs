//! `recovery.redundancy`: t0 of a fault to the moment from which all copies are where they belong
//! again.
//!
//! A node says when it learns of copies that are missing or out of reach, and when it knows of none
//! any more. Redundancy is whole while no live node knows of any. Of a fault the last return to that
//! before the settle phase ends counts, or before the next fault begins after it: copies that are
//! soon missing again were not back. The time is from the *early* end of t0's bracket. A fault after
//! which nobody missed anything gives no sample.

use std::collections::BTreeSet;

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use crate::reachability::node_of;
use crate::samples::Samples;
use crate::trial::Trial;

const METRIC: &str = "recovery.redundancy";

/// Samples `recovery.redundancy` once for each injection after which copies were missing; `never` when
/// some still were in the end.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    for injected in &trial.timeline.injected {
        let t0 = injected.effective.before;
        let later = trial.timeline.injected.iter();
        let next = later
            .map(|other| other.effective.before)
            .filter(|other| *other > injected.gone_by(trial.timeline.settled))
            .min();
        let until = next.unwrap_or(trial.timeline.settled);
        let fault = &injected.fault.name;
        match back(trial, t0, until) {
            Course::Whole => {}
            Course::Back(at) => samples.add_for(METRIC, fault, at.since(t0).as_millis_f64()),
            Course::Degraded => samples.never(METRIC, fault),
        }
    }
    Vec::new()
}

/// How it went on after a fault.
enum Course {
    Whole,
    Back(Moment),
    Degraded,
}

fn back(trial: &Trial<'_>, t0: Moment, until: Moment) -> Course {
    let mut records: Vec<_> = trial
        .events
        .iter()
        .filter(|record| record.time <= until)
        .collect();
    // Events stand in order of receipt.
    records.sort_by_key(|record| record.time);
    let mut knowing = BTreeSet::new();
    let mut course = Course::Whole;
    for record in records {
        match record.event {
            Event::RedundancyDegraded { .. } => {
                knowing.insert(record.source.clone());
            }
            Event::RedundancyRestored {} => {
                knowing.remove(&record.source);
            }
            // What a node knew it took along.
            Event::NodeExited { .. } => {
                knowing.retain(|node| Some(node) != node_of(trial, &record.source).as_ref());
            }
            _ => continue,
        }
        if record.time < t0 {
            continue;
        }
        course = match (knowing.is_empty(), course) {
            (false, _) => Course::Degraded,
            (true, Course::Degraded) => Course::Back(record.time),
            (true, course) => course,
        };
    }
    course
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    fn summary(made: &MadeTrial) -> shakedown_contracts::verdict::MetricSummary {
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        samples.summary("recovery.redundancy/f")
    }

    fn degraded() -> Event {
        Event::RedundancyDegraded {
            nodes: vec!["n1".into()],
        }
    }

    #[test]
    fn copies_are_back_when_the_last_node_that_missed_some_says_so() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.event("n2", 3_200, degraded());
        made.event("n3", 3_300, degraded());
        made.event("n2", 5_100, Event::RedundancyRestored {});
        made.event("n3", 5_400, Event::RedundancyRestored {});
        assert_eq!(summary(&made).max, 2_400.0);
    }

    #[test]
    fn copies_that_go_missing_again_were_not_back() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.event("n2", 3_200, degraded());
        made.event("n2", 3_300, Event::RedundancyRestored {});
        made.event("n2", 3_400, degraded());
        assert_eq!((summary(&made).count, summary(&made).never), (0, 1));
        made.event("n2", 6_000, Event::RedundancyRestored {});
        assert_eq!(summary(&made).max, 3_000.0);
    }

    #[test]
    fn without_missing_copies_there_is_nothing_to_measure() {
        let mut made = MadeTrial::new();
        made.event("n2", 2_500, degraded());
        made.event("n2", 2_600, Event::RedundancyRestored {});
        made.kill("n1", 3_000, 5_000);
        assert_eq!((summary(&made).count, summary(&made).never), (0, 0));
    }
}
