//! Points in time: nanoseconds of the machine's monotonic clock.
//!
//! All processes of a `local` run share one kernel and so one CLOCK_MONOTONIC; in `simulation` it
//! is virtual time. Wall time appears only in reports.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::Duration;

/// A point on the monotonic clock, in nanoseconds since an origin that holds within one run.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` later, saturating.
    pub const fn after(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration.as_nanos()))
    }

    /// The moment `duration` earlier, saturating at the origin.
    pub const fn before(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(duration.as_nanos()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09}s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

/// The span in which something happened for certain: not before `before`, not after `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bracket {
    /// Last moment at which it had certainly not happened.
    pub before: Moment,
    /// First moment at which it had certainly happened.
    pub after: Moment,
}

impl Bracket {
    /// Width of the bracket: the uncertainty of the measurement.
    pub const fn width(self) -> Duration {
        self.after.since(self.before)
    }
}
