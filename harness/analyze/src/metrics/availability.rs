//! `availability.*`: how long nothing succeeded, and how much of the offered service was not given.
//!
//! Both look at the fault and settle phases. The load is offered in an open loop and an operation
//! belongs to the moment it was *due*, so a stalled service cannot hide behind clients that wait
//! (coordinated omission).

use shakedown_contracts::time::Moment;
use shakedown_contracts::verdict::Finding;

use crate::samples::Samples;
use crate::trial::Trial;

/// A bin for which so many operations were planned and none is on record was not offered any
/// because all clients were stuck: by chance alone that is rarer than 1 in 10,000 (e^-10 with
/// random arrivals), and it counts as not served.
const PLANNED_MIN: f64 = 10.0;

/// Samples `availability.gap` and `availability.lost_service` once a trial.
pub fn measure(trial: &Trial<'_>, samples: &mut Samples) -> Vec<Finding> {
    samples.add("availability.gap", gap_ms(trial));
    match lost_service_ms(trial) {
        Some(lost) => samples.add("availability.lost_service", lost),
        None => samples.lacking(
            "availability.lost_service",
            format!(
                "no operation was offered in the fault phase of trial {}",
                trial.index
            ),
        ),
    }
    Vec::new()
}

fn gap_ms(trial: &Trial<'_>) -> f64 {
    let (from, to) = (trial.timeline.fault, trial.timeline.settled);
    let mut successes: Vec<Moment> = trial
        .history
        .workload()
        .filter_map(|operation| operation.ok())
        .map(|completion| completion.at)
        .filter(|at| (from..=to).contains(at))
        .collect();
    successes.sort();
    successes.push(to);
    let mut last = from;
    let mut longest = 0.0_f64;
    for success in successes {
        longest = longest.max(success.since(last).as_millis_f64());
        last = success;
    }
    longest
}

fn lost_service_ms(trial: &Trial<'_>) -> Option<f64> {
    let (from, to) = (trial.timeline.fault, trial.timeline.settled);
    let bin = trial.plan.phases.bin.as_nanos().max(1);
    let bins = usize::try_from(to.since(from).as_nanos().div_ceil(bin)).unwrap_or(0);
    let mut offered = vec![0_u64; bins];
    let mut good = vec![0_u64; bins];
    for operation in trial.history.workload() {
        if operation.due >= from && operation.due < to {
            let number = (operation.due.since(from).as_nanos() / bin) as usize;
            offered[number] += 1;
            good[number] += u64::from(operation.ok().is_some());
        }
    }
    if offered.iter().all(|count| *count == 0) {
        return None;
    }
    let lost = (0..bins).map(|number| {
        let start = number as u64 * bin;
        let width = bin.min(to.since(from).as_nanos() - start) as f64 / 1e6;
        let planned = trial.plan.workload.rate * width / 1e3;
        match offered[number] {
            0 if planned >= PLANNED_MIN => width,
            0 => 0.0,
            count => width * (1.0 - good[number] as f64 / count as f64),
        }
    });
    Some(lost.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::MadeTrial;

    /// One write every 10 ms in the fault and settle phases (2 s to 7 s); fails from 3 s to 4 s.
    fn with_an_outage(record_the_outage: bool) -> Samples {
        let mut made = MadeTrial::new();
        for number in 0..500 {
            let due = 2_000 + number * 10;
            let down = (3_000..4_000).contains(&due);
            if !down {
                made.history.write("k", number, due).ok(due + 2);
            } else if record_the_outage {
                made.history.write("k", number, due).fail(due + 1);
            }
        }
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        samples
    }

    #[test]
    fn an_outage_of_a_second_is_a_gap_and_a_loss_of_a_second() {
        let samples = with_an_outage(true);
        // 2992 (completion of the last before) to 4002 (completion of the first after).
        assert_eq!(samples.summary("availability.gap").max, 1_010.0);
        assert!((samples.summary("availability.lost_service").max - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn operations_that_stuck_clients_never_offered_are_lost_service_too() {
        let samples = with_an_outage(false);
        assert!((samples.summary("availability.lost_service").max - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn a_service_that_never_fails_loses_nothing() {
        let mut made = MadeTrial::new();
        for number in 0..500 {
            made.history
                .write("k", number, 2_000 + number * 10)
                .ok(2_002 + number * 10);
        }
        let mut samples = Samples::default();
        measure(&made.trial(), &mut samples);
        assert_eq!(samples.summary("availability.lost_service").max, 0.0);
        assert_eq!(samples.summary("availability.gap").max, 10.0);
    }
}
