//! How messages come in order and none is missing, though connections break.
//!
//! A snapshot by markers is right only if a channel delivers what was sent, in order. A connection
//! does, until it breaks; so what was not acknowledged is kept and sent again, and what comes twice
//! is taken once. With an era all channels begin anew: what was on its way in the old one is in the
//! snapshot or undone.
//! Invariant: what is delivered of a channel is a prefix of what was sent on it in the era.

use std::collections::VecDeque;

use shakedown_contracts::time::Moment;

use super::message::{Body, SpreadMessage};
use super::server::SpreadBank;
use crate::interface::Peer;

/// What is not acknowledged after so many beats is sent again.
const SEND_AGAIN_BEATS: u64 = 4;

/// Both directions between this node and another.
#[derive(Debug, Default)]
pub(super) struct Channel {
    sent: u64,
    unacknowledged: VecDeque<(u64, Body)>,
    /// When something was last sent first, sent again or acknowledged.
    moved: Moment,
    taken: u64,
    owes_answer: bool,
}

impl SpreadBank {
    /// Fresh channels to all others.
    pub(super) fn open_channels(&mut self) {
        let peers = self.setting.others().into_iter();
        self.channels = peers.map(|peer| (peer, Channel::default())).collect();
    }

    /// Sends in order and without fail.
    pub(super) fn post(&mut self, to: Peer, content: Body) {
        let (era, now) = (self.era, self.now);
        let Some(channel) = self.channels.get_mut(&to) else {
            return;
        };
        if channel.unacknowledged.is_empty() {
            channel.moved = now;
        }
        channel.sent += 1;
        let sequence = channel.sent;
        channel
            .unacknowledged
            .push_back((sequence, content.clone()));
        let carry = SpreadMessage::Carry {
            era,
            sequence,
            content,
        };
        self.send(to, carry);
    }

    /// To all others.
    pub(super) fn post_all(&mut self, content: &Body) {
        for peer in self.setting.others() {
            self.post(peer, content.clone());
        }
    }

    /// The next message of a channel, or one that came before, or one too early.
    pub(super) fn on_carry(&mut self, from: Peer, era: u64, sequence: u64, content: Body) {
        if era < self.era {
            return self.send(from, SpreadMessage::Newer { era: self.era });
        }
        if era > self.era || !self.active {
            return;
        }
        let Some(channel) = self.channels.get_mut(&from) else {
            return;
        };
        channel.owes_answer = true;
        if sequence == channel.taken + 1 {
            channel.taken = sequence;
            self.deliver(from, content);
        }
    }

    /// Everything up to `sequence` was taken.
    pub(super) fn on_taken(&mut self, from: Peer, era: u64, sequence: u64) {
        let (present, now) = (self.era, self.now);
        let channel = self.channels.get_mut(&from).filter(|_| era == present);
        if let Some(channel) = channel {
            let waiting = &mut channel.unacknowledged;
            while waiting.front().is_some_and(|(sent, _)| *sent <= sequence) {
                waiting.pop_front();
                channel.moved = now;
            }
        }
    }

    /// Acknowledges what was taken in this step.
    pub(super) fn acknowledge_taken(&mut self) {
        let era = self.era;
        let mut answers = Vec::new();
        for (peer, channel) in &mut self.channels {
            if std::mem::take(&mut channel.owes_answer) {
                answers.push((*peer, channel.taken));
            }
        }
        for (peer, sequence) in answers {
            self.send(peer, SpreadMessage::Taken { era, sequence });
        }
    }

    /// Sends again what nobody has acknowledged for a while.
    pub(super) fn send_late_again(&mut self) {
        let (now, patience) = (self.now, self.setting.beats(SEND_AGAIN_BEATS));
        let late = |channel: &Channel| {
            !channel.unacknowledged.is_empty() && now.since(channel.moved) >= patience
        };
        let peers: Vec<Peer> = self
            .channels
            .iter()
            .filter(|(_, channel)| late(channel))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in peers {
            self.send_again(peer);
        }
    }

    /// Sends again everything that is not acknowledged.
    pub(super) fn send_again(&mut self, peer: Peer) {
        let (era, now) = (self.era, self.now);
        let Some(channel) = self.channels.get_mut(&peer) else {
            return;
        };
        channel.moved = now;
        let again: Vec<(u64, Body)> = channel.unacknowledged.iter().cloned().collect();
        for (sequence, content) in again {
            let carry = SpreadMessage::Carry {
                era,
                sequence,
                content,
            };
            self.send(peer, carry);
        }
    }
}
