//! Throughput of three nodes of the reference cluster and of three members of etcd, in turn, on the
//! same machine, disk and offered mix.
//!
//! `cargo bench -p shakedown-node --bench against_etcd`; wants Debian's `etcd-server`. Both groups
//! run all the time; clients are as many connections to the leader, each asking again as soon as it
//! is answered, all in one thread. Both acknowledge a write once a majority has it on disk, and both
//! have a majority confirm the leader before a read is answered.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

mod etcd;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/local_cluster/mod.rs"]
mod local_cluster;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use etcd::{Connection, Etcd};
use local_cluster::{Cluster, value};
use shakedown_contracts::strategy::{Raft, Replication, Strategy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Pairs of measurements of each mix.
const ROUNDS: usize = 9;
/// Length of one measurement.
const LENGTH: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    if let Some(config) = local_cluster::config_of_node_process() {
        return local_cluster::node_process(&config);
    }
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(etcd) = Etcd::start(folder.path()) else {
        eprintln!("there is no `etcd` here: apt-get install etcd-server");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!(
        "| replication | clients | writes | ours, /s | etcd, /s | ours ÷ etcd, median of {ROUNDS} [least, most] |"
    );
    println!("|---|---|---|---|---|---|");
    for replication in [Replication::default(), Replication::Raft(Raft::default())] {
        let name = match &replication {
            Replication::Raft(_) => "raft",
            _ => "primary-backup, majority",
        };
        let strategy = Strategy {
            replication,
            ..Strategy::default()
        };
        let ours = Cluster::start(3, strategy);
        let (_, primary) = ours.ask_primary("PUT", "/v1/keys/k0", &value(0));
        let ports = (ours.client_ports[primary], etcd.leader());
        for (clients, writes_of_ten) in [(8, 10), (64, 10), (64, 5)] {
            let mix = Mix {
                clients,
                writes_of_ten,
            };
            runtime.block_on(compare(name, mix, ports));
        }
    }
    ExitCode::SUCCESS
}

#[derive(Clone, Copy)]
struct Mix {
    clients: usize,
    writes_of_ten: usize,
}

impl Mix {
    fn writes(self, number: usize) -> bool {
        // The first of each client is a write, so that every read finds a value.
        number % 10 < self.writes_of_ten
    }
}

async fn compare(name: &str, mix: Mix, (ours, etcd): (u16, u16)) {
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..ROUNDS {
        // In turn first, so that neither always follows the other.
        let pair = if round % 2 == 0 {
            let first = ask_ours(mix, ours).await;
            (first, ask_etcd(mix, etcd).await)
        } else {
            let first = ask_etcd(mix, etcd).await;
            (ask_ours(mix, ours).await, first)
        };
        rates[0].push(pair.0);
        rates[1].push(pair.1);
        ratios.push(pair.0 / pair.1);
    }
    for numbers in rates.iter_mut().chain([&mut ratios]) {
        numbers.sort_by(f64::total_cmp);
    }
    println!(
        "| {name} | {} | {} % | {:.0} | {:.0} | {:.2} [{:.2}, {:.2}] |",
        mix.clients,
        10 * mix.writes_of_ten,
        rates[0][ROUNDS / 2],
        rates[1][ROUNDS / 2],
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    );
}

/// Operations a second that all clients together got done.
async fn ask_etcd(mix: Mix, port: u16) -> f64 {
    let client = |number: usize| async move {
        let mut connection = Connection::open(port).await;
        let key = format!("k{number}");
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < LENGTH {
            if mix.writes(done) {
                connection.put(&key, &done.to_string()).await;
            } else {
                assert!(connection.get(&key).await, "{key} was written");
            }
            done += 1;
        }
        done
    };
    all(mix, client).await
}

async fn ask_ours(mix: Mix, port: u16) -> f64 {
    let client = |number: usize| async move {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (start, mut done) = (Instant::now(), 0);
        while start.elapsed() < LENGTH {
            let request = if mix.writes(done) {
                let body = format!("{{\"value\":{done}}}");
                let length = body.len();
                format!(
                    "PUT /v1/keys/k{number} HTTP/1.1\r\nhost: n\r\ncontent-length: {length}\r\n\r\n{body}"
                )
            } else {
                format!("GET /v1/keys/k{number} HTTP/1.1\r\nhost: n\r\n\r\n")
            };
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 1024];
            // An answer is one small write of the node's, so one read.
            let length = stream.read(&mut answer).await.unwrap();
            let answer = std::str::from_utf8(&answer[..length]).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 200") && answer.ends_with('}'),
                "{answer}"
            );
            done += 1;
        }
        done
    };
    all(mix, client).await
}

async fn all<F: Future<Output = usize> + 'static>(mix: Mix, client: impl Fn(usize) -> F) -> f64 {
    let local = tokio::task::LocalSet::new();
    let clients: Vec<_> = (0..mix.clients)
        .map(|number| local.spawn_local(client(number)))
        .collect();
    let start = Instant::now();
    let done = local
        .run_until(async {
            let mut done = 0;
            for client in clients {
                done += client.await.unwrap();
            }
            done
        })
        .await;
    done as f64 / start.elapsed().as_secs_f64()
}
