//! How many runs of a minute of virtual time one core gets through, and how many events. Of the
//! thread's own time on the processor, so that other work on the machine counts little.
//!
//! `cargo bench -p shakedown-simulator --bench runs [-- part of a line's name]`; every write must be
//! answered.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/group/mod.rs"]
mod group;

use group::{CLIENTS, setup, strategy};
use shakedown_contracts::strategy::{Acknowledge, Detector, Fencing};
use shakedown_contracts::units::Duration;
use shakedown_simulator::{ClientRequest, Happening, World};

/// Length of a run in virtual time.
const RUN: Duration = Duration::from_secs(60);
/// Longest measurement of one line, in seconds.
const MEASURE_S: f64 = 3.0;

/// What one line measures.
struct Line {
    name: &'static str,
    nodes: u32,
    /// 0: none.
    writes_per_s: u64,
    /// The primary is killed and started again every ten seconds.
    kills: bool,
}

const LINES: [Line; 5] = [
    Line {
        name: "5 nodes, heartbeats alone",
        nodes: 5,
        writes_per_s: 0,
        kills: false,
    },
    Line {
        name: "3 nodes, 100 writes/s",
        nodes: 3,
        writes_per_s: 100,
        kills: false,
    },
    Line {
        name: "5 nodes, 100 writes/s",
        nodes: 5,
        writes_per_s: 100,
        kills: false,
    },
    Line {
        name: "5 nodes, 100 writes/s, kills",
        nodes: 5,
        writes_per_s: 100,
        kills: true,
    },
    Line {
        name: "50 nodes, heartbeats alone",
        nodes: 50,
        writes_per_s: 0,
        kills: false,
    },
];

fn main() {
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    println!(
        "{:<30} {:>10} {:>10} {:>12}",
        "a minute of", "ms a run", "runs/min", "events/s"
    );
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let is_wanted = |line: &&Line| wanted.iter().all(|part| line.name.contains(part));
    for line in LINES.iter().filter(is_wanted) {
        let (mut runs, mut events, began) = (0_u32, 0, on_processor_s());
        while on_processor_s() - began < MEASURE_S {
            events += run(line, u64::from(runs));
            runs += 1;
        }
        let seconds = on_processor_s() - began;
        println!(
            "{:<30} {:>10.2} {:>10.0} {:>12.0}",
            line.name,
            seconds * 1e3 / f64::from(runs),
            f64::from(runs) * 60.0 / seconds,
            events as f64 / seconds
        );
    }
}

/// Seconds for which this thread has run.
fn on_processor_s() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: f64 = times.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e9
}

/// One run; events handled.
fn run(line: &Line, seed: u64) -> u64 {
    let mut strategy = strategy(Acknowledge::Majority, Fencing::Epoch);
    strategy.detector = Detector::FixedTimeout {
        heartbeat_interval: Duration::from_millis(100),
        timeout: Duration::from_millis(400),
        ack: true,
    };
    strategy.recovery_log = shakedown_contracts::strategy::RecoveryLog::default();
    let mut world = World::new(setup(line.nodes, &strategy, seed)).unwrap();
    let names: Vec<String> = (1..=line.nodes)
        .map(|number| format!("n{number}"))
        .collect();
    names.iter().for_each(|name| world.start(name));
    let start = World::BEGINNING.after(Duration::from_millis(500));
    world.run_until(start);
    let end = World::BEGINNING.after(RUN);
    let (mut asked, mut answered) = (0, 0);
    let step = Duration::from_nanos(1_000_000_000 / line.writes_per_s.max(1));
    let mut at = start;
    while at < end {
        if line.kills && asked > 0 && asked % (10 * line.writes_per_s) == 0 {
            world.kill("n1");
        } else if line.kills && asked % (10 * line.writes_per_s) == 5 * line.writes_per_s {
            world.start("n1");
        }
        if line.writes_per_s > 0 {
            let key = format!("k{}", asked % 20);
            let node = &names[if line.kills {
                asked as usize / 7 % names.len()
            } else {
                0
            }];
            world.call(CLIENTS, node, ClientRequest::Put { key, value: asked });
            asked += 1;
        }
        at = at.after(step);
        answered += run_until(&mut world, at);
    }
    answered += run_until(&mut world, end.after(Duration::from_secs(1)));
    assert_eq!(answered, asked, "{}", line.name);
    world.events_handled()
}

/// Answers until then.
fn run_until(world: &mut World, end: shakedown_contracts::time::Moment) -> u64 {
    let mut answers = 0;
    while world.now() < end {
        world.run_until(end);
        let happenings = world.take_happenings();
        let answer = |happening: &&Happening| matches!(happening, Happening::Answer { .. });
        answers += happenings.iter().filter(answer).count() as u64;
    }
    answers
}
