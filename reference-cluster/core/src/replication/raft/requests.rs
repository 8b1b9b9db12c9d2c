//! What clients are told, and where every message and moment goes.
//!
//! Invariant: "not done" (`NotPrimary`, `Unavailable`, `BadRequest`) is said only of what never
//! entered the log; what entered it and was not committed before the leader lost its role is
//! `Indeterminate`.

use std::collections::BTreeSet;

use shakedown_contracts::node::{ApiError, ApiErrorKind, Status};
use shakedown_contracts::time::Moment;

use super::leader::Leadership;
use super::message::RaftMessage;
use super::role::Position;
use super::server::Raft;
use crate::detector::watch::SelfPortrait;
use crate::interface::{ClientReply, ClientRequest, DiskToken, Output, Peer, RequestId};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::Found;
use crate::recovery_log::record::Recovered;
use crate::replication::answers::{Speaker, command};
use crate::replication::participant::Participant;

/// Most requests that wait at one leader, reads and writes apart.
const OPEN_REQUESTS_MAX: usize = 4096;

impl Raft {
    pub(super) fn speaker(&self) -> Speaker {
        Speaker {
            node: self.setting.name(self.setting.me),
            epoch: self.log.term(),
            primary: self.leader.map(|leader| self.setting.name(leader)),
        }
    }

    fn take(&mut self, id: RequestId, request: ClientRequest) -> Result<(), ApiError> {
        if let ClientRequest::Status = request {
            let reply = ClientReply::Status(self.describe_status());
            self.out.push(Output::Reply { id, reply });
            return Ok(());
        }
        self.speaker().check(&request)?;
        let Position::Leader(leadership) = &self.position else {
            let message = "this node is not the leader";
            return Err(self.speaker().error(ApiErrorKind::NotPrimary, message));
        };
        if leadership.waiting.len().max(leadership.reads.len()) >= OPEN_REQUESTS_MAX {
            let message = "too many requests are waiting";
            return Err(self.speaker().error(ApiErrorKind::Unavailable, message));
        }
        match command(request) {
            Ok(command) => {
                let position = self.propose(command);
                if let Position::Leader(leadership) = &mut self.position {
                    leadership.waiting.insert(position, id);
                }
                self.replicate();
            }
            Err(read) => self.read(id, read),
        }
        Ok(())
    }

    /// A leader that lost its role answers whoever still waits.
    pub(super) fn give_up(&mut self, leadership: Leadership) {
        let writes = leadership.waiting.into_values();
        let writes = writes.map(|id| {
            let message = "the leader lost its role while the request was under way";
            (id, ApiErrorKind::Indeterminate, message)
        });
        let reads = leadership.reads.into_iter().map(|read| {
            let message = "the leader lost its role before the read was confirmed";
            (read.id, ApiErrorKind::NotPrimary, message)
        });
        for (id, kind, message) in writes.chain(reads) {
            let reply = ClientReply::Error(self.speaker().error(kind, message));
            self.out.push(Output::Reply { id, reply });
        }
    }

    fn dispatch(&mut self, from: Peer, message: RaftMessage) {
        match message {
            RaftMessage::Vote { term, last, trial } => self.on_vote(from, term, last, trial),
            RaftMessage::Granted { term, trial } => self.on_granted(from, term, trial),
            // Their terms say all they have to say.
            RaftMessage::Denied { .. } | RaftMessage::Stale { .. } => {}
            RaftMessage::Heartbeat { term, round } => self.on_heartbeat(from, term, round),
            RaftMessage::Alive { term, round } => self.on_alive(from, term, round),
            RaftMessage::Append {
                term,
                previous,
                entries,
                committed,
            } => self.on_append(from, term, (previous, entries), committed),
            RaftMessage::Appended { term, position } => self.on_appended(from, term, position),
            RaftMessage::Mismatch {
                term,
                hint,
                snapshot,
            } => self.on_mismatch(from, term, hint, snapshot),
            RaftMessage::Snapshot { term, point, store } => {
                self.on_snapshot(from, term, point, store);
            }
        }
    }
}

impl Participant for Raft {
    fn at(&mut self, now: Moment) {
        self.set_now(now);
    }

    fn start(&mut self, recovered: Recovered, found: Option<Found>) {
        self.begin(recovered, found);
    }

    fn message(&mut self, from: Peer, message: Message) {
        // Others are of a group with another strategy: nothing here understands them.
        let Message::Raft(message) = message else {
            return;
        };
        // Who asks for a vote may be refused together with its term.
        let asks = matches!(message, RaftMessage::Vote { .. });
        let newer = message
            .binding_term()
            .filter(|term| *term > self.log.term());
        if let Some(term) = newer.filter(|_| !asks) {
            self.enter_term(term, None);
        }
        self.dispatch(from, message);
    }

    fn reconnected(&mut self, peer: Peer) {
        self.begin_anew_with(peer);
        self.ask_for_vote(peer);
    }

    /// Roles are told by messages of a term, not by the detector's datagrams.
    fn heard(&mut self, _from: Peer, _heartbeat: &Heartbeat) {}

    /// The detector is measured, and does not steer.
    fn suspicion_changed(&mut self, _suspected: BTreeSet<Peer>) {}

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
        self.log.disk_done(token, &mut self.out);
    }

    fn request(&mut self, id: RequestId, request: ClientRequest) {
        if let Err(error) = self.take(id, request) {
            let reply = ClientReply::Error(error);
            self.out.push(Output::Reply { id, reply });
        }
    }

    fn settle(&mut self) {
        self.draw_consequences();
    }

    fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    fn portrait(&self) -> SelfPortrait {
        self.describe_self()
    }

    fn status(&self) -> Status {
        self.describe_status()
    }

    fn point(&self, position: u64) -> Option<Point> {
        self.log.entries.point(position)
    }
}
