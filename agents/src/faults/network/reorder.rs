//! Overtaking: most packets wait, some go on at once.
//!
//! Proof: probes are late in the mean by what waiting makes it; how many were overtaken is told.

use super::confirm;
use super::queued::Look;

/// How the fault is seen.
pub(super) const LOOK: Look = confirm::packets::overtaking;
