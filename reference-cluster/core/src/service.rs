//! What a node needs of the machine that serves its clients, whichever it is.
//!
//! A step sets the moment, hands over one input, lets the machine settle and takes its outputs.
//! Invariant: nothing is sent, answered or noted but through [`Service::take_outputs`].

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::vec::Drain;

use shakedown_contracts::node::Status;
use shakedown_contracts::time::Moment;

use crate::detector::watch::SelfPortrait;
use crate::interface::{ClientRequest, DiskToken, Output, Peer, RequestId};
use crate::message::{Heartbeat, Message, Point};
use crate::recovery_log::Found;
use crate::recovery_log::record::Recovered;
use crate::replication::replica::Replica;

/// One node's part of what the cluster does for its clients.
pub trait Service: Debug + Send {
    /// Sets the moment of everything that follows.
    fn at(&mut self, now: Moment);

    /// Begins with what the disk held. `found` is `None` when it held nothing at all.
    fn start(&mut self, recovered: Recovered, found: Option<Found>);

    /// A message from a peer.
    fn message(&mut self, from: Peer, message: Message);

    /// What was sent to a peer and not answered may be lost, and it may have lost it too.
    fn reconnected(&mut self, peer: Peer);

    /// What a heartbeat says about its sender's role.
    fn heard(&mut self, from: Peer, heartbeat: &Heartbeat);

    /// The detector's opinion has changed.
    fn suspicion_changed(&mut self, suspected: BTreeSet<Peer>);

    /// The replication timer is due.
    fn tick(&mut self);

    /// The sync timer is due.
    fn sync_due(&mut self);

    /// Writes a checkpoint when its rule says so. `timer`: asked by the checkpoint timer.
    fn checkpoint_if_due(&mut self, timer: bool);

    /// A disk operation is done.
    fn disk_done(&mut self, token: DiskToken);

    /// A sync failed, and the driver goes on.
    fn disk_failed(&mut self, token: DiskToken);

    /// A client asks.
    fn request(&mut self, id: RequestId, request: ClientRequest);

    /// To be called last at every step: draws the consequences of what the disk has done.
    fn settle(&mut self);

    /// What was asked for since the last call.
    fn take_outputs(&mut self) -> Drain<'_, Output>;

    /// What heartbeats say about this node.
    fn portrait(&self) -> SelfPortrait;

    /// What `GET /v1/status` answers.
    fn status(&self) -> Status;

    /// What the log holds at a position, as far as it is in memory; for checks from outside.
    fn point(&self, position: u64) -> Option<Point>;
}

impl Service for Replica {
    fn at(&mut self, now: Moment) {
        self.at(now);
    }

    fn start(&mut self, recovered: Recovered, found: Option<Found>) {
        self.start(recovered, found);
    }

    fn message(&mut self, from: Peer, message: Message) {
        self.message(from, message);
    }

    fn reconnected(&mut self, peer: Peer) {
        self.reconnected(peer);
    }

    fn heard(&mut self, from: Peer, heartbeat: &Heartbeat) {
        self.heard(from, heartbeat);
    }

    fn suspicion_changed(&mut self, suspected: BTreeSet<Peer>) {
        self.suspicion_changed(suspected);
    }

    fn tick(&mut self) {
        self.tick();
    }

    fn sync_due(&mut self) {
        self.sync_due();
    }

    fn checkpoint_if_due(&mut self, timer: bool) {
        self.checkpoint_if_due(timer);
    }

    fn disk_done(&mut self, token: DiskToken) {
        self.disk_done(token);
    }

    fn disk_failed(&mut self, token: DiskToken) {
        self.disk_failed(token);
    }

    fn request(&mut self, id: RequestId, request: ClientRequest) {
        self.request(id, request);
    }

    fn settle(&mut self) {
        self.settle();
    }

    fn take_outputs(&mut self) -> Drain<'_, Output> {
        self.take_outputs()
    }

    fn portrait(&self) -> SelfPortrait {
        self.portrait()
    }

    fn status(&self) -> Status {
        self.status()
    }

    fn point(&self, position: u64) -> Option<Point> {
        self.point(position)
    }
}
