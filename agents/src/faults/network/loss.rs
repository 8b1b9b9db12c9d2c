//! Lossy links: packets are lost at random, each by itself, alike its forerunner, or in bursts.
//!
//! Proof: a burst of probes, each counted by the kernel into the agent's queue; the share that is
//! lost must be the one that was asked for, within four standard errors of the draws.

use super::confirm;
use super::queued::Look;

/// How the fault is seen.
pub(super) const LOOK: Look = confirm::losses;
