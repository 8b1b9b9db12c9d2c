//! Slow links: every packet arrives later, by latency and jitter.
//!
//! Proof: probes on each link before and after; the mean one-way time must have grown by the latency
//! that was asked for, within what the jitter's own scatter and the machine's scheduling explain.

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::{Delay, FaultId, Link, LinkEffect};
use shakedown_contracts::units::Duration;

use super::{PROBE_PATIENCE, alone, heal_and_confirm, observation, unverified};
use crate::faults::{Fault, Observation, Unverified};
use crate::network_agent::links::{Links, LinksError};
use crate::network_agent::probes::Arrivals;

/// Probes on all links together at least, so that jitter averages out.
const PROBES: u32 = 32;
/// Standard errors of the mean that are allowed: beyond four, chance explains one in 15,000.
const STANDARD_ERRORS: f64 = 4.0;
/// A busy machine may fetch packets this much late without the fault being wrong.
const SCHEDULING_ALLOWANCE_MS: f64 = 5.0;

/// The fault.
pub(super) struct Slow {
    pub(super) id: FaultId,
    pub(super) links: Vec<Link>,
    pub(super) delay: Delay,
    /// Mean one-way time before the fault.
    pub(super) usual: Option<Duration>,
}

impl Slow {
    fn confirm(&self, host: &mut Links) -> Result<(String, Vec<Achieved>), Unverified> {
        let free = alone(host, &self.links, &self.id);
        if free.is_empty() {
            let observed = "all links are under other faults too; counted in the union".to_owned();
            return Ok((observed, Vec::new()));
        }
        let rounds = PROBES.div_ceil(free.len() as u32);
        let longest = self.delay.latency.saturating_add(Duration::from_nanos(
            self.delay.jitter.as_nanos().saturating_mul(6),
        ));
        let patience = longest.saturating_add(PROBE_PATIENCE);
        let wires = &host.topology.wires;
        let seen = host
            .prober
            .exchange(wires, &free, rounds, patience)
            .map_err(LinksError::from)?;
        self.judge(&seen.into_values().collect::<Vec<_>>())
    }

    fn judge(&self, seen: &[Arrivals]) -> Result<(String, Vec<Achieved>), Unverified> {
        let times: Vec<f64> = seen
            .iter()
            .flat_map(|a| &a.times)
            .map(|time| time.as_millis_f64())
            .collect();
        let sent: u32 = seen.iter().map(|arrivals| arrivals.sent).sum();
        let all = Arrivals {
            sent,
            times: seen.iter().flat_map(|a| a.times.clone()).collect(),
        };
        let Some(mean) = all.mean() else {
            return Err(unverified("no probe arrived on the slow links".to_owned()));
        };
        let usual = self.usual.unwrap_or_default();
        let (mean, requested) = (
            mean.saturating_sub(usual).as_millis_f64(),
            self.delay.latency.as_millis_f64(),
        );
        let scatter = self.delay.jitter.as_millis_f64() / (times.len() as f64).sqrt();
        let allowed = STANDARD_ERRORS * scatter + SCHEDULING_ALLOWANCE_MS;
        // A jitter wider than the latency is cut at zero, which raises the mean: the lower bound
        // holds, the upper does not.
        let cut_at_zero = self.delay.jitter > self.delay.latency;
        if requested - mean > allowed || (mean - requested > allowed && !cut_at_zero) {
            return Err(unverified(format!(
                "probes were delayed by {mean:.2} ms in the mean where {requested:.2} ms was asked for (allowed ± {allowed:.2} ms)"
            )));
        }
        let observed = format!(
            "{} of {sent} probes arrived, {mean:.2} ms later than before in the mean",
            times.len()
        );
        let achieved = Achieved {
            name: "latency".to_owned(),
            requested,
            achieved: mean,
            unit: "ms".to_owned(),
        };
        Ok((observed, vec![achieved]))
    }
}

impl Fault<Links> for Slow {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        let free = alone(host, &self.links, &self.id);
        let wires = &host.topology.wires;
        let before = host
            .prober
            .exchange(wires, &free, 3, PROBE_PATIENCE)
            .map_err(LinksError::from)?;
        self.usual = before.values().filter_map(Arrivals::mean).min();
        let at = host.apply(&self.id, &self.links, LinkEffect::Delay(self.delay))?;
        match self.confirm(host) {
            Ok((observed, achieved)) => {
                Ok(observation(at, host.slow_mechanism(), observed, achieved))
            }
            Err(unverified) => {
                host.withdraw(&self.id)?;
                Err(unverified)
            }
        }
    }

    fn heal(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        let mechanism = host.slow_mechanism();
        let healed = heal_and_confirm(host, &self.id, &self.links, &mechanism)?;
        Ok(healed)
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::fault::Distribution;
    use shakedown_contracts::units::Ratio;

    use super::*;

    fn slow() -> Slow {
        Slow {
            id: FaultId {
                fault: "slow".to_owned(),
                occurrence: 0,
            },
            links: Vec::new(),
            delay: Delay {
                latency: Duration::from_millis(50),
                jitter: Duration::from_millis(8),
                correlation: Ratio::default(),
                distribution: Distribution::Uniform,
            },
            usual: Some(Duration::from_micros(30)),
        }
    }

    fn arrivals(milliseconds: u64) -> Vec<Arrivals> {
        vec![Arrivals {
            sent: 16,
            times: vec![Duration::from_millis(milliseconds); 16],
        }]
    }

    #[test]
    fn a_delay_that_was_not_achieved_is_not_verified() {
        assert!(slow().judge(&arrivals(50)).is_ok());
        // Allowed are 4 × 8 / √16 + 5 = 13 ms.
        for wrong in [0, 36, 64, 500] {
            assert!(slow().judge(&arrivals(wrong)).is_err(), "{wrong} ms");
        }
        assert!(
            slow()
                .judge(&[Arrivals {
                    sent: 16,
                    times: Vec::new()
                }])
                .is_err()
        );
    }
}
