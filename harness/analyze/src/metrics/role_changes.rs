//! `roles.changes`: how often a node became primary once the faults had begun.
//!
//! A takeover that nothing made necessary costs a gap in service and the trust of whoever is on call,
//! and breaks no other rule: the data stay right. So it is counted: every node that says it became
//! primary from the start of the fault phase to the end of settling, also when it was one before.
//! A fault that kills the primary makes one change necessary; one that leaves it alone makes none.

use shakedown_contracts::event::{Event, EventRecord, Role};

use crate::samples::Samples;
use crate::trial::Trial;
use shakedown_contracts::verdict::Finding;

const METRIC: &str = "roles.changes";

/// Samples `roles.changes` once a trial in which any node told of its role.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let told = |record: &&EventRecord| matches!(record.event, Event::RoleChanged { .. });
    if !trial.events.iter().any(|record| told(&record)) {
        let reason = format!("no node told of its role in trial {}", trial.index);
        samples.lacking(METRIC, reason);
        return Vec::new();
    }
    let window = trial.timeline.fault..=trial.timeline.settled;
    let became_primary = |record: &&EventRecord| {
        let role = match &record.event {
            Event::RoleChanged { role, .. } => Some(*role),
            _ => None,
        };
        role == Some(Role::Primary) && window.contains(&record.time)
    };
    let changes = trial.events.iter().filter(became_primary).count();
    samples.add(METRIC, changes as f64);
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    fn change(made: &mut MadeTrial, node: &str, role: Role, epoch: u64, time: u64) {
        made.event(node, time, Event::RoleChanged { role, epoch });
    }

    fn measured(made: &MadeTrial) -> Samples {
        let mut samples = Samples::default();
        assert_eq!(measure(&made.trial(), &mut samples), []);
        samples
    }

    #[test]
    fn who_became_primary_before_the_faults_or_took_another_role_does_not_count() {
        let mut made = MadeTrial::new();
        change(&mut made, "n1", Role::Primary, 1, 500);
        change(&mut made, "n2", Role::Candidate, 2, 3_000);
        change(&mut made, "n1", Role::Backup, 2, 3_100);
        assert_eq!(measured(&made).summary(METRIC).max, 0.0);
        change(&mut made, "n2", Role::Primary, 2, 3_200);
        change(&mut made, "n2", Role::Primary, 3, 5_000);
        assert_eq!(measured(&made).summary(METRIC).max, 2.0);
    }

    #[test]
    fn where_nobody_tells_of_roles_the_metric_is_lacking_and_not_zero() {
        assert!(measured(&MadeTrial::new()).lack_of(METRIC).is_some());
    }
}
