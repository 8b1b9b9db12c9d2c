//! Known answers: an expectation turns the verdict round.
//!
//! A weak variant *must* fail, in exactly the expected way. It passes when exactly the expected
//! gates fail and nothing else is wrong; if it holds, either the harness did not do what it says or
//! the variant is not weak, and that is a failure.

use std::collections::BTreeSet;

use shakedown_contracts::plan::Expectation;
use shakedown_contracts::verdict::{GateVerdict, Outcome};

/// What an experiment showed, before its expectation is applied.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// The raw verdict.
    pub verdict: Outcome,
    /// The gates.
    pub gates: &'a [GateVerdict],
    /// Evidence is missing somewhere outside the gates.
    pub doubtful: bool,
    /// Something outside the gates failed, such as a node that died by itself.
    pub broken: bool,
}

/// The verdict under the expectation, with the reason for it.
pub fn apply(expectation: &Expectation, raw: Raw<'_>) -> (Outcome, String) {
    match expectation.verdict {
        Outcome::Fail => expect_failure(&expectation.gates, raw),
        expected if expected == raw.verdict => (Outcome::Pass, format!("{expected}, as expected")),
        expected => (
            raw.verdict,
            format!("was expected to be {expected} and is {}", raw.verdict),
        ),
    }
}

fn expect_failure(expected: &[String], raw: Raw<'_>) -> (Outcome, String) {
    let of = |outcome: Outcome| -> BTreeSet<&str> {
        let gates = raw.gates.iter().filter(|gate| gate.verdict == outcome);
        gates.map(|gate| gate.metric.as_str()).collect()
    };
    let (failing, unknown) = (of(Outcome::Fail), of(Outcome::Unknown));
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    let where_expected = if expected.is_empty() {
        "a gate".to_owned()
    } else {
        listed(&expected)
    };
    let unexpected: BTreeSet<&str> = failing.difference(&expected).copied().collect();
    if raw.broken {
        (
            Outcome::Fail,
            "failed in another way than by its gates, which was not expected".to_owned(),
        )
    } else if !expected.is_empty() && !unexpected.is_empty() {
        (
            Outcome::Fail,
            format!(
                "failed at {} too, which was not expected",
                listed(&unexpected)
            ),
        )
    } else if raw.doubtful || !unknown.is_empty() {
        let reason = format!("was expected to fail at {where_expected}, but evidence is missing");
        (Outcome::Unknown, reason)
    } else if failing.is_empty() || !expected.is_subset(&failing) {
        let missing: BTreeSet<&str> = expected.difference(&failing).copied().collect();
        let missing = if missing.is_empty() {
            where_expected
        } else {
            listed(&missing)
        };
        let reason = format!(
            "was expected to fail at {missing} and did not: the harness or the weak variant is wrong"
        );
        (Outcome::Fail, reason)
    } else {
        (
            Outcome::Pass,
            format!("failed at {}, as expected", listed(&failing)),
        )
    }
}

fn listed(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(
        expected: &[&str],
        gates: &[(&str, Outcome)],
        doubtful: bool,
        broken: bool,
    ) -> (Outcome, String) {
        let gates: Vec<GateVerdict> = gates
            .iter()
            .map(|(metric, verdict)| GateVerdict {
                metric: (*metric).to_owned(),
                fault: None,
                condition: String::new(),
                value: String::new(),
                verdict: *verdict,
                reason: String::new(),
            })
            .collect();
        let mut verdict = Outcome::worst(gates.iter().map(|gate| gate.verdict));
        if doubtful {
            verdict = verdict.max(Outcome::Unknown);
        }
        if broken {
            verdict = Outcome::Fail;
        }
        let gate_names = expected.iter().map(|name| (*name).to_owned()).collect();
        let expectation = Expectation {
            verdict: Outcome::Fail,
            gates: gate_names,
        };
        apply(
            &expectation,
            Raw {
                verdict,
                gates: &gates,
                doubtful,
                broken,
            },
        )
    }

    #[test]
    fn a_variant_passes_when_exactly_the_expected_gates_fail() {
        let gates = [("a", Outcome::Fail), ("b", Outcome::Pass)];
        assert_eq!(applied(&["a"], &gates, false, false).0, Outcome::Pass);
        assert_eq!(
            applied(&[], &gates, false, false).0,
            Outcome::Pass,
            "any gate"
        );
        assert_eq!(applied(&["b"], &gates, false, false).0, Outcome::Fail);
        assert_eq!(applied(&["a", "b"], &gates, false, false).0, Outcome::Fail);
    }

    #[test]
    fn a_variant_that_holds_although_it_must_fail_is_a_failure() {
        let (verdict, reason) = applied(&["a"], &[("a", Outcome::Pass)], false, false);
        assert_eq!(verdict, Outcome::Fail);
        assert_eq!(
            reason,
            "was expected to fail at a and did not: the harness or the weak variant is wrong"
        );
    }

    #[test]
    fn other_failures_are_failures_and_missing_evidence_is_unknown() {
        let both = [("a", Outcome::Fail), ("b", Outcome::Fail)];
        let (verdict, reason) = applied(&["a"], &both, false, false);
        assert_eq!(
            (verdict, reason.contains("at b too")),
            (Outcome::Fail, true),
            "{reason}"
        );
        let expected = [("a", Outcome::Fail)];
        assert_eq!(applied(&["a"], &expected, true, false).0, Outcome::Unknown);
        assert_eq!(applied(&["a"], &expected, false, true).0, Outcome::Fail);
        let unsure = [("a", Outcome::Fail), ("b", Outcome::Unknown)];
        assert_eq!(applied(&["a"], &unsure, false, false).0, Outcome::Unknown);
        assert_eq!(
            applied(&["a"], &[("a", Outcome::Unknown)], false, false).0,
            Outcome::Unknown
        );
    }
}
