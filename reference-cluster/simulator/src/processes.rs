//! Starting, killing, crashing, pausing and resuming processes.

use shakedown_contracts::event::Event;
use shakedown_contracts::random::Random;
use shakedown_contracts::units::Duration;
use shakedown_core::interface::{Input, Timer};
use shakedown_core::node::Node;

use crate::agenda::Due;
use crate::connection::Phase;
use crate::disk::per_mib;
use crate::machine::{Notice, Process};
use crate::packet::{Packet, Way};
use crate::timers::TIMERS;
use crate::world::World;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// SIGKILL, or by its own will: the kernel closes its connections.
    Process,
    /// Its host dies and says nothing.
    Host,
}

impl World {
    /// Starts the node's process; nothing when there is one. It is ready when it has read its disk.
    ///
    /// # Panics
    /// Like all faults, when there is no such node.
    pub fn start(&mut self, node: &str) {
        let number = self.node(node);
        let machine = &mut self.machines[number as usize];
        if !matches!(machine.process, Process::None) {
            return;
        }
        machine.generation += 1;
        machine.process = Process::Booting;
        machine.host_is_up = true;
        machine.last_words = None;
        let generation = machine.generation;
        let reading = per_mib(self.disk.read_mib, machine.disk.bytes());
        let mut random = Random::keyed(self.seed, "start", &format!("{node}#{generation}"));
        let half = Duration::from_nanos(self.start.as_nanos() / 2);
        let begun = Duration::from_nanos(self.start.as_nanos() - half.as_nanos() / 2)
            .saturating_add(random.duration_up_to(half));
        let ready = self.now.after(begun).after(reading);
        self.agenda.plan(
            ready,
            Due::Boot {
                node: number,
                generation,
            },
        );
        self.processes_started += 1;
        let pid = self.processes_started;
        self.report(number, Event::NodeStarted { pid, generation });
    }

    /// The process has read its disk: recovers, listens, dials, says that it is ready.
    pub(crate) fn boot(&mut self, number: u32) {
        let planted = self.planted;
        let machine = &mut self.machines[number as usize];
        let node =
            Node::planted(&machine.config, planted).expect("checked when the world was made");
        machine.process = Process::Running(Box::new(node));
        let (checkpoints, log) = machine.disk.content();
        self.step(number, Input::Start { checkpoints, log });
        let machine = &self.machines[number as usize];
        if !machine.listens() {
            return;
        }
        for to in machine.member_endpoints() {
            if to != number {
                self.begin_dialling(Way { from: number, to }, Duration::ZERO);
            }
        }
        self.report(number, Event::NodeReady {});
    }

    /// SIGKILL: what was appended survives, unless the node holds it back until it is synced.
    /// Nothing when there is no process.
    pub fn kill(&mut self, node: &str) {
        let number = self.node(node);
        self.end_process(number, Death::Process, ("signal 9", true));
    }

    /// The host dies: synced bytes survive, of the others what the disk's model leaves. Nobody is
    /// told, and the host is silent until the node is started.
    pub fn crash(&mut self, node: &str) {
        let number = self.node(node);
        self.end_process(number, Death::Host, ("signal 9", true));
    }

    pub(crate) fn end_process(&mut self, number: u32, death: Death, end: (&str, bool)) {
        let (unsynced, now) = (self.disk.unsynced, self.now);
        let machine = &mut self.machines[number as usize];
        match death {
            Death::Process => machine.disk.kill(now),
            Death::Host => {
                machine.disk.crash(unsynced, now);
                machine.host_is_up = false;
            }
        }
        if matches!(machine.process, Process::None) {
            return;
        }
        machine.bury();
        for connection in machine.connections.values_mut() {
            // What is under way still arrives; nothing is sent again.
            connection.phase = Phase::Closed;
        }
        self.close_accepted(number, death);
        self.close_calls(number, death);
        let (status, expected) = (end.0.to_owned(), end.1);
        self.report(number, Event::NodeExited { status, expected });
    }

    /// The ends of connections that a process accepted go with it.
    fn close_accepted(&mut self, number: u32, death: Death) {
        for from in 0..self.machines.len() as u32 {
            let connections = &mut self.machines[from as usize].connections;
            let Some(connection) = connections.get_mut(&number) else {
                continue;
            };
            let epoch = connection.epoch;
            if std::mem::take(&mut connection.accepted) && death == Death::Process {
                let way = Way {
                    from: number,
                    to: from,
                };
                // One that does not get through is sent again when the peer says something.
                let _passage = self.transmit(way, Packet::Reset { epoch });
            }
        }
    }

    /// SIGSTOP: what comes for the process waits. Nothing when there is no process.
    pub fn pause(&mut self, node: &str) {
        let number = self.node(node);
        let machine = &mut self.machines[number as usize];
        if !matches!(machine.process, Process::None) {
            machine.paused = true;
        }
    }

    /// SIGCONT: what waited is given in the order of the driver's turn: timers that are due,
    /// heartbeats, then a suspicion that is due even so (evidence that has arrived counts before
    /// anybody is suspected), then the rest as it came.
    pub fn resume(&mut self, node: &str) {
        let number = self.node(node);
        let machine = &mut self.machines[number as usize];
        if !std::mem::take(&mut machine.paused) {
            return;
        }
        let datagrams = std::mem::take(&mut machine.datagrams);
        let waiting = std::mem::take(&mut machine.waiting);
        let generation = machine.generation;
        for timer in TIMERS
            .into_iter()
            .filter(|timer| *timer != Timer::Suspicion)
        {
            self.fire_if_due(number, timer);
        }
        for datagram in datagrams {
            self.notify(number, datagram);
        }
        self.fire_if_due(number, Timer::Suspicion);
        for notice in waiting {
            // A node that cannot go on ends in the middle of this.
            if self.machines[number as usize].generation == generation {
                self.notify(number, notice);
            }
        }
        for timer in TIMERS {
            if let Some(at) = self.machines[number as usize].timers.unplanned(timer) {
                let due = Due::Timer {
                    node: number,
                    timer,
                };
                self.agenda.plan(at.max(self.now), due);
            }
        }
        self.begin_disk(number);
    }

    fn fire_if_due(&mut self, number: u32, timer: Timer) {
        let now = self.now;
        if self.machines[number as usize].timers.take_due(timer, now) {
            self.notify(number, Notice::Timer(timer));
        }
    }
}
