//! `recovery.replay`, `recovery.records`, `recovery.undone`, `copies.damaged`: what a restarted node had
//! to do before it served, as it said itself.
//!
//! Of the restarts of a trial the worst counts, and the damaged copies of all together. A node that comes back empty replays nothing and says
//! nothing, so a trial without a restart and one without a log have no sample.

use shakedown_contracts::event::Event;
use shakedown_contracts::verdict::Finding;

use crate::samples::Samples;
use crate::trial::Trial;

const METRICS: [&str; 4] = [
    "recovery.replay",
    "recovery.records",
    "recovery.undone",
    "copies.damaged",
];

/// Samples each of this file's metrics once a trial.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let restarts: Vec<(f64, u64, u64)> = trial
        .events
        .iter()
        .filter(|record| record.time >= trial.timeline.fault)
        .filter_map(|record| match record.event {
            Event::RecoveryCompleted {
                records,
                undone,
                took,
                ..
            } => Some((took.as_millis_f64(), records, undone)),
            _ => None,
        })
        .collect();
    let longest = restarts.iter().map(|(took, _, _)| *took).reduce(f64::max);
    let Some(longest) = longest else {
        for metric in METRICS {
            let reason = format!("no node came back with a log in trial {}", trial.index);
            samples.lacking(metric, reason);
        }
        return Vec::new();
    };
    let most = |of: fn(&(f64, u64, u64)) -> u64| restarts.iter().map(of).max().unwrap_or(0) as f64;
    samples.add("recovery.replay", longest);
    samples.add("recovery.records", most(|(_, records, _)| *records));
    samples.add("recovery.undone", most(|(_, _, undone)| *undone));
    samples.add("copies.damaged", damaged(trial));
    Vec::new()
}

fn damaged(trial: &Trial<'_>) -> f64 {
    let said = trial
        .events
        .iter()
        .filter(|record| record.time >= trial.timeline.fault)
        .filter(|record| matches!(record.event, Event::CopyDamaged { .. }));
    said.count() as f64
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::units::Duration;

    use super::*;
    use crate::made::MadeTrial;

    fn recovered(records: u64, took_ms: u64) -> Event {
        Event::RecoveryCompleted {
            records,
            bytes: 50 * records,
            undone: 2,
            took: Duration::from_millis(took_ms),
        }
    }

    #[test]
    fn the_worst_restart_after_the_warm_up_counts() {
        let mut made = MadeTrial::new();
        made.event("n1", 500, recovered(9_000, 90));
        made.event("n1", 4_000, recovered(300, 2));
        made.event("n2", 4_500, recovered(200, 5));
        let key = "k3".to_owned();
        made.event("n2", 4_501, Event::CopyDamaged { key });
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        assert_eq!(samples.summary("recovery.replay").max, 5.0);
        assert_eq!(samples.summary("recovery.records").max, 300.0);
        assert_eq!(samples.summary("recovery.undone").max, 2.0);
        assert_eq!(samples.summary("copies.damaged").max, 1.0);
    }

    #[test]
    fn without_a_restart_there_is_no_sample_and_the_reason_is_kept() {
        let mut samples = Samples::default();
        measure(&MadeTrial::new().trial(), &mut samples);
        assert_eq!(samples.summary("recovery.replay").count, 0);
        assert!(samples.lack_of("recovery.replay").is_some());
    }
}
