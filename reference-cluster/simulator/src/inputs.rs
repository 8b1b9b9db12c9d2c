//! What a node is given, and what becomes of what it wants: the driver of `shakedown-node` without
//! its sockets.
//!
//! A step takes no time. A real node takes some tens of microseconds, far below what any strategy
//! waits for.

use shakedown_contracts::event::Event;
use shakedown_core::interface::{Input, Output, Peer, Timer};

use crate::agenda::Due;
use crate::disk::per_mib;
use crate::machine::{Notice, Process};
use crate::packet::{Packet, Way};
use crate::processes::Death;
use crate::timers::Expiry;
use crate::world::World;

impl World {
    /// Something comes for a process: it takes it, or will after its pause.
    pub(crate) fn notify(&mut self, node: u32, notice: Notice) {
        let machine = &mut self.machines[node as usize];
        match machine.process {
            Process::None => {}
            Process::Booting | Process::Running(_) if machine.paused => machine.keep(notice),
            Process::Booting => {
                if let Notice::Boot = notice {
                    self.boot(node);
                }
            }
            Process::Running(_) => self.take(node, notice),
        }
    }

    fn take(&mut self, node: u32, notice: Notice) {
        let input = match notice {
            Notice::Heartbeat(from, heartbeat) => Input::Heartbeat { from, heartbeat },
            Notice::Probe(from, probe) => Input::Probe {
                from,
                probe: *probe,
            },
            Notice::Message(from, message) => Input::Message { from, message },
            Notice::DiskDone(token) => Input::DiskDone { token },
            Notice::DiskFailed(token) => Input::DiskFailed { token },
            Notice::DiskBroken(words) => return self.end_by_itself(node, words),
            Notice::Timer(timer) => Input::Timer { timer },
            Notice::Connected(to) => {
                return self.tell_of(node, to, |peer| Input::Reconnected { peer });
            }
            Notice::Broken(to, ending) => {
                self.tell_of(node, to, |peer| Input::Disconnected { peer, ending });
                return self.dial_after_break(Way { from: node, to });
            }
            Notice::Request(call) => match self.take_request(call) {
                Some(input) => input,
                None => return, // The client hung up before the node saw its request.
            },
            Notice::Dial { way, dial, attempt } => return self.dial(way, dial, attempt),
            Notice::Boot => return,
        };
        self.step(node, input);
    }

    fn tell_of(&mut self, node: u32, to: u32, input: impl FnOnce(Peer) -> Input) {
        if let Some(peer) = self.machines[node as usize].peer(to) {
            self.step(node, input(peer));
        }
    }

    /// One step of a node.
    pub(crate) fn step(&mut self, node: u32, input: Input) {
        let machine = &mut self.machines[node as usize];
        let now = machine.clock.read(self.now);
        let Process::Running(process) = &mut machine.process else {
            return;
        };
        self.trace.input(self.now, node, &input);
        let mut outputs = std::mem::take(&mut self.outputs);
        process.step_into(now, input, &mut outputs);
        for output in outputs.drain(..) {
            self.trace.output(&output);
            if let Output::Fatal { message } = output {
                self.end_by_itself(node, message);
                break;
            }
            self.carry_out(node, output);
        }
        self.outputs = outputs;
    }

    fn end_by_itself(&mut self, node: u32, last_words: String) {
        self.machines[node as usize].last_words = Some(last_words);
        self.end_process(node, Death::Process, ("exit code 1", false));
    }

    fn carry_out(&mut self, node: u32, output: Output) {
        let machine = &mut self.machines[node as usize];
        match output {
            Output::SendHeartbeat { to, heartbeat } => {
                if let Some(to) = machine.endpoint(to) {
                    // A datagram that does not get through is lost.
                    let way = Way { from: node, to };
                    let _passage = self.transmit(way, Packet::Heartbeat(heartbeat));
                }
            }
            Output::SendProbe { to, probe } => {
                if let Some(to) = machine.endpoint(to) {
                    let way = Way { from: node, to };
                    let _passage = self.transmit(way, Packet::Probe(Box::new(probe)));
                }
            }
            Output::Send { to, message } => {
                if let Some(to) = machine.endpoint(to) {
                    self.send(Way { from: node, to }, message);
                }
            }
            Output::SetTimer { timer, at } => {
                let when = machine.clock.when(at).max(self.now);
                if let Some(at) = machine.timers.set(timer, at, when) {
                    self.agenda.plan(at, Due::Timer { node, timer });
                }
            }
            Output::Disk { token, operation } => {
                machine.disk.submit(token, operation);
                self.begin_disk(node);
            }
            Output::Reply { id, reply } => self.reply(id, reply),
            Output::Note { event } => {
                let event = self.completed(node, event);
                self.report(node, event);
            }
            Output::Fatal { .. } => {}
        }
    }

    /// The core has no clock of its own within a step: how long recovery took is the driver's to say.
    fn completed(&self, node: u32, event: Event) -> Event {
        match event {
            Event::RecoveryCompleted {
                records,
                bytes,
                undone,
                ..
            } => {
                let read = self.machines[node as usize].disk.bytes();
                let took = per_mib(self.disk.read_mib, read);
                Event::RecoveryCompleted {
                    records,
                    bytes,
                    undone,
                    took,
                }
            }
            other => other,
        }
    }

    pub(crate) fn timer_is_due(&mut self, node: u32, timer: Timer) {
        let now = self.now;
        let machine = &mut self.machines[node as usize];
        if machine.paused {
            return machine.timers.expire_unheard(timer, now);
        }
        match machine.timers.expire(timer, now) {
            Expiry::Fires => self.notify(node, Notice::Timer(timer)),
            Expiry::Again(at) => self.agenda.plan(at, Due::Timer { node, timer }),
            Expiry::Stale => {}
        }
    }

    /// Begins the next disk operation, if one waits. A paused process begins none.
    pub(crate) fn begin_disk(&mut self, node: u32) {
        let machine = &mut self.machines[node as usize];
        if machine.paused {
            return;
        }
        if let Some(took) = machine.disk.begin(&self.disk, self.now) {
            let generation = machine.generation;
            let due = Due::Disk { node, generation };
            self.agenda.plan(self.now.after(took), due);
        }
    }

    pub(crate) fn disk_is_done(&mut self, node: u32, generation: u32) {
        let machine = &mut self.machines[node as usize];
        if machine.generation != generation || !machine.disk.is_done(self.now) {
            return self.tell_troubles(node);
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        let failure = machine.disk.finish(self.now, |token| tokens.push(token));
        let goes_on = machine.retries_syncs();
        self.tell_troubles(node);
        if failure
            .as_ref()
            .is_none_or(|failure| failure.of_sync && goes_on)
        {
            // The next operation begins before the loop hears of this one.
            self.begin_disk(node);
        }
        for token in tokens.drain(..) {
            self.notify(node, Notice::DiskDone(token));
        }
        self.tokens = tokens;
        match failure {
            Some(failure) if failure.of_sync && goes_on => {
                self.notify(node, Notice::DiskFailed(failure.token));
            }
            Some(failure) => {
                let errno = failure.errno.name();
                let words = format!("a disk operation failed: {errno}; the node stops");
                self.notify(node, Notice::DiskBroken(words));
            }
            None => {}
        }
    }
}
