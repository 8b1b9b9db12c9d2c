//! The canary: a thread that only wants to wake every 10 ms, and notes how late it was.
//!
//! When the machine stalls (a suspended virtual machine, a neighbour that takes every core), nodes
//! look dead that are not, and no measurement of the trial can be trusted. A stall makes the trial
//! void: it is put aside and repeated, never judged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::clock;

/// How often the canary wakes.
const PERIOD: Duration = Duration::from_millis(10);

/// Lateness that makes a trial void. Failure detectors here time out after some hundred
/// milliseconds: a stall of 100 ms is a sizeable part of that, while ordinary load on two busy
/// cores makes a normal-priority thread late by some ten.
pub const STALL: Duration = Duration::from_millis(100);

/// What the canary saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CanaryReport {
    /// Largest lateness.
    pub lateness_max: Duration,
    /// How often the lateness was over [`STALL`].
    pub stalls: u64,
}

impl CanaryReport {
    fn note(&mut self, lateness: Duration) {
        self.lateness_max = self.lateness_max.max(lateness);
        self.stalls += u64::from(lateness > STALL);
    }
}

/// A running canary.
#[derive(Debug)]
pub struct Canary {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<CanaryReport>,
}

impl Canary {
    /// Starts one at normal priority: it is to suffer what nodes and agents suffer.
    ///
    /// # Errors
    /// When the process may have no more threads.
    pub fn start() -> io::Result<Canary> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("canary".to_owned())
            .spawn(move || watch(&stopped))?;
        Ok(Canary { stop, thread })
    }

    /// Stops it, within one period, and says what it saw.
    pub fn finish(self) -> CanaryReport {
        self.stop.store(true, Ordering::Release);
        self.thread
            .join()
            .expect("the canary's thread has nothing that panics")
    }
}

fn watch(stop: &AtomicBool) -> CanaryReport {
    let mut report = CanaryReport::default();
    let mut due = clock::now().after(PERIOD);
    // Ends within one period of the trial's end.
    while !stop.load(Ordering::Acquire) {
        sleep_until(due);
        let now = clock::now();
        report.note(now.since(due));
        due = now.after(PERIOD);
    }
    report
}

fn sleep_until(due: Moment) {
    let seconds = (due.0 / 1_000_000_000) as libc::time_t;
    let at = TimeSpec::new(seconds, (due.0 % 1_000_000_000) as libc::c_long);
    // An early return (a signal) only makes this turn's lateness zero.
    let _ = clock_nanosleep(
        ClockId::CLOCK_MONOTONIC,
        ClockNanosleepFlags::TIMER_ABSTIME,
        &at,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lateness_over_the_limit_is_a_stall() {
        let mut report = CanaryReport::default();
        report.note(Duration::from_millis(99));
        report.note(STALL);
        assert_eq!(
            report,
            CanaryReport {
                lateness_max: STALL,
                stalls: 0
            }
        );
        report.note(Duration::from_millis(101));
        assert_eq!(report.stalls, 1);
        assert_eq!(report.lateness_max, Duration::from_millis(101));
    }

    #[test]
    fn a_canary_measures_the_lateness_of_its_own_thread() {
        let canary = Canary::start().unwrap();
        sleep_until(clock::now().after(Duration::from_millis(25)));
        // A wake-up is never exactly on time, so a canary that measured nothing would show 0.
        assert!(canary.finish().lateness_max > Duration::ZERO);
    }
}
