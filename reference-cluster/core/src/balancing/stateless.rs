//! The shell of a machine that keeps nothing: what a node asks of every service, done once for the
//! balancer and its backends.
//!
//! Invariant: after every step the one timer is set for the machine's next deadline, and whatever
//! was due has been done.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::vec::Drain;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::{ApiError, ApiErrorKind, Status};
use shakedown_contracts::time::Moment;

use super::message::BalancingMessage;
use crate::detector::watch::SelfPortrait;
use crate::interface::{ClientReply, ClientRequest, DiskToken, Output, Peer, RequestId, Timer};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::Found;
use crate::recovery_log::record::Recovered;
use crate::service::Service;

/// A machine without data. Whatever it wants goes to `out`.
pub(super) trait Machine: Debug + Send {
    /// What it is.
    fn role(&self) -> Role;

    /// Begins.
    fn begin(&mut self, now: Moment);

    /// A message from another member.
    fn message(
        &mut self,
        now: Moment,
        from: Peer,
        message: BalancingMessage,
        out: &mut Vec<Output>,
    );

    /// A client wants something done for a key.
    fn call(&mut self, now: Moment, id: RequestId, key: String, out: &mut Vec<Output>);

    /// What was sent to a peer and not answered may be lost.
    fn reconnected(&mut self, now: Moment, peer: Peer, out: &mut Vec<Output>);

    /// The detector's opinion has changed.
    fn suspicion_changed(&mut self, now: Moment, suspected: &BTreeSet<Peer>, out: &mut Vec<Output>);

    /// Does whatever is due.
    fn tick(&mut self, now: Moment, out: &mut Vec<Output>);

    /// When it is to be ticked next, if nothing else happens.
    fn next_deadline(&self) -> Option<Moment>;
}

/// A member with such a machine.
#[derive(Debug)]
pub(super) struct Stateless<M> {
    name: String,
    machine: M,
    now: Moment,
    timer: Option<Moment>,
    out: Vec<Output>,
}

impl<M: Machine> Stateless<M> {
    pub fn new(name: String, machine: M) -> Self {
        Stateless {
            name,
            machine,
            now: Moment(0),
            timer: None,
            out: Vec::new(),
        }
    }

    fn refuse(&mut self, id: RequestId) {
        let error = ApiError {
            error: ApiErrorKind::BadRequest,
            message: "a balanced cluster keeps no data; try POST /v1/call/{key}".to_owned(),
            node: self.name.clone(),
            epoch: 0,
            primary: None,
        };
        let reply = ClientReply::Error(error);
        self.out.push(Output::Reply { id, reply });
    }
}

impl<M: Machine> Service for Stateless<M> {
    fn at(&mut self, now: Moment) {
        self.now = now;
    }

    fn start(&mut self, _recovered: Recovered, _found: Option<Found>) {
        self.machine.begin(self.now);
        let role = self.machine.role();
        self.out.push(Output::Note {
            event: Event::RoleChanged { role, epoch: 0 },
        });
    }

    fn message(&mut self, from: Peer, message: Message) {
        // Whoever speaks of a log is not of this cluster.
        if let Message::Balancing(message) = message {
            self.machine.message(self.now, from, message, &mut self.out);
        }
    }

    fn reconnected(&mut self, peer: Peer) {
        self.machine.reconnected(self.now, peer, &mut self.out);
    }

    fn heard(&mut self, _from: Peer, _heartbeat: &Heartbeat) {}

    fn suspicion_changed(&mut self, suspected: BTreeSet<Peer>) {
        self.machine
            .suspicion_changed(self.now, &suspected, &mut self.out);
    }

    fn tick(&mut self) {
        self.timer = None;
    }

    fn sync_due(&mut self) {}

    fn checkpoint_if_due(&mut self, _timer: bool) {}

    fn disk_done(&mut self, _token: DiskToken) {}

    fn disk_failed(&mut self, _token: DiskToken) {}

    fn request(&mut self, id: RequestId, request: ClientRequest) {
        match request {
            ClientRequest::Status => {
                let reply = ClientReply::Status(self.status());
                self.out.push(Output::Reply { id, reply });
            }
            ClientRequest::Call { key } => self.machine.call(self.now, id, key, &mut self.out),
            _ => self.refuse(id),
        }
    }

    fn settle(&mut self) {
        self.machine.tick(self.now, &mut self.out);
        let next = self.machine.next_deadline();
        if let Some(at) = next
            && self.timer != next
        {
            self.timer = next;
            let timer = Timer::Replication;
            self.out.push(Output::SetTimer { timer, at });
        }
    }

    fn take_outputs(&mut self) -> Drain<'_, Output> {
        self.out.drain(..)
    }

    fn portrait(&self) -> SelfPortrait {
        SelfPortrait {
            primary: false,
            epoch: 0,
            position: 0,
        }
    }

    fn status(&self) -> Status {
        Status {
            node: self.name.clone(),
            role: self.machine.role(),
            epoch: 0,
            primary: None,
            position: 0,
            committed: 0,
        }
    }

    fn point(&self, _position: u64) -> Option<Point> {
        None
    }
}
