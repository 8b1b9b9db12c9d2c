//! Packets set out, wait on slow links, and arrive.

use shakedown_contracts::time::Moment;

use crate::agenda::Due;
use crate::links::Passage;
use crate::machine::Notice;
use crate::packet::{Packet, Way};
use crate::world::World;

impl World {
    /// Sends a packet on its way.
    pub(crate) fn transmit(&mut self, way: Way, packet: Packet) -> Passage {
        let passage = self.links.pass(way, self.now, &packet);
        match passage {
            Passage::Passes => self.go_on(way, packet),
            Passage::Held(until) => self.agenda.plan(until, Due::Release(way)),
            Passage::Lost | Passage::Refused => {}
        }
        passage
    }

    /// A packet goes over the link itself. Also what the router answers in somebody's name, which
    /// no fault meets.
    pub(crate) fn go_on(&mut self, way: Way, packet: Packet) {
        let at = self.arrival(way);
        self.agenda.plan(at, Due::Arrival(way, packet));
    }

    fn arrival(&self, way: Way) -> Moment {
        self.now.after(self.links.latency(way, self.now))
    }

    pub(crate) fn release(&mut self, way: Way) {
        while let Some(packet) = self.links.release(way, self.now) {
            self.go_on(way, packet);
        }
    }

    pub(crate) fn arrive(&mut self, way: Way, packet: Packet) {
        match packet {
            Packet::Heartbeat(heartbeat) => {
                if let Some(peer) = self.machines[way.to as usize].peer(way.from) {
                    self.notify(way.to, Notice::Heartbeat(peer, heartbeat));
                }
            }
            Packet::Probe(probe) => {
                if let Some(peer) = self.machines[way.to as usize].peer(way.from) {
                    self.notify(way.to, Notice::Probe(peer, probe));
                }
            }
            Packet::Data { epoch, sequence } => self.data_arrives(way, epoch, sequence),
            Packet::Acknowledgement { epoch, up_to } => {
                self.acknowledgement_arrives(way.back(), epoch, up_to);
            }
            Packet::Reset { epoch } => self.reset_arrives(way.back(), epoch),
            Packet::Connect { dial, sent } => self.connect_arrives(way, dial, sent),
            Packet::Connected {
                dial,
                sent,
                process,
            } => self.connected_arrives(way.back(), (dial, sent), process),
            Packet::Call { call, leg } => self.leg_arrives(call, leg),
        }
    }
}
