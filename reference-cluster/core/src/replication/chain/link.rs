//! How a node passes on what it has.
//!
//! Down its link to the next in the chain a node sends what it has on disk, several messages ahead
//! of the answers; where the logs turn out not to meet it goes back message by message, and one
//! that is too far behind gets the whole state. The head has such a link to everyone outside of the
//! chain, too. A message without entries goes out at every tick: it says what the chain is, and
//! finds out what was lost with a connection.
//! Invariant: nothing is passed on before it is on disk here, so whoever follows has a prefix of it.
//! Source: van Renesse & Schneider 2004, section 3 (Update Propagation Invariant; messages in
//! flight are sent again after a change of the chain).

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::message::ChainMessage;
use super::server::{Chain, Position};
use crate::interface::{Output, Peer};
use crate::message::{Entry, Message, Point};
use crate::replication::entry_log::EntryLog;

/// Most entries under way on one link.
const WINDOW_ENTRIES: u64 = 4096;
/// After this time a whole state that was not answered is sent again.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(2);

/// What a node knows of one to whom it passes on.
#[derive(Debug)]
pub(super) struct Link {
    /// Next position to send.
    next: u64,
    /// Up to here its log is the same.
    received: u64,
    /// Up to here everyone from it to the tail has the log on disk.
    pub held: u64,
    /// Whether the logs are still to meet; until then one message at a time.
    probing: bool,
    /// A probe is under way.
    probed: bool,
    snapshot_sent: Option<Moment>,
}

/// What is to be sent next.
enum Part {
    Nothing,
    /// The entry before these, and these.
    Entries(Point, Vec<Entry>),
    /// What is lacking there is not in memory any more.
    State,
}

impl Link {
    fn new(next: u64) -> Self {
        Link {
            next,
            received: 0,
            held: 0,
            probing: true,
            probed: false,
            snapshot_sent: None,
        }
    }

    /// Of what the log holds up to `limit`. `empty`: also without entries.
    fn part(&mut self, log: &EntryLog, limit: u64, empty: bool) -> Part {
        let waits = self.probing && self.probed;
        let under_way = self.next.saturating_sub(self.received + 1);
        let new = self.next <= limit && under_way <= WINDOW_ENTRIES && !waits;
        if !new && !empty {
            return Part::Nothing;
        }
        let Some(previous) = log.point(self.next.saturating_sub(1)) else {
            return Part::State;
        };
        let mut entries = if new {
            log.batch(self.next)
        } else {
            Vec::new()
        };
        entries.retain(|entry| entry.point.position <= limit);
        self.next += entries.len() as u64;
        self.probed = true;
        Part::Entries(previous, entries)
    }
}

impl Chain {
    /// A fresh link to the next in the chain, and as head one to everyone outside of it.
    pub(super) fn lay_links(&mut self) {
        let me = self.setting.me;
        let Some(chain) = self.standing() else {
            return self.links.clear();
        };
        let outside: Vec<Peer> = match &self.position {
            Position::Head(_) => {
                let others = self.setting.others().into_iter();
                others.filter(|peer| !chain.holds(*peer)).collect()
            }
            Position::Follower | Position::Candidate(_) => Vec::new(),
        };
        let peers = chain.successor(me).into_iter().chain(outside);
        let next = self.verified() + 1;
        self.links = peers.map(|peer| (peer, Link::new(next))).collect();
    }

    /// Sends everyone what is lacking there, as far as the windows allow.
    pub(super) fn pass_on(&mut self, tick: bool) {
        let peers: Vec<Peer> = self.links.keys().copied().collect();
        for peer in peers {
            self.pass_on_to(peer, tick);
        }
    }

    fn pass_on_to(&mut self, peer: Peer, tick: bool) {
        let limit = self.settled();
        let Some(configuration) = self.standing().cloned() else {
            return;
        };
        let Some(link) = self.links.get_mut(&peer) else {
            return;
        };
        if let Some(sent) = link.snapshot_sent {
            if self.now.since(sent) < SNAPSHOT_RETRY {
                return;
            }
            link.snapshot_sent = None;
        }
        let mut empty = tick;
        // Bounded: every turn sends entries of a finite window or ends.
        loop {
            let (previous, entries) = match link.part(&self.log.entries, limit, empty) {
                Part::Nothing => return,
                Part::Entries(previous, entries) => (previous, entries),
                Part::State => {
                    link.snapshot_sent = Some(self.now);
                    return self.send_state(peer);
                }
            };
            empty = false;
            let append = ChainMessage::Append {
                configuration: configuration.clone(),
                previous,
                entries,
            };
            let message = Message::Chain(append);
            self.out.push(Output::Send { to: peer, message });
        }
    }

    fn send_state(&mut self, peer: Peer) {
        let point = self.log.entries.point(self.committed);
        let (Some(point), Some(configuration)) = (point, self.standing().cloned()) else {
            return;
        };
        let store = self.store.clone();
        let snapshot = ChainMessage::Snapshot {
            configuration,
            point,
            store,
        };
        self.send(peer, snapshot);
    }

    fn link(&mut self, peer: Peer, epoch: u64) -> Option<&mut Link> {
        let present = self.standing()?.epoch == epoch;
        self.links.get_mut(&peer).filter(|_| present)
    }

    /// The next one says how far it is.
    pub(super) fn on_held(&mut self, from: Peer, epoch: u64, received: u64, held: u64) {
        // What is behind `verified` here may differ from the head's log still.
        let verified = self.verified();
        let Some(link) = self.link(from, epoch) else {
            return;
        };
        link.received = link.received.max(received.min(verified));
        link.held = link.held.max(held.min(verified));
        link.next = link.next.max(link.received + 1);
        link.probing = false;
        link.snapshot_sent = None;
        self.pass_on_to(from, false);
    }

    /// The next one lacks what was assumed.
    pub(super) fn on_mismatch(&mut self, from: Peer, epoch: u64, hint: u64, snapshot: bool) {
        let (verified, now) = (self.verified(), self.now);
        let Some(link) = self.link(from, epoch) else {
            return;
        };
        if link.snapshot_sent.is_some() {
            return;
        }
        link.probing = true;
        link.probed = false;
        if snapshot {
            link.snapshot_sent = Some(now);
            return self.send_state(from);
        }
        link.next = hint.min(verified) + 1;
        self.pass_on_to(from, true);
    }

    /// What was sent and not answered may be lost, and the other may have lost what it had, too.
    pub(super) fn begin_anew_with(&mut self, peer: Peer) {
        self.owes_answer = true;
        let next = self.settled() + 1;
        if let Some(link) = self.links.get_mut(&peer) {
            *link = Link::new(next);
            self.pass_on_to(peer, true);
        }
    }
}
