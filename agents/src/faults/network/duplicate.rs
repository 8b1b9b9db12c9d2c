//! Doubling links: packets arrive twice, the copy right after its original and as late as it.
//!
//! Proof: the share of a burst of probes that arrives twice is the one that was asked for, within four
//! standard errors of a binomial draw.

use super::confirm;
use super::queued::Look;

/// How the fault is seen.
pub(super) const LOOK: Look = confirm::packets::doubled;
