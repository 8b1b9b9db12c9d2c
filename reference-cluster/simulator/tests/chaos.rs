//! Faults drawn from seeds: what a majority with epochs promises holds under all of them, and what
//! promises less breaks under some.

mod group;

use std::collections::BTreeSet;

use group::{Group, Writes, id, strategy};
use shakedown_contracts::event::Event;
use shakedown_contracts::fault::{Delay, Distribution, LinkEffect, Loss};
use shakedown_contracts::host_fault::{BumpDirection, DiskMethod, Errno, HostFault};
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{
    Acknowledge, Checkpoint, Fencing, LogOptions, Raft, RecoveryLog, Replication, Strategy,
};
use shakedown_contracts::units::{Duration, Ratio};
use shakedown_simulator::World;

/// Two seconds of writes, a fault or a heal every 80 ms.
const TURNS: u32 = 200;

struct Chaos {
    group: Group,
    random: Random,
    dead: BTreeSet<String>,
    /// Faults on links by name.
    on_links: BTreeSet<String>,
    /// Faults of disks and clocks, by node; drawn only where they are wanted.
    on_hosts: BTreeSet<(String, String)>,
    hosts_fail: bool,
    made: u32,
}

impl Chaos {
    fn new(seed: u64, strategy: &Strategy) -> Chaos {
        let size = if seed.is_multiple_of(4) { 5 } else { 3 };
        Chaos {
            group: Group::new(size, strategy, seed),
            random: Random::keyed(seed, "chaos", ""),
            dead: BTreeSet::new(),
            on_links: BTreeSet::new(),
            on_hosts: BTreeSet::new(),
            hosts_fail: false,
            made: 0,
        }
    }

    fn any_node(&mut self) -> String {
        let name = self.random.pick(&self.group.names);
        name.expect("a group has nodes").clone()
    }

    /// Makes a fault or heals some. A majority of hosts stays alive, or nothing could be promised.
    fn disturb(&mut self) {
        let node = self.any_node();
        let may_die = self.dead.len() * 2 + 2 <= self.group.names.len();
        if self.hosts_fail && self.random.chance(0.4) {
            return self.disturb_host(&node, may_die);
        }
        match self.random.below(9) {
            0 | 1 if may_die => {
                self.group.world.kill(&node);
                self.dead.insert(node);
            }
            2 if may_die => {
                self.group.world.crash(&node);
                self.dead.insert(node);
            }
            3 => self.group.world.pause(&node),
            4 => {
                let links = self.group.links_of(&node);
                let name = self.name("cut");
                self.group.cut(&name, &links);
            }
            5 => {
                let other = self.any_node();
                if other != node {
                    let name = self.name("one-way");
                    self.group.cut(&name, &[group::link(&node, &other)]);
                }
            }
            6 => self.disturb_links(&node),
            _ => self.heal(),
        }
    }

    /// One that may end its node only where a node may die.
    fn disturb_host(&mut self, node: &str, may_die: bool) {
        let fault = match self.random.below(6) {
            0 => HostFault::DiskHang {},
            1 => HostFault::DiskLatency {
                latency: self.random.duration_up_to(Duration::from_millis(60)),
                jitter: Duration::from_millis(20),
                path: None,
            },
            2 => HostFault::ClockRate {
                rate: 0.5 + self.random.unit(),
            },
            3 => HostFault::ClockBump {
                delta: self.random.duration_up_to(Duration::from_millis(300)),
                direction: BumpDirection::Forward,
            },
            4 if may_die => HostFault::DiskFull {},
            5 if may_die => HostFault::DiskFault {
                errno: Errno::Io,
                methods: vec![DiskMethod::Sync],
                times: Some(1),
                path: None,
                percent: None,
            },
            _ => return,
        };
        if fault.may_end_node() {
            self.dead.insert(node.to_owned());
        }
        self.made += 1;
        let name = format!("host-{}", self.made);
        let laid = self.group.world.disturb(node, &id(&name), &fault);
        laid.expect("none of these needs a log to damage");
        self.on_hosts.insert((node.to_owned(), name));
    }

    fn disturb_links(&mut self, node: &str) {
        let links = self.group.links_of(node);
        let effect = if self.random.chance(0.5) {
            LinkEffect::Delay(Delay {
                latency: self.random.duration_up_to(Duration::from_millis(150)),
                jitter: Duration::from_millis(20),
                correlation: Ratio::default(),
                distribution: Distribution::Uniform,
            })
        } else {
            LinkEffect::Loss(Loss {
                loss: Ratio::new(0.2).expect("a share"),
                correlation: Ratio::default(),
                bursts: None,
            })
        };
        let name = self.name("trouble");
        self.group.world.apply(&id(&name), &links, effect);
    }

    fn name(&mut self, kind: &str) -> String {
        self.made += 1;
        let name = format!("{kind}-{}", self.made);
        self.on_links.insert(name.clone());
        name
    }

    fn heal(&mut self) {
        for (node, fault) in std::mem::take(&mut self.on_hosts) {
            self.group.world.mend(&node, &id(&fault));
        }
        for fault in std::mem::take(&mut self.on_links) {
            self.group.heal(&fault);
        }
        for node in self.group.names.clone() {
            self.group.world.resume(&node);
        }
        for node in std::mem::take(&mut self.dead) {
            self.group.world.start(&node);
        }
    }
}

/// A group after chaos and healing, and what was written to it.
fn chaos(seed: u64, strategy: &Strategy) -> (Group, Writes) {
    chaos_with(Chaos::new(seed, strategy))
}

fn chaos_with(mut chaos: Chaos) -> (Group, Writes) {
    let mut writes = Writes::default();
    for turn in 0..TURNS {
        if turn % 8 == 0 {
            chaos.disturb();
        }
        let any = chaos.any_node();
        let primary = chaos.group.primary().filter(|_| turn % 3 > 0);
        writes.put(&mut chaos.group, &primary.unwrap_or(any));
        chaos.group.run_millis(10);
    }
    chaos.heal();
    chaos.group.run_millis(3_000);
    (chaos.group, writes)
}

/// Runs some seeds: acknowledged writes, takeovers.
fn promises_hold(seeds: std::ops::Range<u64>) -> (usize, usize) {
    let (mut acknowledged, mut takeovers) = (0, 0);
    for seed in seeds {
        let strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
        let (mut group, writes) = chaos(seed, &strategy);
        let primaries = group.primaries().len();
        assert_eq!(primaries, 1, "seed {seed}: one primary after healing");
        assert_eq!(writes.lost(&mut group), 0, "seed {seed}: lost writes");
        acknowledged += writes.acknowledged(&group).len();
        takeovers += group.moments("takeover.started", World::BEGINNING).len();
    }
    (acknowledged, takeovers)
}

#[test]
fn under_majority_and_epochs_no_acknowledged_write_is_lost() {
    let parts = std::thread::scope(|scope| {
        let part = |first| scope.spawn(move || promises_hold(first..first + 50));
        let parts = [0, 50, 100, 150].map(part);
        parts.map(|part| part.join().expect("a seed failed, see above"))
    });
    // Little would be proved if little was acknowledged or nobody ever took over.
    let acknowledged: usize = parts.iter().map(|(acknowledged, _)| acknowledged).sum();
    let takeovers: usize = parts.iter().map(|(_, takeovers)| takeovers).sum();
    assert!(acknowledged > 10_000, "{acknowledged} acknowledged writes");
    assert!(takeovers > 200, "{takeovers} takeovers");
}

#[test]
fn under_async_the_same_faults_lose_acknowledged_writes() {
    let mut losing = 0;
    for seed in 0..40 {
        let strategy = strategy(Acknowledge::Async, Fencing::Epoch);
        let (mut group, writes) = chaos(seed, &strategy);
        losing += u32::from(writes.lost(&mut group) > 0);
    }
    assert!(
        losing > 0,
        "no seed lost anything: the test above proves nothing"
    );
}

#[test]
fn under_faults_of_disks_and_clocks_too_a_rollback_log_loses_no_acknowledged_write() {
    let (mut acknowledged, mut rolled_back) = (0, 0);
    for seed in 0..60 {
        let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
        strategy.recovery_log = RecoveryLog::UndoRedo(LogOptions {
            checkpoint: Checkpoint::Every(Duration::from_millis(50)),
            ..LogOptions::default()
        });
        if seed % 2 == 1 {
            strategy.replication = Replication::Raft(Raft::default());
        }
        let mut chaos = Chaos::new(seed, &strategy);
        chaos.hosts_fail = true;
        let (mut group, writes) = chaos_with(chaos);
        assert_eq!(
            group.primaries().len(),
            1,
            "seed {seed}: one primary after healing"
        );
        assert_eq!(writes.lost(&mut group), 0, "seed {seed}: lost writes");
        acknowledged += writes.acknowledged(&group).len();
        rolled_back += group.events.iter().filter(|(_, _, event)| {
            matches!(event, Event::RecoveryCompleted { undone, .. } if *undone > 0)
        }).count();
    }
    assert!(acknowledged > 2_000, "{acknowledged} acknowledged writes");
    assert!(
        rolled_back > 10,
        "{rolled_back} restarts rolled anything back"
    );
}
