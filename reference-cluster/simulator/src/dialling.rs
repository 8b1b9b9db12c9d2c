//! How a node connects to its peers: a new attempt every 300 ms while earlier ones may still be
//! answered, and after refusals at intervals from 10 to 200 ms (`node/src/peers/outgoing.rs`).
//!
//! An attempt is one packet there and one back. A lost one is not sent again: the next attempt is
//! sooner than TCP would be.

use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

use crate::agenda::Due;
use crate::connection::Phase;
use crate::links::Passage;
use crate::machine::Notice;
use crate::packet::{Packet, Way};
use crate::streams::doubled;
use crate::world::World;

/// An attempt that stands unanswered after this long is joined by another.
const PATIENCE: Duration = Duration::from_millis(300);
/// An attempt that is answered later than this has been given up.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Wait after a break and after a first refusal; doubled for each next one.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// Longest wait after a refusal.
const BACKOFF_MAX: Duration = Duration::from_millis(200);

impl World {
    /// A process wants a connection, and goes on until it has it.
    pub(crate) fn begin_dialling(&mut self, way: Way, wait: Duration) {
        let at = self.now.after(wait);
        let connection = self.connection(way);
        connection.phase = Phase::Dialling;
        connection.dial += 1;
        connection.attempt = 0;
        connection.refusals = 0;
        let (dial, attempt) = (connection.dial, 0);
        self.agenda.plan(at, Due::Dial { way, dial, attempt });
    }

    pub(crate) fn dial_after_break(&mut self, way: Way) {
        // A reset may have come twice.
        if self.connection(way).phase == Phase::Closed {
            self.begin_dialling(way, BACKOFF_MIN);
        }
    }

    /// Time for an attempt, unless another was made since.
    pub(crate) fn dial(&mut self, way: Way, dial: u32, attempt: u32) {
        let sent = self.now;
        let connection = self.connection(way);
        if connection.phase != Phase::Dialling
            || (connection.dial, connection.attempt) != (dial, attempt)
        {
            return;
        }
        connection.attempt += 1;
        let attempt = connection.attempt;
        self.agenda
            .plan(sent.after(PATIENCE), Due::Dial { way, dial, attempt });
        if self.transmit(way, Packet::Connect { dial, sent }) == Passage::Refused {
            let process = None;
            let refusal = Packet::Connected {
                dial,
                sent,
                process,
            };
            self.go_on(way.back(), refusal);
        }
    }

    pub(crate) fn connect_arrives(&mut self, way: Way, dial: u32, sent: Moment) {
        let machine = &self.machines[way.to as usize];
        if machine.host_is_up {
            let answer = Packet::Connected {
                dial,
                sent,
                process: machine.listens().then_some(machine.generation),
            };
            // An answer that does not get through is made up for by the next attempt.
            let _passage = self.transmit(way.back(), answer);
        }
    }

    pub(crate) fn connected_arrives(
        &mut self,
        way: Way,
        (dial, sent): (u32, Moment),
        process: Option<u32>,
    ) {
        let now = self.now;
        let accepted = self.machines[way.to as usize].is_process(process);
        let connection = self.connection(way);
        let late = now.since(sent) > TIMEOUT;
        if connection.phase != Phase::Dialling || connection.dial != dial || late {
            return;
        }
        if process.is_some() {
            connection.open(accepted);
            return self.notify(way.from, Notice::Connected(way.to));
        }
        let wait = doubled(BACKOFF_MIN, connection.refusals).min(BACKOFF_MAX);
        connection.refusals += 1;
        // The attempt that patience planned is this one's to make.
        connection.attempt += 1;
        let attempt = connection.attempt;
        self.agenda
            .plan(now.after(wait), Due::Dial { way, dial, attempt });
    }
}
