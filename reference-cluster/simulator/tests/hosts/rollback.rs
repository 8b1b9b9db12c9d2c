//! A primary writes a checkpoint with what it could not get committed, dies, and comes back to a group
//! that went another way: the rollback log takes that back.

use crate::group::{Group, Writes, setup, strategy};
use shakedown_contracts::event::Event;
use shakedown_contracts::strategy::{
    Acknowledge, Checkpoint, Fencing, LogOptions, RecoveryLog, Replication,
};
use shakedown_contracts::units::Duration;
use shakedown_simulator::{Flaw, Planted};

/// The old primary leads again at the end. How many operations its restart rolled back, and how many of
/// the writes that the group never committed it shows.
fn taken_back(seed: u64, flaw: Option<Flaw>) -> (u64, usize) {
    let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    strategy.recovery_log = RecoveryLog::UndoRedo(LogOptions {
        checkpoint: Checkpoint::Every(Duration::from_millis(100)),
        ..LogOptions::default()
    });
    assert!(matches!(
        strategy.replication,
        Replication::PrimaryBackup { .. }
    ));
    let mut setup = setup(3, &strategy, seed);
    setup.planted = planted(flaw);
    let mut group = Group::of(setup);
    // Past the checkpoint that is due half a second after the start.
    group.run_millis(20);
    let mut writes = Writes::default();
    writes.put(&mut group, "n1");
    group.run_millis(5);
    let links = group.links_of("n1");
    group.cut("isolated", &links);
    let names = ["x", "y", "z"];
    for (value, key) in (1..).zip(names.iter().cycle().take(9)) {
        group.put("n1", key, value);
        group.run_millis(5);
    }
    // The next checkpoint, before its peers' silence counts.
    group.run_millis(100);
    group.world.crash("n1");
    group.run_millis(600);
    let restarted = group.world.now();
    group.heal("isolated");
    group.world.start("n1");
    group.run_millis(1_000);
    let undone = group
        .events
        .iter()
        .filter_map(|(at, node, event)| match event {
            Event::RecoveryCompleted { undone, .. } if *at >= restarted && node == "n1" => {
                Some(*undone)
            }
            _ => None,
        });
    let undone = undone.max().unwrap_or(0);
    for node in ["n2", "n3"] {
        if group.primaries() != ["n1"] {
            group.world.kill(node);
            group.run_millis(1_500);
            group.world.start(node);
            group.run_millis(1_000);
        }
    }
    assert_eq!(group.primaries(), ["n1"], "seed {seed}");
    (undone, names.len() - group.missing(names))
}

#[cfg(feature = "flaws")]
fn planted(flaw: Option<Flaw>) -> Planted {
    Planted::from(flaw)
}

#[cfg(not(feature = "flaws"))]
fn planted(_flaw: Option<Flaw>) -> Planted {
    Planted::default()
}

#[test]
fn what_the_group_never_committed_is_rolled_back_and_never_shown() {
    let mut rolled_back = 0;
    for seed in 0..20 {
        let (undone, shown) = taken_back(seed, None);
        assert_eq!(shown, 0, "seed {seed}");
        rolled_back += u32::from(undone > 0);
    }
    assert!(
        rolled_back >= 15,
        "{rolled_back} of 20 restarts had anything to roll back"
    );
}

#[cfg(feature = "flaws")]
#[test]
fn a_rollback_that_is_left_out_shows_what_was_never_committed() {
    let shown = (0..10).map(|seed| taken_back(seed, Some(Flaw::UndoSkipped)).1);
    assert!(shown.sum::<usize>() > 0);
}
