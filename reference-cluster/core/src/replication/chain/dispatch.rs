//! Where every input goes.
//!
//! Invariant: nothing of another strategy is understood here.

use std::collections::BTreeSet;
use std::vec::Drain;

use shakedown_contracts::node::Status;
use shakedown_contracts::time::Moment;

use super::message::ChainMessage;
use super::server::Chain;
use crate::detector::watch::SelfPortrait;
use crate::interface::{ClientRequest, DiskToken, Output, Peer, RequestId};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::Found;
use crate::recovery_log::record::Recovered;
use crate::service::Service;

impl Chain {
    fn dispatch(&mut self, from: Peer, message: ChainMessage) {
        match message {
            ChainMessage::Append {
                configuration,
                previous,
                entries,
            } => self.on_append(from, configuration, previous, entries),
            ChainMessage::Snapshot {
                configuration,
                point,
                store,
            } => self.on_snapshot(from, configuration, point, store),
            ChainMessage::Held {
                epoch,
                received,
                held,
            } => self.on_held(from, epoch, received, held),
            ChainMessage::Mismatch {
                epoch,
                hint,
                snapshot,
            } => self.on_mismatch(from, epoch, hint, snapshot),
            ChainMessage::Stale { epoch } | ChainMessage::Refuse { epoch } => self.on_newer(epoch),
            ChainMessage::Ask { epoch, last, trial } => self.on_ask(from, epoch, last, trial),
            ChainMessage::Promise { epoch, trial } => self.promised_by(from, epoch, trial),
            ChainMessage::Read {
                epoch,
                number,
                index,
                request,
            } => self.on_read(from, epoch, number, (index, request)),
            ChainMessage::Answer {
                epoch,
                number,
                reply,
            } => self.on_answer(epoch, number, reply),
        }
    }
}

impl Service for Chain {
    fn at(&mut self, now: Moment) {
        self.now = now;
    }

    fn start(&mut self, recovered: Recovered, found: Option<Found>) {
        self.begin(recovered, found);
    }

    fn message(&mut self, from: Peer, message: Message) {
        if let Message::Chain(message) = message {
            self.dispatch(from, message);
        }
    }

    fn reconnected(&mut self, peer: Peer) {
        self.begin_anew_with(peer);
        self.ask_again(peer);
    }

    fn heard(&mut self, from: Peer, heartbeat: &Heartbeat) {
        self.hear(from, heartbeat);
    }

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
