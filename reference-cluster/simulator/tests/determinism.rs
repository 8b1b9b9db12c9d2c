//! The same setup and the same calls give the same run: twice in one process, and in another one.

#[expect(dead_code, reason = "other tests use more of it")]
mod group;

use std::process::Command;

use group::{CLIENTS, Group, id, link, strategy};
use shakedown_contracts::fault::{CutBehavior, Delay, Distribution, LinkEffect};
use shakedown_contracts::strategy::{Acknowledge, Fencing};
use shakedown_contracts::units::{Duration, Ratio};
use shakedown_simulator::ClientRequest;

/// Makes the other process print its hash instead of testing.
const ASK: &str = "SHAKEDOWN_SIMULATOR_PRINT_HASH";

/// A run with every kind of fault in it.
fn hash(seed: u64) -> u64 {
    let strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    let mut group = Group::new(5, &strategy, seed);
    let delay = LinkEffect::Delay(Delay {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        correlation: Ratio::new(0.2).expect("a share"),
        distribution: Distribution::Normal,
    });
    for turn in 0..200_u64 {
        match turn {
            20 => group.world.kill("n1"),
            40 => group.world.start("n1"),
            60 => group.cut("cut", &[link("n2", "n3"), link(CLIENTS, "n4")]),
            70 => group.world.apply(&id("slow"), &group.links_of("n5"), delay),
            80 => group.world.pause("n2"),
            120 => group.world.resume("n2"),
            130 => group.heal("cut"),
            140 => group.world.crash("n3"),
            150 => group.world.apply(
                &id("refused"),
                &[link("n4", "n1")],
                LinkEffect::Cut(CutBehavior::Reject),
            ),
            160 => group.heal("slow"),
            170 => group.world.start("n3"),
            _ => {}
        }
        let node = format!("n{}", turn % 5 + 1);
        group.put(&node, "k", turn);
        group.world.call(CLIENTS, &node, ClientRequest::Status);
        group.run_millis(10);
    }
    group.world.trace_hash()
}

#[test]
fn equal_seeds_give_equal_hashes_here_and_in_another_process_and_other_seeds_do_not() {
    if std::env::var_os(ASK).is_some() {
        println!("hash={}", hash(7));
        return;
    }
    let here = hash(7);
    assert_eq!(here, hash(7));
    assert_ne!(here, hash(8));
    let name = "equal_seeds_give_equal_hashes_here_and_in_another_process_and_other_seeds_do_not";
    let other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ASK, "1")
        .output()
        .unwrap();
    let output = String::from_utf8(other.stdout).unwrap();
    assert!(output.contains(&format!("hash={here}")), "{output}");
}

#[test]
fn a_fault_on_one_link_changes_no_draw_of_another_node() {
    // n3 is alone in a group of its own: what happens to n1 and n2 must not show in its start.
    let ready = |disturbed: bool| {
        let strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
        let mut group = Group::new(3, &strategy, 5);
        if disturbed {
            group.world.kill("n1");
        }
        group.world.kill("n3");
        let killed = group.world.now();
        group.world.start("n3");
        group.run_millis(100);
        let ready = group.moments("node.ready", killed);
        ready.first().map(|(at, _)| at.since(killed))
    };
    assert_eq!(ready(false), ready(true));
}
