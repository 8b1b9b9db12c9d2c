//! Where every input goes.
//!
//! Invariant: whoever hears of a newer term enters it before anything else is done about the message
//! (paper, §5.1), but for two kinds: a trial changes nobody's term, and who asks for a vote may be
//! refused together with its term.

use std::collections::BTreeSet;
use std::vec::Drain;

use shakedown_contracts::node::Status;
use shakedown_contracts::time::Moment;

use super::message::RaftMessage;
use super::server::Raft;
use crate::detector::watch::SelfPortrait;
use crate::interface::{ClientRequest, DiskToken, Output, Peer, RequestId};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::Found;
use crate::recovery_log::record::Recovered;
use crate::service::Service;

impl Raft {
    fn enter_term_of(&mut self, message: &RaftMessage) {
        if matches!(message, RaftMessage::Vote { .. }) {
            return;
        }
        let term = message.binding_term();
        if let Some(term) = term.filter(|term| *term > self.log.term()) {
            self.enter_term(term, None);
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

impl Service for Raft {
    fn at(&mut self, now: Moment) {
        self.set_now(now);
    }

    fn start(&mut self, recovered: Recovered, found: Option<Found>) {
        self.begin(recovered, found);
    }

    fn message(&mut self, from: Peer, message: Message) {
        // Others are of a group with another strategy: nothing here understands them.
        if let Message::Raft(message) = message {
            self.enter_term_of(&message);
            self.dispatch(from, message);
        }
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
        self.log.disk_done(self.now, token, &mut self.out);
    }

    fn disk_failed(&mut self, token: DiskToken) {
        self.log.disk_failed(token, &mut self.out);
    }

    fn request(&mut self, id: RequestId, request: ClientRequest) {
        self.serve(id, request);
    }

    fn settle(&mut self) {
        self.draw_consequences();
    }

    fn take_outputs(&mut self) -> Drain<'_, Output> {
        self.out.drain(..)
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
