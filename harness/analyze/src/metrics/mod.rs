//! Metrics: one file each, a pure function from a trial to samples and findings.
//!
//! A metric that a trial cannot decide adds no sample and says why with `Samples::lacking`.

pub mod availability;
pub mod baseline;
pub mod detection;
pub mod detection_bounds;
pub mod doubt;
pub mod false_suspicions;
pub mod recovery;
pub mod redundancy;
pub mod replay;
pub mod requests;
pub mod role_changes;
pub mod roles;
pub mod stale_reads;

use shakedown_contracts::verdict::Finding;

use crate::samples::Samples;
use crate::trial::Trial;

/// A measurement of one trial.
type Measurement = fn(&Trial<'_>, &mut Samples) -> Vec<Finding>;

/// Every measurement, in the order of the catalogue.
const MEASUREMENTS: &[Measurement] = &[
    detection::measure,
    detection_bounds::measure,
    recovery::measure,
    redundancy::measure,
    replay::measure,
    availability::measure,
    requests::measure,
    roles::measure,
    role_changes::measure,
    stale_reads::measure,
    false_suspicions::measure,
    doubt::measure,
    baseline::measure,
];

/// Takes all measurements of a trial.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    MEASUREMENTS
        .iter()
        .flat_map(|measurement| measurement(trial, samples))
        .collect()
}
