//! How SWIM grows: one death among a hundred, a thousand and ten thousand members, in a minute of
//! virtual time. The detector alone, with typed datagrams over links that exist only while something
//! travels on them.
//!
//! `cargo bench -p shakedown-simulator --bench swim`; prints the table of `results/figures/swim.md`.
//! Every live member must find the death, and nobody else may be suspected.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

#[expect(dead_code, reason = "the detector's own tests use more of it")]
#[path = "../../../core/tests/swim/crowd.rs"]
mod crowd;

use crowd::Crowd;
use shakedown_contracts::strategy::Swim;
use shakedown_contracts::units::Duration;
use shakedown_core::flaw::Planted;

const SIZES: [u32; 3] = [100, 1_000, 10_000];
/// Length of a run, and how long after its beginning the member dies.
const RUN: Duration = Duration::from_secs(60);
const DEATH: Duration = Duration::from_secs(10);
/// Whose death it is.
const DEAD: u32 = 7;

/// What one run showed.
struct Line {
    size: u32,
    /// From the death, in seconds.
    first: f64,
    median: f64,
    last: f64,
    /// Datagrams of a member in a second, before the death and in the whole minute.
    quiet_rate: f64,
    rate: f64,
    processor_s: f64,
}

fn main() {
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!(
        "| members | first finds it (s) | half know (s) | all know (s) | datagrams a member and second \
         before | in the minute | processor (s) | peak memory (MiB) |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|");
    for size in SIZES {
        let line = run(size);
        println!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} |",
            line.size,
            line.first,
            line.median,
            line.last,
            line.quiet_rate,
            line.rate,
            line.processor_s,
            peak_memory_mib()
        );
    }
}

fn run(size: u32) -> Line {
    let began = on_processor_s();
    let mut crowd = Crowd::new(size, &Swim::default(), 1, Planted::default());
    crowd.run_for(DEATH);
    let (died, quiet) = (crowd.now, crowd.sent);
    crowd.kill(DEAD);
    crowd.run_for(RUN.saturating_sub(DEATH));
    let mut found: Vec<f64> = Vec::new();
    for opinion in &crowd.opinions {
        assert!(opinion.subject == DEAD && opinion.suspected, "{opinion:?}");
        found.push(opinion.at.since(died).as_secs_f64());
    }
    assert_eq!(found.len() as u32 + 1, size, "somebody never knew");
    found.sort_by(f64::total_cmp);
    let rate =
        |datagrams: u64, time: Duration| datagrams as f64 / f64::from(size) / time.as_secs_f64();
    Line {
        size,
        first: found[0],
        median: found[found.len() / 2],
        last: found[found.len() - 1],
        quiet_rate: rate(quiet, DEATH),
        rate: rate(crowd.sent, RUN),
        processor_s: on_processor_s() - began,
    }
}

/// Seconds for which this thread has run.
fn on_processor_s() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: f64 = times.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e9
}

/// Most memory that this process has held so far.
fn peak_memory_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes / 1024.0
}
