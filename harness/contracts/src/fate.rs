//! What happens to one packet on a link under delay and loss: pure, seeded, and so testable.
//!
//! Here is what a [`Delay`]'s jitter and distribution and a [`Loss`](crate::fault::Loss)'s share
//! mean, once for everything that carries packets: the network agent, which holds real ones, and
//! the simulator.
//!
//! Loss is decided first, then delays add up. With a correlation of c a packet repeats the draw of
//! the packet before with probability c, and draws anew otherwise. So the share lost and the shape
//! of the jitter stay exactly those that were asked for, and the autocorrelation at distance k is
//! cᵏ; netem's weighted sum of both draws would shrink the jitter and shift the share.

use std::collections::BTreeMap;

use crate::fault::{Delay, Distribution, FaultId, LinkEffect};
use crate::random::Random;
use crate::units::Duration;

/// Standard deviations beyond which a draw is cut, so that every wait has a limit: normal draws get
/// there once in 5·10⁸, the heavier tails once in 300.
pub const DEVIATIONS_MAX: f64 = 6.0;
/// Shape of the pareto distribution, as in netem's table: finite variance, heavy tail.
const PARETO_SHAPE: f64 = 3.0;

/// What one fault adds to a packet's way; `stream` tells whether the fault is still there later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Number of the fault's stream on this link.
    pub stream: u64,
    /// Added by it.
    pub added: Duration,
}

/// The effects on one link and the random streams of its packets.
#[derive(Debug, Clone, Default)]
pub struct Fate {
    streams: BTreeMap<FaultId, Stream>,
    made: u64,
}

impl Fate {
    /// Makes these the effects on the link. A fault that stays keeps its place in its stream, so
    /// that another's coming and going changes none of its draws.
    pub fn set(&mut self, seed: u64, link: &str, effects: &BTreeMap<FaultId, LinkEffect>) {
        self.streams
            .retain(|id, stream| effects.get(id) == Some(&stream.effect));
        for (id, effect) in effects {
            if !self.streams.contains_key(id) {
                self.made += 1;
                let random = Random::keyed(seed, &format!("packets under {id}"), link);
                let stream = Stream {
                    number: self.made,
                    effect: *effect,
                    random,
                    last: None,
                };
                self.streams.insert(id.clone(), stream);
            }
        }
    }

    /// Whether the fault that drew a part is still in effect here.
    pub fn has(&self, part: &Part) -> bool {
        self.streams
            .values()
            .any(|stream| stream.number == part.stream)
    }

    /// The next packet's added delays, or `None` when it is lost.
    pub fn next_packet(&mut self) -> Option<Vec<Part>> {
        let mut lost = false;
        let mut parts = Vec::new();
        // Every stream draws for every packet, so that one fault does not shift another's draws.
        for stream in self.streams.values_mut() {
            match stream.effect {
                LinkEffect::Loss(loss) => {
                    let draw = stream.next(loss.correlation.as_f64(), Random::unit);
                    lost |= draw < loss.loss.as_f64();
                }
                LinkEffect::Delay(delay) => {
                    let draw = stream.next(delay.correlation.as_f64(), |random| {
                        deviation(delay.distribution, random)
                    });
                    let added = with_deviation(&delay, draw);
                    let stream = stream.number;
                    parts.push(Part { stream, added });
                }
                LinkEffect::Cut(_) => {}
            }
        }
        (!lost).then_some(parts)
    }
}

#[derive(Debug, Clone)]
struct Stream {
    number: u64,
    effect: LinkEffect,
    random: Random,
    last: Option<f64>,
}

impl Stream {
    fn next(&mut self, correlation: f64, draw: impl FnOnce(&mut Random) -> f64) -> f64 {
        let repeats = self.random.chance(correlation);
        let drawn = match self.last {
            Some(last) if repeats => last,
            _ => draw(&mut self.random),
        };
        self.last = Some(drawn);
        drawn
    }
}

/// A draw of the distribution in units of the jitter, with mean 0.
pub fn deviation(distribution: Distribution, random: &mut Random) -> f64 {
    let drawn = match distribution {
        Distribution::Uniform => 2.0 * random.unit() - 1.0,
        Distribution::Normal => normal(random),
        Distribution::Pareto => pareto(random),
        Distribution::Paretonormal => 0.25 * normal(random) + 0.75 * pareto(random),
    };
    drawn.clamp(-DEVIATIONS_MAX, DEVIATIONS_MAX)
}

/// The delay at a deviation; never below zero.
pub fn with_deviation(delay: &Delay, deviation: f64) -> Duration {
    let nanos = delay.latency.as_nanos() as f64 + deviation * delay.jitter.as_nanos() as f64;
    Duration::from_nanos(nanos.max(0.0).round() as u64)
}

/// Box–Muller, of which one of the two draws is used.
fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.unit()).max(f64::MIN_POSITIVE).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.unit()).cos()
}

/// Mean 0 and standard deviation 1, heavy to the right.
fn pareto(random: &mut Random) -> f64 {
    let drawn = (1.0 - random.unit()).powf(-1.0 / PARETO_SHAPE);
    let mean = PARETO_SHAPE / (PARETO_SHAPE - 1.0);
    let variance = PARETO_SHAPE / ((PARETO_SHAPE - 1.0).powi(2) * (PARETO_SHAPE - 2.0));
    (drawn - mean) / variance.sqrt()
}

#[cfg(test)]
mod tests;
