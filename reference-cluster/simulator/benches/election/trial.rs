//! One trial: a group with a leader, the leader's crash, the next leader.
//!
//! As in the paper's measurement the leader's last act is a broadcast of heartbeats, and it crashes
//! uniformly within the heartbeat interval after it. With that broadcast each of the other four logs
//! is given another length: the leader takes three writes and loses one follower's link before each
//! of them. Of the four, the two longest logs can win the three votes that a majority takes.
//! Invariant: a trial is a function of timeout, model and seed.
//! Source: Ongaro & Ousterhout 2014, section 9.3.

use std::collections::BTreeSet;

use shakedown_contracts::event::{Event, Role};
use shakedown_contracts::fault::{CutBehavior, LinkEffect};
use shakedown_contracts::random::Random;
use shakedown_contracts::range::DurationRange;
use shakedown_contracts::strategy::{Detector, Raft, Reads, RecoveryLog, Replication, Strategy};
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;
use shakedown_simulator::{ClientRequest, DiskModel, Happening, NetworkModel, World};

use crate::group::{CLIENTS, id, link, setup};

/// Servers.
const SIZE: u32 = 5;
/// A trial without a new leader after this time is given up.
pub const LIMIT: Duration = Duration::from_secs(100);
/// Writes that make the logs different, so far apart.
const WRITES: u64 = 3;
const WRITE_SPACING: Duration = Duration::from_micros(30);
/// Turns of waiting for a first leader, so long each.
const TURNS_MAX: u32 = 600;
const TURN: Duration = Duration::from_millis(300);

/// Network and disk.
#[derive(Clone, Copy)]
pub struct Model {
    /// One way, without the jitter.
    pub latency: Duration,
    pub disk: DiskModel,
    /// Whether the logs differ in length when the leader crashes.
    pub logs_differ: bool,
}

/// What a trial showed.
pub struct Outcome {
    /// From the crash to the next leader's role; `None`: not within [`LIMIT`].
    pub downtime: Option<Duration>,
    /// Candidacies until then.
    pub candidacies: u64,
    /// False when the logs were to differ and two are of one length.
    pub as_planned: bool,
}

struct Trial {
    world: World,
    names: Vec<String>,
    /// The newest leader, and since when.
    lead: Option<(String, Moment)>,
    candidacies: u64,
    answers: u64,
}

/// Plays one trial.
pub fn play(timeout: DurationRange, model: &Model, seed: u64) -> Outcome {
    let interval = Duration::from_nanos(timeout.low().as_nanos() / 2);
    let mut random = Random::keyed(seed, "trial", "");
    let mut trial = Trial::new(timeout, interval, model, seed);
    let (leader, since) = trial.settle();
    let beat = next_beat(trial.world.now().after(model.latency), since, interval);
    let crash = beat.after(random.duration_up_to(interval));
    if model.logs_differ {
        trial.tell_apart(&leader, beat, model.latency, &mut random);
    }
    trial.run_until(crash.max(trial.world.now()));
    trial.world.kill(&leader);
    let crash = trial.world.now();
    (trial.lead, trial.candidacies) = (None, 0);
    // The leader's last messages arrive, long before anybody stands.
    trial.run_until(crash.after(model.latency).after(Duration::from_millis(1)));
    let as_planned = !model.logs_differ || trial.lengths() == SIZE as usize - 1;
    trial.run_until_led(crash.after(LIMIT));
    let lead = trial.lead.as_ref();
    Outcome {
        downtime: lead.map(|(_, since)| since.since(crash)),
        candidacies: trial.candidacies,
        as_planned,
    }
}

/// The first beat of a leader since `since` that is a whole millisecond or more after `now`.
fn next_beat(now: Moment, since: Moment, interval: Duration) -> Moment {
    let earliest = now.after(Duration::from_millis(1)).since(since);
    let beats = earliest.as_nanos() / interval.as_nanos() + 1;
    since.after(Duration::from_nanos(beats * interval.as_nanos()))
}

impl Trial {
    fn new(timeout: DurationRange, interval: Duration, model: &Model, seed: u64) -> Trial {
        let strategy = Strategy {
            detector: Detector::None {},
            recovery_log: RecoveryLog::default(),
            replication: Replication::Raft(Raft {
                election_timeout: timeout,
                heartbeat_interval: interval,
                pre_vote: false,
                check_quorum: false,
                reads: Reads::Local,
            }),
            ..Strategy::default()
        };
        let mut setup = setup(SIZE, &strategy, seed);
        setup.disk = model.disk;
        setup.network = NetworkModel {
            latency: model.latency,
            ..NetworkModel::default()
        };
        Trial {
            names: setup.nodes.iter().map(|node| node.name.clone()).collect(),
            world: World::new(setup).unwrap(),
            lead: None,
            candidacies: 0,
            answers: 0,
        }
    }

    /// Runs until all follow one leader that holds connections of clients; it, and since when.
    fn settle(&mut self) -> (String, Moment) {
        // One comes first: with equal timeouts there would never be a leader.
        let (first, others) = self.names.split_first().unwrap();
        let others = others.to_vec();
        self.world.start(&first.clone());
        self.run_for(Duration::from_millis(100));
        others.iter().for_each(|name| self.world.start(name));
        for _ in 0..TURNS_MAX {
            self.run_for(TURN);
            let Some((leader, since)) = self.agreed() else {
                continue;
            };
            self.answers = 0;
            (0..WRITES).for_each(|value| self.put(&leader, value));
            self.run_for(TURN);
            if self.answers == WRITES && self.agreed() == Some((leader.clone(), since)) {
                return (leader, since);
            }
        }
        panic!("no leader stays");
    }

    fn agreed(&self) -> Option<(String, Moment)> {
        let (leader, since) = self.lead.clone()?;
        let mine = self.world.status(&leader)?;
        let follows = |name: &String| {
            let status = self.world.status(name);
            status.is_some_and(|status| {
                status.primary.as_ref() == Some(&leader)
                    && (status.epoch, status.position) == (mine.epoch, mine.position)
            })
        };
        let agreed = mine.role == Role::Primary && self.names.iter().all(follows);
        agreed.then_some((leader, since))
    }

    /// Gives every follower's log another length just after the beat.
    fn tell_apart(&mut self, leader: &str, beat: Moment, latency: Duration, random: &mut Random) {
        let others = self.names.iter().filter(|name| *name != leader);
        let mut others: Vec<String> = others.cloned().collect();
        random.shuffle(&mut others);
        for value in 1..=WRITES {
            let lead = Duration::from_nanos(value * WRITE_SPACING.as_nanos());
            self.run_until(beat.before(latency).after(lead));
            self.put(leader, value);
        }
        self.run_until(beat);
        let before = self.length(leader);
        for (number, other) in (0..WRITES).zip(&others) {
            self.run_until_length(leader, before + number);
            let effect = LinkEffect::Cut(CutBehavior::Drop);
            self.world.apply(&id(other), &[link(leader, other)], effect);
        }
        self.run_until_length(leader, before + WRITES);
    }

    fn length(&self, node: &str) -> u64 {
        self.world.status(node).unwrap().position
    }

    /// Event by event, so that no two writes come between two looks.
    fn run_until_length(&mut self, node: &str, length: u64) {
        while self.length(node) < length {
            self.run_until(self.world.next_event().unwrap());
        }
    }

    /// How many lengths the logs have.
    fn lengths(&self) -> usize {
        let status = |name: &String| self.world.status(name);
        let positions = self.names.iter().filter_map(status);
        let lengths: BTreeSet<u64> = positions.map(|status| status.position).collect();
        lengths.len()
    }

    fn put(&mut self, leader: &str, value: u64) {
        let key = "k".to_owned();
        let request = ClientRequest::Put { key, value };
        self.world.call(CLIENTS, leader, request);
    }

    fn run_for(&mut self, duration: Duration) {
        self.run_until(self.world.now().after(duration));
    }

    fn run_until(&mut self, end: Moment) {
        while self.go_on(end) {}
    }

    fn run_until_led(&mut self, end: Moment) {
        while self.lead.is_none() && self.go_on(end) {}
    }

    /// Up to the next happening; false when there was none before the end.
    fn go_on(&mut self, end: Moment) -> bool {
        self.world.run_until(end);
        let happenings = self.world.take_happenings();
        let some = !happenings.is_empty();
        for happening in happenings {
            match happening {
                Happening::Answer { .. } => self.answers += 1,
                Happening::Disturbed { .. } => {}
                Happening::Event { node, time, event } => self.note(node, time, &event),
            }
        }
        some
    }

    fn note(&mut self, node: String, time: Moment, event: &Event) {
        if let Event::RoleChanged { role, .. } = event {
            match role {
                Role::Primary => self.lead = Some((node, time)),
                Role::Candidate => self.candidacies += 1,
                _ => {}
            }
        }
    }
}
