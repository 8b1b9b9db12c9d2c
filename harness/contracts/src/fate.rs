//! What happens to one packet on a link under faults: pure, seeded, and so testable.
//!
//! Here is what a [`Delay`]'s jitter and distribution, a [`Loss`]'s share and a [`PacketFault`] mean,
//! once for everything that carries packets: the network agent, which holds real ones, and the
//! simulator.
//!
//! Loss is decided first, then delays add up. With a correlation of c a packet repeats the draw of
//! the packet before with probability c, and draws anew otherwise. So the share lost and the shape
//! of the jitter stay exactly those that were asked for, and the autocorrelation at distance k is
//! cᵏ; netem's weighted sum of both draws would shrink the jitter and shift the share.

use std::collections::BTreeMap;

use crate::fault::{Delay, Distribution, FaultId, LinkEffect, Loss};
use crate::packet_fault::PacketFault;
use crate::random::Random;
use crate::time::Moment;
use crate::units::{Duration, Ratio};

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

/// How a packet that is not lost goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passing {
    /// What is added to its way.
    pub parts: Vec<Part>,
    /// It arrives twice.
    pub twice: bool,
    /// Flipped: the bit at this number, modulo the bits there are.
    pub flipped: Option<u64>,
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
                let stream = Stream::new(self.made, *effect, random);
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

    /// How the next packet goes on, which comes at `now` and is so many bytes long; `None` when it
    /// is lost.
    pub fn next_packet(&mut self, now: Moment, bytes: u64) -> Option<Passing> {
        self.next_packet_met_by(now, bytes, |_| true)
    }

    /// The same of a packet that only some of the faults meet. The others do not draw: their
    /// bursts, gaps and buffers are made of what they meet.
    pub fn next_packet_met_by(
        &mut self,
        now: Moment,
        bytes: u64,
        meets: impl Fn(&FaultId) -> bool,
    ) -> Option<Passing> {
        let mut lost = false;
        let mut passing = Passing::default();
        // Every stream draws for every packet it meets, so that one fault does not shift another's
        // draws.
        for (_, stream) in self.streams.iter_mut().filter(|(id, _)| meets(id)) {
            match stream.effect {
                LinkEffect::Loss(loss) => lost |= stream.loses(&loss),
                LinkEffect::Delay(delay) => {
                    let draw = stream.next(delay.correlation.as_f64(), |random| {
                        deviation(delay.distribution, random)
                    });
                    passing.add(stream.number, with_deviation(&delay, draw));
                }
                LinkEffect::Packets(fault) => lost |= !stream.meet(fault, now, bytes, &mut passing),
                LinkEffect::Cut(_) | LinkEffect::Reset => {}
            }
        }
        (!lost).then_some(passing)
    }
}

impl Passing {
    fn add(&mut self, stream: u64, added: Duration) {
        self.parts.push(Part { stream, added });
    }
}

#[derive(Debug, Clone)]
struct Stream {
    number: u64,
    effect: LinkEffect,
    random: Random,
    last: Option<f64>,
    /// Of a link with bursts: it is bad.
    bad: bool,
    /// Packets since one overtook others.
    since: u32,
    /// Of a narrow link: until then it is busy with what came so far.
    busy_until: Moment,
}

impl Stream {
    fn new(number: u64, effect: LinkEffect, random: Random) -> Self {
        Stream {
            number,
            effect,
            random,
            last: None,
            bad: false,
            since: 0,
            busy_until: Moment(0),
        }
    }

    fn next(&mut self, correlation: f64, draw: impl FnOnce(&mut Random) -> f64) -> f64 {
        let repeats = self.random.chance(correlation);
        let drawn = match self.last {
            Some(last) if repeats => last,
            _ => draw(&mut self.random),
        };
        self.last = Some(drawn);
        drawn
    }

    fn befalls(&mut self, share: Ratio, correlation: Ratio) -> bool {
        self.next(correlation.as_f64(), Random::unit) < share.as_f64()
    }

    fn loses(&mut self, loss: &Loss) -> bool {
        let Some(bursts) = loss.bursts else {
            return self.befalls(loss.loss, loss.correlation);
        };
        let turns = if self.bad { bursts.r } else { bursts.p };
        self.bad ^= self.random.unit() < turns.as_f64();
        let share = if self.bad {
            bursts.bad_loss
        } else {
            bursts.good_loss
        };
        self.random.unit() < share.as_f64()
    }

    /// False when the packet is lost.
    fn meet(&mut self, fault: PacketFault, now: Moment, bytes: u64, passing: &mut Passing) -> bool {
        match fault {
            PacketFault::Duplicate {
                duplicate,
                correlation,
            } => passing.twice |= self.befalls(duplicate, correlation),
            PacketFault::Corrupt {
                corrupt,
                correlation,
            } => {
                let befalls = self.befalls(corrupt, correlation);
                let bit = self.random.below(u64::from(u32::MAX));
                passing.flipped = passing.flipped.or(befalls.then_some(bit));
            }
            PacketFault::Reorder {
                latency,
                reorder,
                correlation,
                gap,
            } => {
                let candidate = self.since >= gap.saturating_sub(1);
                if candidate && self.befalls(reorder, correlation) {
                    self.since = 0;
                } else {
                    self.since = self.since.saturating_add(1);
                    passing.add(self.number, latency);
                }
            }
            PacketFault::Bandwidth {
                rate,
                buffer,
                limit,
            } => {
                // A link that was idle has saved up at most `buffer` bytes.
                let credit = rate.time_of(buffer.0);
                let earliest = Moment(now.0.saturating_sub(credit.as_nanos()));
                let begins = self.busy_until.max(earliest);
                if rate.bytes_in(begins.since(now)) > limit.0 as f64 {
                    return false;
                }
                self.busy_until = begins.after(rate.time_of(bytes));
                passing.add(self.number, self.busy_until.since(now));
            }
        }
        true
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
