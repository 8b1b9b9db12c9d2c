//! What the head of a chain does, and how it stops being one.
//!
//! The head puts writes in order, and answers them when the tail has them. It stays head when the
//! chain behind it changes: what it was asked meanwhile waits until the new chain stands.
//! Invariant: whoever stops being head answers everyone that waits, and says of no write that it was
//! not done which may be done all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shakedown_contracts::event::{Event, Role};

use super::authority::Candidacy;
use super::message::Configuration;
use super::reads::OpenRead;
use super::server::{Chain, Position};
use crate::flaw::Flaw;
use crate::interface::{ClientRequest, Peer, RequestId};
use crate::message::{Entry, Point};
use crate::store::Command;

/// What only a head has.
#[derive(Debug, Default)]
pub(super) struct Headship {
    /// The first entry of its chain: when that is committed, so is everything before it.
    pub first: u64,
    /// Clients that wait for a position to be committed.
    pub waiting: BTreeMap<u64, RequestId>,
    /// Reads that the tail has not answered, by number.
    pub reads: BTreeMap<u64, OpenRead>,
    /// The chain is being changed.
    pub change: Option<Candidacy>,
    /// Who joins by that.
    pub joining: BTreeSet<Peer>,
    /// What was asked meanwhile.
    pub held_back: VecDeque<(RequestId, ClientRequest)>,
}

impl Chain {
    /// A majority has promised the epoch: this node is the head of its chain.
    pub(super) fn lead(&mut self, order: Vec<Peer>) {
        let epoch = self.log.term();
        let before = std::mem::replace(&mut self.position, Position::Follower);
        let mut headship = match before {
            Position::Head(headship) => headship,
            Position::Candidate(_) | Position::Follower => Headship::default(),
        };
        headship.first = self.log.last().position + 1;
        headship.change = None;
        let held_back = std::mem::take(&mut headship.held_back);
        self.position = Position::Head(headship);
        self.configuration = Some(Configuration { epoch, order });
        self.head = Some(self.setting.me);
        self.stand_due = None;
        self.note(Event::RoleChanged {
            role: Role::Primary,
            epoch,
        });
        self.lay_links();
        if !self.has(Flaw::CommitsOldTerms) {
            self.propose(Command::Nothing);
        }
        self.pass_on(true);
        self.ask_reads_again(true);
        for (id, request) in held_back {
            self.serve(id, request);
        }
    }

    /// Puts a command into the log as head; its position.
    pub(super) fn propose(&mut self, command: Command) -> u64 {
        let point = Point {
            epoch: self.log.term(),
            position: self.log.last().position + 1,
        };
        self.log.append(Entry { point, command }, &mut self.out);
        point.position
    }

    /// Is no head from now on, nor wants to be; knows this head, or none.
    pub(super) fn follow(&mut self, head: Option<Peer>) {
        let before = std::mem::replace(&mut self.position, Position::Follower);
        let (stood, known) = match before {
            Position::Head(headship) => {
                self.give_up(headship);
                (true, true)
            }
            Position::Candidate(candidacy) => (true, !candidacy.trial),
            Position::Follower => (false, false),
        };
        if known {
            self.note(Event::RoleChanged {
                role: Role::Backup,
                epoch: self.log.term(),
            });
        }
        if stood || self.head != head || self.stand_due.is_none() {
            self.head = head;
            self.plan_to_stand();
        }
    }
}
