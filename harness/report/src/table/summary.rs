//! The last lines: what came out of the whole run, and what to do next.

use shakedown_contracts::verdict::{Outcome, RunVerdict};

use crate::table::paragraph::{printable, wrap};

/// Skipped experiments with their reasons, the overall verdict with counts, the next command.
pub(crate) fn render(verdict: &RunVerdict, width: usize) -> String {
    let mut lines: Vec<String> = verdict
        .skipped
        .iter()
        .map(|skipped| {
            wrap(
                &format!("skipped {}: {}", skipped.name, skipped.reason),
                width,
                2,
            )
        })
        .collect();
    lines.push(wrap(&overall(verdict), width, 2));
    lines.extend(next(verdict));
    lines.join("\n") + "\n"
}

fn overall(verdict: &RunVerdict) -> String {
    let count = |outcome: Outcome| {
        verdict
            .experiments
            .iter()
            .filter(|experiment| experiment.verdict == outcome)
            .count()
    };
    let counts = [Outcome::Pass, Outcome::Fail, Outcome::Unknown]
        .into_iter()
        .map(|outcome| format!("{} {outcome}", count(outcome)));
    let skipped = verdict.skipped.len();
    let skipped = (skipped > 0).then(|| format!("{skipped} skipped"));
    let counts: Vec<String> = counts.chain(skipped).collect();
    let total = verdict.experiments.len();
    let plural = if total == 1 { "" } else { "s" };
    format!(
        "verdict: {} ({total} experiment{plural}: {})",
        verdict.verdict,
        counts.join(", ")
    )
}

/// The worst experiment again, or nothing after several that all pass; a command stays on one line, so that it can be copied.
fn next(verdict: &RunVerdict) -> Option<String> {
    let worst = verdict
        .experiments
        .iter()
        .rev()
        .max_by_key(|experiment| experiment.verdict)?;
    let files: std::collections::BTreeSet<&str> = verdict
        .experiments
        .iter()
        .map(|experiment| experiment.experiment.as_str())
        .collect();
    if worst.verdict == Outcome::Pass && files.len() > 1 {
        return None;
    }
    let what = match worst.verdict {
        Outcome::Pass => "again".to_owned(),
        outcome => format!("again {} ({outcome})", worst.name),
    };
    Some(printable(&format!("{what}: {}", worst.repeat)))
}
