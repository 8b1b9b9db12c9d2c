//! What a backup takes, and from whom.
//!
//! With `fencing = "epoch"` the store itself refuses an older epoch: that is what makes a deposed
//! primary harmless, whatever it believes. With `fencing = "none"` (wrong on purpose) a backup
//! takes from whoever says it is primary, and the last writer wins, also over what was applied.
//! Invariant (epoch): after an answer `Appended` up to a position, this log equals the primary's up
//! to there.

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;

use super::replica::{Position, Replica};
use crate::flaw::Flaw;
use crate::interface::Peer;
use crate::message::{Entry, Message, Point};
use crate::store::Store;

/// Where a backup's log and the primary's part.
enum Meeting {
    /// They meet; the entries are in the log.
    Met,
    /// Ask again from here, or for everything.
    Apart { hint: u64, snapshot: bool },
}

impl Replica {
    /// True when a message that only a primary sends is to be taken.
    pub(super) fn accept_primary(&mut self, from: Peer, epoch: u64) -> bool {
        let primary = matches!(self.position, Position::Primary(_));
        if !self.setting.rules.fenced() {
            if !primary {
                self.epoch = self.epoch.max(epoch);
                self.set_leader(Some(from));
            }
            return !primary;
        }
        if epoch < self.epoch && !self.has(Flaw::FencingSkipped) {
            let sender = self.name(from);
            self.note(Event::Fenced { sender, epoch });
            self.send(from, Message::Rejected { epoch: self.epoch });
            return false;
        }
        if epoch <= self.epoch && primary {
            return false;
        }
        if epoch > self.epoch || !matches!(self.position, Position::Backup) {
            self.become_backup(epoch, Some(from));
        }
        self.set_leader(Some(from));
        true
    }

    /// Entries from a primary.
    pub(super) fn on_append(
        &mut self,
        from: Peer,
        epoch: u64,
        (previous, entries): (Point, Vec<Entry>),
        (committed, sent): (u64, Moment),
    ) {
        if !self.accept_primary(from, epoch) {
            return;
        }
        let end = previous.position + entries.len() as u64;
        match self.merge(previous, entries) {
            Meeting::Met => {
                self.wants_snapshot = false;
                if end >= committed {
                    self.newcomer = None;
                }
                let unmatched = self.has(Flaw::CommitsUnmatched);
                self.commit_to(if unmatched {
                    committed
                } else {
                    committed.min(end)
                });
                self.grant_lease(from);
                let answer = Message::Appended {
                    epoch,
                    position: end,
                    sent: Some(sent),
                };
                self.when_acknowledgeable
                    .push_back((self.last_ticket, (from, answer)));
            }
            Meeting::Apart { hint, snapshot } => {
                self.wants_snapshot |= snapshot;
                self.send(
                    from,
                    Message::Mismatch {
                        epoch,
                        hint,
                        snapshot,
                    },
                );
            }
        }
    }

    fn merge(&mut self, previous: Point, entries: Vec<Entry>) -> Meeting {
        let fenced = self.setting.rules.fenced();
        let (base, last) = (self.entries.base(), self.entries.last());
        let end = previous.position + entries.len() as u64;
        if previous.position > last.position {
            return Meeting::Apart {
                hint: last.position,
                snapshot: false,
            };
        }
        if end < base.position {
            // All of it is older than what is applied here: the primary has to begin later.
            return Meeting::Apart {
                hint: base.position,
                snapshot: false,
            };
        }
        let mine = self.entries.point(previous.position);
        if fenced && mine.is_some_and(|mine| mine != previous) {
            let snapshot = previous.position <= self.committed;
            let hint = self
                .entries
                .before_epoch_of(previous.position)
                .max(self.committed);
            return Meeting::Apart { hint, snapshot };
        }
        for entry in entries {
            let position = entry.point.position;
            match self.entries.point(position) {
                Some(mine) if mine == entry.point => continue,
                _ if position <= base.position && !fenced => continue,
                None if position < base.position => continue,
                Some(_) if position <= self.committed && fenced => {
                    return Meeting::Apart {
                        hint: position,
                        snapshot: true,
                    };
                }
                Some(_) if self.has(Flaw::DivergentTailKept) => continue,
                Some(_) => self.overwrite_from(position),
                None => {}
            }
            self.write(entry);
        }
        Meeting::Met
    }

    fn overwrite_from(&mut self, position: u64) {
        // Only without fencing is anything applied overwritten: what follows is applied on top.
        self.committed = self.committed.min(position - 1);
        self.truncate_from(position);
    }

    /// The whole state from a primary.
    pub(super) fn on_snapshot(&mut self, from: Peer, epoch: u64, point: Point, store: Store) {
        if !self.accept_primary(from, epoch) {
            return;
        }
        if point.position > self.committed || self.wants_snapshot {
            self.install(point, store);
            self.wants_snapshot = false;
            self.newcomer = None;
        }
        let answer = Message::Appended {
            epoch,
            position: point.position,
            sent: None,
        };
        self.when_acknowledgeable
            .push_back((self.last_ticket, (from, answer)));
    }

    /// A primary asks whether it still is one.
    pub(super) fn on_confirm(&mut self, from: Peer, epoch: u64, round: u64) {
        if self.accept_primary(from, epoch) {
            self.send(from, Message::Confirmed { epoch, round });
        }
    }

    /// A store refused this node's epoch.
    pub(super) fn on_rejected(&mut self, epoch: u64) {
        if self.setting.rules.fenced() && epoch > self.epoch {
            self.become_backup(epoch, None);
        }
    }
}
