//! What several effects on one link come to, and what probes must show of it: pure.
//!
//! A cut beats delay and loss, silence beats a refusal, losses are independent, delays add up. The
//! expectations here are what a verification judges by, so they say how much chance alone explains.

use shakedown_contracts::fate::{DEVIATIONS_MAX, deviation, with_deviation};
use shakedown_contracts::fault::{CutBehavior, Delay, LinkEffect, Loss};
use shakedown_contracts::packet_fault::PacketFault;
use shakedown_contracts::ports::Ports;
use shakedown_contracts::random::Random;
use shakedown_contracts::units::{Bytes, Duration, Rate, Ratio};

/// Draws that tell the mean of a delay that is cut at zero, to 1/√4096 of its jitter.
const MEAN_DRAWS: u32 = 4096;
/// Beyond this correlation draws hardly ever change, and no number of probes would tell.
const CORRELATION_MAX: f64 = 0.99;
/// Of the bits of a probe behind its IP header (264 bytes), those of its destination port, length
/// and checksum, most of which lose it when they are flipped.
const FATAL_BITS: f64 = 5.0 / 264.0;
/// Nothing on a link is longer.
const PACKET_BYTES_MAX: u64 = 65_535;

/// An effect on a link, and the packets that it meets.
#[derive(Debug, Clone, PartialEq)]
pub struct Laid {
    /// What happens.
    pub effect: LinkEffect,
    /// To which packets.
    pub ports: Ports,
}

/// All effects on packets of a link that have the same ports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Union {
    /// The stronger of the cuts.
    pub cut: Option<CutBehavior>,
    delays: Vec<Delay>,
    losses: Vec<Loss>,
    packets: Vec<PacketFault>,
}

impl Union {
    /// Of these.
    pub fn of<'a>(effects: impl IntoIterator<Item = &'a LinkEffect>) -> Self {
        let mut union = Union::default();
        for effect in effects {
            match effect {
                LinkEffect::Cut(CutBehavior::Drop) => union.cut = Some(CutBehavior::Drop),
                LinkEffect::Cut(CutBehavior::Reject) => {
                    union.cut.get_or_insert(CutBehavior::Reject);
                }
                LinkEffect::Delay(delay) => union.delays.push(*delay),
                LinkEffect::Loss(loss) => union.losses.push(*loss),
                LinkEffect::Packets(fault) => union.packets.push(*fault),
                LinkEffect::Reset => {}
            }
        }
        union
    }

    /// Whether packets go through the agent (once the link is not cut).
    pub fn is_slow(&self) -> bool {
        !(self.delays.is_empty() && self.losses.is_empty() && self.packets.is_empty())
    }

    /// Whether all packets are later by the same, and nothing else happens to them.
    pub fn is_late_alone(&self) -> bool {
        let same = self.delays.iter().all(|delay| delay.jitter.is_zero());
        same && !self.delays.is_empty() && self.losses.is_empty() && self.packets.is_empty()
    }

    /// Whether the link is slow by how much is sent over it, so that a delay has no fixed mean.
    pub fn is_narrow(&self) -> bool {
        self.rates().next().is_some()
    }

    /// Rate and buffer of each narrowness.
    pub fn rates(&self) -> impl Iterator<Item = (Rate, Bytes, Bytes)> {
        self.packets.iter().filter_map(|fault| match fault {
            PacketFault::Bandwidth {
                rate,
                buffer,
                limit,
            } => Some((*rate, *buffer, *limit)),
            _ => None,
        })
    }

    /// Share of packets lost at random.
    pub fn lost_share(&self) -> f64 {
        let passes = self.losses.iter().map(|loss| 1.0 - loss.loss.as_f64());
        // A bit flipped in certain fields of the UDP header loses a probe.
        let altered = self.altered().0 * FATAL_BITS;
        1.0 - passes.product::<f64>() * (1.0 - altered)
    }

    /// How much larger correlation makes the variance of a share or a mean.
    fn inflation(correlations: impl Iterator<Item = f64>) -> f64 {
        let largest = correlations.fold(0.0, f64::max).min(CORRELATION_MAX);
        (1.0 + largest) / (1.0 - largest)
    }

    /// Variance of the number lost of `sent` packets.
    pub fn lost_variance(&self, sent: u32) -> f64 {
        let share = self.lost_share();
        let correlations = self.losses.iter().map(|loss| loss.correlation.as_f64());
        let independent = f64::from(sent) * share * (1.0 - share) * Self::inflation(correlations);
        let bursts = self.losses.iter().filter_map(|loss| loss.bursts);
        independent.max(bursts.map(|bursts| bursts.lost_variance(sent)).sum())
    }

    /// Share of arriving packets that arrive twice, and how many times more correlation makes its
    /// variance.
    pub fn doubled(&self) -> (f64, f64) {
        self.befallen(|fault| match fault {
            PacketFault::Duplicate {
                duplicate,
                correlation,
            } => Some((*duplicate, *correlation)),
            _ => None,
        })
    }

    /// The same of packets that arrive altered.
    pub fn altered(&self) -> (f64, f64) {
        self.befallen(|fault| match fault {
            PacketFault::Corrupt {
                corrupt,
                correlation,
            } => Some((*corrupt, *correlation)),
            _ => None,
        })
    }

    fn befallen(&self, by: impl Fn(&PacketFault) -> Option<(Ratio, Ratio)>) -> (f64, f64) {
        let met: Vec<(Ratio, Ratio)> = self.packets.iter().filter_map(by).collect();
        let spared: f64 = met.iter().map(|(share, _)| 1.0 - share.as_f64()).product();
        let correlations = met.iter().map(|(_, correlation)| correlation.as_f64());
        (1.0 - spared, Self::inflation(correlations))
    }

    /// Waits of packets that others overtake, and the share that waits so.
    fn waits(&self) -> impl Iterator<Item = (f64, f64)> {
        self.packets.iter().filter_map(|fault| match fault {
            PacketFault::Reorder { latency, .. } => {
                Some((latency.as_millis_f64(), 1.0 - fault.share()))
            }
            _ => None,
        })
    }

    /// Mean added delay.
    pub fn mean_ms(&self) -> f64 {
        let waits = self.waits().map(|(wait, share)| wait * share);
        self.delays.iter().map(mean_ms).sum::<f64>() + waits.sum::<f64>()
    }

    /// Standard error of the mean delay of `count` packets. Jitter is the largest standard deviation
    /// of any of the distributions.
    pub fn mean_error_ms(&self, count: usize) -> f64 {
        let jitters = self.delays.iter().map(|delay| delay.jitter);
        let jitters = jitters.map(|jitter| jitter.as_millis_f64().powi(2));
        let waits = self.waits();
        let waits = waits.map(|(wait, share)| wait.powi(2) * share * (1.0 - share));
        let variance: f64 = jitters.chain(waits).sum();
        let delays = self.delays.iter().map(|delay| delay.correlation);
        let reorders = self.packets.iter().filter_map(|fault| match fault {
            PacketFault::Reorder { correlation, .. } => Some(*correlation),
            _ => None,
        });
        let correlations = delays.chain(reorders).map(Ratio::as_f64);
        (variance * Self::inflation(correlations) / count.max(1) as f64).sqrt()
    }

    /// No packet is delayed longer.
    pub fn longest(&self) -> Duration {
        let delays = self
            .delays
            .iter()
            .map(|delay| with_deviation(delay, DEVIATIONS_MAX));
        let waits = self.packets.iter().map(|fault| match fault {
            PacketFault::Reorder { latency, .. } => *latency,
            PacketFault::Bandwidth { rate, limit, .. } => rate.time_of(limit.0 + PACKET_BYTES_MAX),
            PacketFault::Duplicate { .. } | PacketFault::Corrupt { .. } => Duration::ZERO,
        });
        delays
            .chain(waits)
            .fold(Duration::ZERO, Duration::saturating_add)
    }
}

fn mean_ms(delay: &Delay) -> f64 {
    if delay.jitter.is_zero() {
        return delay.latency.as_millis_f64();
    }
    let mut random = Random::keyed(0, "mean of a delay", "");
    let latency = delay.latency.as_millis_f64();
    let cut_off = (0..MEAN_DRAWS).map(|_| {
        let deviation = deviation(delay.distribution, &mut random);
        // What the cut at zero adds to a draw; deviations themselves have mean 0.
        (-latency - deviation * delay.jitter.as_millis_f64()).max(0.0)
    });
    latency + cut_off.sum::<f64>() / f64::from(MEAN_DRAWS)
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::fault::Distribution;

    use super::*;

    fn loss(share: f64, correlation: f64) -> LinkEffect {
        LinkEffect::Loss(Loss {
            loss: Ratio::new(share).expect("a share"),
            correlation: Ratio::new(correlation).expect("a share"),
            bursts: None,
        })
    }

    fn delay(latency_ms: u64, jitter_ms: u64) -> LinkEffect {
        LinkEffect::Delay(Delay {
            latency: Duration::from_millis(latency_ms),
            jitter: Duration::from_millis(jitter_ms),
            correlation: Ratio::default(),
            distribution: Distribution::Normal,
        })
    }

    #[test]
    fn silence_beats_a_refusal_in_either_order_and_a_refusal_beats_the_rest() {
        let drop = LinkEffect::Cut(CutBehavior::Drop);
        let reject = LinkEffect::Cut(CutBehavior::Reject);
        assert_eq!(Union::of([&drop, &reject]).cut, Some(CutBehavior::Drop));
        assert_eq!(Union::of([&reject, &drop]).cut, Some(CutBehavior::Drop));
        let refused = Union::of([&loss(0.5, 0.0), &reject]);
        assert_eq!(refused.cut, Some(CutBehavior::Reject));
        assert!(refused.is_slow());
        assert_eq!(Union::of([]), Union::default());
    }

    #[test]
    fn losses_are_independent_and_delays_add_up() {
        let union = Union::of([
            &loss(0.5, 0.0),
            &loss(0.5, 0.0),
            &delay(20, 0),
            &delay(5, 0),
        ]);
        assert!((union.lost_share() - 0.75).abs() < 1e-12);
        assert!((union.mean_ms() - 25.0).abs() < 1e-12);
        assert_eq!(union.longest(), Duration::from_millis(25));
        assert_eq!(union.mean_error_ms(16), 0.0);
    }

    #[test]
    fn a_delay_cut_at_zero_has_a_larger_mean_and_an_uncut_one_its_own() {
        // Half-normal: σ/√(2π) = 4 ms at jitter 10 ms; the draws tell it to 0.1 ms.
        assert!((Union::of([&delay(0, 10)]).mean_ms() - 3.99).abs() < 0.4);
        assert_eq!(Union::of([&delay(100, 10)]).mean_ms(), 100.0);
    }

    #[test]
    fn correlated_probes_tell_less() {
        let (plain, correlated) = (Union::of([&loss(0.5, 0.0)]), Union::of([&loss(0.5, 0.5)]));
        assert!((plain.lost_variance(100) - 25.0).abs() < 1e-9);
        assert!((correlated.lost_variance(100) - 75.0).abs() < 1e-9);
    }
}
