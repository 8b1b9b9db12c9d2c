//! What each fault of a disk does, and that the world says only what it saw.

use shakedown_contracts::host_fault::{Damage, DiskMethod, Errno, HostFault};
use shakedown_contracts::strategy::{
    Acknowledge, Checksum, Fencing, Fsync, LogOptions, OnFsyncError, RecoveryLog, Strategy,
};
use shakedown_contracts::units::Duration;

use crate::group::{Group, Writes, id, log, setup, strategy};

fn alone(on_fsync_error: OnFsyncError) -> Strategy {
    let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    strategy.recovery_log = RecoveryLog::Redo(LogOptions {
        on_fsync_error,
        ..log(Fsync::Group).options().expect("a log").clone()
    });
    strategy
}

fn one(seed: u64, strategy: &Strategy) -> Group {
    Group::of(setup(1, strategy, seed))
}

fn syncs_fail(times: Option<u32>) -> HostFault {
    HostFault::DiskFault {
        errno: Errno::Io,
        methods: vec![DiskMethod::Sync],
        times,
        path: None,
        percent: None,
    }
}

/// Writes so many, two milliseconds apart.
fn write(group: &mut Group, writes: &mut Writes, count: u32) {
    for _ in 0..count {
        writes.put(group, "n1");
        group.run_millis(2);
    }
}

fn exits(group: &Group) -> usize {
    group
        .events
        .iter()
        .filter(|(_, _, event)| event.name() == "node.exited")
        .count()
}

#[test]
fn a_disk_that_hangs_completes_nothing_until_it_is_mended_and_loses_nothing() {
    let mut group = one(1, &alone(OnFsyncError::Panic));
    let hang = id("hang");
    group
        .world
        .disturb("n1", &hang, &HostFault::DiskHang {})
        .expect("the fault can be laid on");
    assert_eq!(
        group.world.effect("n1", &hang),
        None,
        "nothing was held yet"
    );
    let write = group.put("n1", "k", 1);
    group.run_millis(2_000);
    assert!(!group.is_done(write));
    let seen = group
        .world
        .effect("n1", &hang)
        .expect("an operation was held");
    assert!(seen.observed.contains("1 operations"), "{}", seen.observed);
    group.world.mend("n1", &hang);
    group.run_millis(20);
    assert!(group.is_done(write));
    assert_eq!(group.world.effect("n1", &hang), None);
}

#[test]
fn a_node_that_is_killed_while_its_disk_hangs_starts_again_and_writes_once_it_is_mended() {
    for seed in 0..50 {
        let mut group = one(seed, &alone(OnFsyncError::Panic));
        let mut writes = Writes::default();
        write(&mut group, &mut writes, 5);
        group
            .world
            .disturb("n1", &id("hang"), &HostFault::DiskHang {})
            .expect("the fault can be laid on");
        writes.put(&mut group, "n1");
        group.run_millis(100);
        group.world.kill("n1");
        group.world.start("n1");
        group.run_millis(100);
        group.world.mend("n1", &id("hang"));
        group.run_millis(200);
        writes.put(&mut group, "n1");
        group.run_millis(50);
        assert!(writes.acknowledged(&group).len() >= 6, "seed {seed}");
        assert_eq!(writes.lost(&mut group), 0, "seed {seed}");
    }
}

#[test]
fn added_latency_is_measured_on_the_operations_that_had_it() {
    let mut group = one(2, &alone(OnFsyncError::Panic));
    let slow = HostFault::DiskLatency {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        path: None,
    };
    group
        .world
        .disturb("n1", &id("slow"), &slow)
        .expect("the fault can be laid on");
    let write = group.put("n1", "k", 1);
    // Append and sync, 20 to 30 ms each.
    group.run_millis(39);
    assert!(!group.is_done(write));
    group.run_millis(30);
    assert!(group.is_done(write));
    let mut writes = Writes::default();
    write_all(&mut group, &mut writes, 40);
    let seen = group.world.mend("n1", &id("slow")).expect("it was seen");
    let latency = &seen.achieved[0];
    assert_eq!(latency.requested, 25.0);
    assert!((latency.achieved - 25.0).abs() < 2.0, "{}", seen.observed);
}

fn write_all(group: &mut Group, writes: &mut Writes, count: u32) {
    for _ in 0..count {
        writes.put(group, "n1");
        group.run_millis(70);
    }
}

/// Writes while every sync with something to write fails, then the host dies and starts again; how
/// many acknowledged writes are lost, and how often the node ended by itself.
fn lost_by_failing_syncs(on_fsync_error: OnFsyncError, seed: u64) -> (usize, usize) {
    let mut group = one(seed, &alone(on_fsync_error));
    let mut writes = Writes::default();
    write(&mut group, &mut writes, 20);
    group
        .world
        .disturb("n1", &id("eio"), &syncs_fail(None))
        .expect("the fault can be laid on");
    write(&mut group, &mut writes, 20);
    assert!(group.world.effect("n1", &id("eio")).is_some());
    let ended = exits(&group);
    group.world.crash("n1");
    group.world.mend("n1", &id("eio"));
    group.world.start("n1");
    group.run_millis(300);
    assert!(writes.acknowledged(&group).len() >= 20);
    (writes.lost(&mut group), ended)
}

#[test]
fn a_failed_sync_ends_the_node_with_nothing_lost_or_is_retried_and_everything_since_is_lost() {
    for seed in 0..50 {
        assert_eq!(
            lost_by_failing_syncs(OnFsyncError::Panic, seed),
            (0, 1),
            "seed {seed}"
        );
        let (lost, ended) = lost_by_failing_syncs(OnFsyncError::Retry, seed);
        assert!(lost >= 15 && ended == 0, "seed {seed}: {lost} lost");
    }
}

#[test]
fn a_sync_that_fails_once_and_is_retried_leaves_a_hole_that_a_checksum_refuses() {
    let mut group = one(3, &alone(OnFsyncError::Retry));
    let mut writes = Writes::default();
    write(&mut group, &mut writes, 5);
    group
        .world
        .disturb("n1", &id("eio"), &syncs_fail(Some(1)))
        .expect("the fault can be laid on");
    write(&mut group, &mut writes, 10);
    assert_eq!(
        writes.acknowledged(&group).len(),
        15,
        "the client is told that all is well"
    );
    group.world.kill("n1");
    group.world.start("n1");
    group.run_millis(50);
    let words = group.world.last_words("n1").expect("it refuses");
    assert!(words.contains("damaged"), "{words}");
}

#[test]
fn a_full_disk_ends_the_node_at_its_next_write_and_what_was_acknowledged_stays() {
    for seed in 0..100 {
        let mut group = one(seed, &alone(OnFsyncError::Panic));
        let mut writes = Writes::default();
        write(&mut group, &mut writes, 10);
        group
            .world
            .disturb("n1", &id("full"), &HostFault::DiskFull {})
            .expect("the fault can be laid on");
        assert!(
            group.world.effect("n1", &id("full")).is_some(),
            "seen at once"
        );
        write(&mut group, &mut writes, 3);
        assert_eq!(exits(&group), 1, "seed {seed}");
        // It can be read, but not served from: the first write of the new process fails too.
        group.world.start("n1");
        group.run_millis(100);
        assert_eq!(exits(&group), 2, "seed {seed}");
        group.world.mend("n1", &id("full"));
        group.world.start("n1");
        group.run_millis(300);
        assert_eq!(writes.lost(&mut group), 0, "seed {seed}");
    }
}

/// A log with a damaged sector and a restart: acknowledged writes that are lost, or why it refuses.
fn after_damage(checksum: Checksum, damage: Damage, seed: u64) -> Result<usize, String> {
    let mut strategy = alone(OnFsyncError::Panic);
    strategy.recovery_log = RecoveryLog::Redo(LogOptions {
        checksum,
        ..LogOptions::default()
    });
    let mut group = one(seed, &strategy);
    let mut writes = Writes::default();
    write(&mut group, &mut writes, 60);
    let fault = HostFault::DiskCorrupt { damage, path: None };
    group.world.disturb("n1", &id("damage"), &fault)?;
    group.world.kill("n1");
    group.world.start("n1");
    group.run_millis(100);
    match group.world.last_words("n1") {
        Some(words) => Err(words.to_owned()),
        None => Ok(writes.lost(&mut group)),
    }
}

#[test]
fn a_damaged_sector_is_refused_with_a_checksum_and_loses_writes_without() {
    for seed in 0..100 {
        for damage in [Damage::BitFlip, Damage::Scramble] {
            let refused = after_damage(Checksum::Crc32c, damage, seed).unwrap_err();
            assert!(refused.contains("damaged"), "seed {seed}: {refused}");
        }
        let lost = after_damage(Checksum::None, Damage::Scramble, seed);
        assert!(
            lost.as_ref().is_ok_and(|lost| *lost > 0),
            "seed {seed}: {lost:?}"
        );
    }
}

#[test]
fn a_log_without_two_whole_sectors_cannot_be_damaged() {
    let mut group = one(1, &alone(OnFsyncError::Panic));
    let fault = HostFault::DiskCorrupt {
        damage: Damage::BitFlip,
        path: None,
    };
    let refused = group
        .world
        .disturb("n1", &id("damage"), &fault)
        .unwrap_err();
    assert!(refused.contains("n1"), "{refused}");
}
