//! `recovery.first_success`: t0 of a fault to the completion of the first success that was invoked
//! after it.
//!
//! Operations count from the *late* end of t0's bracket on (the fault is certainly in effect), the
//! time from the *early* end: the figure never flatters. All keys are served by one group, so that
//! any key will do. Final reads do not count: they come after the settle phase, in which liveness
//! is demanded.

use shakedown_contracts::verdict::Finding;

use crate::samples::Samples;
use crate::trial::Trial;

/// Samples `recovery.first_success` once for each injection; `never` when no success came before
/// the end of the settle phase.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    for injected in &trial.timeline.injected {
        let first = trial
            .history
            .workload()
            .filter(|operation| operation.invoked >= injected.effective.after)
            .filter_map(|operation| operation.ok())
            .map(|completion| completion.at)
            .filter(|at| *at <= trial.timeline.settled)
            .min();
        let fault = &injected.fault.name;
        match first {
            Some(at) => {
                let took = at.since(injected.effective.before);
                samples.add_for("recovery.first_success", fault, took.as_millis_f64());
            }
            None => samples.never("recovery.first_success", fault),
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    fn summary(made: &MadeTrial) -> shakedown_contracts::verdict::MetricSummary {
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        samples.summary("recovery.first_success/f")
    }

    #[test]
    fn a_success_that_was_invoked_before_the_fault_is_no_recovery() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.history.write("k", 1, 2_990).ok(3_010);
        made.history.write("k", 2, 3_100).info(4_000);
        made.history.write("k", 3, 3_200).ok(4_200);
        assert_eq!(summary(&made).max, 1_200.0);
    }

    #[test]
    fn a_service_that_answers_no_more_never_recovers() {
        let mut made = MadeTrial::new();
        made.kill("n1", 3_000, 5_000);
        made.history.write("k", 1, 3_200).info(4_200);
        made.history.final_read("k", None, 7_100).ok(7_200);
        assert_eq!(summary(&made).never, 1);
        assert_eq!(summary(&made).count, 0);
    }
}
