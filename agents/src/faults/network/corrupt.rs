//! Damaging links: packets arrive with one bit flipped behind their IP header.
//!
//! Real receivers notice by checksum and drop them. Proof: probes go without a checksum, so altered
//! ones arrive; their share is the one that was asked for, within four standard errors.

use super::confirm;
use super::queued::Look;

/// How the fault is seen.
pub(super) const LOOK: Look = confirm::packets::altered;
