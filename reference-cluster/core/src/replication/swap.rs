//! How a spare takes a lost node's place.
//!
//! A supervisor asks for it and goes on asking; the primary first brings the spare up to date like
//! any backup, without counting it, then lets it vote, then takes the vote from the lost node (see
//! `membership` for why that is safe). The first step is the point of no return: it stands in the
//! log with what it is for, so whoever is primary by then takes the second. Before it, a swap that
//! is asked for no more is forgotten.
//!
//! A primary may be told to replace itself. It then leads until its own removal is committed, does
//! not count itself, and steps down (Ongaro 2014, section 4.2.2).
//!
//! Invariant: one change is under way at a time, and none before this epoch has committed an entry.

use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::leader::Progress;
use super::replica::{Position, Replica};
use crate::automation::message::{AutomationMessage, Swap};
use crate::flaw::Flaw;
use crate::interface::Peer;
use crate::message::Message;
use crate::store::Command;

/// A swap that was not asked for within so many beats is forgotten; a supervisor asks every four.
const ASKED_WITHIN_BEATS: u64 = 20;

/// A spare on its way to a vote.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learner {
    pub swap: Swap,
    /// When it was last asked for.
    asked: Moment,
}

impl Replica {
    /// Who votes, and who should.
    pub(super) fn about_voters(&mut self, from: Peer, message: AutomationMessage) {
        match message {
            AutomationMessage::Ask { swap } => {
                if self.leads_a_group() {
                    self.tell_voters(from);
                    if let Some(swap) = swap {
                        self.learn(swap);
                    }
                }
            }
            AutomationMessage::Voters {
                epoch,
                position,
                voters,
            } => {
                if self.accept_primary(from, epoch) {
                    self.membership.told(position, voters);
                    self.adopt_voters();
                }
            }
        }
    }

    /// True for a primary that knows what its group has committed.
    fn leads_a_group(&self) -> bool {
        let rules = &self.setting.rules;
        let Position::Primary(leadership) = &self.position else {
            return false;
        };
        let group = rules.fenced() && rules.fixed_primary.is_none();
        group && self.committed >= leadership.first
    }

    fn tell_voters(&mut self, to: Peer) {
        let settled = self.membership.settled(self.committed);
        let message = AutomationMessage::Voters {
            epoch: self.epoch,
            position: settled.position,
            voters: settled.voters.clone(),
        };
        self.send(to, Message::Automation(message));
    }

    /// As primary: a node that does not vote may not know it.
    pub(super) fn tell_outsider(&mut self, peer: Peer) {
        let node = (peer.0 as usize) < self.setting.names.len();
        let votes = self.setting.rules.voters.contains(&peer);
        if node && !votes && self.leads_a_group() {
            self.tell_voters(peer);
        }
    }

    /// As primary: the same to all.
    pub(super) fn tell_outsiders(&mut self) {
        for peer in (0..self.setting.names.len() as u32).map(Peer) {
            self.tell_outsider(peer);
        }
    }

    /// Begins to bring a spare up to date, or goes on.
    fn learn(&mut self, swap: Swap) {
        let present = self.membership.present();
        let settled = present.position <= self.committed && present.unfinished().is_none();
        let useful = present.voters.contains(&swap.lost) && !present.voters.contains(&swap.spare);
        let node = (swap.spare.0 as usize) < self.setting.names.len();
        if !(settled && useful && node) {
            return;
        }
        let asked = self.now;
        let next = self.entries.last().position + 1;
        let Position::Primary(leadership) = &mut self.position else {
            return;
        };
        let before = leadership.learner.replace(Learner { swap, asked });
        if let Some(other) = before.filter(|before| before.swap.spare != swap.spare) {
            leadership.backups.remove(&other.swap.spare);
        }
        let begins = before.is_none_or(|before| before.swap.spare != swap.spare);
        if begins {
            leadership.backups.insert(swap.spare, Progress::new(next));
            self.replicate();
        }
    }

    /// At a tick: forgets what is asked for no more.
    pub(super) fn forget_stale_learner(&mut self) {
        let patience = self.setting.beat.as_nanos() * ASKED_WITHIN_BEATS;
        let patience = Duration::from_nanos(patience);
        let now = self.now;
        if let Position::Primary(leadership) = &mut self.position
            && let Some(learner) = leadership.learner
            && now.since(learner.asked) > patience
        {
            leadership.learner = None;
            leadership.backups.remove(&learner.swap.spare);
        }
    }

    /// At every step: takes the next step of a swap when it may be taken.
    pub(super) fn go_on_with_swap(&mut self) {
        let Position::Primary(leadership) = &self.position else {
            return;
        };
        let present = self.membership.present();
        if self.committed < leadership.first || self.committed < present.position {
            return;
        }
        if let Some(swap) = present.unfinished() {
            let voters = present.without(swap.lost);
            return self.reconfigure(voters, swap);
        }
        if !present.voters.contains(&self.setting.me) {
            return self.become_backup(self.epoch, None);
        }
        let Some(learner) = leadership.learner else {
            return;
        };
        let swap = learner.swap;
        if !self.has(Flaw::SpareVotesEarly) && !leadership.in_step(swap.spare) {
            return;
        }
        let mut voters = present.with(swap.spare);
        if self.has(Flaw::SwapsInOneStep) {
            voters.retain(|voter| *voter != swap.lost);
        }
        self.reconfigure(voters, swap);
    }

    fn reconfigure(&mut self, voters: Vec<Peer>, swap: Swap) {
        if let Position::Primary(leadership) = &mut self.position {
            leadership.learner = None;
        }
        self.propose(Command::Reconfigure { voters, swap });
        self.replicate();
    }

    /// A change of the voters is committed.
    pub(super) fn reconfigured(&mut self) {
        self.membership.committed(self.committed);
        let settled = self.membership.settled(self.committed);
        let done = settled.swap.filter(|_| settled.unfinished().is_none());
        if matches!(self.position, Position::Primary(_)) {
            if let Some(swap) = done {
                let (node, spare) = (self.name(swap.lost), self.name(swap.spare));
                self.note(Event::MemberReplaced { node, spare });
            }
            self.tell_outsiders();
        }
    }

    /// Goes by the voters in force from now on.
    pub(super) fn adopt_voters(&mut self) {
        let voters = &self.membership.present().voters;
        if self.setting.rules.voters == *voters {
            return;
        }
        self.setting.rules.voters.clone_from(voters);
        let next = self.entries.last().position + 1;
        let me = self.setting.me;
        match &mut self.position {
            Position::Primary(leadership) => {
                leadership.backups.retain(|peer, _| voters.contains(peer));
                for peer in voters.iter().filter(|peer| **peer != me) {
                    let progress = leadership.backups.entry(*peer);
                    progress.or_insert_with(|| Progress::new(next));
                }
            }
            Position::Backup => self.plan_takeover(),
            Position::Candidate(_) => {}
        }
    }
}
