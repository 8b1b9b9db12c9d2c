//! What each strategy costs while nothing fails: against its own `none`, in turn, on real processes.
//!
//! `cargo bench -p shakedown-node --bench overhead`, or `-- raft` for the lines that name it. Two groups run side by side, alike but for one
//! strategy, and are asked in turn. First each as fast as it answers (throughput, processor time and
//! bytes an operation), then both at 60 % of what the slower one does, by a fixed schedule from which
//! latency counts. Fsyncs and messages an operation are counted from recordings of the nodes'
//! lives. The ratio's interval is a bootstrap over rounds; the first line compares a group with its
//! like, and its intervals must hold 1.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

mod counts;
mod load;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/local_cluster/mod.rs"]
mod local_cluster;
mod pairs;
mod statistics;

use std::process::ExitCode;
use std::time::Duration;

use counts::{Counts, Usage};
use load::{Operation, Round, closed, open};
use local_cluster::Cluster;
use pairs::{NODES, PAIRS, Pair};
use shakedown_contracts::strategy::Strategy;
use statistics::{interval, median};

/// Measurements of each of a pair.
const ROUNDS: usize = 11;
/// Length of one measurement.
const LENGTH: Duration = Duration::from_secs(1);
/// Operations whose fsyncs and messages are counted.
const COUNTED: usize = 200;

fn main() -> ExitCode {
    if let Some(config) = local_cluster::config_of_node_process() {
        return local_cluster::node_process(&config);
    }
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return ExitCode::SUCCESS;
    }
    println!(
        "| strategy | against | throughput, × [95 %] | p50 at 60 % load, ms | p99, ms | processor, µs/op | bytes written/op | fsyncs/op | messages/op |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let wanted = std::env::args().skip(1).find(|one| !one.starts_with('-'));
    let wanted = wanted.unwrap_or_default();
    for pair in PAIRS.iter().filter(|pair| pair.name.contains(&wanted)) {
        println!("{}", compare(pair));
    }
    ExitCode::SUCCESS
}

/// One of a pair: a group that serves, and what was measured of it.
struct Side {
    cluster: Cluster,
    operation: Operation,
    port: u16,
    fast: Vec<Round>,
    usage: Usage,
    paced: Vec<Duration>,
}

impl Side {
    fn start(strategy: Strategy, operation: Operation) -> Self {
        let cluster = Cluster::start(NODES, strategy);
        Side {
            port: operation.prepare(&cluster),
            cluster,
            operation,
            fast: Vec::new(),
            usage: Usage::default(),
            paced: Vec::new(),
        }
    }

    fn run_fast(&mut self) {
        let before = Usage::of(&self.cluster);
        self.fast.push(closed(self.operation, self.port, LENGTH));
        self.usage += Usage::of(&self.cluster) - before;
    }

    fn rate(&self) -> f64 {
        median(self.fast.iter().map(|round| round.rate).collect())
    }

    fn operations(&self) -> f64 {
        self.fast.iter().map(|round| round.done as f64).sum()
    }

    fn latency(&mut self, share: f64) -> f64 {
        self.paced.sort();
        let place = (self.paced.len() - 1) as f64 * share;
        self.paced[place as usize].as_secs_f64() * 1e3
    }
}

fn compare(pair: &Pair) -> String {
    let strategies = [(pair.without)(), (pair.with)()];
    let counts = strategies
        .clone()
        .map(|strategy| Counts::of(strategy, pair.operation, COUNTED));
    let mut sides = strategies.map(|strategy| Side::start(strategy, pair.operation));
    for round in 0..ROUNDS {
        // In turn first, so that neither always follows the other.
        for turn in 0..2 {
            sides[(round + turn) % 2].run_fast();
        }
    }
    let slower = sides[0].rate().min(sides[1].rate());
    for round in 0..ROUNDS {
        for turn in 0..2 {
            let side = &mut sides[(round + turn) % 2];
            side.paced
                .extend(open(pair.operation, side.port, 0.6 * slower, LENGTH));
        }
    }
    let rounds = sides[1].fast.iter().zip(&sides[0].fast);
    let ratios: Vec<f64> = rounds
        .map(|(with, without)| with.rate / without.rate)
        .collect();
    let (low, high) = interval(&ratios);
    let both = |digits: usize, of: &mut dyn FnMut(&mut Side) -> f64| {
        let [without, with] = sides.each_mut().map(of);
        format!("{without:.digits$} → {with:.digits$}")
    };
    let mut both = both;
    let [p50, p99] = [0.5, 0.99].map(|share| both(2, &mut |side| side.latency(share)));
    let processor = both(0, &mut |side| side.usage.processor_us / side.operations());
    let bytes = both(0, &mut |side| side.usage.written / side.operations());
    format!(
        "| {} | {} | {:.2} [{low:.2}, {high:.2}] | {p50} | {p99} | {processor} | {bytes} | {:.2} → {:.2} | {:.2} → {:.2} |",
        pair.name,
        pair.against,
        median(ratios.clone()),
        counts[0].fsyncs,
        counts[1].fsyncs,
        counts[0].messages,
        counts[1].messages,
    )
}
