//! How a node answers those who coordinate: it says what it holds, and holds what it is told.
//!
//! Invariants: what is said to be held is durable; an older version never takes the place of a newer
//! one; a damaged copy answers nobody, because the node can no longer tell what it had promised.

use super::keeper::Keeper;
use super::message::RedundancyMessage;
use super::notes::Note;
use super::share::{Share, Version};
use crate::flaw::Flaw;
use crate::interface::Peer;

impl Keeper {
    pub(super) fn on_read(&mut self, from: Peer, operation: u64, key: String) {
        let Some((mut shares, ticket)) = self.holdings.read(&key) else {
            return;
        };
        // Whoever stands in for others answers with what it keeps for them, too.
        if self.setting.terms.sloppy {
            shares.extend(self.absences.hints_of(&key).cloned());
        }
        let complete = self.holdings.complete(&key);
        let held = RedundancyMessage::Held {
            operation,
            key,
            shares,
            complete: complete.filter(|_| !self.has(Flaw::RetirementUntold)),
        };
        self.post_durable(ticket, from, held);
    }

    pub(super) fn on_write(
        &mut self,
        from: Peer,
        operation: u64,
        key: String,
        (share, standing_in): (Share, Option<Peer>),
    ) {
        if !share.is_sound(&key) {
            return;
        }
        let version = share.version;
        let ticket = match standing_in.filter(|peer| *peer != self.setting.me) {
            Some(peer) => {
                self.absences.note(peer, &key, version, Some(share.clone()));
                self.write_down(&Note::Hint(peer, key.clone(), share))
            }
            None => self.hold(&key, share),
        };
        let stored = RedundancyMessage::Stored {
            operation,
            key,
            version,
        };
        self.post_durable(ticket, from, stored);
    }

    /// Holds a share, unless a newer one is held; the ticket with which that is durable.
    pub(super) fn hold(&mut self, key: &str, share: Share) -> u64 {
        let several = self.setting.terms.needed > 1;
        let overwrites = self.has(Flaw::OlderOverwrites);
        if !overwrites && !self.holdings.wants(key, share.version, several) {
            return self.holdings.durable_with(key);
        }
        let version = share.version;
        let ticket = self.write_down(&Note::Kept(key.to_owned(), share.clone()));
        self.holdings.keep(key, share, ticket);
        if overwrites {
            self.holdings.replace(key, version);
        } else if !several || self.has(Flaw::OldShardsDropped) {
            self.holdings.retire(key, version);
        }
        ticket
    }

    pub(super) fn on_complete(&mut self, key: String, version: Version) {
        self.holdings.retire(&key, version);
        self.write_down(&Note::Complete(key, version));
    }
}
