//! Seeing packets doubled, altered, overtaken and held to a rate.

use std::collections::BTreeMap;

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::Link;
use shakedown_contracts::units::{Bytes, Duration, Rate};

use super::{
    Counts, LATENESS_MS, LOOKS, Open, PATIENCE, SHARE_PROBES, SKEW_PACKETS, STANDARD_ERRORS, Seen,
    latency_by, through_the_queue, unverified,
};
use crate::faults::Unverified;
use crate::network_agent::probes::{Arrivals, LARGE_BYTES};
use crate::network_agent::traffic::Traffic;
use crate::network_agent::union::Union;

/// Probes on each link of which some must overtake others.
const OVERTAKING_PROBES: u32 = 64;
/// A narrow link is looked at for so long.
const RATE_LOOK: Duration = Duration::from_millis(150);
/// Fewest and most probes of such a look.
const RATE_PROBES: (f64, f64) = (8.0, 400.0);
/// A rate may be off by so much.
const RATE_ERROR: f64 = 0.05;

/// What befalls a share of the packets that arrive.
struct Befalling {
    /// As in "arrived twice".
    how: &'static str,
    /// Of the achieved share.
    name: &'static str,
    asked: fn(&Union) -> (f64, f64),
    seen: fn(&Arrivals) -> u32,
}

/// As many packets arrive twice as all faults together make.
pub(in super::super) fn doubled(
    host: &mut Traffic<'_>,
    links: &[Link],
) -> Result<Seen, Unverified> {
    let befalling = Befalling {
        how: "twice",
        name: "duplicate",
        asked: Union::doubled,
        seen: |arrivals| arrivals.twice,
    };
    befallen(host, links, &befalling)
}

/// As many packets arrive altered as all faults together make.
pub(in super::super) fn altered(
    host: &mut Traffic<'_>,
    links: &[Link],
) -> Result<Seen, Unverified> {
    let befalling = Befalling {
        how: "altered",
        name: "corrupt",
        asked: Union::altered,
        seen: |arrivals| arrivals.altered,
    };
    befallen(host, links, &befalling)
}

fn befallen(
    host: &mut Traffic<'_>,
    links: &[Link],
    befalling: &Befalling,
) -> Result<Seen, Unverified> {
    let open = Open::of(host, links);
    if open.links.is_empty() {
        return Ok(open.tell(Seen::default()));
    }
    let rounds = SHARE_PROBES.div_ceil(open.links.len() as u32);
    let seen = through_the_queue(host, &open, rounds)?;
    judge_share(&open.unions, &seen, befalling).map(|seen| open.tell(seen))
}

fn judge_share(
    unions: &BTreeMap<Link, Union>,
    seen: &BTreeMap<Link, Arrivals>,
    befalling: &Befalling,
) -> Result<Seen, Unverified> {
    let (mut arrived, mut met, mut expected, mut variance) = (0, 0, 0.0, 0.0);
    for (link, union) in unions {
        let arrivals = seen.get(link).cloned().unwrap_or_default();
        let (share, inflation) = (befalling.asked)(union);
        let count = f64::from(arrivals.arrived());
        arrived += arrivals.arrived();
        met += (befalling.seen)(&arrivals);
        expected += count * share;
        variance += count * share * (1.0 - share) * inflation;
    }
    // Where nothing is asked for, nothing may be seen.
    let skew = if expected > 0.0 { SKEW_PACKETS } else { 0.0 };
    let allowed = STANDARD_ERRORS * variance.sqrt() + skew;
    let how = befalling.how;
    if arrived == 0 || (f64::from(met) - expected).abs() > allowed {
        return Err(unverified(format!(
            "{met} of {arrived} probes arrived {how} where {expected:.1} are expected (allowed ± {allowed:.1})"
        )));
    }
    let percent = |count: f64| 100.0 * count / f64::from(arrived);
    Ok(Seen {
        observed: format!(
            "{met} of {arrived} probes on {} links arrived {how}",
            unions.len()
        ),
        achieved: vec![Achieved {
            name: befalling.name.to_owned(),
            requested: percent(expected),
            achieved: percent(f64::from(met)),
            unit: "%".to_owned(),
        }],
    })
}

/// Packets are as late in the mean as those that wait make it.
pub(in super::super) fn overtaking(
    host: &mut Traffic<'_>,
    links: &[Link],
) -> Result<Seen, Unverified> {
    latency_by(host, links, OVERTAKING_PROBES)
}

/// A burst takes as long as the narrowest rate on each link makes it.
pub(in super::super) fn rate(host: &mut Traffic<'_>, links: &[Link]) -> Result<Seen, Unverified> {
    let open = Open::of(host, links);
    let narrow: Vec<(Link, Narrow)> = open
        .unions
        .iter()
        .filter_map(|(link, union)| Some((link.clone(), Narrow::of(union)?)))
        .collect();
    if narrow.is_empty() {
        // Healed: what is left, if anything, is seen by how late packets are.
        return super::latency(host, links);
    }
    let mut seen = Seen::default();
    let (mut achieved, mut requested) = (0.0, 0.0);
    // One link after the other: all bursts together would wait for each other at the senders.
    for (link, narrow) in &narrow {
        let patience = PATIENCE.saturating_add(open.patience());
        let measured = narrow.in_one_of_some_looks(host, link, patience)?;
        achieved += measured;
        requested += narrow.rate.bits() as f64;
    }
    let links = narrow.len() as f64;
    let [achieved, requested] = [achieved, requested].map(|bits| bits / links / 1e3);
    seen.observed =
        format!("bursts of probes passed {links} links at {achieved:.1} kbit/s in the mean");
    seen.achieved.push(Achieved {
        name: "rate".to_owned(),
        requested,
        achieved,
        unit: "kbit/s".to_owned(),
    });
    Ok(open.tell(seen))
}

/// The narrowest of a link's rates, and by how many probes it is seen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Narrow {
    rate: Rate,
    buffer: Bytes,
    limit: Bytes,
    probes: u32,
}

impl Narrow {
    fn of(union: &Union) -> Option<Self> {
        let (rate, buffer, limit) = union.rates().min_by_key(|(rate, ..)| *rate)?;
        let buffers = union.rates().map(|(_, buffer, _)| buffer.0).max()?;
        let wanted = (buffers as f64 + rate.bytes_in(RATE_LOOK)) / LARGE_BYTES as f64;
        let fit = (buffer.0 + limit.0) / LARGE_BYTES;
        let (least, most) = RATE_PROBES;
        let probes = wanted.clamp(least + buffers as f64 / LARGE_BYTES as f64, most.max(least));
        Some(Narrow {
            rate,
            buffer: Bytes(buffers),
            limit,
            probes: (probes.ceil() as u64).min(fit).max(2) as u32,
        })
    }

    /// Bits a second, in the first look that fits.
    fn in_one_of_some_looks(
        &self,
        host: &mut Traffic<'_>,
        link: &Link,
        patience: Duration,
    ) -> Result<f64, Unverified> {
        let mut reason = String::new();
        for _ in 0..LOOKS {
            let bytes = |counts: &Counts| counts.get(link).copied().unwrap_or_default();
            let before = bytes(&host.queued()?);
            let links = [link.clone()];
            let seen = host.burst(&links, self.probes, patience)?;
            let counted = bytes(&host.queued()?).saturating_sub(before);
            let arrivals = seen.get(link).cloned().unwrap_or_default();
            match self.judge(link, &arrivals, counted) {
                Ok(bits) => return Ok(bits),
                Err(WrongRate::TooFast(reason)) => return Err(unverified(reason)),
                Err(WrongRate::TooSlow(late)) => reason = late,
            }
        }
        Err(unverified(format!("{reason}, in {LOOKS} looks")))
    }

    /// The last probe arrived neither before the bucket had tokens for the probes alone, nor after it
    /// had some for all that the kernel counted and all that may have waited before.
    fn judge(&self, link: &Link, arrivals: &Arrivals, counted: u64) -> Result<f64, WrongRate> {
        let (from, to) = (&link.from, &link.to);
        let Some(last) = arrivals.times.iter().max() else {
            let message = format!("no probe arrived from {from} to {to}");
            return Err(WrongRate::TooSlow(message));
        };
        let own = u64::from(arrivals.arrived()) * LARGE_BYTES;
        let tokens = own.saturating_sub(self.buffer.0);
        let least = self.rate.time_of(tokens).as_millis_f64() * (1.0 - RATE_ERROR);
        let foreign = counted.saturating_sub(own);
        let waited = if foreign > 0 { self.limit.0 } else { 0 };
        let most = self.rate.time_of(own + foreign + waited).as_millis_f64();
        let most = most * (1.0 + RATE_ERROR) + LATENESS_MS;
        let took = last.as_millis_f64();
        let message = format!(
            "{own} bytes from {from} to {to} took {took:.2} ms where {} allows {least:.2} to {most:.2} ms",
            self.rate
        );
        if took < least {
            return Err(WrongRate::TooFast(message));
        }
        if took > most {
            return Err(WrongRate::TooSlow(message));
        }
        // Of what passed after the bucket was empty.
        Ok(tokens as f64 * 8.0 / (took / 1e3).max(1e-9))
    }
}

/// Why a rate is not the one asked for, in words.
#[derive(Debug)]
enum WrongRate {
    /// Nothing excuses it.
    TooFast(String),
    /// As when the machine stalls.
    TooSlow(String),
}

#[cfg(test)]
mod tests;
