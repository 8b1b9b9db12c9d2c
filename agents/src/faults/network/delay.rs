//! Slow links: packets arrive later.
//!
//! Proof: probes, each counted by the kernel into the agent's queue, are late in the mean by what was
//! asked for, within four standard errors and 2 ms.

use super::confirm;
use super::queued::Look;

/// How the fault is seen.
pub(super) const LOOK: Look = confirm::latency;
