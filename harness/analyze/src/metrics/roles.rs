//! `roles.concurrent_primaries`: the longest time in which two nodes acted as primary.
//!
//! A *reign* is a node in an epoch, known by what clients were answered. A node acts as primary as
//! long as it carries out requests that reach it. So for two reigns of different nodes, the older
//! being the one that answered first: from the newer's first answer to the last answer of the older
//! to a request that was *invoked after* that. Requests under way at the change do not count. The
//! answers are the evidence: a claim of the role that nobody was served under harmed nobody.

use std::collections::BTreeMap;

use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use crate::samples::Samples;
use crate::text;
use crate::trial::Trial;

/// Epoch of answers that no primary gave.
const NO_PRIMARY: u64 = 0;

/// What clients were answered by one node in one epoch.
#[derive(Debug)]
struct Reign<'a> {
    node: &'a str,
    epoch: u64,
    first: Moment,
    /// Invocation of each success, in order, with the latest completion among it and all later.
    answers: Vec<(Moment, Moment)>,
}

/// Samples `roles.concurrent_primaries` once a trial; a finding when two acted at once.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    let reigns = reigns(trial);
    if reigns.is_empty() && answered_by_no_primary(trial) {
        return Vec::new();
    }
    if reigns.is_empty() {
        samples.lacking(
            "roles.concurrent_primaries",
            format!(
                "no answer in trial {} names the node and epoch it came from",
                trial.index
            ),
        );
        return Vec::new();
    }
    let worst = worst_overlap(&reigns);
    samples.add(
        "roles.concurrent_primaries",
        worst.map_or(0.0, |overlap| overlap.milliseconds()),
    );
    worst
        .map(|overlap| overlap.finding(trial))
        .into_iter()
        .collect()
}

/// Where every node or a balancer serves, nobody reigns.
fn answered_by_no_primary(trial: &Trial<'_>) -> bool {
    let mut successes = trial.history.workload().filter_map(|one| one.ok());
    successes.any(|completion| completion.epoch == Some(NO_PRIMARY))
}

fn reigns<'a>(trial: &'a Trial<'_>) -> Vec<Reign<'a>> {
    let mut answers: BTreeMap<(&str, u64), Vec<(Moment, Moment)>> = BTreeMap::new();
    for operation in trial.history.workload() {
        let Some(completion) = operation.ok() else {
            continue;
        };
        if let (Some(node), Some(epoch)) = (&completion.node, completion.epoch)
            && epoch > NO_PRIMARY
        {
            answers
                .entry((node, epoch))
                .or_default()
                .push((operation.invoked, completion.at));
        }
    }
    let mut reigns: Vec<Reign<'a>> = answers
        .into_iter()
        .map(|((node, epoch), mut answers)| {
            let first = answers
                .iter()
                .map(|answer| answer.1)
                .min()
                .unwrap_or_default();
            answers.sort();
            let mut latest = Moment::default();
            for answer in answers.iter_mut().rev() {
                latest = latest.max(answer.1);
                answer.1 = latest;
            }
            Reign {
                node,
                epoch,
                first,
                answers,
            }
        })
        .collect();
    reigns.sort_by_key(|reign| reign.first);
    reigns
}

#[derive(Debug, Clone, Copy)]
struct Overlap<'a> {
    older: &'a Reign<'a>,
    newer: &'a Reign<'a>,
    last: Moment,
}

fn worst_overlap<'a>(reigns: &'a [Reign<'a>]) -> Option<Overlap<'a>> {
    let pairs = reigns
        .iter()
        .enumerate()
        .flat_map(|(position, newer)| reigns[..position].iter().map(move |older| (older, newer)));
    pairs
        .filter(|(older, newer)| older.node != newer.node)
        .filter_map(|(older, newer)| {
            let later = older
                .answers
                .partition_point(|answer| answer.0 <= newer.first);
            older.answers.get(later).map(|answer| Overlap {
                older,
                newer,
                last: answer.1,
            })
        })
        .max_by_key(|overlap| overlap.last.since(overlap.newer.first))
}

impl Overlap<'_> {
    fn milliseconds(&self) -> f64 {
        self.last.since(self.newer.first).as_millis_f64()
    }

    fn finding(&self, trial: &Trial<'_>) -> Finding {
        let start = trial.timeline.started;
        Finding {
            trial: trial.index,
            kind: "two primaries".to_owned(),
            explanation: format!(
                "{} (epoch {}) still carried out requests as primary at {}, {:.1}ms after {} (epoch {}) had begun to at {}",
                self.older.node,
                self.older.epoch,
                text::since(start, self.last),
                self.milliseconds(),
                self.newer.node,
                self.newer.epoch,
                text::since(start, self.newer.first),
            ),
            at: Some(self.newer.first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    #[test]
    fn an_old_primary_that_serves_on_after_the_new_one_began_is_found() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).by("n1", 1).ok(1_010);
        made.history.write("k", 2, 2_000).by("n2", 2).ok(2_100);
        made.history.write("k", 3, 2_200).by("n1", 1).ok(2_600);
        let mut samples = Samples::default();
        let findings = measure(&made.trial(), &mut samples);
        assert_eq!(samples.summary("roles.concurrent_primaries").max, 500.0);
        assert!(
            findings[0].explanation.contains("n1 (epoch 1)"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_handover_and_a_return_are_no_split_even_with_a_request_under_way() {
        let mut made = MadeTrial::new();
        made.history.write("k", 1, 1_000).by("n1", 1).ok(1_010);
        made.history.write("k", 2, 1_990).by("n1", 1).ok(2_300);
        made.history.write("k", 3, 2_000).by("n2", 2).ok(2_100);
        made.history.write("k", 4, 3_000).by("n1", 3).ok(3_100);
        let mut samples = Samples::default();
        assert!(measure(&made.trial(), &mut samples).is_empty());
        assert_eq!(samples.summary("roles.concurrent_primaries").max, 0.0);
    }
}
