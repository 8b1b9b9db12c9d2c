//! Where every input goes.

use std::collections::BTreeSet;
use std::vec::Drain;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::Status;
use shakedown_contracts::time::Moment;

use super::message::TransactionMessage as Said;
use super::transactor::Transactor;
use crate::detector::watch::SelfPortrait;
use crate::interface::{ClientRequest, DiskToken, Output, Peer, RequestId};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::Found;
use crate::recovery_log::record::Recovered;
use crate::service::Service;

impl Transactor {
    pub(super) fn dispatch(&mut self, from: Peer, message: Said) {
        match message {
            Said::Prepare {
                id,
                age,
                part,
                since,
            } => self.on_prepare(id, age, part, since),
            Said::Voted { id, vote } => self.on_voted(from, id, vote),
            Said::Decided { id, decision } => self.on_decided(id, decision),
            Said::Ask { id } => self.on_ask(from, id),
            Said::PreCommit { id, position } => self.on_pre_commit(from, id, position),
            Said::PreCommitted { id } => self.on_pre_committed(from, id),
            Said::AskStanding { id } => self.on_ask_standing(from, id),
            Said::Stands { id, standing } => self.on_stands(from, id, standing),
            other => self.dispatch_to_acceptor(from, other),
        }
    }

    fn dispatch_to_acceptor(&mut self, from: Peer, message: Said) {
        match message {
            Said::Accept {
                id,
                ballot,
                opinions,
            } => self.on_accept(id, ballot, opinions),
            Said::Accepted {
                id,
                ballot,
                opinions,
            } => self.on_accepted(from, id, ballot, &opinions),
            Said::AskPromise { id, ballot } => self.on_ask_promise(from, id, ballot),
            Said::Promised { id, ballot, kept } => self.on_promised(from, id, ballot, kept),
            Said::Outvoted { id, ballot } => self.on_outvoted(id, ballot),
            other => self.dispatch_others(from, other),
        }
    }

    fn dispatch_others(&mut self, from: Peer, message: Said) {
        match message {
            Said::Change {
                id,
                transfer,
                change,
            } => self.on_change(from, id, transfer, change),
            Said::Changed { id, key, done } => self.on_changed(id, &key, done),
            Said::Compensate {
                id,
                transfer,
                change,
            } => self.on_compensate(from, id, transfer, &change),
            Said::Compensated { id, key } => self.on_compensated(id, &key),
            Said::Read {
                id,
                age,
                keys,
                journal,
                view,
            } => self.on_read(id, age, keys, journal, view),
            Said::Shown { id, accounts } => self.on_shown(from, id, accounts),
            Said::Unlock { id, confirm } => self.on_unlock(from, id, confirm),
            Said::Unlocked { id, held } => self.on_unlocked(from, id, held),
            Said::Open { id, accounts } => self.on_open(from, id, accounts),
            Said::Opened { id } => self.on_opened(from, id),
            // Taken by those that hand over to this.
            _ => {}
        }
    }

    fn describe_status(&self) -> Status {
        Status {
            node: self.setting.name(self.setting.me),
            role: Role::Peer,
            epoch: 0,
            primary: None,
            position: self.ledger.number,
            committed: self.ledger.number,
        }
    }
}

impl Service for Transactor {
    fn at(&mut self, now: Moment) {
        self.now = now;
    }

    fn start(&mut self, recovered: Recovered, found: Option<Found>) {
        self.note(Event::RoleChanged {
            role: Role::Peer,
            epoch: 0,
        });
        self.begin(&recovered, found);
    }

    fn message(&mut self, from: Peer, message: Message) {
        // Others are of a group with another strategy: nothing here understands them.
        if let Message::Transactions(message) = message {
            self.dispatch(from, message);
        }
    }

    fn reconnected(&mut self, peer: Peer) {
        self.say_again_to(peer);
    }

    /// Nobody has a role of its own.
    fn heard(&mut self, _from: Peer, _heartbeat: &Heartbeat) {}

    fn suspicion_changed(&mut self, suspected: BTreeSet<Peer>) {
        self.suspect(suspected);
    }

    fn tick(&mut self) {
        self.ring();
    }

    fn sync_due(&mut self) {
        self.log.sync_due(self.now, &mut self.out);
    }

    fn checkpoint_if_due(&mut self, timer: bool) {
        self.write_checkpoint_if_due(timer);
    }

    fn disk_done(&mut self, token: DiskToken) {
        self.log.disk_done(self.now, token, &mut self.out);
    }

    fn request(&mut self, id: RequestId, request: ClientRequest) {
        match request {
            ClientRequest::Status => {
                let status = self.describe_status();
                self.reply(id, crate::interface::ClientReply::Status(status));
            }
            request => self.serve(id, request),
        }
    }

    fn settle(&mut self) {
        self.draw_consequences();
    }

    fn take_outputs(&mut self) -> Drain<'_, Output> {
        self.out.drain(..)
    }

    fn portrait(&self) -> SelfPortrait {
        SelfPortrait {
            primary: false,
            epoch: 0,
            position: self.ledger.number,
        }
    }

    fn status(&self) -> Status {
        self.describe_status()
    }

    /// There is no group's log.
    fn point(&self, _position: u64) -> Option<Point> {
        None
    }
}
