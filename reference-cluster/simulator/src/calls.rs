//! Clients' calls: connect, ask, be answered.
//!
//! A connection that has carried an answer is kept and used again, as HTTP clients do; it stands
//! until the process at its other end is gone and the client has heard of that. What a link loses
//! comes again later, at doubling intervals: 1 s for connecting, 200 ms for the rest. Over a link
//! that is cut nothing comes until it is healed.

use std::collections::BTreeMap;

use shakedown_contracts::units::Duration;
use shakedown_core::interface::{ClientReply, ClientRequest, Input, RequestId};

use crate::agenda::Due;
use crate::happening::{CallAnswer, CallId, Happening};
use crate::links::Passage;
use crate::machine::Notice;
use crate::packet::{Leg, Packet, Way};
use crate::processes::Death;
use crate::streams::{RETRANSMISSION, doubled};
use crate::world::World;

/// Wait before connecting is tried again (TCP's first SYN timeout); doubled for each next one.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq)]
enum Stage {
    /// The client waits for a connection.
    Connecting,
    /// The request is under way.
    Asking,
    /// The request is at the node.
    Open,
    /// The answer, or the end of the connection, is under way.
    Answering(CallAnswer),
    /// Nobody will say anything any more.
    Silent,
}

#[derive(Debug)]
struct Call {
    /// Client to node.
    way: Way,
    stage: Stage,
    /// Until the node has taken it.
    request: Option<ClientRequest>,
    /// Which process of the node has its end of the connection.
    process: Option<u32>,
    /// The client hung up where the node could not hear it.
    abandoned: bool,
    /// A look at it is planned.
    armed: bool,
    repeats: u32,
}

/// All calls under way, and connections that wait for the next.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    made: u64,
    open: BTreeMap<CallId, Call>,
    /// By client and node: which process accepted it, of each.
    idle: BTreeMap<Way, Vec<u32>>,
}

impl World {
    /// A client of `group` asks `node`. The answer is a [`Happening::Answer`].
    ///
    /// # Panics
    /// When either is no endpoint of this world.
    pub fn call(&mut self, group: &str, node: &str, request: ClientRequest) -> CallId {
        let way = Way {
            from: self.number(group),
            to: self.node(node),
        };
        self.calls.made += 1;
        let id = CallId(self.calls.made);
        let process = self.calls.idle.get_mut(&way).and_then(Vec::pop);
        let (stage, leg) = match process {
            Some(_) => (Stage::Asking, Leg::Request),
            None => (Stage::Connecting, Leg::Connect),
        };
        let call = Call {
            way,
            stage,
            request: Some(request),
            process,
            abandoned: false,
            armed: false,
            repeats: 0,
        };
        self.calls.open.insert(id, call);
        self.send_leg(id, leg);
        id
    }

    /// The client hangs up. What the node has taken it may still do.
    pub fn cancel(&mut self, call: CallId) {
        let Some(state) = self.calls.open.get_mut(&call) else {
            return;
        };
        if state.stage == Stage::Open && self.links.is_cut(state.way) {
            state.abandoned = true;
        } else {
            self.calls.open.remove(&call);
        }
    }

    fn send_leg(&mut self, id: CallId, leg: Leg) {
        let Some(call) = self.calls.open.get_mut(&id) else {
            return;
        };
        let way = if leg.is_the_clients() {
            call.way
        } else {
            call.way.back()
        };
        match self.transmit(way, Packet::Call { call: id, leg }) {
            Passage::Passes => {}
            Passage::Held(_) | Passage::Lost => self.arm_call(id, leg),
            Passage::Refused => self.refused(id, leg),
        }
    }

    /// A rejecting cut has told the sender of a leg.
    fn refused(&mut self, id: CallId, leg: Leg) {
        let Some(call) = self.calls.open.get_mut(&id) else {
            return;
        };
        let back = call.way.back();
        match leg {
            Leg::Connect => {
                let leg = Leg::Refuse;
                self.go_on(back, Packet::Call { call: id, leg });
            }
            Leg::Request => {
                let words = "connection reset on the way".to_owned();
                call.stage = Stage::Answering(CallAnswer::Broken(words));
                let leg = Leg::Answer;
                self.go_on(back, Packet::Call { call: id, leg });
            }
            // The node is told, and the client waits.
            Leg::Refuse | Leg::Accept => self.arm_call(id, Leg::Connect),
            Leg::Answer => call.stage = Stage::Silent,
        }
    }

    /// Plans to send a leg again.
    fn arm_call(&mut self, id: CallId, leg: Leg) {
        let Some(call) = self.calls.open.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut call.armed, true) {
            return;
        }
        let (leg, first) = match leg {
            Leg::Connect | Leg::Refuse | Leg::Accept => (Leg::Connect, CONNECT_AGAIN),
            Leg::Request | Leg::Answer => (leg, RETRANSMISSION),
        };
        let at = self.now.after(doubled(first, call.repeats));
        call.repeats += 1;
        self.agenda.plan(at, Due::Repeat { call: id, leg });
    }

    pub(crate) fn repeat_is_due(&mut self, id: CallId, leg: Leg) {
        let Some(call) = self.calls.open.get_mut(&id) else {
            return;
        };
        call.armed = false;
        let wanted = match call.stage {
            Stage::Connecting => Some(Leg::Connect),
            Stage::Asking => Some(Leg::Request),
            // A host that died has forgotten it.
            Stage::Answering(_) if call.process.is_some() => Some(Leg::Answer),
            Stage::Answering(_) | Stage::Open | Stage::Silent => None,
        };
        match wanted {
            Some(wanted) if wanted == leg => self.send_leg(id, leg),
            // Planned for a leg that got through since; the present one may have been lost too.
            Some(wanted) => {
                call.repeats = 0;
                self.arm_call(id, wanted);
            }
            None => {}
        }
    }

    pub(crate) fn leg_arrives(&mut self, id: CallId, leg: Leg) {
        let Some(call) = self.calls.open.get_mut(&id) else {
            return;
        };
        let machine = &self.machines[call.way.to as usize];
        if leg.is_the_clients() && !machine.host_is_up {
            return self.arm_call(id, leg);
        }
        match (leg, &call.stage) {
            (Leg::Connect, Stage::Connecting) => {
                call.process = machine.listens().then_some(machine.generation);
                let leg = if machine.listens() {
                    Leg::Accept
                } else {
                    Leg::Refuse
                };
                self.send_leg(id, leg);
            }
            (Leg::Accept, Stage::Connecting) => {
                call.stage = Stage::Asking;
                call.repeats = 0;
                self.send_leg(id, Leg::Request);
            }
            (Leg::Refuse, Stage::Connecting) => {
                let node = &self.names[call.way.to as usize];
                let words = format!("connection to {node} refused");
                self.finish(id, CallAnswer::NotConnected(words));
            }
            (Leg::Request, Stage::Asking) if machine.is_process(call.process) => {
                call.stage = Stage::Open;
                let node = call.way.to;
                self.notify(node, Notice::Request(id));
            }
            (Leg::Request, Stage::Asking) => self.hang_up(id),
            (Leg::Answer, Stage::Answering(_)) => self.answer_arrives(id),
            // Twice, or overtaken by another end.
            _ => {}
        }
    }

    /// The kernel of the node ends a connection whose process is gone.
    fn hang_up(&mut self, id: CallId) {
        let Some(call) = self.calls.open.get_mut(&id) else {
            return;
        };
        let node = &self.names[call.way.to as usize];
        let words = format!("connection closed by {node}");
        call.stage = Stage::Answering(CallAnswer::Broken(words));
        call.repeats = 0;
        self.send_leg(id, Leg::Answer);
    }

    /// A node takes a request that has arrived; `None` when the client hung up before.
    pub(crate) fn take_request(&mut self, id: CallId) -> Option<Input> {
        let request = self.calls.open.get_mut(&id)?.request.take()?;
        let id = RequestId(id.0);
        Some(Input::Request { id, request })
    }

    /// A node answers.
    pub(crate) fn reply(&mut self, id: RequestId, reply: ClientReply) {
        let id = CallId(id.0);
        let Some(call) = self.calls.open.get_mut(&id) else {
            return;
        };
        if call.abandoned {
            self.calls.open.remove(&id);
            return;
        }
        call.stage = Stage::Answering(CallAnswer::Reply(reply));
        call.repeats = 0;
        self.send_leg(id, Leg::Answer);
    }

    fn answer_arrives(&mut self, id: CallId) {
        let Some(call) = self.calls.open.get_mut(&id) else {
            return;
        };
        let stage = std::mem::replace(&mut call.stage, Stage::Silent);
        let Stage::Answering(answer) = stage else {
            return;
        };
        let (way, process) = (call.way, call.process);
        let machine = &self.machines[way.to as usize];
        if let (CallAnswer::Reply(_), Some(process)) = (&answer, process)
            && machine.is_process(Some(process))
        {
            self.calls.idle.entry(way).or_default().push(process);
        }
        self.finish(id, answer);
    }

    fn finish(&mut self, call: CallId, answer: CallAnswer) {
        self.calls.open.remove(&call);
        self.happenings.push(Happening::Answer {
            call,
            time: self.now,
            answer,
        });
    }

    /// The process at the other end of calls dies.
    pub(crate) fn close_calls(&mut self, node: u32, death: Death) {
        let links = &self.links;
        self.calls.idle.retain(|way, _| {
            // The client hears the end of idle connections, unless nothing gets through to it.
            way.to != node || death == Death::Host || links.is_cut(way.back())
        });
        let open = self.calls.open.iter_mut();
        let mut ended = Vec::new();
        for (id, call) in open.filter(|(_, call)| call.way.to == node) {
            let open = matches!(call.stage, Stage::Asking | Stage::Open);
            match death {
                Death::Process if open && call.process.is_some() => ended.push(*id),
                Death::Process => {}
                Death::Host => call.process = None,
            }
        }
        for id in ended {
            self.hang_up(id);
        }
        self.calls
            .open
            .retain(|_, call| call.way.to != node || !call.abandoned);
    }
}
