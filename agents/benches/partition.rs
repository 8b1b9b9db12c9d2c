//! How soon a partition holds after the agent is told, and how soon it is gone.
//!
//! A stream of datagrams, one every 20 µs, runs from one endpoint to another while a real agent
//! cuts and heals the link 200 times. Each datagram notes when it was sent; which of them arrived
//! tells when the effect began. Measured from the moment *before* the order is written, so pipe,
//! wake-up, ledger and the probe before the cut all count. A real-time canary on each processor
//! notes when the machine itself stood still (a virtual one whose processor is taken away); a change
//! in whose first millisecond it did is void and counted, whatever was measured.
//!
//! `cargo bench -p shakedown-agents --bench partition`; it fails when the limit is not held.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/network_agent/agent.rs"]
mod agent;

use std::net::UdpSocket;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use agent::{Agent, NAMES, link};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use shakedown_agents::clock;
use shakedown_agents::network_agent::priority::take_priority;
use shakedown_contracts::fault::{CutBehavior, LinkEffect};
use shakedown_contracts::random::Random;
use shakedown_contracts::time::Moment;
use shakedown_contracts::units::Duration;

/// Cuts, and as many heals.
const CYCLES: u32 = 200;
/// Between two datagrams; the resolution of the figures.
const PACE: Duration = Duration::from_micros(20);
/// What the project promises, at the 99th percentile.
const LIMIT: Duration = Duration::from_millis(1);
/// How often a canary wakes, and the lateness that is a stall: real-time, it waits for nobody.
const CANARY_PERIOD: Duration = Duration::from_micros(200);
const STALL: Duration = Duration::from_micros(500);
/// Above every thread of the agent.
const CANARY_PRIORITY: i32 = 50;
/// With fewer changes left the machine is too busy for any figure.
const VALID_MIN: usize = CYCLES as usize / 2;
/// The stream goes on this long before and after each change, and up to as much again at random,
/// so that changes fall on any phase of it.
const AROUND: Duration = Duration::from_millis(2);

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("agent") => return shakedown_agents::network_agent::main(),
        // `cargo test --benches` asks for a quick run of everything; this needs its time.
        Some("--test" | "--list") => return ExitCode::SUCCESS,
        _ => {}
    }
    if !nix::unistd::geteuid().is_root() {
        println!("this benchmark makes namespaces: run it as root or with `unshare -Urnm`");
        return ExitCode::FAILURE;
    }
    let mut agent = Agent::new();
    let (from, to) = (agent.socket(NAMES[0]), agent.socket(NAMES[1]));
    let ended = AtomicBool::new(false);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (stream, changes, stalls) = std::thread::scope(|scope| {
        let canaries: Vec<_> = (0..processors)
            .map(|processor| {
                scope.spawn({
                    let ended = &ended;
                    move || canary(processor, ended)
                })
            })
            .collect();
        let stream = scope.spawn(|| stream(&from, &to, &ended));
        let changes = cut_and_heal(&mut agent);
        ended.store(true, Ordering::Release);
        let stalls = canaries.into_iter().flat_map(|one| one.join().unwrap());
        let stalls: Vec<Stall> = stalls.collect();
        (stream.join().unwrap(), changes, stalls)
    });
    report(&stream, &changes.undisturbed(&stalls))
}

/// The machine stood still from when a canary was due until it woke.
struct Stall {
    due: Moment,
    woke: Moment,
}

/// Stalls of one processor until `ended`.
fn canary(processor: usize, ended: &AtomicBool) -> Vec<Stall> {
    let mut own = CpuSet::new();
    own.set(processor).unwrap();
    sched_setaffinity(Pid::from_raw(0), &own).unwrap();
    take_priority(CANARY_PRIORITY);
    let mut stalls = Vec::new();
    while !ended.load(Ordering::Acquire) {
        let due = clock::now().after(CANARY_PERIOD);
        std::thread::sleep(CANARY_PERIOD.into());
        let woke = clock::now();
        if woke.since(due) > STALL {
            stalls.push(Stall { due, woke });
        }
    }
    stalls
}

/// A datagram of the stream.
#[derive(Clone, Copy)]
struct Sent {
    at: Moment,
    arrived: bool,
}

/// Sends at the pace, and marks what arrives, until `ended`.
fn stream(from: &UdpSocket, to: &UdpSocket, ended: &AtomicBool) -> Vec<Sent> {
    to.set_nonblocking(true).unwrap();
    let target = to.local_addr().unwrap();
    let mut sent: Vec<Sent> = Vec::new();
    let mut due = clock::now();
    while !ended.load(Ordering::Acquire) {
        while clock::now() < due {
            std::hint::spin_loop();
        }
        let at = clock::now();
        // After a stall the stream goes on from now, without a burst.
        due = due.after(PACE).max(at);
        let number = (sent.len() as u64).to_be_bytes();
        sent.push(Sent { at, arrived: false });
        from.send_to(&number, target).unwrap();
        take(to, &mut sent);
    }
    take(to, &mut sent);
    sent
}

fn take(to: &UdpSocket, sent: &mut [Sent]) {
    let mut number = [0; 8];
    while to.recv(&mut number).is_ok() {
        sent[u64::from_be_bytes(number) as usize].arrived = true;
    }
}

/// One change and what the agent said of it.
struct Change {
    ordered: Moment,
    /// Width of the agent's own bracket.
    bracket: Duration,
    reported: Moment,
}

struct Changes {
    cuts: Vec<Change>,
    heals: Vec<Change>,
}

impl Changes {
    /// Those in whose first millisecond no processor stalled. The window is the same for all: one as
    /// long as the change took would excuse the slow ones.
    fn undisturbed(self, stalls: &[Stall]) -> Changes {
        let calm = |change: &Change| {
            let window_end = change.ordered.after(LIMIT);
            !stalls
                .iter()
                .any(|stall| stall.due < window_end && stall.woke > change.ordered)
        };
        let only_calm = |changes: Vec<Change>| changes.into_iter().filter(calm).collect();
        Changes {
            cuts: only_calm(self.cuts),
            heals: only_calm(self.heals),
        }
    }
}

fn cut_and_heal(agent: &mut Agent) -> Changes {
    let mut random = Random::keyed(7, "phase of changes", "");
    let mut changes = Changes {
        cuts: Vec::new(),
        heals: Vec::new(),
    };
    let links = [link(NAMES[0], NAMES[1])];
    let change = |at: shakedown_contracts::time::Bracket, ordered| Change {
        ordered,
        bracket: at.width(),
        reported: clock::now(),
    };
    for cycle in 0..CYCLES {
        let fault = format!("cut-{cycle}");
        let mut between = || AROUND.saturating_add(random.duration_up_to(AROUND));
        // Not synchronisation: only lets the stream run on for a while.
        std::thread::sleep(between().into());
        let ordered = clock::now();
        let effect = LinkEffect::Cut(CutBehavior::Drop);
        let (at, _) = agent.try_inject(&fault, &links, effect).unwrap();
        changes.cuts.push(change(at, ordered));
        std::thread::sleep(between().into());
        let ordered = clock::now();
        let (at, _) = agent.try_heal(&fault).unwrap();
        changes.heals.push(change(at, ordered));
    }
    std::thread::sleep(AROUND.into());
    changes
}

/// When the last datagram before the change's report was sent whose fate was still the old one;
/// from the order to that moment, the old state held.
fn effect(stream: &[Sent], change: &Change, old_fate: bool) -> Duration {
    let begin = stream.partition_point(|sent| sent.at < change.ordered);
    let end = stream.partition_point(|sent| sent.at <= change.reported);
    let last = stream[begin..end]
        .iter()
        .rev()
        .find(|sent| sent.arrived == old_fate);
    // The state changed before the next datagram was sent, at most a pace later.
    last.map_or(PACE, |sent| {
        sent.at.since(change.ordered).saturating_add(PACE)
    })
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let position = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
    sorted[position - 1].as_millis_f64()
}

fn row(name: &str, mut values: Vec<Duration>) -> f64 {
    values.sort_unstable();
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| quantile(&values, share));
    println!("{name:<44} {p50:>8.3} {p99:>8.3} {most:>8.3}");
    p99
}

fn report(stream: &[Sent], changes: &Changes) -> ExitCode {
    let gaps = stream.windows(2).map(|pair| pair[1].at.since(pair[0].at));
    println!(
        "{CYCLES} cuts and heals of one link under {} datagrams",
        stream.len()
    );
    let valid = changes.cuts.len().min(changes.heals.len());
    println!(
        "void, since the machine stalled: {} cuts, {} heals",
        CYCLES as usize - changes.cuts.len(),
        CYCLES as usize - changes.heals.len()
    );
    if valid < VALID_MIN {
        println!("only {valid} of {CYCLES} are left; run it again on a quieter machine");
        return ExitCode::FAILURE;
    }
    println!(
        "{:<44} {:>8} {:>8} {:>8}",
        "milliseconds", "p50", "p99", "max"
    );
    row("pace of the stream", gaps.collect());
    let effects = |changes: &[Change], old_fate| {
        changes
            .iter()
            .map(|change| effect(stream, change, old_fate))
            .collect()
    };
    let cut = row(
        "order → last datagram that got through",
        effects(&changes.cuts, true),
    );
    let heal = row(
        "order → last datagram that was lost",
        effects(&changes.heals, false),
    );
    let brackets = |changes: &[Change]| changes.iter().map(|change| change.bracket).collect();
    row(
        "bracket of a cut, as the agent reports it",
        brackets(&changes.cuts),
    );
    row(
        "bracket of a heal, as the agent reports it",
        brackets(&changes.heals),
    );
    let answers = |changes: &[Change]| {
        let took = changes.iter().map(|c| c.reported.since(c.ordered));
        took.collect()
    };
    row("order → cut verified and reported", answers(&changes.cuts));
    row(
        "order → heal verified and reported",
        answers(&changes.heals),
    );
    let limit = LIMIT.as_millis_f64();
    let held = cut.max(heal) <= limit;
    let word = if held { "held" } else { "NOT held" };
    println!("limit of {limit} ms at p99: {word}");
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
