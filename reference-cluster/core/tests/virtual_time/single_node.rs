//! One node and its disk, in virtual time: how often it writes checkpoints, and what damage does.

use crate::world::World;
use shakedown_contracts::strategy::{
    Checkpoint, Checksum, Fsync, LogOptions, RecoveryLog, Replication, Strategy,
};
use shakedown_contracts::units::Duration;
use shakedown_core::interface::{ClientReply, ClientRequest};
use shakedown_core::recovery_log::record::{RecoveryError, recover};

fn alone(checkpoint: Checkpoint, checksum: Checksum) -> Strategy {
    Strategy {
        recovery_log: RecoveryLog::Redo(LogOptions {
            fsync: Fsync::Group,
            checkpoint,
            mean_time_between_failures: Some(Duration::from_secs(100)),
            checksum,
            ..LogOptions::default()
        }),
        replication: Replication::None {},
        ..Strategy::default()
    }
}

fn put(world: &mut World, key: &str, value: u64) {
    let key = key.to_owned();
    let id = world.request(0, ClientRequest::Put { key, value });
    world.run_for(Duration::from_millis(50));
    assert!(matches!(world.replies[&id].2, ClientReply::Done(_)));
}

/// Mean time in seconds between two checkpoints that take this long each.
fn time_between_checkpoints(takes: Duration) -> f64 {
    let mut world = World::new(1, alone(Checkpoint::YoungDaly, Checksum::Crc32c), 1);
    world.checkpoint_takes = Some(takes);
    for value in 0..600 {
        let key = "k".to_owned();
        world.request(0, ClientRequest::Put { key, value });
        world.run_for(Duration::from_millis(50));
    }
    let completed: Vec<_> = world
        .notes
        .iter()
        .filter(|(_, _, event)| event.name() == "checkpoint.completed")
        .map(|(at, _, _)| *at)
        .collect();
    let (first, last) = (completed[0], completed[completed.len() - 1]);
    last.since(first).as_secs_f64() / (completed.len() - 1) as f64
}

#[test]
fn a_checkpoint_that_takes_four_times_as_long_is_written_half_as_often() {
    // √(2 · C · 100 s), and C itself; a sync of up to 2 ms may go before.
    for (takes_ms, expected) in [(20, 2.0 + 0.020), (80, 4.0 + 0.080)] {
        let between = time_between_checkpoints(Duration::from_millis(takes_ms));
        assert!(
            (expected..expected * 1.06).contains(&between),
            "{takes_ms} ms: every {between} s instead of {expected} s"
        );
    }
}

#[test]
fn a_flipped_bit_in_a_log_is_served_as_a_wrong_value_without_a_checksum_and_refused_with_one() {
    for checksum in [Checksum::Crc32c, Checksum::None] {
        let mut world = World::new(1, alone(Checkpoint::None, checksum), 1);
        world.run_for(Duration::from_millis(100));
        put(&mut world, "k", 7);
        put(&mut world, "other", 1);
        world.crash(0);
        let log = &mut world.machines[0].disk.log;
        let written = br#"["k",7]"#;
        let at = log
            .windows(written.len())
            .position(|bytes| bytes == written)
            .expect("the write is in the log");
        log[at + 5] ^= 1; // 7 becomes 6.
        if checksum == Checksum::Crc32c {
            let refused = recover(checksum, &[], &world.machines[0].disk.log);
            assert!(matches!(refused, Err(RecoveryError::Damaged { .. })));
            continue;
        }
        world.start(0);
        world.run_for(Duration::from_millis(100));
        let id = world.request(0, ClientRequest::Get { key: "k".into() });
        world.run_for(Duration::from_millis(50));
        let ClientReply::Value(answer) = &world.replies[&id].2 else {
            panic!("a node that believes its log answers reads");
        };
        assert_eq!(answer.value, Some(6));
    }
}
