//! `detection.outside_bounds`: suspicions of a killed node that came when the detector's own
//! configuration says they cannot have come.
//!
//! A fixed timeout counts from the last evidence of life, which is at most one heartbeat interval
//! older than the death. So the suspicion falls into [timeout − interval, timeout] after t0; what
//! is measured must agree, give or take the trial's measured lateness. This judges the harness as
//! much as the detector. Only what is outside for every moment of t0's bracket is counted. A kill
//! near a fault of the links is not judged: heartbeats that come late, or not at all, move the
//! last evidence of life.

use shakedown_contracts::event::Event;
use shakedown_contracts::fault::FaultKind;
use shakedown_contracts::strategy::Detector;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_contracts::verdict::Finding;

use super::detection::{Observation, observe, observers, outage_end};
use crate::samples::Samples;
use crate::text;
use crate::timeline::Injected;
use crate::trial::Trial;

/// Allowed beside the measured lateness: the path of a heartbeat, and of the event that reports the
/// suspicion, through a kernel that is not stalled.
const PATH: Duration = Duration::from_millis(2);

/// Samples `detection.outside_bounds` once for each kill under a fixed timeout.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let Detector::FixedTimeout {
        heartbeat_interval,
        timeout,
        ..
    } = trial.plan.target.strategy.detector
    else {
        return Vec::new();
    };
    let kills: Vec<&Injected<'_>> = trial
        .timeline
        .injected
        .iter()
        .filter(|injected| matches!(injected.fault.kind, FaultKind::Kill { .. }))
        .collect();
    let lateness = trial.events.iter().find_map(|record| match record.event {
        Event::Canary { lateness_max, .. } => Some(lateness_max),
        _ => None,
    });
    let Some(lateness) = lateness else {
        if !kills.is_empty() {
            let reason = format!("trial {} has no report of the canary", trial.index);
            samples.lacking("detection.outside_bounds", reason);
        }
        return Vec::new();
    };
    let tolerance = lateness.saturating_add(PATH);
    let bounds = Bounds {
        earliest: timeout
            .saturating_sub(heartbeat_interval)
            .saturating_sub(tolerance),
        latest: timeout.saturating_add(tolerance),
    };
    kills
        .into_iter()
        .filter(|kill| links_were_whole(trial, kill, timeout))
        .flat_map(|injected| judge(trial, injected, bounds, samples))
        .collect()
}

/// Whether no link fault was in effect from the last heartbeats that could count until the suspicion.
fn links_were_whole(trial: &Trial<'_>, kill: &Injected<'_>, timeout: Duration) -> bool {
    let t0 = kill.effective;
    let mut near = trial
        .timeline
        .active(t0.before.before(timeout), t0.after.after(timeout));
    !near.any(|injected| injected.fault.kind.acts_on_links())
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    earliest: Duration,
    latest: Duration,
}

impl Bounds {
    fn exclude(self, injected: &Injected<'_>, suspected: Moment) -> bool {
        let at = injected.effective;
        suspected.since(at.before) < self.earliest || suspected.since(at.after) > self.latest
    }
}

fn judge(
    trial: &Trial<'_>,
    injected: &Injected<'_>,
    bounds: Bounds,
    samples: &mut Samples,
) -> Vec<Finding> {
    let t0 = injected.effective.before;
    let (mut seen, mut findings) = (0_u64, Vec::new());
    for subject in &injected.nodes {
        let until = outage_end(trial, injected, subject);
        for observer in observers(trial, injected, until) {
            let Observation::Suspected(at) = observe(trial, observer, subject, t0, until) else {
                continue;
            };
            seen += 1;
            if bounds.exclude(injected, at) {
                let explanation = format!(
                    "{observer} suspected {subject} {:.1}ms after its death at {}; by the detector's configuration and the trial's lateness it must be {:.1}ms to {:.1}ms",
                    at.since(t0).as_millis_f64(),
                    text::since(trial.timeline.started, t0),
                    bounds.earliest.as_millis_f64(),
                    bounds.latest.as_millis_f64(),
                );
                findings.push(Finding {
                    trial: trial.index,
                    kind: "detection outside its bounds".to_owned(),
                    explanation,
                    at: Some(at),
                });
            }
        }
    }
    if seen > 0 {
        let outside = findings.len() as f64;
        samples.add_for("detection.outside_bounds", &injected.fault.name, outside);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    /// n1 is killed at 3 s under a timeout of 400 ms, heartbeats every 50 ms, lateness 0.5 ms.
    fn outside(suspicions: &[(&str, u64)]) -> (u64, f64) {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        for (observer, after) in suspicions {
            made.suspicion(observer, "n1", 3_000 + after);
        }
        let mut samples = Samples::default();
        let findings = measure(&made.trial(), &mut samples);
        let summary = samples.summary("detection.outside_bounds/f");
        assert_eq!(findings.len() as f64, summary.max);
        (summary.count, summary.max)
    }

    #[test]
    fn a_detection_is_outside_when_it_comes_too_early_or_too_late() {
        assert_eq!(
            outside(&[("n2", 348), ("n3", 402)]),
            (1, 0.0),
            "2.5 ms are allowed"
        );
        assert_eq!(outside(&[("n2", 347), ("n3", 400)]), (1, 1.0));
        assert_eq!(outside(&[("n2", 360), ("n3", 403)]), (1, 1.0));
        assert_eq!(outside(&[("n2", 100), ("n3", 900)]), (1, 2.0));
    }

    #[test]
    fn a_kill_near_a_link_fault_is_not_judged() {
        let with_delay = |from, to| {
            let mut made = MadeTrial::new();
            made.kill("n1", 3_000, 5_000);
            made.delay("n1", from, to);
            made.suspicion("n2", "n1", 3_100);
            let mut samples = Samples::default();
            measure(&made.trial(), &mut samples).len()
        };
        assert_eq!(
            with_delay(2_000, 2_700),
            0,
            "heartbeats before the kill were late"
        );
        assert_eq!(
            with_delay(2_000, 2_500),
            1,
            "every late heartbeat is too old to count"
        );
    }

    #[test]
    fn without_a_suspicion_there_is_nothing_to_bound() {
        assert_eq!(outside(&[]), (0, 0.0));
    }
}
