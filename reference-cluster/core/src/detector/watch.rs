//! What a node needs of its detector, whichever it is: an opinion of every peer.
//!
//! A step hands over what was heard, then lets the watch act: send what is due, compare with `now`,
//! report what changed. How it comes to its opinion is its own affair: all-to-all heartbeats, probes
//! and gossip, or nothing but the end of a connection.
//!
//! Invariant: a change of opinion is reported by [`Watch::act`] alone, as one event and as `true`.

use std::collections::BTreeSet;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use shakedown_contracts::event::Event;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use super::swim::packet::Probe;
use crate::interface::{DiskToken, Ending, Output, Peer};
use crate::message::Heartbeat;

/// What a datagram of a detector says about its sender besides that it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfPortrait {
    /// It acts as primary.
    pub primary: bool,
    /// The newest epoch it knows.
    pub epoch: u64,
    /// Position of its last entry.
    pub position: u64,
}

/// What was heard of a peer.
#[derive(Debug, Clone, Copy)]
pub enum Sign<'a> {
    /// A heartbeat or its ACK.
    Heartbeat(&'a Heartbeat),
    /// A datagram of SWIM.
    Probe(&'a Probe),
    /// A message on the connection that the peer dialled.
    Message,
    /// The own connection to the peer stands.
    Connected,
    /// The own connection to the peer broke.
    Disconnected(Ending),
}

/// One node's opinion of all its peers.
pub trait Watch: Debug + Send {
    /// Begins.
    fn start(&mut self, now: Moment);

    /// To be called first at every step: notices that this node itself was stopped, so that only
    /// time in which it ran counts as silence. Returns how long, where it was.
    fn notice_own_pause(&mut self, now: Moment) -> Option<Duration>;

    /// Something was heard of a peer.
    fn hear(
        &mut self,
        now: Moment,
        heard: (Peer, Sign<'_>),
        portrait: SelfPortrait,
        out: &mut Vec<Output>,
    );

    /// A disk operation is done; true when it was a detector's own.
    fn disk_done(&mut self, _token: DiskToken) -> bool {
        false
    }

    /// A disk operation failed; true when it was a detector's own.
    fn disk_failed(&mut self, _token: DiskToken) -> bool {
        false
    }

    /// To be called last at every step: sends what is due, compares every peer with `now`, reports
    /// what changed and sets the timers for the next time. True when an opinion changed.
    fn act(&mut self, now: Moment, portrait: SelfPortrait, out: &mut Vec<Output>) -> bool;

    /// Whom this node holds for failed.
    fn suspected(&self) -> BTreeSet<Peer>;

    /// Silence after which a peer would be held for failed, before anything is known about it.
    fn nominal_silence(&self) -> Duration;
}

/// The report of a changed opinion.
pub(super) fn opinion(subject: &str, suspected: bool) -> Output {
    let subject = subject.to_owned();
    let event = match suspected {
        true => Event::Suspicion { subject },
        false => Event::Trust { subject },
    };
    Output::Note { event }
}
