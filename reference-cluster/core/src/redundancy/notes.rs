//! What a node writes down, and the state of it whole.
//!
//! Notes go into the recovery log one after the other and are read back in that order; a checkpoint
//! replaces all before it. A share whose checksum is wrong when it is read back is not believed: its
//! key counts as damaged until others have given it back, also when a later note of the same key is
//! sound, because what was lost may have been newer. (The log has a checksum over each record of its
//! own, and refuses to be read where one is wrong in its middle; this one holds without it.)
//! Invariant: reading back what was written gives the same holdings and hints.

use serde::{Deserialize, Serialize};

use super::absences::Absences;
use super::holdings::Holdings;
use super::share::{Share, Version};
use crate::interface::Peer;
use crate::recovery_log::Ticket;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Note {
    /// This is held.
    Kept(String, Share),
    /// Older versions of the key are gone.
    Complete(String, Version),
    /// The key was damaged and is not any more.
    Repaired(String),
    /// This is held for another.
    Hint(Peer, String, Share),
    /// It has it now.
    HandedOver(Peer, String, Version),
}

/// All that is held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub kept: Vec<(String, Vec<Share>, Option<Version>)>,
    pub damaged: Vec<String>,
    pub hints: Vec<(Peer, String, Share)>,
}

/// What reading back gave.
#[derive(Debug, Default)]
pub(super) struct ReadBack {
    pub holdings: Holdings,
    pub absences: Absences,
}

impl ReadBack {
    /// From a checkpoint (empty: none) and the notes after it. `durable_with` is the ticket with which
    /// all of it is on the disk. `believe`: in tests alone, no checksum is looked at.
    pub fn of(
        checkpoint: &str,
        notes: &[String],
        durable_with: Ticket,
        believe: bool,
    ) -> Result<ReadBack, serde_json::Error> {
        let mut back = ReadBack::default();
        if !checkpoint.is_empty() {
            let memory: Memory = serde_json::from_str(checkpoint)?;
            for key in memory.damaged {
                back.holdings.damage(&key);
            }
            for (key, shares, complete) in memory.kept {
                for share in shares {
                    back.keep(&key, share, durable_with, believe);
                }
                if let Some(version) = complete {
                    back.holdings.retire(&key, version);
                }
            }
            for (peer, key, share) in memory.hints {
                back.hint(peer, key, share);
            }
        }
        for note in notes {
            match serde_json::from_str(note)? {
                Note::Kept(key, share) => back.keep(&key, share, durable_with, believe),
                Note::Complete(key, version) => back.holdings.retire(&key, version),
                Note::Repaired(key) => back.holdings.repaired(&key),
                Note::Hint(peer, key, share) => back.hint(peer, key, share),
                Note::HandedOver(peer, key, version) => {
                    back.absences.arrived(peer, &key, version);
                }
            }
        }
        Ok(back)
    }

    fn keep(&mut self, key: &str, share: Share, ticket: Ticket, believe: bool) {
        if believe || share.is_sound(key) {
            self.holdings.keep(key, share, ticket);
        } else {
            self.holdings.damage(key);
        }
    }

    /// A damaged hint is of no use; the copies are compared anyway.
    fn hint(&mut self, peer: Peer, key: String, share: Share) {
        if share.is_sound(&key) {
            self.absences.note(peer, &key, share.version, Some(share));
        }
    }
}
