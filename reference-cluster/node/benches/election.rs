//! How long five real Raft processes on loopback are without a leader after its SIGKILL.
//!
//! `cargo bench -p shakedown-node --bench election`, or `-- 20` for 20 trials a setting instead of
//! 100. The same settings as the simulator's bench of that name (Ongaro & Ousterhout 2014, section
//! 9.3), with the network and the disk of this machine in place of the paper's 15 ms: counted from
//! the kill to the next leader's own report of its role.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/local_cluster/mod.rs"]
mod local_cluster;

use std::process::ExitCode;

use local_cluster::{Cluster, value, wait_until};
use nix::time::{ClockId, clock_gettime};
use serde_json::Value;
use shakedown_contracts::random::Random;
use shakedown_contracts::range::DurationRange;
use shakedown_contracts::strategy::{Detector, Raft, Reads, Replication, Strategy};
use shakedown_contracts::units::Duration;

const NODES: usize = 5;
const TRIALS: usize = 100;
/// Shortest and longest election timeout, in milliseconds.
const SETTINGS: [(u64, u64); 6] = [
    (150, 155),
    (150, 200),
    (150, 300),
    (25, 50),
    (50, 100),
    (100, 200),
];

fn main() -> ExitCode {
    if let Some(config) = local_cluster::config_of_node_process() {
        return local_cluster::node_process(&config);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if arguments
        .iter()
        .any(|one| one == "--test" || one == "--list")
    {
        return ExitCode::SUCCESS;
    }
    let trials = arguments.iter().find_map(|one| one.parse().ok());
    let trials = trials.unwrap_or(TRIALS);
    println!("| election timeout (ms) | 10 % | 50 % | 90 % | worst | mean |");
    println!("|---|--:|--:|--:|--:|--:|");
    for setting in SETTINGS {
        println!(
            "| {}–{} | {} |",
            setting.0,
            setting.1,
            cells(measure(setting, trials))
        );
    }
    ExitCode::SUCCESS
}

fn cells(mut downtimes: Vec<f64>) -> String {
    downtimes.sort_by(f64::total_cmp);
    let rank = |share: f64| downtimes[(share * downtimes.len() as f64).ceil() as usize - 1];
    let mean = downtimes.iter().sum::<f64>() / downtimes.len() as f64;
    let numbers = [rank(0.1), rank(0.5), rank(0.9), rank(1.0), mean];
    numbers.map(|number| format!("{number:.0}")).join(" | ")
}

/// Times without leader of all trials, in milliseconds.
fn measure((low, high): (u64, u64), trials: usize) -> Vec<f64> {
    let [low, high] = [low, high].map(Duration::from_millis);
    let interval = Duration::from_nanos(low.as_nanos() / 2);
    let strategy = Strategy {
        detector: Detector::None {},
        replication: Replication::Raft(Raft {
            election_timeout: DurationRange::between(low, high),
            heartbeat_interval: interval,
            pre_vote: false,
            check_quorum: false,
            reads: Reads::Local,
        }),
        ..Strategy::default()
    };
    let mut cluster = Cluster::start(NODES, strategy);
    let mut random = Random::keyed(1, "crash", "election");
    let one = |_| trial(&mut cluster, random.duration_up_to(interval));
    (0..trials).map(one).collect()
}

/// Kills the leader of a group that is whole, `phase` after it was found, and starts it again.
fn trial(cluster: &mut Cluster, phase: Duration) -> f64 {
    let (_, leader) = cluster.ask_primary("PUT", "/v1/keys/k", &value(0));
    wait_until("everybody has what the leader has", || {
        let committed = |node| {
            let (_, status) = cluster.ask(node, "GET", "/v1/status", &Value::Null).ok()?;
            status["committed"].as_u64()
        };
        let there = committed(leader);
        there.is_some() && (0..NODES).all(|node| committed(node) == there)
    });
    std::thread::sleep(phase.into());
    let killed = monotonic();
    cluster.kill(leader);
    let mut elected = None;
    wait_until("there is another leader", || {
        let others = (0..NODES).filter(|node| *node != leader);
        let times = others.flat_map(|node| cluster.events(node));
        let times = times.filter(|event| event["role"] == "primary");
        let times = times.filter_map(|event| event["time"].as_u64());
        elected = times.filter(|time| *time > killed).min();
        elected.is_some()
    });
    cluster.start_node(leader);
    (elected.unwrap() - killed) as f64 / 1e6
}

/// Nanoseconds of the clock by which nodes stamp their events.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}
