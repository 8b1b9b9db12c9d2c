//! How many writes three real node processes on loopback acknowledge to eight connections.
//!
//! `cargo bench -p shakedown-node --bench puts`; every write must be acknowledged.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/local_cluster/mod.rs"]
mod local_cluster;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use local_cluster::{Client, Cluster, value};
use shakedown_contracts::strategy::Strategy;

fn main() -> ExitCode {
    if let Some(config) = local_cluster::config_of_node_process() {
        return local_cluster::node_process(&config);
    }
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let cluster = Cluster::start(3, Strategy::default());
    let (_, primary) = cluster.ask_primary("PUT", "/v1/keys/k", &value(0));
    let port = cluster.client_ports[primary];
    let length = Duration::from_secs(5);
    let connection = |number: usize| {
        let mut client = Client::connect(port).unwrap();
        let (start, mut latencies) = (Instant::now(), Vec::new());
        while start.elapsed() < length {
            let asked = Instant::now();
            let path = format!("/v1/keys/k{number}");
            let (code, answer) = client
                .ask("PUT", &path, &value(latencies.len() as u64))
                .unwrap();
            assert_eq!(code, 200, "{answer}");
            latencies.push(asked.elapsed());
        }
        latencies
    };
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || connection(number)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let events = (0..3).flat_map(|node| cluster.events(node));
    let suspicions = events.filter(|event| event["event"] == "suspicion").count();
    println!(
        "{:.0} puts/s, p50 {:?}, p99 {:?}, {suspicions} suspicions",
        latencies.len() as f64 / length.as_secs_f64(),
        at(0.5),
        at(0.99)
    );
    ExitCode::SUCCESS
}
