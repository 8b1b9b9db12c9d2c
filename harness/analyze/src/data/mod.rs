//! What became of the data: acknowledged writes that are gone, transactions seen half done.
//!
//! One file a workload; each is a pure function from a trial to samples and findings.

pub mod bank;
pub mod register;

use shakedown_contracts::plan::WorkloadKind;
use shakedown_contracts::verdict::Finding;

use crate::samples::Samples;
use crate::trial::Trial;

/// Most findings of one kind in a trial; the rest is counted.
pub const FINDINGS_MAX: usize = 5;

/// Checks the data of a trial by its workload.
pub fn check(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    match trial.plan.workload.kind {
        WorkloadKind::Register { .. } => register::check(trial, samples),
        WorkloadKind::Bank { .. } => bank::check(trial, samples),
        // Nothing is kept of a call.
        WorkloadKind::Requests { .. } => Vec::new(),
    }
}

/// Cuts a list of findings and says how many more there were.
fn limited(mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(FINDINGS_MAX);
    findings.truncate(FINDINGS_MAX);
    if more > 0
        && let Some(last) = findings.last_mut()
    {
        last.explanation
            .push_str(&format!(" (and {more} more like it)"));
    }
    findings
}
