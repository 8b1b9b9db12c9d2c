//! Primary-backup: one primary, all others its backups; a backup takes over when the primary is
//! suspected.

use shakedown_contracts::strategy::{Acknowledge, Fencing, Reads};

use super::Rules;
use crate::interface::Peer;

/// The rules of a group of `members`.
pub fn rules(members: u32, acknowledge: Acknowledge, fencing: Fencing, reads: Reads) -> Rules {
    // Without fencing nobody refuses an older epoch, so that asking the others proves nothing.
    let reads = if fencing == Fencing::None {
        Reads::Local
    } else {
        reads
    };
    let voters = (0..members).map(Peer).collect();
    Rules {
        voters,
        fixed_primary: None,
        acknowledge,
        fencing,
        reads,
    }
}
