//! Narrow links: a token bucket (rate, buffer, limit).
//!
//! Proof: a burst of full packets arrives neither sooner than its rate allows, nor later than the rate
//! allows for all that the kernel counted on the link meanwhile; within 5 %.

use super::confirm;
use super::queued::Look;

/// How the fault is seen.
pub(super) const LOOK: Look = confirm::packets::rate;
