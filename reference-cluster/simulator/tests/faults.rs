//! What each fault does to a group, and what the strategies make of it.

mod group;

use group::{Group, HEARTBEAT, TIMEOUT, Writes, link, log, setup, strategy};
use shakedown_contracts::event::Event;
use shakedown_contracts::random::Random;
use shakedown_contracts::strategy::{Acknowledge, Fencing, Fsync};
use shakedown_contracts::units::Duration;

/// Twenty acknowledged writes on one node and its restart; how many are lost.
fn lost_by(fsync: Fsync, seed: u64, hold_unsynced: bool, host: bool) -> usize {
    let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    strategy.recovery_log = log(fsync);
    let mut setup = setup(1, &strategy, seed);
    setup.nodes[0].hold_unsynced = hold_unsynced;
    let mut group = Group::of(setup);
    let mut writes = Writes::default();
    for _ in 0..20 {
        writes.put(&mut group, "n1");
        group.run_millis(2);
    }
    // A last one that may or may not be acknowledged, with everything under way.
    writes.put(&mut group, "n1");
    let moment = Random::keyed(seed, "moment of death", "").below(2_000);
    group.run_for(Duration::from_micros(moment));
    if host {
        group.world.crash("n1");
    } else {
        group.world.kill("n1");
    }
    group.run_millis(50);
    group.world.start("n1");
    group.run_millis(500);
    assert!(writes.acknowledged(&group).len() >= 20, "seed {seed}");
    writes.lost(&mut group)
}

#[test]
fn acknowledged_writes_survive_a_kill_even_if_nothing_was_ever_synced() {
    for seed in 0..50 {
        assert_eq!(lost_by(Fsync::Never, seed, false, false), 0, "seed {seed}");
    }
    // The page cache it is: without it (bytes held in the process) the same kill loses them.
    assert!(lost_by(Fsync::Never, 1, true, false) > 0);
    assert_eq!(lost_by(Fsync::PerOperation, 1, true, false), 0);
}

#[test]
fn a_host_crash_loses_what_was_not_synced_and_nothing_that_was() {
    let mut losing = 0;
    for seed in 0..200 {
        losing += u32::from(lost_by(Fsync::Never, seed, false, true) > 0);
        let lost = lost_by(Fsync::PerOperation, seed, false, true);
        assert_eq!(lost, 0, "seed {seed}");
        assert_eq!(lost_by(Fsync::Group, seed, false, true), 0, "seed {seed}");
    }
    // Some twenty records are unsynced; only a crash that leaves all of them loses nothing.
    assert!(losing > 150, "{losing} of 200 crashes lost something");
}

#[test]
fn a_primary_that_is_not_heard_is_replaced_and_hears_of_it() {
    let strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    let mut group = Group::new(3, &strategy, 1);
    assert_eq!(group.primaries(), ["n1"]);
    group.cut("one-way", &[link("n1", "n2"), link("n1", "n3")]);
    group.run_millis(900);
    // It hears the others, so it learns the new epoch and steps down while the cut lasts.
    assert_eq!(group.primaries(), ["n2"]);
    assert_eq!(group.world.status("n1").unwrap().epoch, 2);
    let stuck = group.put("n1", "k", 1);
    let through = group.put("n2", "k", 2);
    group.run_millis(50);
    assert!(!group.is_done(stuck) && group.is_done(through));
    group.heal("one-way");
    group.run_millis(1_000);
    assert_eq!(group.primaries(), ["n2"]);
    let positions = ["n1", "n2", "n3"].map(|node| group.world.status(node).unwrap().position);
    assert_eq!(positions, [positions[1]; 3], "all have caught up");
}

/// The primary is paused for a second, five times the detector's timeout. Who is primary afterwards.
fn primaries_after_a_pause(fencing: Fencing) -> Vec<String> {
    let mut group = Group::new(3, &strategy(Acknowledge::Async, fencing), 3);
    group.world.pause("n1");
    group.run_millis(1_000);
    let waiting = group.put("n1", "k", 1);
    group.run_millis(200);
    assert!(
        !group.answers.contains_key(&waiting),
        "a paused node is silent"
    );
    group.world.resume("n1");
    group.run_millis(1_000);
    assert!(group.answers.contains_key(&waiting));
    group.primaries().into_iter().map(str::to_owned).collect()
}

#[test]
fn a_pause_beyond_the_timeout_leaves_two_primaries_without_fencing_and_one_with_it() {
    assert_eq!(primaries_after_a_pause(Fencing::Epoch), ["n2"]);
    assert_eq!(primaries_after_a_pause(Fencing::None), ["n1", "n2"]);
}

#[test]
fn a_pause_below_the_timeout_changes_nothing() {
    let strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    let mut group = Group::new(3, &strategy, 3);
    let before = group.world.now();
    group.world.pause("n1");
    group.run_millis(130);
    group.world.resume("n1");
    group.run_millis(1_000);
    assert_eq!(group.moments("suspicion", before), []);
    assert_eq!(group.primaries(), ["n1"]);
}

#[test]
fn a_killed_primary_is_replaced_within_the_bounds_of_its_detector() {
    for seed in 0..100 {
        let strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
        let mut group = Group::new(3, &strategy, seed);
        let phase = Random::keyed(seed, "phase", "").duration_up_to(HEARTBEAT);
        group.run_for(phase);
        let killed = group.world.now();
        group.world.kill("n1");
        group.run_millis(1_000);
        let suspicions = group.moments("suspicion", killed);
        assert_eq!(suspicions.len(), 2, "seed {seed}: both backups suspect");
        for (at, node) in &suspicions {
            let after = at.since(killed).as_millis_f64();
            // The last ACK answered a heartbeat of up to an interval ago, and took up to 1 ms.
            let least = TIMEOUT.as_millis_f64() - HEARTBEAT.as_millis_f64() - 1.0;
            let most = TIMEOUT.as_millis_f64() + 1.0;
            assert!(
                (least..=most).contains(&after),
                "seed {seed}: {node} after {after} ms"
            );
        }
        let primary = group.events.iter().find(|(at, _, event)| {
            let role = shakedown_contracts::event::Role::Primary;
            *at > killed && matches!(event, Event::RoleChanged { role: new, .. } if *new == role)
        });
        let (at, _, _) = primary.expect("somebody takes over");
        let first = suspicions[0].0;
        let after = at.since(first).as_millis_f64();
        // The other backup may still trust the primary for an interval and refuse; then the first
        // asks again after at most four beats and a random wait of as many.
        assert!(
            after <= 9.0 * HEARTBEAT.as_millis_f64(),
            "seed {seed}: {after} ms"
        );
    }
}

#[test]
fn a_healed_cut_is_in_use_within_a_dial_and_a_round_trip_however_long_it_was() {
    for seconds in [2, 10, 60] {
        let strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
        let mut group = Group::new(3, &strategy, seconds);
        let links = group.links_of("n3");
        group.cut("isolated", &links);
        group.run_for(Duration::from_secs(seconds));
        let write = group.put("n1", "k", 1);
        group.run_millis(100);
        assert!(group.is_done(write));
        let position = group.world.status("n1").unwrap().position;
        assert!(group.world.status("n3").unwrap().position < position);
        group.heal("isolated");
        // Dialled every 300 ms; then the primary's next tick finds what is missing.
        group.run_millis(300 + 20);
        assert_eq!(group.world.status("n3").unwrap().position, position);
    }
}

#[test]
fn a_cut_shorter_than_a_second_breaks_no_connection_and_loses_no_message() {
    let strategy = strategy(Acknowledge::All, Fencing::Epoch);
    let mut group = Group::new(3, &strategy, 4);
    let links = group.links_of("n3");
    let before = group.world.now();
    group.cut("short", &links);
    let write = group.put("n1", "k", 1);
    // With an interval before it and one after it, shorter than the detector's timeout.
    group.run_millis(90);
    assert!(
        !group.is_done(write),
        "everybody must hold it, and one does not hear"
    );
    group.heal("short");
    // Lost at 0, sent again at 200 ms.
    group.run_millis(120);
    assert!(group.is_done(write));
    assert_eq!(group.moments("suspicion", before), []);
}
