//! Lossy links: packets are lost at random.
//!
//! Proof: a burst of probes; the share that is lost must be the one that was asked for, within four
//! standard errors of a binomial draw.

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::{FaultId, Link, LinkEffect, Loss};

use super::{PROBE_PATIENCE, alone, heal_and_confirm, observation, unverified};
use crate::faults::{Fault, Observation, Unverified};
use crate::network_agent::links::{Links, LinksError};

/// Probes on all links together: at 5 % asked for, four standard errors are 3.6 %, so that a fault
/// that does nothing is found.
const PROBES: u32 = 600;
/// Beyond four standard errors chance explains one in 15,000.
const STANDARD_ERRORS: f64 = 4.0;

/// The fault.
pub(super) struct Lossy {
    pub(super) id: FaultId,
    pub(super) links: Vec<Link>,
    pub(super) loss: Loss,
}

impl Lossy {
    fn confirm(&self, host: &mut Links) -> Result<(String, Vec<Achieved>), Unverified> {
        let free = alone(host, &self.links, &self.id);
        if free.is_empty() {
            let observed = "all links are under other faults too; counted in the union".to_owned();
            return Ok((observed, Vec::new()));
        }
        let rounds = PROBES.div_ceil(free.len() as u32);
        let wires = &host.topology.wires;
        let seen = host
            .prober
            .exchange(wires, &free, rounds, PROBE_PATIENCE)
            .map_err(LinksError::from)?;
        let sent: u32 = seen.values().map(|arrivals| arrivals.sent).sum();
        let arrived: usize = seen.values().map(|arrivals| arrivals.times.len()).sum();
        self.judge(sent, sent - arrived as u32)
    }

    fn judge(&self, sent: u32, lost: u32) -> Result<(String, Vec<Achieved>), Unverified> {
        let requested = self.loss.loss.as_f64();
        let share = f64::from(lost) / f64::from(sent.max(1));
        // Correlated draws carry less information each; the effective number shrinks by this.
        let correlation = self.loss.correlation.as_f64().min(0.99);
        let independent = f64::from(sent) * (1.0 - correlation) / (1.0 + correlation);
        let error = (requested * (1.0 - requested) / independent).sqrt();
        // Averaged uniform draws bunch in the middle: with correlation the share itself moves.
        let allowed = STANDARD_ERRORS * error + correlation;
        if (share - requested).abs() > allowed {
            return Err(unverified(format!(
                "{lost} of {sent} probes were lost ({:.1} %) where {} was asked for (allowed ± {:.1} %)",
                share * 100.0,
                self.loss.loss,
                allowed * 100.0
            )));
        }
        let achieved = Achieved {
            name: "loss".to_owned(),
            requested: requested * 100.0,
            achieved: share * 100.0,
            unit: "%".to_owned(),
        };
        Ok((format!("{lost} of {sent} probes were lost"), vec![achieved]))
    }
}

impl Fault<Links> for Lossy {
    fn inject(&mut self, host: &mut Links) -> Result<Observation, Unverified> {
        let at = host.apply(&self.id, &self.links, LinkEffect::Loss(self.loss))?;
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
        heal_and_confirm(host, &self.id, &self.links, &mechanism)
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::units::Ratio;

    use super::*;

    #[test]
    fn a_loss_that_was_not_achieved_is_not_verified() {
        let lossy = Lossy {
            id: FaultId {
                fault: "lossy".to_owned(),
                occurrence: 0,
            },
            links: Vec::new(),
            loss: Loss {
                loss: Ratio::new(0.05).expect("a share"),
                correlation: Ratio::default(),
            },
        };
        assert!(lossy.judge(600, 30).is_ok());
        assert!(lossy.judge(600, 20).is_ok());
        for lost in [0, 5, 60, 600] {
            assert!(lossy.judge(600, lost).is_err(), "{lost} of 600");
        }
    }
}
