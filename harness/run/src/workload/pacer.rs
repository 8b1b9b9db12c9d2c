//! Wakes the worker at absolute moments of CLOCK_MONOTONIC.
//!
//! A timer descriptor in the runtime's own poll set, not the runtime's timer (whole milliseconds)
//! and not a sleeping thread: the kernel's high-resolution timer ends the poll directly. That is
//! one wake-up where a thread would need two (its own and then the runtime's), no timer slack
//! applies, and no core is spun on while nodes need it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use shakedown_contracts::time::Moment;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::WorkloadError;

/// The descriptor in the form that the runtime takes.
#[derive(Debug)]
struct Timer(TimerFd);

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timer that is armed for one moment at a time.
#[derive(Debug)]
pub(crate) struct Pacer {
    timer: AsyncFd<Timer>,
    armed: Option<Moment>,
}

impl Pacer {
    /// Must be made inside the runtime that will wait for it.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> Result<Self, WorkloadError> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
            .map_err(WorkloadError::system("create the pacing timer"))?;
        // SAFETY: `Timer` owns its descriptor, names the same one at every call, and is never taken
        // out or replaced, so the descriptor stays open for as long as the `AsyncFd` lives.
        let timer = unsafe { AsyncFd::register_with_interest(Timer(timer), Interest::READABLE) };
        let timer = timer.map_err(|source| WorkloadError::System {
            what: "poll the pacing timer",
            source: source.into(),
        })?;
        Ok(Pacer { timer, armed: None })
    }

    /// Returns once `due` has come; at once when it has passed. May be dropped and called again.
    ///
    /// # Errors
    /// When the kernel refuses the timer.
    pub async fn wait_until(&mut self, due: Moment) -> io::Result<()> {
        if self.armed != Some(due) {
            self.arm(due)?;
        }
        // Each turn waits for the timer; a turn without expiry only clears a stale readiness.
        loop {
            let mut guard = self.timer.readable().await?;
            if let Ok(expired) = guard.try_io(|timer| expirations(timer.get_ref())) {
                self.armed = None;
                return expired;
            }
        }
    }

    fn arm(&mut self, due: Moment) -> io::Result<()> {
        // Zero would disarm the timer; 1 ns after boot has passed just as well.
        let nanos = due.0.max(1);
        let second = 1_000_000_000;
        let at = TimeSpec::new(
            (nanos / second).cast_signed(),
            (nanos % second).cast_signed(),
        );
        self.timer.get_ref().0.set(
            Expiration::OneShot(at),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME,
        )?;
        self.armed = Some(due);
        Ok(())
    }
}

/// Reads the count of expirations; would block when there was none.
fn expirations(timer: &Timer) -> io::Result<()> {
    let mut count = [0_u8; 8];
    nix::unistd::read(&timer.0, &mut count)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::units::Duration;

    use super::*;
    use crate::clock::now;

    #[test]
    fn the_pacer_never_wakes_early_and_not_late_when_re_armed_or_overdue() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut pacer = Pacer::new().unwrap();
            let far = now().after(Duration::from_secs(3600));
            let first = now().after(Duration::from_millis(3));
            tokio::select! {
                biased;
                _ = pacer.wait_until(far) => panic!("woke an hour early"),
                () = std::future::ready(()) => {}
            }
            pacer.wait_until(first).await.unwrap();
            assert!(now() >= first);
            pacer.wait_until(first).await.unwrap();
            // An overdue moment or a lost re-arming would hang for the hour.
            assert!(now() < far);
        });
    }
}
