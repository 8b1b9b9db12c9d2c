//! Clocks that lie to every process of a node: they jump, or run fast or slow.
//!
//! All clocks of the node lie alike: wall time, and those that count since boot. Sleeps and timeouts
//! are the kernel's and take their true time. What asks the kernel without the vDSO is told the truth,
//! and so is a program executed, or a node started, after the injection.
//!
//! Proof: a thread of each process is made to ask for the time, by the functions that its program
//! calls, and what it is told is compared with the true time. Healing a jump sets the clocks back and
//! gives the vDSO its own bytes; after a wrong rate they run true from what they show on.

use std::io;

use shakedown_contracts::event::Achieved;
use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::{BumpDirection, HostFault};
use shakedown_contracts::time::Bracket;
use shakedown_contracts::units::Duration;

use super::code::Setting;
use super::patch::{Patch, Settings};
use super::visit::Visit;
use crate::clock::{now, until_now};
use crate::faults::process::{Wanted, settle};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::{NodeProcess, Run};

const MECHANISM: &str = "vDSO patched in the memory of each process";
/// How long a rate is watched.
const WATCHED: std::time::Duration = std::time::Duration::from_millis(20);
/// Threads that always ask for the time are out of the way at some stop within this.
const STOP_LIMIT: Duration = Duration::from_secs(5);
const BETWEEN_STOPS: std::time::Duration = std::time::Duration::from_millis(1);
/// A program that executes others is waited for so many times.
const ATTEMPTS: u32 = 20;
/// A visited thread is told the time between two looks at the true one; and so much beside that.
const TOLERANCE_NANOS: i64 = 50_000;
const WALL_TIME: u64 = libc::CLOCK_REALTIME as u64;
const SINCE_BOOT: u64 = libc::CLOCK_MONOTONIC as u64;

/// The fault.
pub(super) struct Skew {
    id: FaultId,
    fault: HostFault,
    generation: u32,
    patches: Vec<Patch>,
}

/// What a process was told.
struct Told {
    /// Both times are of [`SINCE_BOOT`], in nanoseconds.
    truth: i64,
    shown: i64,
    /// How far from what it should have been told, of the clock that is worse.
    error: i64,
}

impl Skew {
    pub fn new(id: FaultId, fault: HostFault) -> Self {
        Skew {
            id,
            fault,
            generation: 0,
            patches: Vec::new(),
        }
    }

    /// What is to hold after what holds.
    fn begin(&self, before: Settings) -> Settings {
        let each = |setting: Setting, truth: i64| match self.fault {
            HostFault::ClockBump { delta, direction } => {
                let delta = delta.as_nanos() as i64;
                let offset = match direction {
                    BumpDirection::Forward => setting.offset + delta,
                    BumpDirection::Back => setting.offset - delta,
                };
                Setting { offset, ..setting }
            }
            HostFault::ClockRate { rate } => Setting {
                anchor: truth,
                offset: setting.shown(truth) - truth,
                drift: ((rate - 1.0) * 4_294_967_296.0).round() as i64,
                ..Setting::default()
            },
            HostFault::ClockStrobe { delta, period } => Setting {
                anchor: truth,
                period: period.as_nanos() as i64,
                swing: delta.as_nanos() as i64,
                ..setting
            },
            _ => setting,
        };
        Settings {
            wall: each(before.wall, truth(WALL_TIME)),
            since_boot: each(before.since_boot, truth(SINCE_BOOT)),
        }
    }

    fn end(&self, before: Settings) -> Settings {
        let each = |setting: Setting, truth: i64| match self.fault {
            HostFault::ClockBump { delta, direction } => {
                let delta = delta.as_nanos() as i64;
                let offset = match direction {
                    BumpDirection::Forward => setting.offset - delta,
                    BumpDirection::Back => setting.offset + delta,
                };
                Setting { offset, ..setting }
            }
            HostFault::ClockStrobe { .. } => Setting {
                period: 0,
                swing: 0,
                ..setting
            },
            _ => Setting {
                anchor: truth,
                offset: setting.shown(truth) - truth,
                ..Setting::default()
            },
        };
        Settings {
            wall: each(before.wall, truth(WALL_TIME)),
            since_boot: each(before.since_boot, truth(SINCE_BOOT)),
        }
    }

    /// Changes all processes while they stand still; what each had before. A pause that goes on is
    /// left alone.
    fn change(
        &self,
        host: &NodeProcess,
        to: &dyn Fn(usize, Settings) -> Settings,
    ) -> Result<(Bracket, Vec<Settings>), Unverified> {
        let until = now().after(STOP_LIMIT);
        let mut stops = 0;
        loop {
            stops += 1;
            let changed = settle(host, Wanted::Stopped).map(|_| self.change_stopped(to));
            if host.paused_by.is_empty() {
                settle(host, Wanted::Continued)?;
            }
            match changed? {
                Ok(done) => return Ok(done),
                // It stands in the way; it may have gone on after another stop.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && now() < until => {
                    // It needs a processor to get out of the way.
                    std::thread::sleep(BETWEEN_STOPS);
                }
                Err(error) => {
                    let reason = format!("changing its clock, at stop {stops}: {error}");
                    return Err(unverified(host, reason));
                }
            }
        }
    }

    fn change_stopped(
        &self,
        to: &dyn Fn(usize, Settings) -> Settings,
    ) -> io::Result<(Bracket, Vec<Settings>)> {
        for patch in &self.patches {
            patch.can_be_set()?;
        }
        let before = now();
        let mut held = Vec::new();
        for (number, patch) in self.patches.iter().enumerate() {
            let settings = patch.settings()?;
            patch.set(to(number, settings))?;
            held.push(settings);
        }
        let at = until_now(before);
        Ok((at, held))
    }

    /// Takes in all processes that there are, such as children born meanwhile.
    fn take_in(&mut self, host: &NodeProcess) -> Result<(), Unverified> {
        let failed = |error| unverified(host, format!("patching its vDSO: {error}"));
        self.patches.clear();
        for process in host.processes().map_err(failed)? {
            match Patch::prepare(process) {
                Ok(patch) => self.patches.push(patch),
                Err(_) if !process.is_alive() => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Injects, and tells what the first process was told before and after.
    fn try_inject(&self, host: &NodeProcess) -> Result<Observation, (Unverified, Vec<Settings>)> {
        let nothing_changed = |unverified| (unverified, Vec::new());
        let before = self.ask(host).map_err(nothing_changed)?;
        let begin = |_, held| self.begin(held);
        let (at, held) = self.change(host, &begin).map_err(nothing_changed)?;
        let seen = self.observe(host, &before[0]);
        let (observed, achieved) = seen.map_err(|unverified| (unverified, held))?;
        Ok(Observation::new(at, MECHANISM, observed).with(achieved))
    }

    /// Asks each process for the time. One that has ended is passed over.
    fn ask(&self, host: &NodeProcess) -> Result<Vec<Told>, Unverified> {
        let mut told = Vec::new();
        for patch in self.patches.iter().filter(|patch| patch.process.is_alive()) {
            match ask(patch) {
                Ok(one) => told.push(one),
                Err(_) if !patch.process.is_alive() => {}
                Err(error) => {
                    return Err(unverified(host, format!("asking it for the time: {error}")));
                }
            }
        }
        if let Some(wrong) = told.iter().find(|one| one.error > TOLERANCE_NANOS) {
            let off = wrong.error as f64 / 1e6;
            let reason = format!("it is told a time {off:.3} ms off what it should be told");
            return Err(unverified(host, reason));
        }
        if told.is_empty() {
            return Err(unverified(
                host,
                "none of its processes can be asked".to_owned(),
            ));
        }
        Ok(told)
    }

    /// What the processes are told, in words and numbers; `before` is what the first was told then.
    fn observe(
        &self,
        host: &NodeProcess,
        before: &Told,
    ) -> Result<(String, Vec<Achieved>), Unverified> {
        let first = self.ask(host)?;
        let count = first.len();
        match self.fault {
            HostFault::ClockRate { rate } => {
                std::thread::sleep(WATCHED);
                let second = self.ask(host)?;
                let went = |from: &Told, to: &Told| {
                    (to.shown - from.shown) as f64 / (to.truth - from.truth) as f64
                };
                let rates = first.iter().zip(&second).map(|(from, to)| went(from, to));
                let worst = rates.max_by(|a, b| (a - rate).abs().total_cmp(&(b - rate).abs()));
                let measured = worst.unwrap_or(f64::NAN);
                let observed = format!(
                    "the clocks of {count} processes went {measured:.6} seconds in a second"
                );
                Ok((observed, achieved("rate", rate, measured, "s/s")))
            }
            HostFault::ClockBump { delta, direction } => {
                let ahead = first[0].ahead_ms();
                let jumped = match direction {
                    BumpDirection::Forward => ahead - before.ahead_ms(),
                    BumpDirection::Back => before.ahead_ms() - ahead,
                };
                let observed = format!("{count} processes are told a time {ahead:+.3} ms off");
                let numbers = achieved("delta", delta.as_millis_f64(), jumped, "ms");
                Ok((observed, numbers))
            }
            HostFault::ClockStrobe { delta, period } => {
                let mut swings: Vec<f64> = first.iter().map(Told::ahead_ms).collect();
                let until = now().after(period).after(period);
                // Ends: a look takes a fraction of a millisecond.
                while now() < until {
                    swings.extend(self.ask(host)?.iter().map(Told::ahead_ms));
                    std::thread::sleep(std::time::Duration::from(period) / 16);
                }
                let (least, most) = swings
                    .iter()
                    .fold((f64::MAX, f64::MIN), |(low, high), one| {
                        (low.min(*one), high.max(*one))
                    });
                let wanted = delta.as_millis_f64();
                if (most - least - wanted).abs() > 1.0 {
                    let reason =
                        format!("it was told times {least:+.3} to {most:+.3} ms off alone");
                    return Err(unverified(host, reason));
                }
                let looks = swings.len();
                let observed = format!(
                    "in {looks} looks {count} processes are told times {least:+.3} to {most:+.3} ms off"
                );
                Ok((observed, achieved("delta", wanted, most - least, "ms")))
            }
            _ => Err(unverified(host, "no fault of a clock".to_owned())),
        }
    }
}

impl Told {
    fn ahead_ms(&self) -> f64 {
        (self.shown - self.truth) as f64 / 1e6
    }
}

impl Fault<NodeProcess> for Skew {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let Run::Running { generation, .. } = host.state() else {
            return Err(unverified(host, "it is dead; it reads no clock".to_owned()));
        };
        if let Some(other) = &host.clock_held_by {
            let reason = format!("its clock is under {other}; let them not overlap");
            return Err(unverified(host, reason));
        }
        host.clock_distrusted = true;
        let mut attempt = 0;
        loop {
            self.take_in(host)?;
            let (unverified, held) = match self.try_inject(host) {
                Ok(observation) => {
                    host.clock_held_by = Some(self.id.clone());
                    self.generation = generation;
                    return Ok(observation);
                }
                Err(failed) => failed,
            };
            // One that executed another program has a sound vDSO again.
            let all = self.patches.len();
            let mut held = held.into_iter().map(Some).chain(std::iter::repeat(None));
            let mut to_undo = Vec::new();
            self.patches.retain(|patch| {
                let settings = held.next().flatten();
                let current = patch.is_current();
                to_undo.extend(current.then_some(settings));
                current
            });
            let replaced = self.patches.len() < all;
            let back = |number: usize, now| to_undo[number].unwrap_or(now);
            // Best effort: the report says unverified.
            let _undone = self.change(host, &back);
            attempt += 1;
            if !replaced || attempt == ATTEMPTS {
                return Err(unverified);
            }
        }
    }

    fn heal(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let same = matches!(host.state(), Run::Running { generation, .. } if generation == self.generation);
        if !same {
            host.clock_held_by = None;
            let observed = "the processes with that clock have ended".to_owned();
            return Ok(Observation::at_once(MECHANISM, observed));
        }
        self.take_in(host)?;
        // Who executed another program under the fault has true clocks already.
        let end = |_, held: Settings| match held.is_true() {
            true => held,
            false => self.end(held),
        };
        let (at, _) = self.change(host, &end)?;
        host.clock_held_by = None;
        let told = self.ask(host)?;
        let (count, ahead) = (told.len(), told[0].ahead_ms());
        let mut own = 0;
        for patch in &self.patches {
            let failed = |error| unverified(host, format!("reading its vDSO: {error}"));
            if patch.settings().map_err(failed)?.is_true() {
                if !patch.is_undone().map_err(failed)? {
                    return Err(unverified(host, "its vDSO is not what it was".to_owned()));
                }
                own += 1;
            }
        }
        let observed = format!(
            "{count} processes are told a time {ahead:+.3} ms off that runs true; {own} have their own vDSO back"
        );
        Ok(Observation::new(at, MECHANISM, observed))
    }
}

fn unverified(host: &NodeProcess, reason: String) -> Unverified {
    Unverified {
        reason: format!("{}: {reason}", host.name()),
    }
}

fn achieved(name: &str, requested: f64, achieved: f64, unit: &str) -> Vec<Achieved> {
    vec![Achieved {
        name: name.to_owned(),
        requested,
        achieved,
        unit: unit.to_owned(),
    }]
}

/// True nanoseconds of a clock.
fn truth(clock: u64) -> i64 {
    let clock = nix::time::ClockId::from_raw(clock as i32);
    let time = nix::time::clock_gettime(clock).expect("linux always has these clocks");
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
}

fn ask(patch: &Patch) -> io::Result<Told> {
    let settings = patch.settings()?;
    let (function, trap) = patch.visited();
    let visit = Visit::begin(patch.process.pid)?;
    let one = |clock: u64, setting: Setting| -> io::Result<(i64, i64, i64)> {
        let before = truth(clock);
        let place = visit.call(function, clock, trap)?;
        let after = truth(clock);
        let shown = patch.time_at(place)?;
        let (one, other) = (setting.shown(before), setting.shown(after));
        let (least, most) = (one.min(other), one.max(other));
        let error = (least - shown).max(shown - most).max(0);
        Ok((before + (after - before) / 2, shown, error))
    };
    // It stands still now, so it stays that.
    if !patch.is_current() {
        visit.end()?;
        return Err(io::Error::other("it executed another program meanwhile"));
    }
    let told = one(WALL_TIME, settings.wall).and_then(|(.., wall_error)| {
        let (truth, shown, error) = one(SINCE_BOOT, settings.since_boot)?;
        Ok(Told {
            truth,
            shown,
            error: error.max(wall_error),
        })
    });
    visit.end()?;
    told
}
