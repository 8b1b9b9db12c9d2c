//! The node's clock: CLOCK_MONOTONIC, the clock that all processes of a run share.

use nix::time::{ClockId, clock_gettime};
use shakedown_contracts::time::Moment;

/// Now.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("linux always has CLOCK_MONOTONIC");
    let seconds = u64::try_from(time.tv_sec()).expect("the monotonic clock is never negative");
    let nanos = u64::try_from(time.tv_nsec()).expect("nanoseconds are never negative");
    Moment(seconds * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back() {
        let moments: Vec<Moment> = (0..1000).map(|_| now()).collect();
        assert!(moments.is_sorted());
        assert!(moments[0] > Moment(0));
    }
}
