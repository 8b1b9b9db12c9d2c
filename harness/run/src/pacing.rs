//! Waiting for a moment, punctually.
//!
//! The runtime's own timer wheel turns in milliseconds. A timerfd with an absolute deadline wakes
//! about 25 µs after it (measured on two shared cores), so whatever a measurement hangs on waits here.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use shakedown_contracts::time::Moment;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::clock;
use crate::error::RunError;

#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// One alarm clock on CLOCK_MONOTONIC.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<Timer>,
}

impl Alarm {
    /// An alarm that is not set. Call it inside the runtime.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> Result<Self, RunError> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)
            .map_err(RunError::system("make a timer"))?;
        // SAFETY: `Timer` owns its valid descriptor for as long as it lives, and gives out no way
        // to close or replace it.
        let watched = unsafe { AsyncFd::register_with_interest(Timer(timer), Interest::READABLE) };
        let timer = watched
            .map_err(|error| RunError::system::<std::io::Error>("watch a timer")(error.into()))?;
        Ok(Alarm { timer })
    }

    /// Returns at `moment`, at once if it is past. Dropping the future unsets nothing: the next
    /// call sets the alarm anew.
    ///
    /// # Errors
    /// When the kernel refuses the timer, which it does for no valid moment.
    pub async fn until(&mut self, moment: Moment) -> Result<(), RunError> {
        if clock::now() >= moment {
            return Ok(());
        }
        let at = TimeSpec::new(
            (moment.0 / 1_000_000_000) as libc::time_t,
            (moment.0 % 1_000_000_000) as libc::c_long,
        );
        let timer = &self.timer.get_ref().0;
        timer
            .set(
                Expiration::OneShot(at),
                TimerSetTimeFlags::TFD_TIMER_ABSTIME,
            )
            .map_err(RunError::system("set a timer"))?;
        // Ends when the timer fires; a turn more only for readiness left over from a former alarm.
        loop {
            let mut guard = self
                .timer
                .readable()
                .await
                .map_err(RunError::system("wait for a timer"))?;
            let fired = guard.try_io(|timer| {
                let mut count = [0_u8; 8];
                match nix::unistd::read(&timer.get_ref().0, &mut count) {
                    Ok(_) => Ok(()),
                    Err(Errno::EAGAIN) => Err(std::io::ErrorKind::WouldBlock.into()),
                    Err(errno) => Err(errno.into()),
                }
            });
            if let Ok(result) = fired {
                return result.map_err(RunError::system::<std::io::Error>("read a timer"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shakedown_contracts::units::Duration;

    use super::*;

    #[tokio::test]
    async fn an_alarm_never_rings_early_even_after_a_cancelled_one() {
        let mut alarm = Alarm::new().unwrap();
        let start = clock::now();
        let soon = start.after(Duration::from_millis(2));
        let later = start.after(Duration::from_millis(8));
        tokio::select! {
            biased;
            _ = alarm.until(soon) => {}
            () = std::future::ready(()) => {}
        }
        alarm.until(later).await.unwrap();
        assert!(clock::now() >= later);
        alarm.until(start).await.unwrap();
    }
}
