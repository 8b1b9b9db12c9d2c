//! `transactions.in_doubt_seconds`: the longest time for which a participant that had promised to
//! commit was not told how it ended.
//!
//! Counted from the promise, not from when the participant began to ask, up to the decision; its
//! accounts were locked all that time, its own death included. One that never ended counts until the
//! trial's end. Participants that were told in time say nothing, so a trial without events has 0.

use std::collections::BTreeMap;

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_contracts::verdict::Finding;

use crate::samples::Samples;
use crate::trial::Trial;

/// The metric.
const METRIC: &str = "transactions.in_doubt_seconds";

/// Samples the metric once a trial.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    if trial.plan.target.strategy.transactions.is_none() {
        let reason = "the experiment has no transactions between nodes".to_owned();
        samples.lacking(METRIC, reason);
        return Vec::new();
    }
    samples.add(METRIC, longest(trial).as_secs_f64());
    Vec::new()
}

fn longest(trial: &Trial<'_>) -> Duration {
    let mut open: BTreeMap<(&str, &str), Moment> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for record in trial.events {
        let source = record.source.as_str();
        match &record.event {
            Event::TransactionInDoubt { transaction, since } => {
                open.entry((source, transaction.as_str())).or_insert(*since);
            }
            Event::TransactionResolved { transaction, .. } => {
                if let Some(since) = open.remove(&(source, transaction.as_str())) {
                    longest = longest.max(record.time.since(since));
                }
            }
            _ => {}
        }
    }
    let ended = trial.timeline.ended;
    let never = open.values().map(|since| ended.since(*since));
    never.fold(longest, Duration::max)
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::strategy::{TransactionKind, Transactions};

    use super::*;
    use crate::made::{MadeTrial, at};

    fn in_doubt(made: &mut MadeTrial, node: &str, since: u64, time: u64) {
        let transaction = format!("n1-{since}");
        let event = Event::TransactionInDoubt {
            transaction,
            since: at(since),
        };
        made.event(node, time, event);
    }

    fn resolved(made: &mut MadeTrial, node: &str, since: u64, time: u64) {
        let event = Event::TransactionResolved {
            transaction: format!("n1-{since}"),
            committed: true,
        };
        made.event(node, time, event);
    }

    fn measured(made: &MadeTrial) -> f64 {
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        let summary = samples.summary(METRIC);
        assert_eq!(summary.count, 1);
        summary.max
    }

    #[test]
    fn doubt_lasts_from_the_promise_to_the_decision_through_a_restart() {
        let mut made = MadeTrial::new();
        made.plan.target.strategy.transactions =
            Some(Transactions::of(TransactionKind::TwoPhaseCommit));
        assert_eq!(measured(&made), 0.0);
        in_doubt(&mut made, "n2", 2_000, 2_500);
        in_doubt(&mut made, "n3", 2_100, 2_600);
        resolved(&mut made, "n3", 2_100, 2_700);
        in_doubt(&mut made, "n2", 2_000, 4_000);
        assert_eq!(measured(&made), 6.0, "until the trial's end");
        resolved(&mut made, "n2", 2_000, 4_250);
        assert_eq!(measured(&made), 2.25);
    }

    #[test]
    fn without_transactions_there_is_nothing_to_measure() {
        let mut samples = Samples::default();
        measure(&MadeTrial::new().trial(), &mut samples);
        assert!(samples.lack_of(METRIC).is_some());
    }
}
