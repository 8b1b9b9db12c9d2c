//! What a node takes, and from whom.
//!
//! A node takes entries from the one before it in the chain, and outside of the chain from the head.
//! What an older chain sends is refused. Entries replace whatever else stood there: the chain's
//! head has everything that any chain acknowledged.
//! Invariant: after an answer `Held`, this log equals the head's up to `received`, and is on disk
//! here and at everyone behind up to `held`.

use shakedown_contracts::event::Event;

use super::message::{ChainMessage, Configuration};
use super::server::{Chain, Position};
use crate::flaw::Flaw;
use crate::interface::Peer;
use crate::message::{Entry, Point};
use crate::replication::merge::Meeting;
use crate::store::Store;

impl Chain {
    /// True when a message down the chain is to be taken.
    fn accept(&mut self, from: Peer, chain: &Configuration) -> bool {
        let (me, epoch, present) = (self.setting.me, chain.epoch, self.log.term());
        if epoch < present && !self.has(Flaw::FencingSkipped) {
            let sender = self.setting.name(from);
            self.note(Event::Fenced { sender, epoch });
            self.send(from, ChainMessage::Stale { epoch: present });
            return false;
        }
        let leads = matches!(self.position, Position::Head(_));
        if leads && epoch <= present && self.standing().is_some() {
            return false;
        }
        if epoch > present {
            self.enter_epoch(epoch, None);
        }
        if self.configuration.as_ref() != Some(chain) {
            self.forget_chain();
            self.configuration = Some(chain.clone());
        }
        self.follow(chain.head());
        chain.source(me) == Some(from)
    }

    /// What was true of a place in a chain is not in another.
    pub(super) fn forget_chain(&mut self) {
        self.verified = None;
        self.told = None;
        self.owes_answer = false;
        self.links.clear();
        self.reads_here.clear();
    }

    /// Entries from the one before.
    pub(super) fn on_append(
        &mut self,
        from: Peer,
        chain: Configuration,
        previous: Point,
        entries: Vec<Entry>,
    ) {
        if !self.accept(from, &chain) {
            return;
        }
        let (epoch, end) = (chain.epoch, previous.position + entries.len() as u64);
        let met = self
            .log
            .merge((previous, entries), self.committed, &mut self.out);
        match met {
            Meeting::Met => {
                self.wants_snapshot = false;
                // What is committed here is in every head's log, however little was sent.
                self.verify(end.max(self.committed));
                self.owes_answer = true;
                if epoch < self.log.term() {
                    let (received, held) = (end, end);
                    let answer = ChainMessage::Held {
                        epoch,
                        received,
                        held,
                    };
                    self.send(from, answer);
                }
            }
            Meeting::Apart { hint, snapshot } => {
                self.wants_snapshot |= snapshot;
                let answer = ChainMessage::Mismatch {
                    epoch,
                    hint,
                    snapshot,
                };
                self.send(from, answer);
            }
        }
    }

    fn verify(&mut self, position: u64) {
        let before = self.verified;
        self.verified = before.max(Some(position));
        if before.is_none() {
            self.lay_links();
        }
    }

    /// The whole state from the one before.
    pub(super) fn on_snapshot(
        &mut self,
        from: Peer,
        chain: Configuration,
        point: Point,
        store: Store,
    ) {
        if !self.accept(from, &chain) {
            return;
        }
        if self.log.entries.point(point.position) == Some(point) {
            self.commit_to(point.position);
        } else if point.position > self.committed || self.wants_snapshot {
            self.install(point, store);
            self.verified = None;
        }
        self.wants_snapshot = false;
        self.verify(point.position.max(self.committed));
        self.owes_answer = true;
    }

    /// Tells whoever is before in the chain how far it is here and behind, when that has changed or
    /// was asked.
    pub(super) fn tell_source(&mut self) {
        let owes = std::mem::take(&mut self.owes_answer);
        let Some(chain) = self.standing() else {
            return;
        };
        let (Some(source), Some(received)) = (chain.source(self.setting.me), self.verified) else {
            return;
        };
        let (epoch, held) = (chain.epoch, self.held());
        if owes || self.told != Some((received, held)) {
            self.told = Some((received, held));
            let answer = ChainMessage::Held {
                epoch,
                received,
                held,
            };
            self.send(source, answer);
        }
    }
}
