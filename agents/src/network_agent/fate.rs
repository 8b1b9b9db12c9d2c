//! What happens to one packet on a link under delay and loss: pure, seeded, and so testable.
//!
//! Loss is decided first, then delays add up. As in netem, a correlation of c makes each draw c
//! parts of the draw before; jitter may let packets overtake each other.

use shakedown_contracts::fault::{Delay, Distribution, Loss};
use shakedown_contracts::random::Random;
use shakedown_contracts::units::Duration;

/// Standard deviations beyond which a normal draw is cut; one in 2·10⁹ is.
const DEVIATIONS_MAX: f64 = 6.0;
/// Shape of the pareto distribution, as in netem's table: finite variance, heavy tail.
const PARETO_SHAPE: f64 = 3.0;

/// The effects on one link and the random streams of its packets.
#[derive(Debug, Clone)]
pub struct Fate {
    delays: Vec<(Delay, Correlated)>,
    losses: Vec<(Loss, Correlated)>,
}

impl Fate {
    /// The union of these effects; `link` names the link's random streams under `seed`.
    pub fn new(seed: u64, link: &str, delays: &[Delay], losses: &[Loss]) -> Self {
        let stream = |purpose: &str, number: usize, correlation: f64| Correlated {
            random: Random::keyed(seed, purpose, &format!("{link} {number}")),
            correlation,
            last: None,
        };
        let delays = delays.iter().enumerate();
        let losses = losses.iter().enumerate();
        Fate {
            delays: delays
                .map(|(n, delay)| {
                    (
                        *delay,
                        stream("packet delay", n, delay.correlation.as_f64()),
                    )
                })
                .collect(),
            losses: losses
                .map(|(n, loss)| (*loss, stream("packet loss", n, loss.correlation.as_f64())))
                .collect(),
        }
    }

    /// The next packet's added delay, or `None` when it is lost.
    pub fn next_packet(&mut self) -> Option<Duration> {
        let mut lost = false;
        for (loss, stream) in &mut self.losses {
            // Every stream draws for every packet, so that one loss does not shift another's draws.
            lost |= stream.unit() < loss.loss.as_f64();
        }
        let added = self
            .delays
            .iter_mut()
            .map(|(delay, stream)| delay_of(delay, stream));
        let added = added.fold(Duration::ZERO, Duration::saturating_add);
        (!lost).then_some(added)
    }
}

/// A stream of draws in 0..1, each partly the one before.
#[derive(Debug, Clone)]
struct Correlated {
    random: Random,
    correlation: f64,
    last: Option<f64>,
}

impl Correlated {
    fn unit(&mut self) -> f64 {
        let fresh = self.random.unit();
        let drawn = match self.last {
            Some(last) if self.correlation > 0.0 => {
                fresh * (1.0 - self.correlation) + last * self.correlation
            }
            _ => fresh,
        };
        self.last = Some(drawn);
        drawn
    }
}

fn delay_of(delay: &Delay, stream: &mut Correlated) -> Duration {
    if delay.jitter.is_zero() {
        return delay.latency;
    }
    let deviation = match delay.distribution {
        Distribution::Uniform => 2.0 * stream.unit() - 1.0,
        Distribution::Normal => normal(stream),
        Distribution::Pareto => pareto(stream.unit()),
        Distribution::Paretonormal => 0.25 * normal(stream) + 0.75 * pareto(stream.unit()),
    };
    let nanos = delay.latency.as_nanos() as f64 + deviation * delay.jitter.as_nanos() as f64;
    Duration::from_nanos(nanos.max(0.0).round() as u64)
}

/// Box–Muller; the second draw is not correlated, it only turns the first.
fn normal(stream: &mut Correlated) -> f64 {
    let radius = (-2.0 * (1.0 - stream.unit()).max(f64::MIN_POSITIVE).ln()).sqrt();
    let angle = std::f64::consts::TAU * stream.random.unit();
    (radius * angle.cos()).clamp(-DEVIATIONS_MAX, DEVIATIONS_MAX)
}

/// Mean 0 and standard deviation 1, heavy to the right.
fn pareto(unit: f64) -> f64 {
    let drawn = (1.0 - unit).max(1e-9).powf(-1.0 / PARETO_SHAPE);
    let mean = PARETO_SHAPE / (PARETO_SHAPE - 1.0);
    let variance = PARETO_SHAPE / ((PARETO_SHAPE - 1.0).powi(2) * (PARETO_SHAPE - 2.0));
    (drawn - mean) / variance.sqrt()
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::units::Ratio;

    use super::*;

    const PACKETS: usize = 20_000;

    fn delay(distribution: Distribution) -> Delay {
        Delay {
            latency: Duration::from_millis(100),
            jitter: Duration::from_millis(10),
            correlation: Ratio::default(),
            distribution,
        }
    }

    fn mean_and_deviation(distribution: Distribution) -> (f64, f64) {
        let mut fate = Fate::new(7, "n1>n2", &[delay(distribution)], &[]);
        let draws: Vec<f64> = (0..PACKETS)
            .map(|_| fate.next_packet().expect("nothing is lost").as_millis_f64())
            .collect();
        let mean = draws.iter().sum::<f64>() / PACKETS as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / PACKETS as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn every_distribution_has_the_mean_that_was_asked_for() {
        // Standard error of the mean is at most 10 ms / √20000 = 0.07 ms; five of them are allowed.
        for distribution in [
            Distribution::Uniform,
            Distribution::Normal,
            Distribution::Pareto,
            Distribution::Paretonormal,
        ] {
            let (mean, _) = mean_and_deviation(distribution);
            assert!((mean - 100.0).abs() < 0.36, "{distribution:?}: {mean}");
        }
    }

    #[test]
    fn jitter_is_half_width_of_uniform_and_standard_deviation_of_normal() {
        let (_, uniform) = mean_and_deviation(Distribution::Uniform);
        let (_, normal) = mean_and_deviation(Distribution::Normal);
        // A uniform distribution of half-width w has deviation w/√3. 3 % is over five standard
        // errors of a deviation from 20,000 draws (1/√(2·20000) = 0.5 %).
        assert!(
            (uniform / (10.0 / 3.0_f64.sqrt()) - 1.0).abs() < 0.03,
            "{uniform}"
        );
        assert!((normal / 10.0 - 1.0).abs() < 0.03, "{normal}");
    }

    #[test]
    fn losses_come_as_often_as_asked_and_add_up_as_a_union() {
        let loss = |share| Loss {
            loss: Ratio::new(share).expect("a share"),
            correlation: Ratio::default(),
        };
        for (losses, expected) in [(vec![loss(0.3)], 0.3), (vec![loss(0.5), loss(0.5)], 0.75)] {
            let mut fate = Fate::new(7, "n1>n2", &[], &losses);
            let lost = (0..PACKETS)
                .filter(|_| fate.next_packet().is_none())
                .count();
            let error = (expected * (1.0 - expected) / PACKETS as f64).sqrt();
            let share = lost as f64 / PACKETS as f64;
            assert!(
                (share - expected).abs() < 5.0 * error,
                "{share} of {expected}"
            );
        }
    }

    #[test]
    fn two_delays_on_one_link_add_up_and_equal_seeds_draw_equally() {
        let still = Delay {
            jitter: Duration::ZERO,
            ..delay(Distribution::Uniform)
        };
        let mut both = Fate::new(1, "n1>n2", &[still, still], &[]);
        assert_eq!(both.next_packet(), Some(Duration::from_millis(200)));
        let draws = |seed| {
            let mut fate = Fate::new(seed, "n1>n2", &[delay(Distribution::Normal)], &[]);
            [fate.next_packet(), fate.next_packet()]
        };
        assert_eq!(draws(3), draws(3));
        assert_ne!(draws(3), draws(4));
    }
}
