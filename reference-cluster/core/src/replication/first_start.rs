//! How a new group begins, and a forgetful node does not.
//!
//! In a new group the first member is primary in epoch 1 without a takeover. But an empty disk
//! alone does not prove a new group: the first member may have lost its data while the others went
//! on. So it asks them, and begins only when enough say that they, too, have never held, promised
//! or heard anything:
//! * a majority, where every promise and acknowledgement was synced before it was given (an empty
//!   disk then proves innocence): any majority that ever acknowledged anything would contain one of
//!   those who answered;
//! * all of them, where a node may have forgotten (`recovery_log = "none"`, `fsync` = `interval` or
//!   `never`).
//!
//! Until a newcomer has caught up with a primary it neither promises nor takes over.

use std::collections::BTreeSet;

use super::replica::{Position, Replica};
use crate::interface::Peer;
use crate::message::Message;

/// A node with an empty disk that has not caught up with a group yet.
#[derive(Debug, Default)]
pub(super) struct Newcomer {
    /// Who else is new.
    fresh: BTreeSet<Peer>,
    /// Somebody is not: there is a group, and it will show itself.
    group_exists: bool,
}

impl Replica {
    fn is_first(&self) -> bool {
        self.setting.rules.voters.first() == Some(&self.setting.me)
    }

    /// As the first member of what may be a new group: asks the others.
    pub(super) fn ask_to_join(&mut self) {
        if !self.is_first() {
            return;
        }
        let Some(newcomer) = &self.newcomer else {
            return;
        };
        let unheard: Vec<Peer> = self
            .others()
            .into_iter()
            .filter(|peer| !newcomer.fresh.contains(peer))
            .collect();
        if newcomer.group_exists {
            return;
        }
        for peer in unheard {
            self.send(peer, Message::Join {});
        }
    }

    /// The first member asks whether this node is new.
    pub(super) fn on_join(&mut self, from: Peer) {
        let fresh = self.newcomer.is_some() && self.epoch == 0;
        self.send(from, Message::Joined { fresh });
    }

    /// Somebody answers.
    pub(super) fn on_joined(&mut self, from: Peer, fresh: bool) {
        let needed = if self.setting.empty_means_new {
            self.setting.rules.majority()
        } else {
            self.setting.rules.voters.len()
        };
        let (first, me) = (self.is_first(), self.setting.me);
        let backup = matches!(self.position, Position::Backup);
        let Some(newcomer) = &mut self.newcomer else {
            return;
        };
        if !fresh {
            newcomer.group_exists = true;
            return;
        }
        newcomer.fresh.insert(from);
        if first && backup && !newcomer.group_exists && newcomer.fresh.len() + 1 >= needed {
            let mut fresh = std::mem::take(&mut newcomer.fresh);
            fresh.remove(&me);
            self.claim_first_epoch(fresh);
        }
    }
}
