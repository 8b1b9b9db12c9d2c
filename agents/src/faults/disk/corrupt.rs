//! Bytes on the disk change by themselves: one sector, not the last, of the file that was synced last. Healing restores
//! nothing. Proof: the sector, read through the disk, is no longer what it was.

use shakedown_contracts::fault::FaultId;
use shakedown_contracts::host_fault::Damage;
use shakedown_contracts::units::Duration;

use super::{MECHANISM, disk, evidence};
use crate::clock::{now, until_now};
use crate::disk::{Damaged, Disk};
use crate::faults::{Fault, Observation, Unverified};
use crate::node_agent::node::NodeProcess;

/// The kernel drops what it keeps of the file within microseconds.
const SEEN_LIMIT: Duration = Duration::from_secs(5);

/// The fault.
pub(super) struct Corrupt {
    pub id: FaultId,
    pub damage: Damage,
    pub path: Option<String>,
}

impl Fault<NodeProcess> for Corrupt {
    fn inject(&mut self, host: &mut NodeProcess) -> Result<Observation, Unverified> {
        let name = host.name();
        let unverified = |reason: String| Unverified {
            reason: format!("{name}: {reason}"),
        };
        let disk = disk(host)?;
        let before = now();
        let damaged = disk.damage(&self.id, self.damage, self.path.clone());
        let at = until_now(before);
        let damaged = damaged.map_err(|error| unverified(error.to_string()))?;
        let bits = altered_bits(disk, &damaged).map_err(unverified)?;
        let (path, offset) = (damaged.path.trim_start_matches('/'), damaged.offset);
        let observed =
            format!("{bits} bits of {path} in the sector at byte {offset} read back altered");
        Ok(Observation {
            at,
            evidence: evidence(observed),
        })
    }

    fn heal(&mut self, _host: &mut NodeProcess) -> Result<Observation, Unverified> {
        Ok(Observation::at_once(
            MECHANISM,
            "what was altered stays".to_owned(),
        ))
    }
}

/// Reads until the change is seen: what the kernel had of the file may be read for a moment yet.
fn altered_bits(disk: &Disk, damaged: &Damaged) -> Result<u32, String> {
    let until = now().after(SEEN_LIMIT);
    loop {
        let read = disk.read(&damaged.path, damaged.offset, damaged.before.len());
        let bytes = read.map_err(|error| format!("reading {} back: {error}", damaged.path))?;
        let pairs = bytes.iter().zip(&damaged.before);
        match pairs.map(|(now, before)| (now ^ before).count_ones()).sum() {
            0 if now() >= until => return Err(format!("no bit was altered in {SEEN_LIMIT}")),
            0 => {}
            bits => return Ok(bits),
        }
    }
}
