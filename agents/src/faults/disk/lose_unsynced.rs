//! The disk forgets what was not synced, as at the death of the host: all of it, or all behind a draw, with the write there
//! torn at a sector. Names and folders are kept. Done at once; healing restores nothing. Meant for a node that is
//! dead: a living one finds its own writes gone.

use shakedown_contracts::fault::FaultId;

use super::{MECHANISM, disk, evidence};
use crate::clock::{now, until_now};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;

/// The fault.
pub(super) struct LoseUnsynced {
    pub id: FaultId,
    pub torn: bool,
}

impl Fault<NodeProcess> for LoseUnsynced {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let before = now();
        let lost = disk(host)?.lose(&self.id, self.torn);
        let at = until_now(before);
        let (files, bytes) = lost.map_err(|error| Unverified {
            reason: format!("{}: {error}", host.name()),
        })?;
        let seen = evidence(format!(
            "{bytes} bytes of {files} files were not synced and are gone"
        ));
        Ok(Observation { at, evidence: seen })
    }

    fn heal(&mut self, _host: &mut NodeProcess) -> Result<Observation, Unverified> {
        Ok(Observation::at_once(
            MECHANISM,
            "what is gone stays gone".to_owned(),
        ))
    }
}
