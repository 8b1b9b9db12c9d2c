//! Seeing what links do, by probes, against what all faults on them come to.
//!
//! A link is judged by the union of its effects, not by one fault: so the same look confirms an
//! injection, and a heal under which other faults go on. Where a cut hides the rest, that is said
//! and nothing is claimed. Judgements are pure functions of what was seen.

pub(super) mod packets;

use std::collections::BTreeMap;

use shakedown_contracts::event::{Achieved, Evidence};
use shakedown_contracts::fault::{FaultId, Link};
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

use super::queued::Look;
use crate::faults::{Observation, Unverified};
use crate::network_agent::links::{Links, LinksError, Scope};
use crate::network_agent::probes::{Arrivals, PROBE_BYTES};
use crate::network_agent::traffic::Traffic;
use crate::network_agent::union::Union;

/// A probe over a healthy link takes tens of microseconds; a busy machine gets this long before a
/// missing one counts as lost.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
/// Standard errors that are allowed: beyond four, chance explains one in 15,000.
const STANDARD_ERRORS: f64 = 4.0;
/// Held packets go on up to this much late on a busy machine: scheduling, not a wrong delay.
const LATENESS_MS: f64 = 2.0;
/// Nothing makes a packet early but the clocks' own steps.
const EARLINESS_MS: f64 = 0.1;
/// Probes for a mean on each link: four standard errors are then one jitter.
const MEAN_PROBES: u32 = 16;
/// Looks at latency, of which one must fit. A stall of the machine makes the packets of one look
/// late, a wrong delay those of every look.
const LOOKS: u32 = 5;
/// Probes for a share on all links together: at 5 % asked for, four standard errors are 3.6 %.
const SHARE_PROBES: u32 = 600;
/// Rare losses are skewed: four standard errors and three packets hold for any share.
const SKEW_PACKETS: f64 = 3.0;
/// A link that may not show by chance this rarely is sent enough probes to show.
const CHANCE_OF_NONE: f64 = 1e-9;
/// Most probes sent on one link to get one through.
const PROBES_MAX: u32 = 600;

impl From<LinksError> for Unverified {
    fn from(error: LinksError) -> Self {
        let reason = error.to_string();
        Unverified { reason }
    }
}

pub(super) fn unverified(reason: String) -> Unverified {
    Unverified { reason }
}

/// What was seen.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub observed: String,
    pub achieved: Vec<Achieved>,
}

impl Seen {
    /// Of each port, and of the rest. What was achieved is the mean over the ports.
    fn together(of_ports: Vec<(u16, Seen)>, rest: Seen) -> Self {
        let mut achieved: Vec<Achieved> = Vec::new();
        let share = 1.0 / of_ports.len() as f64;
        for one in of_ports.iter().flat_map(|(_, seen)| &seen.achieved) {
            let (requested, measured) = (one.requested * share, one.achieved * share);
            match achieved.iter_mut().find(|sum| sum.name == one.name) {
                Some(sum) => {
                    sum.requested += requested;
                    sum.achieved += measured;
                }
                None => achieved.push(Achieved {
                    requested,
                    achieved: measured,
                    ..one.clone()
                }),
            }
        }
        let parts = of_ports
            .into_iter()
            .map(|(port, seen)| format!("port {port}: {}", seen.observed));
        let rest = format!("other ports: {}", rest.observed);
        let observed: Vec<String> = parts.chain([rest]).collect();
        Seen {
            observed: observed.join("; "),
            achieved,
        }
    }

    pub fn into_observation(self, at: Bracket, mechanism: String) -> Observation {
        let evidence = Evidence {
            mechanism,
            observed: self.observed,
            achieved: self.achieved,
        };
        Observation { at, evidence }
    }
}

/// Looks at the traffic of each port that a fault names, and then at the rest of its links, which must
/// be as if the fault were not there; where it names none, at all traffic.
pub(super) fn by_ports(
    host: &mut Links,
    scope: &Scope,
    look: Look,
    look_at_rest: Look,
) -> Result<Seen, Unverified> {
    if scope.ports.is_all() {
        return look(&mut host.traffic(None), &scope.links);
    }
    let mut of_ports = Vec::new();
    for port in scope.ports.iter() {
        let seen = look(&mut host.traffic(Some(port)), &scope.links);
        let seen = seen.map_err(|error| unverified(format!("port {port}: {}", error.reason)))?;
        of_ports.push((port, seen));
    }
    let rest = look_at_rest(&mut host.traffic(None), &scope.links)
        .map_err(|error| unverified(format!("other ports: {}", error.reason)))?;
    Ok(Seen::together(of_ports, rest))
}

/// Links whose packets can be seen, with what is expected on them.
struct Open {
    links: Vec<Link>,
    unions: BTreeMap<Link, Union>,
    hidden: usize,
}

impl Open {
    /// Those not cut and not wholly lossy.
    fn of(host: &Traffic<'_>, links: &[Link]) -> Self {
        let unions = links.iter().map(|link| (link.clone(), host.union(link)));
        let (open, hidden): (BTreeMap<_, _>, BTreeMap<_, _>) =
            unions.partition(|(_, union)| union.cut.is_none() && union.lost_share() < 1.0);
        Open {
            links: open.keys().cloned().collect(),
            unions: open,
            hidden: hidden.len(),
        }
    }

    fn patience(&self) -> Duration {
        let longest = self.unions.values().map(Union::longest).max();
        PATIENCE.saturating_add(longest.unwrap_or_default())
    }

    /// Says how many links could not be seen.
    fn tell(&self, mut seen: Seen) -> Seen {
        if self.hidden > 0 {
            let hidden = self.hidden;
            let note = format!("{hidden} links show nothing, since other faults stop all packets");
            if !seen.observed.is_empty() {
                seen.observed.push_str("; ");
            }
            seen.observed.push_str(&note);
        }
        seen
    }
}

/// Packets arrive wherever no other fault stops them all.
pub(super) fn arrivals(host: &mut Traffic<'_>, links: &[Link]) -> Result<Seen, Unverified> {
    let open = Open::of(host, links);
    if open.links.is_empty() {
        return Ok(open.tell(Seen::default()));
    }
    let worst = open.unions.values().map(Union::lost_share);
    let rounds = probes_to_show(worst.fold(0.0, f64::max));
    let seen = host.probe(&open.links, rounds, open.patience())?;
    judge_arrivals(&seen).map(|seen| open.tell(seen))
}

fn probes_to_show(lost_share: f64) -> u32 {
    let needed = (CHANCE_OF_NONE.ln() / lost_share.ln()).ceil();
    if needed.is_finite() && needed > 1.0 {
        (needed as u32).min(PROBES_MAX)
    } else {
        1
    }
}

fn judge_arrivals(seen: &BTreeMap<Link, Arrivals>) -> Result<Seen, Unverified> {
    if let Some((link, arrivals)) = seen.iter().find(|(_, arrivals)| arrivals.arrived() == 0) {
        return Err(unverified(format!(
            "none of {} probes arrived from {} to {}",
            arrivals.sent, link.from, link.to
        )));
    }
    let slowest = seen.values().flat_map(|arrivals| &arrivals.times).max();
    let observed = format!(
        "probes arrived on each of {} links, the slowest after {:.3} ms",
        seen.len(),
        slowest.copied().unwrap_or_default().as_millis_f64()
    );
    Ok(Seen {
        observed,
        achieved: Vec::new(),
    })
}

/// Packets are as late as all faults together make them, on each link.
pub(super) fn latency(host: &mut Traffic<'_>, links: &[Link]) -> Result<Seen, Unverified> {
    latency_by(host, links, MEAN_PROBES)
}

fn latency_by(host: &mut Traffic<'_>, links: &[Link], probes: u32) -> Result<Seen, Unverified> {
    let open = Open::of(host, links);
    if open.links.is_empty() {
        return Ok(open.tell(Seen::default()));
    }
    let worst = open.unions.values().map(Union::lost_share);
    let passes = 1.0 - worst.fold(0.0, f64::max);
    let rounds = ((f64::from(probes) / passes).ceil() as u32).min(PROBES_MAX);
    let look = || through_the_queue(host, &open, rounds);
    latency_in_one_of_some_looks(&open.unions, look).map(|seen| open.tell(seen))
}

fn latency_in_one_of_some_looks(
    unions: &BTreeMap<Link, Union>,
    mut look: impl FnMut() -> Result<BTreeMap<Link, Arrivals>, Unverified>,
) -> Result<Seen, Unverified> {
    let mut number = 1;
    loop {
        match judge_latency(unions, &look()?) {
            Ok(mut seen) => {
                if number > 1 {
                    let note = format!("; in look {number}, packets came too late before");
                    seen.observed.push_str(&note);
                }
                return Ok(seen);
            }
            Err(WrongLatency::Late(_)) if number < LOOKS => number += 1,
            Err(WrongLatency::Late(reason)) => {
                return Err(unverified(format!("{reason}, in {LOOKS} looks")));
            }
            Err(WrongLatency::Other(reason)) => return Err(unverified(reason)),
        }
    }
}

/// Why a latency is not the expected one, in words.
#[derive(Debug)]
enum WrongLatency {
    /// Packets came later, as they also do when the machine stalls.
    Late(String),
    /// They came too soon, or not at all.
    Other(String),
}

fn judge_latency(
    unions: &BTreeMap<Link, Union>,
    seen: &BTreeMap<Link, Arrivals>,
) -> Result<Seen, WrongLatency> {
    let (mut means, mut requested, mut arrived, mut sent) = (0.0, 0.0, 0, 0);
    for (link, union) in unions {
        let arrivals = seen.get(link).cloned().unwrap_or_default();
        let Some(mean) = arrivals.mean_ms() else {
            return Err(WrongLatency::Other(format!(
                "none of {} probes arrived from {} to {}",
                arrivals.sent, link.from, link.to
            )));
        };
        let expected = union.mean_ms();
        let chance = STANDARD_ERRORS * union.mean_error_ms(arrivals.times.len());
        let (least, most) = (
            expected - chance - EARLINESS_MS,
            expected + chance + lateness_ms(union),
        );
        let reason = || {
            format!(
                "{} probes from {} to {} were {mean:.2} ms late in the mean where {expected:.2} ms is asked for (allowed {least:.2} to {most:.2} ms)",
                arrivals.arrived(),
                link.from,
                link.to
            )
        };
        if mean < least {
            return Err(WrongLatency::Other(reason()));
        }
        if mean > most {
            return Err(WrongLatency::Late(reason()));
        }
        means += mean;
        requested += expected;
        arrived += arrivals.arrived();
        sent += arrivals.sent;
    }
    let links = unions.len() as f64;
    let achieved = means / links;
    let overtaken: u32 = seen.values().map(|arrivals| arrivals.overtaken).sum();
    let overtaken = match overtaken {
        0 => String::new(),
        some => format!(", {some} after one that was sent later"),
    };
    Ok(Seen {
        observed: format!(
            "{arrived} of {sent} probes on {links} links arrived, {achieved:.2} ms late in the mean{overtaken}"
        ),
        achieved: vec![Achieved {
            name: "latency".to_owned(),
            requested: requested / links,
            achieved,
            unit: "ms".to_owned(),
        }],
    })
}

/// A narrow link holds packets up by as much as is sent over it.
fn lateness_ms(union: &Union) -> f64 {
    match union.is_narrow() {
        true => f64::INFINITY,
        false => LATENESS_MS,
    }
}

/// As many packets are lost as all faults together make.
pub(super) fn losses(host: &mut Traffic<'_>, links: &[Link]) -> Result<Seen, Unverified> {
    let unions = links.iter().map(|link| (link.clone(), host.union(link)));
    let (unions, hidden): (BTreeMap<_, _>, BTreeMap<_, _>) =
        unions.partition(|(_, union)| union.cut.is_none());
    let open = Open {
        links: unions.keys().cloned().collect(),
        unions,
        hidden: hidden.len(),
    };
    if open.links.is_empty() {
        return Ok(open.tell(Seen::default()));
    }
    let rounds = SHARE_PROBES.div_ceil(open.links.len() as u32);
    let seen = through_the_queue(host, &open, rounds)?;
    judge_losses(&open.unions, &seen).map(|seen| open.tell(seen))
}

fn judge_losses(
    unions: &BTreeMap<Link, Union>,
    seen: &BTreeMap<Link, Arrivals>,
) -> Result<Seen, Unverified> {
    let (mut sent, mut lost, mut expected, mut variance) = (0, 0, 0.0, 0.0);
    for (link, union) in unions {
        let arrivals = seen.get(link).cloned().unwrap_or_default();
        sent += arrivals.sent;
        lost += arrivals.sent - arrivals.arrived();
        expected += f64::from(arrivals.sent) * union.lost_share();
        variance += union.lost_variance(arrivals.sent);
    }
    // Where nothing is lost by chance, nothing may be lost.
    let skew = if variance > 0.0 { SKEW_PACKETS } else { 0.0 };
    let allowed = STANDARD_ERRORS * variance.sqrt() + skew;
    if (f64::from(lost) - expected).abs() > allowed {
        return Err(unverified(format!(
            "{lost} of {sent} probes were lost where {expected:.1} are expected (allowed ± {allowed:.1})"
        )));
    }
    let percent = |count: f64| 100.0 * count / f64::from(sent.max(1));
    Ok(Seen {
        observed: format!(
            "{lost} of {sent} probes on {} links were lost",
            unions.len()
        ),
        achieved: vec![Achieved {
            name: "loss".to_owned(),
            requested: percent(expected),
            achieved: percent(f64::from(lost)),
            unit: "%".to_owned(),
        }],
    })
}

/// Sends probes and moreover sees that the kernel handed each to the agent, where it should.
fn through_the_queue(
    host: &mut Traffic<'_>,
    open: &Open,
    rounds: u32,
) -> Result<BTreeMap<Link, Arrivals>, Unverified> {
    let before = host.queued()?;
    let seen = host.probe(&open.links, rounds, open.patience())?;
    let after = host.queued()?;
    let bytes = |counts: &Counts, link| counts.get(link).copied().unwrap_or_default();
    let sent = u64::from(rounds) * PROBE_BYTES;
    for (link, union) in &open.unions {
        let counted = bytes(&after, link).saturating_sub(bytes(&before, link));
        if union.is_slow() && counted < sent {
            return Err(unverified(format!(
                "only {counted} of {sent} bytes of probes from {} to {} went through the agent",
                link.from, link.to
            )));
        }
    }
    Ok(seen)
}

type Counts = BTreeMap<Link, u64>;

/// Losses of the agent's own queue, which nobody asked for.
pub(super) fn overflows(host: &Links, before: u64, seen: &mut Seen) -> Result<(), Unverified> {
    let lost = host.overflows()?.saturating_sub(before);
    if lost > 0 {
        let note = format!("; {lost} packets were lost because the agent's queue was full");
        seen.observed.push_str(&note);
        seen.achieved.push(Achieved {
            name: "overflow".to_owned(),
            requested: 0.0,
            achieved: lost as f64,
            unit: "packets".to_owned(),
        });
    }
    Ok(())
}

/// Names of the faults other than `id` on any of the links; empty when there is none.
pub(super) fn others(host: &Links, links: &[Link], id: &FaultId) -> String {
    let faults = links.iter().flat_map(|link| host.laid(link));
    let names: std::collections::BTreeSet<String> = faults
        .map(|(fault, _)| fault)
        .filter(|fault| *fault != id)
        .map(ToString::to_string)
        .collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
