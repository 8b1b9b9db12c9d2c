//! The node's timers: one timerfd for the earliest of them.
//!
//! The async runtime's own timers round up to whole milliseconds, which would be a visible share of
//! the detection times this node exists to show; a timerfd is woken by a high-resolution kernel timer.
//! It is set to how long is left, and looked at anew when that is over: the node's own clock is all
//! that it knows of time, and under a fault the kernel does not share its view. A node has a handful
//! of timers, one per purpose, so an ordered map is the heap.
//!
//! Invariant: a timer is never handed out before its moment, and the earliest due comes first.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use shakedown_contracts::time::Moment;
use shakedown_core::interface::Timer;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::clock;

/// All timers of a node.
pub struct Timers {
    descriptor: AsyncFd<Descriptor>,
    due: BTreeMap<Timer, Moment>,
    armed: Option<Moment>,
}

struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timers {
    /// No timer set. Must be called within a runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: the timer owns its descriptor and is neither replaced nor closed while the
        // `AsyncFd` owns it: it is only used by shared reference.
        let descriptor =
            unsafe { AsyncFd::register_with_interest(Descriptor(timer), Interest::READABLE) }?;
        Ok(Timers {
            descriptor,
            due: BTreeMap::new(),
            armed: None,
        })
    }

    /// Sets or moves a timer; a moment that has passed is due at once.
    pub fn set(&mut self, timer: Timer, at: Moment) {
        self.due.insert(timer, at);
    }

    /// True when a timer is due.
    pub fn any_due(&self, now: Moment) -> bool {
        self.due.values().any(|at| *at <= now)
    }

    /// Takes all timers that are due and accepted by `wanted`, the earliest first.
    pub fn take_due(&mut self, now: Moment, wanted: impl Fn(Timer) -> bool) -> Vec<Timer> {
        let due = self
            .due
            .iter()
            .filter(|(timer, at)| **at <= now && wanted(**timer));
        let mut taken: Vec<(Moment, Timer)> = due.map(|(timer, at)| (*at, *timer)).collect();
        taken.sort();
        for (_, timer) in &taken {
            self.due.remove(timer);
        }
        taken.into_iter().map(|(_, timer)| timer).collect()
    }

    /// Waits until a timer is due; for ever when none is set. Safe to drop and call again.
    pub async fn expired(&mut self) -> io::Result<()> {
        self.arm()?;
        loop {
            let mut ready = self.descriptor.readable().await?;
            let read = ready
                .try_io(|descriptor| Ok(nix::unistd::read(&descriptor.get_ref().0, &mut [0; 8])?));
            match read {
                Ok(result) => {
                    self.armed = None;
                    return result.map(|_| ());
                }
                Err(_would_block) => continue,
            }
        }
    }

    fn arm(&mut self) -> io::Result<()> {
        let earliest = self.due.values().min().copied();
        if earliest == self.armed {
            return Ok(());
        }
        match earliest {
            Some(at) => {
                // An all-zero time would disarm the timer.
                let nanos = at.since(clock::now()).as_nanos().max(1);
                let time = TimeSpec::new(
                    (nanos / 1_000_000_000) as i64,
                    (nanos % 1_000_000_000) as i64,
                );
                let relative = TimerSetTimeFlags::empty();
                self.descriptor
                    .get_ref()
                    .0
                    .set(Expiration::OneShot(time), relative)?;
            }
            None => self.descriptor.get_ref().0.unset()?,
        }
        self.armed = earliest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn timers_come_in_order_of_their_moments_and_never_early() {
        let mut timers = Timers::new().unwrap();
        let start = clock::now();
        let after = |nanos| Moment(start.0 + nanos);
        timers.set(Timer::Sync, after(3_000_000));
        timers.set(Timer::Heartbeat, after(9_000_000));
        timers.set(Timer::Suspicion, after(6_000_000));
        timers.set(Timer::Heartbeat, after(1_000_000)); // moved
        let moments = [
            (Timer::Heartbeat, after(1_000_000)),
            (Timer::Sync, after(3_000_000)),
            (Timer::Suspicion, after(6_000_000)),
        ];
        let mut fired = Vec::new();
        while fired.len() < 3 {
            timers.expired().await.unwrap();
            let now = clock::now();
            for timer in timers.take_due(now, |_| true) {
                let at = moments.iter().find(|(name, _)| *name == timer).unwrap().1;
                assert!(at <= now, "{timer:?} early");
                fired.push(timer);
            }
        }
        assert_eq!(fired, moments.map(|(timer, _)| timer));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_moment_that_has_passed_is_due_at_once() {
        let mut timers = Timers::new().unwrap();
        timers.set(Timer::Replication, Moment(0));
        assert!(timers.any_due(clock::now()));
        timers.expired().await.unwrap();
        assert!(
            timers
                .take_due(clock::now(), |timer| timer != Timer::Replication)
                .is_empty()
        );
        assert_eq!(
            timers.take_due(clock::now(), |_| true),
            [Timer::Replication]
        );
        assert!(!timers.any_due(clock::now()));
    }
}
