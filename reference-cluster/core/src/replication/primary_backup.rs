//! Primary-backup: one primary, all others its backups; a backup takes over when the primary is
//! suspected.

use shakedown_contracts::strategy::{
    DEFAULT_LEASE, Fallback, Fencing, Reads, Replication as Options, default_drift_bound,
};

use super::Rules;
use super::lease::Terms;
use crate::interface::Peer;

/// The rules of a group of `members`.
pub fn rules(members: u32, options: &Options) -> Rules {
    let Options::PrimaryBackup {
        acknowledge,
        fallback,
        fencing,
        election,
        reads,
        lease,
        drift_bound,
    } = options
    else {
        unreachable!("the registry hands over primary-backup options alone");
    };
    // Without fencing nobody refuses an older epoch, so that asking the others proves nothing.
    let reads = if *fencing == Fencing::None {
        Reads::Local
    } else {
        *reads
    };
    let fallback = match fallback.unwrap_or_default() {
        Fallback::Never => None,
        Fallback::After(wait) => Some(wait),
    };
    let leased = *fencing == Fencing::Lease || reads == Reads::Lease;
    let terms = leased.then(|| {
        let drift_bound = drift_bound.unwrap_or_else(default_drift_bound);
        Terms::new(lease.unwrap_or(DEFAULT_LEASE), drift_bound)
    });
    Rules {
        voters: (0..members).map(Peer).collect(),
        fixed_primary: None,
        acknowledge: *acknowledge,
        fallback,
        fencing: *fencing,
        election: *election,
        reads,
        lease: terms,
    }
}
