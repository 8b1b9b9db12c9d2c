//! Nodes in virtual time: seeded delays, loss, cuts, pauses and crashes, and disks that keep only what was synced.
//!
//! Connections are ordered and lose messages only by breaking; datagrams get lost and overtake.
//! Invariant: nothing here is random but by the seed, so a failing seed fails again.

use std::collections::{BTreeMap, BTreeSet};

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::node::{Member, MemberKind, NODE_CONFIG_FORMAT, NodeConfig};
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::Strategy;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Flaw;
use shakedown_core::interface::{
    ClientReply, ClientRequest, DiskOperation, DiskToken, Input, Output, Peer, RequestId, Timer,
};
use shakedown_core::message::{Message, Point};
use shakedown_core::node::Node;
use shakedown_core::store::Command;

use crate::ledger::Ledger;

#[derive(Debug, Clone)]
enum Happening {
    Input(Input),
    Connected {
        link: u64,
        from: u32,
        message: Message,
    },
    Timer {
        timer: Timer,
        at: Moment,
    },
    Disk {
        token: DiskToken,
        operation: DiskOperation,
    },
    /// The platform starts the process, where there is none and can be one.
    Start,
}

#[derive(Debug, Default, Clone)]
pub struct Disk {
    pub checkpoints: Vec<Vec<u8>>,
    pub log: Vec<u8>,
    pub synced: usize,
}

/// A machine's clock: `rate` of its thousandths pass in a thousandth of the world's time.
struct Clock {
    world: Moment,
    local: Moment,
    rate: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            world: Moment(0),
            local: Moment(0),
            rate: 1000,
        }
    }
}

impl Clock {
    fn local(&self, world: Moment) -> Moment {
        let passed = world.since(self.world).as_nanos();
        self.local
            .after(Duration::from_nanos(passed * self.rate / 1000))
    }

    /// The first moment of the world at which the clock shows this.
    fn world(&self, local: Moment) -> Moment {
        let ahead = local.since(self.local).as_nanos();
        self.world
            .after(Duration::from_nanos((ahead * 1000).div_ceil(self.rate)))
    }
}

#[derive(Default)]
pub struct Machine {
    pub node: Option<Node>,
    pub disk: Disk,
    generation: u64,
    clock: Clock,
    timers: BTreeMap<Timer, Moment>,
    disk_free: Moment,
    paused: bool,
    stalled: Vec<Happening>,
    /// The disk answers nothing; what it was asked waits here in order.
    hung: Option<Vec<Happening>>,
}

pub struct World {
    pub now: Moment,
    pub machines: Vec<Machine>,
    pub notes: Vec<(Moment, u32, Event)>,
    pub replies: BTreeMap<RequestId, (Moment, u32, ClientReply)>,
    /// Every output of every node, in order.
    pub trace: Vec<String>,
    pub traced: bool,
    /// Least and added random delay of a datagram or message.
    pub delay: (Duration, Duration),
    pub loss: f64,
    /// What every checkpoint takes, instead of as long as a sync.
    pub checkpoint_takes: Option<Duration>,
    /// Longest time that a sync takes.
    pub sync: Duration,
    /// Checked after every step, where there is one.
    pub ledger: Option<Ledger>,
    /// Machines on which nobody can start a process.
    pub down_hosts: BTreeSet<u32>,
    /// How often a supervisor's order has started each machine's process.
    pub started: BTreeMap<u32, u32>,
    /// Who votes, by every change that was ever sent.
    pub voters: BTreeMap<Point, Vec<Peer>>,
    flaw: Option<Flaw>,
    configs: Vec<NodeConfig>,
    queue: BTreeMap<(Moment, u64), (u32, u64, Happening)>,
    queued: u64,
    random: Random,
    cut: BTreeSet<(u32, u32)>,
    links: BTreeMap<(u32, u32), (u64, Moment)>,
    requests: u64,
}

fn member(name: String) -> Member {
    Member {
        name,
        address: [127, 0, 0, 1].into(),
        peer_port: 7001,
        heartbeat_port: 7002,
        kind: MemberKind::Node,
    }
}

impl World {
    /// A group of `size`, all started within 5 ms.
    pub fn new(size: u32, strategy: Strategy, seed: u64) -> World {
        World::flawed(size, strategy, seed, None)
    }

    /// A group in which every node makes a mistake.
    pub fn flawed(size: u32, strategy: Strategy, seed: u64, flaw: Option<Flaw>) -> World {
        let members = (0..size).map(|index| member(format!("n{}", index + 1)));
        World::of(members.collect(), strategy, seed, flaw)
    }

    /// A group with a supervisor, which is the last machine.
    pub fn supervised(size: u32, strategy: Strategy, seed: u64, flaw: Option<Flaw>) -> World {
        let members = (0..size).map(|index| member(format!("n{}", index + 1)));
        let supervisor = Member {
            kind: MemberKind::Supervisor,
            ..member("s1".to_owned())
        };
        World::of(members.chain([supervisor]).collect(), strategy, seed, flaw)
    }

    fn of(members: Vec<Member>, strategy: Strategy, seed: u64, flaw: Option<Flaw>) -> World {
        let config = |member: &Member| NodeConfig {
            format: NODE_CONFIG_FORMAT,
            name: member.name.clone(),
            members: members.clone(),
            data_directory: "data".into(),
            strategy: strategy.clone(),
            seed,
            hold_unsynced: true,
            client_port: 7000,
        };
        let mut world = World {
            now: Moment(1_000_000_000),
            machines: Vec::new(),
            notes: Vec::new(),
            replies: BTreeMap::new(),
            trace: Vec::new(),
            traced: false,
            delay: (Duration::from_micros(200), Duration::from_micros(800)),
            loss: 0.0,
            checkpoint_takes: None,
            sync: Duration::from_millis(2),
            ledger: None,
            down_hosts: BTreeSet::new(),
            started: BTreeMap::new(),
            voters: BTreeMap::new(),
            flaw: flaw.or_else(flaw_of_environment),
            configs: members.iter().map(config).collect(),
            queue: BTreeMap::new(),
            queued: 0,
            random: Random::keyed(seed, "world", "all"),
            cut: BTreeSet::new(),
            links: BTreeMap::new(),
            requests: 0,
        };
        world.machines.resize_with(members.len(), Machine::default);
        for index in 0..members.len() as u32 {
            world.run_for(Duration::from_millis(1));
            world.start(index);
        }
        world
    }

    pub fn start(&mut self, index: u32) {
        let node = Node::planted(&self.configs[index as usize], self.flaw.into())
            .expect("the strategy is valid");
        let machine = &mut self.machines[index as usize];
        machine.node = Some(node);
        let Disk {
            checkpoints, log, ..
        } = machine.disk.clone();
        self.step(index, Input::Start { checkpoints, log });
        self.reconnect(index);
    }

    /// The process dies: what it wrote stays in the page cache.
    pub fn kill(&mut self, index: u32) {
        self.end(index);
        self.reconnect(index);
    }

    fn end(&mut self, index: u32) {
        let machine = &mut self.machines[index as usize];
        machine.node = None;
        machine.generation += 1;
        machine.timers.clear();
        machine.paused = false;
        machine.stalled.clear();
        machine.disk_free = Moment(0);
        machine.hung = None;
    }

    /// The host dies: of what was not synced, any prefix may have reached the disk.
    pub fn crash(&mut self, index: u32) {
        self.end(index);
        let random = &mut self.random;
        let machine = &mut self.machines[index as usize];
        let unsynced = machine.disk.log.len() - machine.disk.synced;
        let kept = machine.disk.synced + random.below(unsynced as u64 + 1) as usize;
        machine.disk.log.truncate(kept);
        machine.disk.synced = kept;
        self.reconnect(index);
    }

    /// From now on a machine's clock runs at this many thousandths of the true rate.
    pub fn set_clock_rate(&mut self, index: u32, rate: u64) {
        let clock = &mut self.machines[index as usize].clock;
        *clock = Clock {
            world: self.now,
            local: clock.local(self.now),
            rate,
        };
    }

    pub fn pause(&mut self, index: u32) {
        self.machines[index as usize].paused = true;
    }

    /// The disk answers nothing until it goes on.
    pub fn hang_disk(&mut self, index: u32) {
        self.machines[index as usize].hung.get_or_insert_default();
    }

    pub fn unhang_disk(&mut self, index: u32) {
        let held = self.machines[index as usize].hung.take();
        for happening in held.unwrap_or_default() {
            self.happen(index, happening);
        }
    }

    pub fn resume(&mut self, index: u32) {
        let machine = &mut self.machines[index as usize];
        machine.paused = false;
        for happening in std::mem::take(&mut machine.stalled) {
            self.happen(index, happening);
        }
    }

    /// Nothing arrives from one node at another any more.
    pub fn cut(&mut self, from: u32, to: u32) {
        self.cut.insert((from, to));
        self.links.entry((from, to)).or_default().0 += 1;
    }

    pub fn isolate(&mut self, index: u32) {
        for other in 0..self.machines.len() as u32 {
            self.cut.extend([(index, other), (other, index)]);
        }
        self.reconnect(index);
    }

    /// Two machines do not hear each other.
    pub fn cut_between(&mut self, one: u32, other: u32) {
        self.cut.extend([(one, other), (other, one)]);
        self.reconnect(one);
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        for index in 0..self.machines.len() as u32 {
            self.reconnect(index);
        }
    }

    /// All connections of a node break; those that can be are made anew.
    fn reconnect(&mut self, index: u32) {
        for other in (0..self.machines.len() as u32).filter(|other| *other != index) {
            for (from, to) in [(index, other), (other, index)] {
                let link = self.links.entry((from, to)).or_default();
                *link = (link.0 + 1, self.now);
                if !self.cut.contains(&(from, to)) {
                    let input = Input::Reconnected { peer: Peer(to) };
                    self.schedule(self.now, from, Happening::Input(input));
                }
            }
        }
    }

    fn schedule(&mut self, at: Moment, index: u32, happening: Happening) {
        self.queued += 1;
        let generation = self.machines[index as usize].generation;
        self.queue.insert(
            (at.max(self.now), self.queued),
            (index, generation, happening),
        );
    }

    /// A message that nobody in the world has sent.
    pub fn tell(&mut self, from: u32, to: u32, message: Message) {
        let from = Peer(from);
        self.schedule(
            self.now,
            to,
            Happening::Input(Input::Message { from, message }),
        );
    }

    pub fn request(&mut self, index: u32, request: ClientRequest) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.schedule(
            self.now,
            index,
            Happening::Input(Input::Request { id, request }),
        );
        id
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(entry) = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= end)
        {
            let ((now, _), (index, generation, happening)) = entry.remove_entry();
            self.now = now;
            let machine = &mut self.machines[index as usize];
            if generation != machine.generation {
                continue;
            }
            if machine.paused && !matches!(happening, Happening::Disk { .. }) {
                machine.stalled.push(happening);
            } else {
                self.happen(index, happening);
            }
        }
        self.now = end;
    }

    fn happen(&mut self, index: u32, happening: Happening) {
        let input = match happening {
            Happening::Input(input) => input,
            Happening::Start => {
                let dead = self.machines[index as usize].node.is_none();
                if dead && !self.down_hosts.contains(&index) {
                    *self.started.entry(index).or_default() += 1;
                    self.start(index);
                }
                return;
            }
            Happening::Connected {
                link,
                from,
                message,
            } => {
                let now = self.links.get(&(from, index)).map_or(0, |(link, _)| *link);
                if now != link || self.cut.contains(&(from, index)) {
                    return;
                }
                Input::Message {
                    from: Peer(from),
                    message,
                }
            }
            Happening::Timer { timer, at } => {
                if self.machines[index as usize].timers.get(&timer) != Some(&at) {
                    return;
                }
                let clock = &self.machines[index as usize].clock;
                if clock.local(self.now) < at {
                    // The clock became slower since the timer was set.
                    let later = clock.world(at);
                    self.schedule(later, index, Happening::Timer { timer, at });
                    return;
                }
                self.machines[index as usize].timers.remove(&timer);
                Input::Timer { timer }
            }
            Happening::Disk { token, operation } => {
                let machine = &mut self.machines[index as usize];
                if let Some(held) = &mut machine.hung {
                    return held.push(Happening::Disk { token, operation });
                }
                let disk = &mut machine.disk;
                match operation {
                    DiskOperation::Append { bytes } => disk.log.extend(bytes),
                    DiskOperation::Sync => disk.synced = disk.log.len(),
                    DiskOperation::Probe { .. } => {}
                    DiskOperation::TruncateLog { length } => {
                        disk.log.truncate(length as usize);
                        disk.synced = disk.log.len();
                    }
                    DiskOperation::Checkpoint { bytes, log } => {
                        disk.checkpoints.insert(0, bytes);
                        disk.checkpoints.truncate(2);
                        disk.synced = log.len();
                        disk.log = log;
                    }
                }
                Input::DiskDone { token }
            }
        };
        if self.machines[index as usize].paused {
            self.machines[index as usize]
                .stalled
                .push(Happening::Input(input));
        } else {
            self.step(index, input);
        }
    }

    fn step(&mut self, index: u32, input: Input) {
        let machine = &mut self.machines[index as usize];
        let now = machine.clock.local(self.now);
        let Some(node) = &mut machine.node else {
            return;
        };
        let outputs = node.step(now, input);
        if let Some(ledger) = &mut self.ledger {
            ledger.observe(index, node, &outputs);
        }
        for output in outputs {
            if self.traced {
                self.trace.push(format!("{now} {index} {output:?}"));
            }
            self.carry_out(index, output);
        }
    }

    fn travel(&mut self) -> Duration {
        self.delay
            .0
            .saturating_add(self.random.duration_up_to(self.delay.1))
    }

    fn carry_out(&mut self, index: u32, output: Output) {
        match output {
            Output::SendHeartbeat { to, heartbeat } => {
                let at = self.now.after(self.travel());
                if !self.cut.contains(&(index, to.0)) && !self.random.chance(self.loss) {
                    let input = Input::Heartbeat {
                        from: Peer(index),
                        heartbeat,
                    };
                    self.schedule(at, to.0, Happening::Input(input));
                }
            }
            Output::SendProbe { to, probe } => {
                let at = self.now.after(self.travel());
                if !self.cut.contains(&(index, to.0)) && !self.random.chance(self.loss) {
                    let from = Peer(index);
                    let input = Input::Probe { from, probe };
                    self.schedule(at, to.0, Happening::Input(input));
                }
            }
            Output::Send { to, message } => {
                if let Message::Append { entries, .. } = &message {
                    for entry in entries {
                        if let Command::Reconfigure { voters, .. } = &entry.command {
                            self.voters.insert(entry.point, voters.clone());
                        }
                    }
                }
                let at = self.now.after(self.travel());
                let (link, last) = self.links.entry((index, to.0)).or_default();
                *last = at.max(*last);
                let (link, at) = (*link, *last);
                self.schedule(
                    at,
                    to.0,
                    Happening::Connected {
                        link,
                        from: index,
                        message,
                    },
                );
            }
            Output::SetTimer { timer, at } => {
                let machine = &mut self.machines[index as usize];
                machine.timers.insert(timer, at);
                let due = machine.clock.world(at);
                self.schedule(due, index, Happening::Timer { timer, at });
            }
            Output::Disk { token, operation } => {
                let work = match operation {
                    DiskOperation::Append { .. } => Duration::from_micros(5),
                    DiskOperation::Checkpoint { .. } if self.checkpoint_takes.is_some() => {
                        self.checkpoint_takes.unwrap_or_default()
                    }
                    _ => self.random.duration_up_to(self.sync),
                };
                let machine = &mut self.machines[index as usize];
                machine.disk_free = machine.disk_free.max(self.now).after(work);
                let at = machine.disk_free;
                self.schedule(at, index, Happening::Disk { token, operation });
            }
            Output::Reply { id, reply } => {
                self.replies.insert(id, (self.now, index, reply));
            }
            Output::Note { event } => {
                if let Event::SupervisorRestart { node, .. } = &event {
                    let mut configs = self.configs.iter();
                    let charge = configs.position(|config| config.name == *node);
                    let soon = self.now.after(Duration::from_millis(2));
                    self.schedule(soon, charge.expect("a node") as u32, Happening::Start);
                }
                self.notes.push((self.now, index, event));
            }
            Output::Fatal { message } => panic!("n{} refuses: {message}", index + 1),
        }
    }

    /// Nodes that act as primary now.
    pub fn primaries(&self) -> Vec<u32> {
        let acting = |index: &u32| {
            let machine = &self.machines[*index as usize];
            let node = machine.node.as_ref().filter(|_| !machine.paused);
            node.is_some_and(|node| node.status().role == Role::Primary)
        };
        (0..self.machines.len() as u32).filter(acting).collect()
    }

    /// The acting primary of the newest epoch.
    pub fn primary(&self) -> Option<u32> {
        let epoch = |index: &u32| {
            self.machines[*index as usize]
                .node
                .as_ref()
                .map(|node| node.status().epoch)
        };
        self.primaries().into_iter().max_by_key(epoch)
    }

    pub fn draw(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }
}

/// The mistake that `SHAKEDOWN_FLAW` names, to be planted in every world that has none of its own:
/// the tests that fail then are those that would notice it.
fn flaw_of_environment() -> Option<Flaw> {
    Flaw::named(&std::env::var("SHAKEDOWN_FLAW").ok()?)
}
