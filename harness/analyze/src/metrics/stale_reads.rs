//! `reads.stale`: reads that returned a value which had certainly been replaced when they began.
//!
//! Where values are unique, a read that names an older write than one that was both begun after that
//! one had taken effect and completed before the read began is stale, whatever else was under way
//! (`consistency/stale`). Each one counted is certain; a history may be inconsistent without any.

use shakedown_contracts::plan::WorkloadKind;
use shakedown_contracts::verdict::Finding;

use crate::consistency::register::{by_key, of};
use crate::consistency::stale::stale_reads;
use crate::samples::Samples;
use crate::trial::Trial;

/// Samples `reads.stale` once a trial of registers. What is stale is explained as what is not
/// linearizable.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let WorkloadKind::Register { .. } = trial.plan.workload.kind else {
        return Vec::new();
    };
    let stale = by_key(trial.history).into_values().map(|positions| {
        let operations = positions.iter();
        let operations = operations.filter_map(|position| of(&trial.history.operations[*position]));
        stale_reads(&operations.collect::<Vec<_>>())
    });
    samples.add("reads.stale", stale.sum::<usize>() as f64);
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    fn stale(made: &MadeTrial) -> f64 {
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        samples.summary("reads.stale").max
    }

    #[test]
    fn each_read_of_what_was_replaced_before_it_began_counts() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).ok(1_010);
        made.history.write("k", 2, 1_100).ok(1_110);
        made.history.read("k", Some(1), 1_200).ok(1_210);
        made.history.read("k", None, 1_300).ok(1_310);
        made.history.read("k", Some(2), 1_400).ok(1_410);
        assert_eq!(stale(&made), 2.0);
    }

    #[test]
    fn a_read_beside_the_write_or_of_a_write_that_may_come_late_is_not_stale() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).ok(1_010);
        made.history.write("k", 2, 1_100).ok(1_300);
        made.history.read("k", Some(1), 1_200).ok(1_210);
        made.history.write("k", 3, 1_400).info(1_500);
        made.history.write("k", 4, 1_600).ok(1_700);
        made.history.read("k", Some(3), 1_800).ok(1_810);
        assert_eq!(stale(&made), 0.0);
    }
}
