//! Members of SWIM alone in virtual time: no replicas, no disks, no connections, nothing but the
//! detector and datagrams that take their time.
//!
//! Links are sparse: only those with a fault are kept, so that a crowd may be thousands.
//! Invariant: nothing here is random but by the seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use shakedown_contracts::event::Event;
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{Detector, Swim};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_core::detector::swim::packet::Probe;
use shakedown_core::detector::watch::{SelfPortrait, Sign, Watch};
use shakedown_core::detector::{Group, watch};
use shakedown_core::flaw::Planted;
use shakedown_core::interface::{Output, Peer};

const PORTRAIT: SelfPortrait = SelfPortrait {
    primary: false,
    epoch: 0,
    position: 0,
};

/// A change of one member's opinion of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opinion {
    pub at: Moment,
    pub observer: u32,
    pub subject: u32,
    pub suspected: bool,
}

#[derive(Debug)]
enum Due {
    Timer,
    Arrival { from: u32, probe: Probe },
}

#[derive(Debug)]
struct Entry {
    at: Moment,
    number: u64,
    to: u32,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Default)]
struct Member {
    watch: Option<Box<dyn Watch>>,
    /// When its timer is due, and the earliest moment planned for it.
    timer: Option<Moment>,
    planned: Option<Moment>,
    /// Until when it does nothing; what comes waits.
    stopped_until: Moment,
}

/// The members.
pub struct Crowd {
    pub now: Moment,
    pub opinions: Vec<Opinion>,
    /// Datagrams so far.
    pub sent: u64,
    /// Least and added random time of a datagram.
    pub delay: (Duration, Duration),
    pub loss: f64,
    /// Added to what travels to these members.
    pub slow: BTreeMap<u32, Duration>,
    /// From, to.
    pub cut: BTreeSet<(u32, u32)>,
    options: Detector,
    names: Arc<[String]>,
    planted: Planted,
    seed: u64,
    random: Random,
    members: Vec<Member>,
    queue: BinaryHeap<Reverse<Entry>>,
    planned: u64,
    out: Vec<Output>,
}

impl Crowd {
    /// So many members, all started within a probe interval.
    pub fn new(size: u32, options: &Swim, seed: u64, planted: Planted) -> Crowd {
        let mut crowd = Crowd {
            now: Moment(1_000_000_000),
            opinions: Vec::new(),
            sent: 0,
            delay: (Duration::from_micros(100), Duration::from_micros(900)),
            loss: 0.0,
            slow: BTreeMap::new(),
            cut: BTreeSet::new(),
            options: Detector::Swim(options.clone()),
            names: (1..=size).map(|number| format!("n{number}")).collect(),
            planted,
            seed,
            random: Random::keyed(seed, "crowd", ""),
            members: (0..size).map(|_| Member::default()).collect(),
            queue: BinaryHeap::new(),
            planned: 0,
            out: Vec::new(),
        };
        (0..size).for_each(|member| crowd.start(member));
        crowd
    }

    /// A new process of a member, which knows nothing.
    pub fn start(&mut self, member: u32) {
        let group = Group {
            names: Arc::clone(&self.names),
            me: Peer(member),
            seed: self.seed,
            planted: self.planted,
        };
        let mut process = watch(&self.options, &group).expect("the options are valid");
        process.start(self.now);
        self.members[member as usize].watch = Some(process);
        self.step(member, None);
    }

    /// Somebody who watches the members and is none.
    pub fn join_companion(&mut self) -> u32 {
        self.members.push(Member::default());
        let number = self.members.len() as u32 - 1;
        self.start(number);
        number
    }

    /// The process ends.
    pub fn kill(&mut self, member: u32) {
        self.members[member as usize] = Member::default();
    }

    /// The process does nothing for so long.
    pub fn stop_for(&mut self, member: u32, duration: Duration) {
        self.members[member as usize].stopped_until = self.now.after(duration);
    }

    /// Nothing gets from or to a member.
    pub fn isolate(&mut self, member: u32) {
        for other in 0..self.members.len() as u32 {
            self.cut.extend([(member, other), (other, member)]);
        }
    }

    pub fn draw(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub fn suspected_by(&self, member: u32) -> BTreeSet<Peer> {
        let watch = self.members[member as usize].watch.as_ref();
        watch.map(|watch| watch.suspected()).unwrap_or_default()
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(Reverse(first)) = self.queue.peek()
            && first.at <= end
        {
            let Some(Reverse(entry)) = self.queue.pop() else {
                break;
            };
            self.now = entry.at;
            let stopped_until = self.members[entry.to as usize].stopped_until;
            if stopped_until > self.now {
                self.plan(stopped_until, entry.to, entry.due);
                continue;
            }
            match entry.due {
                Due::Timer => self.timer(entry.to),
                Due::Arrival { from, probe } => self.step(entry.to, Some((from, probe))),
            }
        }
        self.now = end;
    }

    fn timer(&mut self, number: u32) {
        let now = self.now;
        let member = &mut self.members[number as usize];
        let stopped = member.stopped_until == now;
        if member.planned != Some(now) && !stopped {
            return;
        }
        member.planned = None;
        match member.timer {
            Some(due) if due <= now => {
                member.timer = None;
                self.step(number, None);
            }
            Some(due) => self.plan_timer(number, due),
            None => {}
        }
    }

    fn plan_timer(&mut self, number: u32, at: Moment) {
        let member = &mut self.members[number as usize];
        member.timer = Some(at);
        if member.planned.is_none_or(|planned| planned > at) {
            member.planned = Some(at);
            self.plan(at, number, Due::Timer);
        }
    }

    fn plan(&mut self, at: Moment, to: u32, due: Due) {
        self.planned += 1;
        let number = self.planned;
        self.queue.push(Reverse(Entry {
            at,
            number,
            to,
            due,
        }));
    }

    fn step(&mut self, number: u32, heard: Option<(u32, Probe)>) {
        let now = self.now;
        let Some(watch) = &mut self.members[number as usize].watch else {
            return;
        };
        let mut out = std::mem::take(&mut self.out);
        if let Some((from, probe)) = &heard {
            watch.notice_own_pause(now);
            watch.hear(now, (Peer(*from), Sign::Probe(probe)), PORTRAIT, &mut out);
        }
        watch.act(now, PORTRAIT, &mut out);
        for output in out.drain(..) {
            self.carry_out(number, output);
        }
        self.out = out;
    }

    fn carry_out(&mut self, number: u32, output: Output) {
        match output {
            Output::SendProbe { to, probe } => self.send(number, to.0, probe),
            Output::SetTimer { at, .. } => self.plan_timer(number, at.max(self.now)),
            Output::Note { event } => {
                let (subject, suspected) = match event {
                    Event::Suspicion { subject } => (subject, true),
                    Event::Trust { subject } => (subject, false),
                    other => panic!("a detector notes {other:?}"),
                };
                let subject: u32 = subject[1..].parse().expect("names are numbered");
                self.opinions.push(Opinion {
                    at: self.now,
                    observer: number,
                    subject: subject - 1,
                    suspected,
                });
            }
            other => panic!("a detector wants {other:?}"),
        }
    }

    fn send(&mut self, from: u32, to: u32, probe: Probe) {
        self.sent += 1;
        let (least, added) = self.delay;
        let travels = least.saturating_add(self.random.duration_up_to(added));
        let slow = self.slow.get(&to).copied().unwrap_or_default();
        let lost = self.loss > 0.0 && self.random.chance(self.loss);
        if !lost && !self.cut.contains(&(from, to)) {
            let at = self.now.after(travels).after(slow);
            self.plan(at, to, Due::Arrival { from, probe });
        }
    }
}
