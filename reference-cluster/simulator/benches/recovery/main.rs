//! How long a restart takes for a log of so many records, with and without checkpoints.
//!
//! Without checkpoints a node reads and replays everything it ever wrote, so the time is a straight
//! line over the length of the log; with them it is bounded by what is written between two. In
//! virtual time reading is modelled (so much a MiB) and replay takes no time, so the time of replay
//! on the processor is measured beside it, of the same node on files in memory.
//!
//! `cargo bench -p shakedown-simulator --bench recovery`

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/group/mod.rs"]
mod group;
mod host;
mod line;

use group::{CLIENTS, setup};
use host::{Files, Host};
use line::Line;
use shakedown_contracts::event::Event;
use shakedown_contracts::strategy::{
    Checkpoint, Detector, Fsync, LogOptions, RecoveryLog, Replication, Strategy,
};
use shakedown_contracts::units::{Bytes, Duration};
use shakedown_simulator::{CallAnswer, ClientReply, ClientRequest, Happening, Setup, World};

const STEPS: u64 = 10;
/// Records between two measurements.
const STEP: u64 = 10_000;
/// Different keys: the state stays small however long the log.
const KEYS: u64 = 1_000;
/// Writes under way together.
const BATCH: u64 = 100;
/// Restarts of which the mean is taken: each start of a process draws its time.
const RESTARTS: u32 = 50;
/// Passes over all lengths, of which the shortest time counts: what else the machine does at the
/// moment only adds.
const PASSES: u32 = 12;
/// Time on the processor for which restarts are repeated in a pass, in seconds.
const MEASURE_S: f64 = 0.1;
const NODE: &str = "n1";

/// What restarts with a log of some length showed.
#[derive(Default)]
struct Point {
    writes: u64,
    /// Records in the log, mean like all that follows: each restart adds its own.
    records: f64,
    log_bytes: f64,
    /// Log and checkpoints.
    read_bytes: f64,
    /// From the start of the process to `node.ready`.
    ready_ms: f64,
}

/// What replay by the node alone took.
struct Replay {
    files: Files,
    records: u64,
    /// Time on the processor.
    millis: f64,
}

fn main() {
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    for checkpoint in [Checkpoint::None, Checkpoint::Bytes(Bytes(1 << 20))] {
        let points = restarts(checkpoint);
        let replays = replays(checkpoint);
        print(checkpoint, &points, &replays);
        if checkpoint == Checkpoint::None {
            let ready = points.iter().map(|point| (point.records, point.ready_ms));
            describe("start to node.ready", ready);
            let replays = replays.iter();
            let replays = replays.map(|replay| (replay.records as f64, replay.millis));
            describe("replay on the processor", replays);
        }
    }
}

fn print(checkpoint: Checkpoint, points: &[Point], replays: &[Replay]) {
    println!("\ncheckpoint = \"{}\"\n", String::from(checkpoint));
    println!(
        "| writes | records replayed | log (KiB) | all read (KiB) | start to node.ready (ms) | \
         records of the node alone | replay on the processor (ms) |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for (point, replay) in points.iter().zip(replays) {
        println!(
            "| {} | {:.0} | {:.0} | {:.0} | {:.2} | {} | {:.2} |",
            point.writes,
            point.records,
            point.log_bytes / 1024.0,
            point.read_bytes / 1024.0,
            point.ready_ms,
            replay.records,
            replay.millis
        );
    }
}

fn describe(what: &str, points: impl Iterator<Item = (f64, f64)>) {
    let line = Line::through(&points.collect::<Vec<_>>());
    println!(
        "\n{what}: {:.2} ms + {:.3} µs a record, R² = {:.5}",
        line.start,
        line.slope * 1e3,
        line.explained
    );
}

fn setup_of(checkpoint: Checkpoint) -> Setup {
    let strategy = Strategy {
        detector: Detector::None {},
        recovery_log: RecoveryLog::Redo(LogOptions {
            fsync: Fsync::Group,
            checkpoint,
            ..LogOptions::default()
        }),
        replication: Replication::None {},
        ..Strategy::default()
    };
    setup(1, &strategy, 1)
}

/// Restarts in virtual time.
fn restarts(checkpoint: Checkpoint) -> Vec<Point> {
    let setup = setup_of(checkpoint);
    let read_mib = setup.disk.read_mib;
    let mut world = World::new(setup).unwrap();
    restart(&mut world);
    let points = (0..=STEPS).map(|step| {
        if step > 0 {
            write(&mut world, STEP);
        }
        Point {
            writes: step * STEP,
            ..point(&mut world, read_mib)
        }
    });
    points.collect()
}

/// Restarts of the node alone, by the processor's time.
fn replays(checkpoint: Checkpoint) -> Vec<Replay> {
    let config = setup_of(checkpoint).nodes[0].clone();
    let mut host = Host::start(&config, Files::default());
    let lengths = (0..=STEPS).map(|step| {
        let writes = step.saturating_sub(1) * STEP..step * STEP;
        writes.for_each(|number| host.put(key(number), number));
        let files = host.files.clone();
        Replay {
            records: Host::replay(&config, &files).replayed,
            millis: f64::INFINITY,
            files,
        }
    });
    let mut replays: Vec<Replay> = lengths.collect();
    for _ in 0..PASSES {
        for replay in &mut replays {
            let again = || Host::replay(&config, &replay.files);
            replay.millis = replay.millis.min(millis_of(again));
        }
    }
    replays
}

fn key(number: u64) -> String {
    format!("k{:03}", number % KEYS)
}

/// So many writes are done.
fn write(world: &mut World, count: u64) {
    let mut done = 0;
    while done < count {
        let batch = BATCH.min(count - done);
        for number in done..done + batch {
            let (key, value) = (key(number), number);
            world.call(CLIENTS, NODE, ClientRequest::Put { key, value });
        }
        let mut answers = 0;
        while answers < batch {
            world.run_until(world.next_event().unwrap());
            for happening in world.take_happenings() {
                if let Happening::Answer { answer, .. } = happening {
                    answers += 1;
                    let is_done = matches!(answer, CallAnswer::Reply(ClientReply::Done(_)));
                    done += u64::from(is_done);
                }
            }
        }
    }
}

/// Kills and starts the node many times.
fn point(world: &mut World, read_mib: Duration) -> Point {
    let mut point = Point::default();
    let share = 1.0 / f64::from(RESTARTS);
    for _ in 0..RESTARTS {
        let (ready, found) = restart(world);
        point.ready_ms += ready.as_millis_f64() * share;
        if let Some(Event::RecoveryCompleted {
            records,
            bytes,
            took,
            ..
        }) = found
        {
            let read_mib = took.as_millis_f64() / read_mib.as_millis_f64();
            point.records += records as f64 * share;
            point.log_bytes += bytes as f64 * share;
            point.read_bytes += read_mib * f64::from(1 << 20) * share;
        }
    }
    point
}

/// From the start of the process until it serves, and what it found.
fn restart(world: &mut World) -> (Duration, Option<Event>) {
    // A checkpoint under way ends first.
    rest(world);
    world.kill(NODE);
    world.take_happenings();
    let start = world.now();
    world.start(NODE);
    let (mut ready, mut found) = (None, None);
    while ready.is_none() {
        for happening in world.take_happenings() {
            match happening {
                Happening::Event {
                    time,
                    event: Event::NodeReady {},
                    ..
                } => ready = Some(time.since(start)),
                Happening::Event { event, .. } if event.name() == "recovery.completed" => {
                    found = Some(event);
                }
                _ => {}
            }
        }
        world.run_until(world.next_event().unwrap());
    }
    // It serves writes a little later.
    rest(world);
    (ready.unwrap(), found)
}

/// Time in which whatever is under way ends.
fn rest(world: &mut World) {
    let end = world.now().after(Duration::from_millis(100));
    while world.now() < end {
        world.run_until(end);
        world.take_happenings();
    }
}

/// Milliseconds on the processor for one of these.
fn millis_of<T>(work: impl Fn() -> T) -> f64 {
    let (begun, mut rounds) = (on_processor_s(), 0_u32);
    while on_processor_s() - begun < MEASURE_S {
        std::hint::black_box(work());
        rounds += 1;
    }
    (on_processor_s() - begun) * 1e3 / f64::from(rounds)
}

/// Seconds for which this thread has run.
fn on_processor_s() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: f64 = times.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e9
}
