//! The world: what a stage plays experiments on.
//!
//! This file is its outside and its loop. `processes` starts and ends nodes, `inputs` gives them
//! what comes and carries out what they want, `packets` moves packets, `streams` and `dialling` are
//! the connections between nodes, `calls` those of clients.
//!
//! Invariant: a node is stepped only while an event is handled or a fault is made, never from within
//! a step: whatever an output leads to at a node is an event of its own.

use std::collections::BTreeMap;

use shakedown_contracts::event::Event;
use shakedown_contracts::fault::{FaultId, Link, LinkEffect};
use shakedown_contracts::node::Status;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Planted;
use shakedown_core::interface::{DiskToken, Output};
use shakedown_core::node::{ConfigError, Node};

use crate::agenda::{Agenda, Due};
use crate::calls::Calls;
use crate::happening::Happening;
use crate::links::Links;
use crate::machine::{Machine, Notice, Process};
use crate::packet::Way;
use crate::setup::{DiskModel, Setup};
use crate::trace::Trace;

/// More events at one moment than any run has: somebody plans the present again and again.
const EVENTS_AT_ONCE_MAX: u32 = 10_000_000;

/// Nodes, links, disks and calls at one moment of virtual time.
#[derive(Debug)]
pub struct World {
    pub(crate) now: Moment,
    pub(crate) seed: u64,
    pub(crate) disk: DiskModel,
    pub(crate) start: Duration,
    pub(crate) planted: Planted,
    /// Names of endpoints by number: nodes first, then client groups.
    pub(crate) names: Vec<String>,
    numbers: BTreeMap<String, u32>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) links: Links,
    pub(crate) calls: Calls,
    pub(crate) agenda: Agenda,
    pub(crate) happenings: Vec<Happening>,
    pub(crate) trace: Trace,
    pub(crate) processes_started: i32,
    /// Room for the outputs of one step, and for the tokens of one disk completion.
    pub(crate) outputs: Vec<Output>,
    pub(crate) tokens: Vec<DiskToken>,
    events: u64,
    events_now: u32,
}

impl World {
    /// The first moment of every world. Not zero, so that there is time before it.
    pub const BEGINNING: Moment = Moment(1_000_000_000);

    /// Everything is in place and nothing runs yet; it is [`World::BEGINNING`].
    ///
    /// # Errors
    /// When a node refuses its configuration.
    ///
    /// # Panics
    /// When two endpoints have the same name.
    pub fn new(setup: Setup) -> Result<World, ConfigError> {
        for config in &setup.nodes {
            Node::planted(config, setup.planted)?;
        }
        let nodes = setup.nodes.iter().map(|config| config.name.clone());
        let names: Vec<String> = nodes.chain(setup.clients.iter().cloned()).collect();
        let numbers: BTreeMap<String, u32> = names.iter().cloned().zip(0..).collect();
        assert_eq!(numbers.len(), names.len(), "endpoints share a name");
        let machine = |config| {
            let mut machine = Machine::new(config, &numbers, setup.seed);
            machine.disk.planted = setup.planted;
            machine
        };
        Ok(World {
            now: Self::BEGINNING,
            seed: setup.seed,
            disk: setup.disk,
            start: setup.start,
            planted: setup.planted,
            machines: setup.nodes.into_iter().map(machine).collect(),
            names,
            numbers,
            links: Links::new(setup.seed, setup.network),
            calls: Calls::default(),
            agenda: Agenda::default(),
            happenings: Vec::new(),
            trace: Trace::default(),
            processes_started: 0,
            outputs: Vec::new(),
            tokens: Vec::new(),
            events: 0,
            events_now: 0,
        })
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// No event is due before this moment; `None` when nothing will ever happen by itself. What was
    /// planned for it may turn out to be void, so nothing need happen then.
    pub fn next_event(&self) -> Option<Moment> {
        self.agenda.next()
    }

    /// Handles every event that is due at or before `moment`, in order, and makes it the present.
    /// Stops early, at an event's own moment, as soon as something has happened by it: call again
    /// after [`World::take_happenings`] until [`World::now`] is `moment`.
    pub fn run_until(&mut self, moment: Moment) {
        while let Some((at, due)) = self.agenda.take_due(moment) {
            if at > self.now {
                self.now = at;
                self.events_now = 0;
            }
            self.events += 1;
            self.events_now += 1;
            assert!(
                self.events_now < EVENTS_AT_ONCE_MAX,
                "virtual time stands still at {}",
                self.now
            );
            self.handle(due);
            if !self.happenings.is_empty() {
                return;
            }
        }
        self.now = self.now.max(moment);
    }

    fn handle(&mut self, due: Due) {
        match due {
            Due::Arrival(way, packet) => self.arrive(way, packet),
            Due::Release(way) => self.release(way),
            Due::Timer { node, timer } => self.timer_is_due(node, timer),
            Due::Disk { node, generation } => self.disk_is_done(node, generation),
            Due::ClockReading { node, id } => self.clock_is_read(node, &id),
            Due::Boot { node, generation } => {
                if self.machines[node as usize].generation == generation {
                    self.notify(node, Notice::Boot);
                }
            }
            Due::Dial { way, dial, attempt } => {
                self.notify(way.from, Notice::Dial { way, dial, attempt });
            }
            Due::Retransmission { way, epoch } => self.retransmission_is_due(way, epoch),
            Due::Repeat { call, leg } => self.repeat_is_due(call, leg),
        }
    }

    /// What has happened since the last call, in order.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }

    /// Events handled so far: what a run costs.
    pub fn events_handled(&self) -> u64 {
        self.events
    }

    /// Over every input and output of every node with its moment, in order.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Lays an effect on links, on top of those of other faults; again for the same fault and link,
    /// instead of the one before.
    ///
    /// # Panics
    /// When an end of a link is no endpoint of this world.
    pub fn apply(&mut self, id: &FaultId, links: &[Link], effect: LinkEffect) {
        for link in links {
            let way = Way {
                from: self.number(&link.from),
                to: self.number(&link.to),
            };
            let name = self.link_name(way);
            for due in self.links.apply(way, &name, (id, effect)) {
                self.agenda.plan(due, Due::Release(way));
            }
        }
    }

    /// Takes a fault's effects away; others on the same links stay.
    pub fn withdraw(&mut self, id: &FaultId) {
        for way in self.links.under(id) {
            let name = self.link_name(way);
            let (packets, dues) = self.links.withdraw(way, &name, id);
            for packet in packets {
                self.go_on(way, packet);
            }
            for due in dues {
                self.agenda.plan(due, Due::Release(way));
            }
        }
    }

    /// What the node would say of itself; `None` when it does not serve.
    pub fn status(&self, node: &str) -> Option<Status> {
        match &self.machines[self.node(node) as usize].process {
            Process::Running(node) => Some(node.status()),
            Process::None | Process::Booting => None,
        }
    }

    /// Why the node's last process ended by itself, in the core's words.
    pub fn last_words(&self, node: &str) -> Option<&str> {
        self.machines[self.node(node) as usize]
            .last_words
            .as_deref()
    }

    /// An endpoint's number.
    pub(crate) fn number(&self, name: &str) -> u32 {
        match self.numbers.get(name) {
            Some(number) => *number,
            None => panic!("{name:?} is no endpoint of this world"),
        }
    }

    /// A node's number.
    pub(crate) fn node(&self, name: &str) -> u32 {
        let number = self.number(name);
        assert!(self.is_node(number), "{name:?} is a client group, no node");
        number
    }

    pub(crate) fn is_node(&self, number: u32) -> bool {
        (number as usize) < self.machines.len()
    }

    fn link_name(&self, way: Way) -> String {
        format!(
            "{}>{}",
            self.names[way.from as usize], self.names[way.to as usize]
        )
    }

    /// Tells the caller.
    pub(crate) fn report(&mut self, node: u32, event: Event) {
        self.happenings.push(Happening::Event {
            node: self.names[node as usize].clone(),
            time: self.now,
            event,
        });
    }
}
