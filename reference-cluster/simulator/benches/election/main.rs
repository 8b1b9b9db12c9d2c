//! How long a Raft group is without a leader after its leader's crash: the measurement of the
//! paper's figure 16, in virtual time.
//!
//! Timeouts that lie close together let candidates split the vote: whoever stands before another's
//! request has reached it votes for itself. So what counts is the spread of the timeouts against the
//! time from standing to being heard, which is one way over the network and the sync of the
//! candidate's own vote. The tables after the first vary that time.
//!
//! `cargo bench -p shakedown-simulator --bench election` prints the tables and writes the plot
//! (`results/figures/raft-election.svg`); `-- 50` plays 50 trials a setting and writes none.
//! Source: Ongaro & Ousterhout 2014, section 9.3 and figure 16.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/group/mod.rs"]
mod group;
mod plot;
mod sample;
mod trial;

use plot::{Panel, draw};
use sample::{Sample, cell};
use shakedown_contracts::range::DurationRange;
use shakedown_contracts::units::Duration;
use shakedown_simulator::DiskModel;
use trial::Model;

const TRIALS: u64 = 1000;
const PLOT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../results/figures/raft-election.svg"
);
/// Half of a round trip of 15 ms.
const ONE_WAY: Duration = Duration::from_micros(7_500);

/// Ends of the election timeout in milliseconds, and what the paper says of it.
const SETTINGS: [(u64, u64, &str); 10] = [
    (150, 150, "> 10 s"),
    (150, 151, ""),
    (150, 155, "median 287"),
    (150, 175, ""),
    (150, 200, "worst 513"),
    (150, 300, ""),
    (12, 24, "mean 35, worst 152"),
    (25, 50, ""),
    (50, 100, ""),
    (100, 200, ""),
];

fn main() {
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    let asked = std::env::args().find_map(|argument| argument.parse().ok());
    let trials = asked.unwrap_or(TRIALS);
    let samples = main_table(trials);
    models_table(trials);
    one_way_table(trials);
    if asked.is_none() {
        std::fs::write(PLOT, draw(&panels(&samples))).unwrap();
    }
}

fn range((low, high): (u64, u64)) -> DurationRange {
    DurationRange::between(Duration::from_millis(low), Duration::from_millis(high))
}

/// The network of the paper, as half a round trip each way, and the simulator's own disk.
fn base() -> Model {
    Model {
        latency: ONE_WAY,
        disk: DiskModel::default(),
        logs_differ: true,
    }
}

fn disk(sync: Duration, sync_jitter: Duration) -> DiskModel {
    DiskModel {
        append: Duration::ZERO,
        sync,
        sync_jitter,
        ..DiskModel::default()
    }
}

fn head(first: &str, last: &str) {
    println!("\n| {first} | 10 % | 50 % | 90 % | 99 % | worst | mean | candidacies |{last}");
    println!(
        "|---|--:|--:|--:|--:|--:|--:|--:|{}",
        if last.is_empty() { "" } else { "---|" }
    );
}

fn line(name: &str, sample: &Sample) {
    print!(
        "| {name} | {} | {:.1} |",
        sample.cells(),
        sample.candidacies()
    );
    if sample.not_as_planned > 0 {
        eprintln!("{name}: logs of one length in {}", sample.not_as_planned);
    }
}

fn main_table(trials: u64) -> Vec<Sample> {
    head("election timeout (ms)", " paper |");
    let samples = SETTINGS.iter().map(|(low, high, paper)| {
        let sample = Sample::take(range((*low, *high)), &base(), trials);
        line(&format!("{low}–{high}"), &sample);
        println!(" {paper} |");
        sample
    });
    samples.collect()
}

/// One change to the base, and timeouts to see it with.
struct Variant {
    name: &'static str,
    model: Model,
    timeouts: &'static [(u64, u64)],
}

/// Where a round trip takes 30 ms, timeouts of 12 to 24 ms elect nobody.
const LONG: &[(u64, u64)] = &[(150, 155), (150, 200)];
const ALL: &[(u64, u64)] = &[(150, 155), (150, 200), (12, 24)];

fn variants() -> [Variant; 4] {
    let (slow, fast) = (Duration::from_millis(15), Duration::from_micros(100));
    let variant = |name, timeouts, latency, disk| Variant {
        name,
        timeouts,
        model: Model {
            latency,
            disk,
            ..base()
        },
    };
    let quick = disk(Duration::ZERO, Duration::ZERO);
    let own = DiskModel::default();
    let mut equal = variant("7.5 ms one way, logs of one length", ALL, ONE_WAY, own);
    equal.model.logs_differ = false;
    [
        variant("7.5 ms one way, sync takes no time", ALL, ONE_WAY, quick),
        equal,
        variant("15 ms one way", LONG, slow, own),
        variant(
            "0.1 ms one way, sync 15 ms",
            LONG,
            fast,
            disk(slow, Duration::ZERO),
        ),
    ]
}

/// What disk, network and logs each contribute.
fn models_table(trials: u64) {
    head("model, election timeout (ms)", "");
    for variant in variants() {
        for (low, high) in variant.timeouts {
            let sample = Sample::take(range((*low, *high)), &variant.model, trials);
            line(&format!("{}: {low}–{high}", variant.name), &sample);
            println!();
        }
    }
}

/// How the time from standing to being heard decides at 150–155 ms; syncs take no time.
fn one_way_table(trials: u64) {
    println!(
        "\n| one way (ms) | 150–155: median | worst | 150–200: median | worst | 12–24: mean | worst |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for micros in [500, 1_000, 2_000, 3_000, 4_000, 5_000, 7_500] {
        let model = Model {
            latency: Duration::from_micros(micros),
            disk: disk(Duration::ZERO, Duration::ZERO),
            ..base()
        };
        let take = |timeout| Sample::take(range(timeout), &model, trials);
        let (narrow, wide, short) = (take((150, 155)), take((150, 200)), take((12, 24)));
        let cells = [
            narrow.quantile(0.5),
            narrow.quantile(1.0),
            wide.quantile(0.5),
            wide.quantile(1.0),
            short.mean(),
            short.quantile(1.0),
        ];
        let cells = cells.map(cell).join(" | ");
        println!("| {:.1} | {cells} |", micros as f64 / 1e3);
    }
}

fn panels(samples: &[Sample]) -> [Panel<'_>; 2] {
    let curve = |number: usize| {
        let (low, high, _) = SETTINGS[number];
        (format!("{low}–{high}"), &samples[number])
    };
    [
        Panel {
            title: "Little randomness: votes are split (5 servers, round trip 15 ms)",
            range: (50.0, 100_000.0),
            logarithmic: true,
            ticks: &[100.0, 1_000.0, 10_000.0, 100_000.0],
            curves: (0..6).map(curve).collect(),
        },
        Panel {
            title: "Shorter timeouts, in the same proportion",
            range: (0.0, 700.0),
            logarithmic: false,
            ticks: &[0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0],
            curves: [6, 7, 8, 9, 5].map(curve).to_vec(),
        },
    ]
}
