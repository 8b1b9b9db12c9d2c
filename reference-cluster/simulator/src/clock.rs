//! One host's clock: what it shows at a moment of the world, and when it will show something.
//!
//! A clock without a fault shows the world's time. One that is faulty runs at another rate from
//! what it showed on, or was set; several faults multiply and add up. Everything a node knows of time
//! comes from here: the `now` of its steps and the moments of its timers.
//!
//! Invariant: `read(when(moment)) ≥ moment`, and no earlier nanosecond of the world does.

use std::collections::BTreeMap;

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::{BumpDirection, HostFault};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::troubles::HostEffect;

const MILLION: u128 = 1_000_000;

#[derive(Debug)]
struct Skew {
    fault: HostFault,
    /// When it began, and what the clock showed then.
    begun: Moment,
    shown: Moment,
    /// A later reading: moment and what was shown.
    read: Option<(Moment, Moment)>,
}

/// The clock.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Moment,
    shown: Moment,
    /// Parts per million of the world's rate.
    rate: u64,
    skews: BTreeMap<FaultId, Skew>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            base: Moment(0),
            shown: Moment(0),
            rate: MILLION as u64,
            skews: BTreeMap::new(),
        }
    }
}

impl Clock {
    /// What it shows.
    pub fn read(&self, now: Moment) -> Moment {
        let elapsed = u128::from(now.since(self.base).as_nanos());
        let shown = elapsed * u128::from(self.rate) / MILLION;
        self.shown.after(nanos(shown))
    }

    /// The first moment at which it shows at least this.
    pub fn when(&self, shown: Moment) -> Moment {
        let ahead = u128::from(shown.since(self.shown).as_nanos());
        self.base
            .after(nanos((ahead * MILLION).div_ceil(u128::from(self.rate))))
    }

    /// A fault begins.
    pub fn begin(&mut self, id: &FaultId, fault: &HostFault, now: Moment) {
        let shown = self.read(now);
        let skew = Skew {
            fault: fault.clone(),
            begun: now,
            shown,
            read: None,
        };
        self.skews.insert(id.clone(), skew);
        self.set(now);
        if let HostFault::ClockBump { delta, direction } = fault {
            self.bump(*delta, *direction == BumpDirection::Forward);
            self.take_reading(id, now);
        }
    }

    /// A fault ends: the rate is that of the others, a bump is set back.
    pub fn end(&mut self, id: &FaultId, now: Moment) {
        let Some(skew) = self.skews.remove(id) else {
            return;
        };
        self.set(now);
        if let HostFault::ClockBump { delta, direction } = skew.fault {
            self.bump(delta, direction == BumpDirection::Back);
        }
    }

    fn set(&mut self, now: Moment) {
        self.shown = self.read(now);
        self.base = now;
        let rates = self.skews.values().filter_map(|skew| match skew.fault {
            HostFault::ClockRate { rate } => Some(rate),
            _ => None,
        });
        let rate: f64 = rates.product();
        self.rate = ((rate * MILLION as f64).round() as u64).max(1);
    }

    fn bump(&mut self, delta: Duration, forward: bool) {
        self.shown = match forward {
            true => self.shown.after(delta),
            false => self.shown.before(delta),
        };
    }

    /// Looks at the clock, to see what a fault does to it.
    pub fn take_reading(&mut self, id: &FaultId, now: Moment) {
        let shown = self.read(now);
        if let Some(skew) = self.skews.get_mut(id) {
            skew.read = Some((now, shown));
        }
    }

    /// What the last reading says; `None` before there was one, or without such a fault.
    pub fn effect(&self, id: &FaultId) -> Option<HostEffect> {
        let skew = self.skews.get(id)?;
        let (at, shown) = skew.read?;
        let time = at.since(skew.begun);
        let (observed, achieved) = match skew.fault {
            HostFault::ClockBump { delta, direction } => {
                let forward = direction == BumpDirection::Forward;
                let (early, late) = if forward {
                    (skew.shown, shown)
                } else {
                    (shown, skew.shown)
                };
                let jumped = late.since(early).as_millis_f64();
                let way = if forward { "forward" } else { "back" };
                let observed = format!("the clock jumped {jumped:.3} ms {way}");
                (
                    observed,
                    value("delta", delta.as_millis_f64(), jumped, "ms"),
                )
            }
            HostFault::ClockRate { rate } => {
                let went = shown.since(skew.shown);
                let measured = went.as_secs_f64() / time.as_secs_f64();
                let observed = format!("the clock went {went} in {time}");
                (observed, value("rate", rate, measured, "s/s"))
            }
            _ => (String::new(), Vec::new()),
        };
        Some(HostEffect {
            since: skew.begun,
            observed,
            achieved,
        })
    }
}

fn value(name: &str, requested: f64, achieved: f64, unit: &str) -> Vec<Achieved> {
    vec![Achieved {
        name: name.to_owned(),
        requested,
        achieved,
        unit: unit.to_owned(),
    }]
}

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::random::Random;

    use super::*;

    fn id(fault: &str) -> FaultId {
        FaultId {
            fault: fault.to_owned(),
            occurrence: 0,
        }
    }

    #[test]
    fn a_clock_without_a_fault_shows_the_time() {
        let clock = Clock::default();
        for moment in [0, 1, 1_000_000_007, u64::MAX].map(Moment) {
            assert_eq!((clock.read(moment), clock.when(moment)), (moment, moment));
        }
    }

    #[test]
    fn the_moment_at_which_a_clock_shows_something_is_the_first() {
        for seed in 0..500 {
            let mut random = Random::keyed(seed, "clock", "");
            let mut clock = Clock::default();
            let begun = Moment(random.below(1 << 40));
            let rate = (random.below(3_000_000) + 1) as f64 / 1e6;
            clock.begin(&id("rate"), &HostFault::ClockRate { rate }, begun);
            let shown = clock
                .read(begun)
                .after(random.duration_up_to(Duration::from_secs(9)));
            let when = clock.when(shown);
            assert!(clock.read(when) >= shown, "seed {seed}");
            let before = when.before(Duration::from_nanos(1));
            assert!(before < begun || clock.read(before) < shown, "seed {seed}");
        }
    }

    #[test]
    fn faults_multiply_and_a_healed_clock_goes_on_from_what_it_shows() {
        let mut clock = Clock::default();
        let rate = |rate| HostFault::ClockRate { rate };
        clock.begin(&id("half"), &rate(0.5), Moment(1_000));
        clock.begin(&id("double"), &rate(4.0), Moment(2_000));
        assert_eq!(clock.read(Moment(2_000)), Moment(1_500));
        assert_eq!(clock.read(Moment(2_100)), Moment(1_700));
        clock.take_reading(&id("double"), Moment(2_100));
        let effect = clock.effect(&id("double")).expect("it was read");
        assert_eq!(
            (effect.since, effect.achieved[0].achieved),
            (Moment(2_000), 2.0)
        );
        clock.end(&id("double"), Moment(2_100));
        clock.end(&id("half"), Moment(2_100));
        assert_eq!(clock.read(Moment(2_200)), Moment(1_800));
    }

    #[test]
    fn a_bump_is_set_back_when_it_is_healed() {
        for direction in [BumpDirection::Forward, BumpDirection::Back] {
            let mut clock = Clock::default();
            let delta = Duration::from_nanos(300);
            let bump = HostFault::ClockBump { delta, direction };
            clock.begin(&id("bump"), &bump, Moment(1_000));
            let shown = match direction {
                BumpDirection::Forward => 1_310,
                BumpDirection::Back => 710,
            };
            assert_eq!(clock.read(Moment(1_010)), Moment(shown));
            let effect = clock.effect(&id("bump")).expect("seen at once");
            assert_eq!(effect.achieved[0].achieved, 0.0003);
            clock.end(&id("bump"), Moment(1_500));
            assert_eq!(clock.read(Moment(1_600)), Moment(1_600));
        }
    }
}
