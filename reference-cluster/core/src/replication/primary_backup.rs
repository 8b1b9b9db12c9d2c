//! Primary-backup: one primary, all others its backups; a backup takes over when the primary is
//! suspected.

use shakedown_contracts::strategy::{Fallback, Fencing, Reads, Replication as Options};

use super::Rules;
use crate::interface::Peer;

/// The rules of a group of `members`.
pub fn rules(members: u32, options: &Options) -> Rules {
    let Options::PrimaryBackup {
        acknowledge,
        fallback,
        fencing,
        reads,
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
    Rules {
        voters: (0..members).map(Peer).collect(),
        fixed_primary: None,
        acknowledge: *acknowledge,
        fallback,
        fencing: *fencing,
        reads,
    }
}
