//! Nothing that was acknowledged is lost and no term has two leaders, under any faults; and the same
//! seeds notice planted mistakes.

use std::collections::BTreeSet;

use shakedown_contracts::event::Role;
use shakedown_contracts::range::DurationRange;
use shakedown_contracts::strategy::{Checkpoint, Fsync, LogOptions, Raft, RecoveryLog, Strategy};
use shakedown_contracts::units::{Bytes, Duration};
use shakedown_core::flaw::Flaw;

use super::{elections, strategy, violations};
use crate::group::{Client, lost, shared_epochs};
use crate::ledger::Ledger;
use crate::world::{Machine, World};

/// Every combination of the switches, and timeouts so close together that votes are split often.
fn options(seed: u64) -> Raft {
    Raft {
        election_timeout: DurationRange::between(
            Duration::from_millis(100),
            Duration::from_millis(140),
        ),
        heartbeat_interval: Duration::from_millis(30),
        pre_vote: seed & 1 == 0,
        check_quorum: seed & 2 == 0,
        ..Raft::default()
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The host dies.
    Crash,
    /// The process dies.
    Kill,
    /// The host dies and is back at once.
    Restart,
    /// So do all.
    RestartAll,
    Isolate,
    /// One direction between two nodes goes dead.
    Cut,
    /// The leader is heard by some of the others alone.
    Mute,
    Pause,
    /// Messages take another while.
    Delay,
    /// Syncs do.
    Disk,
    Heal,
    /// Whoever is down or paused goes on.
    Return,
}
use Fault::{
    Crash, Cut, Delay, Disk, Heal, Isolate, Kill, Mute, Pause, Restart, RestartAll, Return,
};

/// Faults drawn from a list, one in so many turns.
struct Nemesis {
    size: u32,
    faults: &'static [Fault],
    every_turns: u64,
    turns: u64,
}

const NEMESES: [Nemesis; 3] = [
    Nemesis {
        size: 3,
        faults: &[
            Crash, Kill, Restart, RestartAll, Isolate, Cut, Mute, Pause, Delay, Disk, Heal, Heal,
            Return, Return,
        ],
        every_turns: 4,
        turns: 150,
    },
    // Hosts that come back at once, in the middle of elections.
    Nemesis {
        size: 3,
        faults: &[Restart, Restart, Restart, Restart, Cut, Delay, Heal],
        every_turns: 2,
        turns: 250,
    },
    // Hosts that die with what their disks have not synced yet.
    Nemesis {
        size: 3,
        faults: &[RestartAll, Restart, Crash, Return, Disk, Isolate, Heal],
        every_turns: 4,
        turns: 150,
    },
];

fn strike(world: &mut World, fault: Fault, down: &mut BTreeSet<u32>) {
    let size = world.machines.len() as u32;
    let node = world.draw(u64::from(size)) as u32;
    let victim = match world.draw(3) {
        0 => node,
        _ => world.primary().unwrap_or(node),
    };
    match fault {
        Crash => {
            world.crash(victim);
            down.insert(victim);
        }
        Kill => {
            world.kill(victim);
            down.insert(victim);
        }
        Restart => {
            world.crash(node);
            world.start(node);
            down.remove(&node);
        }
        RestartAll => {
            (0..size).for_each(|node| world.crash(node));
            (0..size).for_each(|node| world.start(node));
            down.clear();
        }
        Isolate => world.isolate(victim),
        Cut => {
            let other = (victim + 1 + world.draw(2) as u32) % size;
            world.cut(victim, other);
        }
        Mute => {
            for other in 0..size {
                if world.draw(4) > 0 {
                    world.cut(victim, other);
                }
            }
        }
        Pause => world.pause(victim),
        Delay => world.delay.1 = Duration::from_millis([1, 15, 60][world.draw(3) as usize]),
        Disk => world.sync = Duration::from_millis([2, 20, 60][world.draw(3) as usize]),
        Heal => world.heal(),
        Return => {
            for node in std::mem::take(down) {
                world.start(node);
            }
            (0..size).for_each(|node| world.resume(node));
        }
    }
}

fn chaos(seed: u64, flaw: Option<Flaw>) -> (World, Client) {
    // A checkpoint every few writes, so that a node that was away misses what its leader has left.
    let recovery_log = RecoveryLog::Redo(LogOptions {
        fsync: Fsync::Group,
        checkpoint: Checkpoint::Bytes(Bytes(1024)),
        ..LogOptions::default()
    });
    let strategy = Strategy {
        recovery_log,
        ..strategy(options(seed / 4))
    };
    chaos_of(strategy, seed, flaw)
}

/// Faults drawn from the seed at any moment, then none until all has settled.
pub fn chaos_of(strategy: Strategy, seed: u64, flaw: Option<Flaw>) -> (World, Client) {
    let Nemesis {
        size,
        faults,
        every_turns,
        turns,
    } = NEMESES[(seed % 4) as usize % NEMESES.len()];
    let mut world = World::flawed(size, strategy, seed, flaw);
    world.ledger = Some(Ledger::default());
    let mut client = Client::default();
    let mut down = BTreeSet::new();
    world.run_for(Duration::from_millis(300));
    for turn in 0..turns {
        let node = world.draw(u64::from(size)) as u32;
        let primary = world.primary().filter(|_| turn % 3 > 0);
        client.turn(&mut world, primary.unwrap_or(node));
        let moment = Duration::from_micros(world.draw(10_000));
        world.run_for(moment);
        if world.draw(every_turns) == 0 {
            let fault = faults[world.draw(faults.len() as u64) as usize];
            strike(&mut world, fault, &mut down);
        }
        world.run_for(Duration::from_millis(10).saturating_sub(moment));
    }
    settle(&mut world, &mut down);
    (world, client)
}

/// Leaders that die with an entry that some others have, and come back when others have led since
/// (figure 8 of the paper).
fn old_entries(seed: u64, flaw: Option<Flaw>) -> (World, Client) {
    let mut world = World::flawed(5, strategy(options(seed)), seed, flaw);
    world.ledger = Some(Ledger::default());
    let mut client = Client::default();
    let mut down = BTreeSet::new();
    for _ in 0..30 {
        let wait = world.draw(200);
        world.run_for(Duration::from_millis(100 + wait));
        if let Some(leader) = world.primary() {
            for other in 0..5 {
                if world.draw(3) > 0 {
                    world.cut(leader, other);
                }
            }
            let key = format!("k{}", client.writes);
            client.put(&mut world, leader, key);
            let life = world.draw(20);
            world.run_for(Duration::from_millis(life));
            world.kill(leader);
            down.insert(leader);
            world.heal();
        }
        let back: Vec<u32> = down.iter().copied().collect();
        if back.len() > 2 || (!back.is_empty() && world.draw(3) == 0) {
            let node = back[world.draw(back.len() as u64) as usize];
            world.start(node);
            down.remove(&node);
        }
    }
    settle(&mut world, &mut down);
    (world, client)
}

/// Voters that die and come back while votes are under way.
fn restless_voters(seed: u64, flaw: Option<Flaw>) -> (World, Client) {
    let mut world = World::flawed(3, strategy(options(seed)), seed, flaw);
    world.ledger = Some(Ledger::default());
    world.delay.1 = Duration::from_millis(40);
    let mut client = Client::default();
    for _ in 0..400 {
        world.run_for(Duration::from_millis(5));
        let stands = |machine: &Machine| {
            let node = machine.node.as_ref();
            node.is_some_and(|node| node.status().role == Role::Candidate)
        };
        let voter = world.draw(3) as u32;
        let elects = world.machines.iter().any(stands);
        if elects && !stands(&world.machines[voter as usize]) && world.draw(2) == 0 {
            world.crash(voter);
            world.start(voter);
        } else if let Some(leader) = world.primary()
            && world.draw(8) == 0
        {
            let key = format!("k{}", client.writes);
            client.put(&mut world, leader, key);
            world.crash(leader);
            world.start(leader);
        }
    }
    settle(&mut world, &mut BTreeSet::new());
    (world, client)
}

/// No more faults, until all has settled.
fn settle(world: &mut World, down: &mut BTreeSet<u32>) {
    world.delay.1 = Duration::from_millis(1);
    world.sync = Duration::from_millis(2);
    world.heal();
    strike(world, Return, down);
    world.run_for(Duration::from_millis(2_500));
    let World {
        machines, ledger, ..
    } = world;
    let nodes = machines.iter().filter_map(|machine| machine.node.as_ref());
    ledger.get_or_insert_default().compare_logs(nodes);
}

type Scenario = fn(u64, Option<Flaw>) -> (World, Client);

/// What happened in a scenario, after all checks.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    elections: usize,
    snapshots: usize,
}

impl Tally {
    fn add(&mut self, scenario: Scenario, seed: u64) {
        let (mut world, client) = scenario(seed, None);
        assert_eq!(violations(&world), [""; 0], "seed {seed}");
        let primaries = world.primaries().len();
        assert_eq!(primaries, 1, "seed {seed}: one leader after healing");
        assert_eq!(lost(&mut world, &client), 0, "seed {seed}: lost writes");
        assert_eq!(client.stale_reads(&world), 0, "seed {seed}: stale reads");
        assert_eq!(shared_epochs(&world), [0_u64; 0], "seed {seed}");
        self.acknowledged += client.acknowledged(&world).count();
        self.elections += elections(&world).len();
        self.snapshots += world.ledger.map_or(0, |ledger| ledger.snapshots);
    }
}

#[test]
fn under_faults_nothing_acknowledged_is_lost_and_a_term_has_one_leader() {
    let mut tally = Tally::default();
    for seed in 0..200 {
        tally.add(chaos, seed);
    }
    // The test would prove nothing if little was acknowledged, hardly anybody elected, or nobody
    // ever too far behind.
    assert!(tally.acknowledged > 8_000, "{tally:?}");
    assert!(tally.elections > 1_000, "{tally:?}");
    assert!(tally.snapshots > 20, "{tally:?}");
}

#[test]
fn leaders_that_die_with_old_entries_and_voters_that_forget_nothing_break_nothing() {
    let mut tally = Tally::default();
    for seed in 0..60 {
        tally.add(old_entries, seed);
        tally.add(restless_voters, seed);
    }
    assert!(tally.elections > 1_200, "{tally:?}");
}

/// The first two seeds that notice a mistake: one could be luck.
fn noticed(scenario: Scenario, flaw: Flaw) -> Vec<u64> {
    let notices = |seed: &u64| {
        let (world, _) = scenario(*seed, Some(flaw));
        !violations(&world).is_empty()
    };
    (0..200).filter(notices).take(2).collect()
}

#[test]
fn a_vote_that_is_not_written_down_is_noticed() {
    assert_eq!(noticed(restless_voters, Flaw::ForgetsVote).len(), 2);
}

#[test]
fn committing_entries_of_older_terms_by_counting_is_noticed() {
    assert_eq!(noticed(old_entries, Flaw::CommitsOldTerms).len(), 2);
}

#[test]
fn acknowledging_before_the_sync_is_noticed() {
    assert_eq!(noticed(chaos, Flaw::AcknowledgesBeforeSync).len(), 2);
}

#[test]
fn electing_without_comparing_logs_is_noticed() {
    assert_eq!(noticed(chaos, Flaw::IgnoresLogs).len(), 2);
}

#[test]
fn such_a_mistake_loses_acknowledged_writes() {
    let loses = |seed: u64| {
        let (mut world, client) = chaos(seed, Some(Flaw::IgnoresLogs));
        world.primary().is_some() && lost(&mut world, &client) > 0
    };
    assert!((0..200).any(loses));
}

#[test]
fn on_a_disk_that_forgets_nothing_of_it_holds() {
    let never = RecoveryLog::Redo(LogOptions {
        fsync: Fsync::Never,
        checkpoint: Checkpoint::None,
        ..LogOptions::default()
    });
    for recovery_log in [RecoveryLog::None {}, never] {
        let breaks = |seed: &u64| {
            let strategy = Strategy {
                recovery_log: recovery_log.clone(),
                ..strategy(options(*seed))
            };
            let (world, _) = chaos_of(strategy, *seed, None);
            !violations(&world).is_empty()
        };
        // All seeds are run: whatever was lost, no node may panic.
        let broken = (0..60).filter(breaks).count();
        assert!(broken > 1, "{broken} seeds, {recovery_log:?}");
    }
}
