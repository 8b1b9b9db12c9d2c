//! Downtimes of many trials, in order.

use shakedown_contracts::range::DurationRange;

use crate::trial::{LIMIT, Model, play};

/// All trials of one setting.
pub struct Sample {
    /// Milliseconds, rising; infinite where no leader was found.
    millis: Vec<f64>,
    candidacies: u64,
    pub not_as_planned: usize,
}

impl Sample {
    /// Plays trials with seeds from 1 on.
    pub fn take(timeout: DurationRange, model: &Model, trials: u64) -> Sample {
        let mut sample = Sample {
            millis: Vec::new(),
            candidacies: 0,
            not_as_planned: 0,
        };
        for seed in 1..=trials {
            let outcome = play(timeout, model, seed);
            let downtime = outcome.downtime;
            let millis = downtime.map_or(f64::INFINITY, |downtime| downtime.as_millis_f64());
            sample.millis.push(millis);
            sample.candidacies += outcome.candidacies;
            sample.not_as_planned += usize::from(!outcome.as_planned);
        }
        sample.millis.sort_unstable_by(f64::total_cmp);
        sample
    }

    /// The smallest value that so much of the trials do not exceed (nearest rank).
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.millis.len() as f64).ceil() as usize;
        self.millis[rank.clamp(1, self.millis.len()) - 1]
    }

    pub fn mean(&self) -> f64 {
        self.millis.iter().sum::<f64>() / self.millis.len() as f64
    }

    /// Candidacies a trial.
    pub fn candidacies(&self) -> f64 {
        self.candidacies as f64 / self.millis.len() as f64
    }

    /// Quantiles, worst and mean as cells of a table.
    pub fn cells(&self) -> String {
        let quantiles = [0.1, 0.5, 0.9, 0.99, 1.0].map(|share| self.quantile(share));
        let all = quantiles.into_iter().chain([self.mean()]);
        all.map(cell).collect::<Vec<_>>().join(" | ")
    }
}

/// A time as the tables print it.
pub fn cell(millis: f64) -> String {
    if millis.is_infinite() {
        format!("> {:.0}", LIMIT.as_millis_f64())
    } else {
        format!("{millis:.0}")
    }
}
