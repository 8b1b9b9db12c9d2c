//! CLOCK_MONOTONIC, the one clock that all processes of a run share.

use nix::time::{ClockId, clock_gettime};
use shakedown_contracts::time::{Bracket, Moment};

/// Now, on CLOCK_MONOTONIC.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("CLOCK_MONOTONIC exists on every Linux kernel");
    Moment(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// From then until now: for what has just been done, and was begun after `before`.
pub fn until_now(before: Moment) -> Bracket {
    Bracket {
        before,
        after: now(),
    }
}
