//! Samples of metrics over all trials, and the quantiles made of them.
//!
//! Quantiles are nearest-rank (Hyndman & Fan 1996, definition 1): with few samples they name a
//! value that was measured rather than one between two.

use std::collections::BTreeMap;

use shakedown_contracts::metric::{Unit, describe};
use shakedown_contracts::verdict::MetricSummary;

/// Events divided by exposure: with none seen, 3 ÷ exposure bounds the rate at 95 % ("rule of
/// three": (1 − p)^n ≥ 0.05 gives p ≤ 3/n).
const RULE_OF_THREE: f64 = 3.0;

/// Samples by the metric's name, and by `name/fault`.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    series: BTreeMap<String, Series>,
}

/// The samples of one metric.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// The values, in the metric's unit, sorted when summarised.
    values: Vec<f64>,
    never: u64,
    exposure_hours: f64,
    lacking: Option<String>,
}

impl Samples {
    /// A sample of a metric that has one a trial.
    pub fn add(&mut self, metric: &str, value: f64) {
        self.entry(metric).values.push(value);
    }

    /// A sample of one fault's share of a metric; it counts for the whole metric too.
    pub fn add_for(&mut self, metric: &str, fault: &str, value: f64) {
        self.add(metric, value);
        self.add(&format!("{metric}/{fault}"), value);
    }

    /// What the metric measures never happened for this fault.
    pub fn never(&mut self, metric: &str, fault: &str) {
        self.entry(metric).never += 1;
        self.entry(&format!("{metric}/{fault}")).never += 1;
    }

    /// Adds to the time in which events of the metric could have been seen.
    pub fn expose(&mut self, metric: &str, hours: f64) {
        self.entry(metric).exposure_hours += hours;
    }

    /// Why a trial has no sample of the metric. A gate on it cannot pass then, whatever the other
    /// trials show.
    pub fn lacking(&mut self, metric: &str, reason: String) {
        self.entry(metric).lacking.get_or_insert(reason);
    }

    /// Why samples of the metric are missing.
    pub fn lack_of(&self, metric: &str) -> Option<&str> {
        self.series.get(metric)?.lacking.as_deref()
    }

    /// The summary of one metric; of no samples when there are none.
    pub fn summary(&self, name: &str) -> MetricSummary {
        let metric = name.split('/').next().unwrap_or(name);
        let unit = describe(metric).map_or(Unit::Count, |description| description.unit);
        match self.series.get(name) {
            Some(series) => series.summary(unit),
            None => Series::default().summary(unit),
        }
    }

    /// Every metric that has something to say.
    pub fn summaries(&self) -> BTreeMap<String, MetricSummary> {
        self.series
            .keys()
            .map(|name| (name.clone(), self.summary(name)))
            .filter(|(_, summary)| summary.count > 0 || summary.never > 0)
            .collect()
    }

    fn entry(&mut self, name: &str) -> &mut Series {
        debug_assert!(
            describe(name.split('/').next().unwrap_or(name)).is_some(),
            "metric {name} is not in the catalogue"
        );
        self.series.entry(name.to_owned()).or_default()
    }
}

impl Series {
    fn summary(&self, unit: Unit) -> MetricSummary {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        let mean = if sorted.is_empty() {
            0.0
        } else {
            sorted.iter().sum::<f64>() / count
        };
        let quiet = sorted.iter().all(|value| *value == 0.0);
        MetricSummary {
            unit,
            count: sorted.len() as u64,
            min: sorted.first().copied().unwrap_or(0.0),
            mean,
            p50: quantile(&sorted, 0.5),
            p90: quantile(&sorted, 0.9),
            p99: quantile(&sorted, 0.99),
            max: sorted.last().copied().unwrap_or(0.0),
            never: self.never,
            bound: (quiet && self.exposure_hours > 0.0)
                .then(|| RULE_OF_THREE / self.exposure_hours),
        }
    }
}

/// The nearest-rank quantile of sorted values; 0 for none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 5.0);
        assert_eq!(quantile(&values, 0.9), 9.0);
        assert_eq!(quantile(&values, 0.99), 10.0);
        assert_eq!(quantile(&values[..1], 0.01), 1.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_fault_has_its_share_of_a_metric_and_none_of_another_faults() {
        let mut samples = Samples::default();
        samples.add_for("detection.first", "a", 10.0);
        samples.add_for("detection.first", "b", 30.0);
        samples.never("detection.first", "b");
        assert_eq!(samples.summary("detection.first").max, 30.0);
        assert_eq!(samples.summary("detection.first/a").max, 10.0);
        assert_eq!(samples.summary("detection.first/a").never, 0);
        assert_eq!(samples.summary("detection.first").never, 1);
    }

    #[test]
    fn with_no_event_seen_the_bound_is_three_over_the_exposure() {
        let mut samples = Samples::default();
        samples.add("false_suspicions.rate", 0.0);
        samples.expose("false_suspicions.rate", 0.5);
        assert_eq!(samples.summary("false_suspicions.rate").bound, Some(6.0));
        samples.add("false_suspicions.rate", 4.0);
        assert_eq!(samples.summary("false_suspicions.rate").bound, None);
    }
}
