//! What our proxy costs, and how exact its toxics are.
//!
//! `cargo bench -p shakedown-agents --bench proxy`. The direct way over loopback, our proxy and a plain copy on tokio are
//! measured in turn, each proxy a process of its own; for round trips all are pinned to one processor, since
//! those across two are bimodal.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

mod peers;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use peers::Peer;
use shakedown_agents::proxy::toxics::Settings;
use shakedown_agents::proxy::{Command, Proxy, Stream, Toxic};

const ROUNDS: usize = 7;
const PINGS: usize = 10_000;
const STREAMED: Duration = Duration::from_secs(2);
const GIB: f64 = (1_u64 << 30) as f64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|one| one == "as") {
        peers::be(&arguments[2], arguments[3].parse().unwrap());
    }
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if arguments
        .iter()
        .any(|argument| argument == "--test" || argument == "--list")
    {
        return ExitCode::SUCCESS;
    }
    costs();
    delays();
    rates();
    commands();
    ExitCode::SUCCESS
}

/// To the first processor.
pub fn pin(pid: i32) {
    // SAFETY: a zeroed set is an empty one; the call reads it.
    unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(pid, size_of_val(&set), &raw const set);
    }
}

/// Gives everything back, or takes everything and counts it at the end; a thread a connection.
fn server(echo: bool, pinned: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || {
                if pinned {
                    pin(0);
                }
                let mut buffer = vec![0; 1 << 18];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if echo && stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Nanoseconds of each of so many round trips, sorted.
fn pings(to: SocketAddr, count: usize) -> Vec<f64> {
    let mut stream = connect(to);
    let mut times = Vec::with_capacity(count);
    let mut buffer = [0; 64];
    for _ in 0..count + 100 {
        let began = Instant::now();
        stream.write_all(&buffer).unwrap();
        stream.read_exact(&mut buffer).unwrap();
        times.push(began.elapsed().as_nanos() as f64);
    }
    let mut times = times.split_off(100);
    times.sort_by(f64::total_cmp);
    times
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Gigabits a second through so many streams.
fn throughput(to: SocketAddr, streams: usize) -> (f64, f64) {
    let began = Instant::now();
    let senders = (0..streams).map(|_| {
        std::thread::spawn(move || {
            let mut stream = connect(to);
            let buffer = vec![7; 1 << 18];
            let mut sent = 0;
            while began.elapsed() < STREAMED {
                sent += stream.write(&buffer).unwrap();
            }
            sent
        })
    });
    let senders: Vec<_> = senders.collect();
    let sent: usize = senders
        .into_iter()
        .map(|sender| sender.join().unwrap())
        .sum();
    let seconds = began.elapsed().as_secs_f64();
    (sent as f64 * 8.0 / seconds / 1e9, sent as f64)
}

/// Connections a second, each with a round trip.
fn connections(to: SocketAddr) -> f64 {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < STREAMED {
        let mut stream = connect(to);
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

#[derive(Default)]
struct Costs {
    round_trip: Vec<f64>,
    one: Vec<f64>,
    four: Vec<f64>,
    cpu_a_gib: Vec<f64>,
    connections: Vec<f64>,
    memory: Vec<f64>,
}

fn costs() {
    let names = ["direct", "ours", "tokio copy"];
    let kinds = [None, Some("ours"), Some("tokio")];
    let mut all: [Costs; 3] = Default::default();
    // The parent's own thread is pinned for the round trips alone.
    let echo_pinned = server(true, true);
    let (echo, sink) = (server(true, false), server(false, false));
    for _ in 0..ROUNDS {
        for (kind, costs) in kinds.iter().zip(&mut all) {
            let pinned = kind.map(|kind| Peer::start(kind, echo_pinned, true));
            let to = pinned.as_ref().map_or(echo_pinned, |peer| peer.address);
            let times = std::thread::spawn(move || {
                pin(0);
                pings(to, PINGS)
            });
            costs.round_trip.push(median(times.join().unwrap()) / 1e3);
            drop(pinned);
            let peer = kind.map(|kind| Peer::start(kind, sink, false));
            let to = peer.as_ref().map_or(sink, |peer| peer.address);
            let used = || peer.as_ref().map_or(0.0, Peer::cpu_seconds);
            let before = used();
            let (rate, bytes) = throughput(to, 1);
            costs.one.push(rate);
            costs.cpu_a_gib.push((used() - before) * GIB / bytes);
            costs.four.push(throughput(to, 4).0);
            drop(peer);
            let peer = kind.map(|kind| Peer::start(kind, echo, false));
            let to = peer.as_ref().map_or(echo, |peer| peer.address);
            costs.connections.push(connections(to));
            if let Some(peer) = &peer {
                let before = peer.memory_kib();
                let open: Vec<TcpStream> = (0..1000).map(|_| connect(to)).collect();
                for mut stream in &open {
                    stream.write_all(b"x").unwrap();
                    stream.read_exact(&mut [0]).unwrap();
                }
                costs.memory.push((peer.memory_kib() - before) / 1000.0);
            }
        }
    }
    println!(
        "| | round trip | added | 1 stream | 4 streams | CPU a GiB | connections a second | memory a connection |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let direct = median(all[0].round_trip.clone());
    for (name, costs) in names.iter().zip(all) {
        let round_trip = median(costs.round_trip);
        let memory = match costs.memory.is_empty() {
            true => "–".to_owned(),
            false => format!("{:.1} KiB", median(costs.memory)),
        };
        println!(
            "| {name} | {round_trip:.1} µs | {:.1} µs | {:.1} Gbit/s | {:.1} Gbit/s | {:.2} s | {:.0} | {memory} |",
            round_trip - direct,
            median(costs.one),
            median(costs.four),
            median(costs.cpu_a_gib),
            median(costs.connections),
        );
    }
    println!();
}

/// How much later than asked bytes arrive through a latency.
fn delays() {
    let echo = server(true, false);
    let mut peer = Peer::start("ours", echo, false);
    println!("| latency | error, mean | error, p99 |\n|---|---|---|");
    for millis in [1_u32, 10, 50, 200] {
        peer.set("none");
        std::thread::sleep(Duration::from_millis(50));
        let base = median(pings(peer.address, 2_000)) / 1e6;
        peer.set(&format!("latency latency {millis}"));
        std::thread::sleep(Duration::from_millis(50));
        let count = (4_000 / millis).clamp(25, 1_000) as usize;
        let mut stream = connect(peer.address);
        let mut errors = Vec::new();
        for _ in 0..count {
            let began = Instant::now();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            errors.push(began.elapsed().as_secs_f64() * 1e3 - base - f64::from(millis));
        }
        errors.sort_by(f64::total_cmp);
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let p99 = errors[(errors.len() * 99).div_ceil(100) - 1];
        println!("| {millis} ms | {mean:.3} ms | {p99:.3} ms |");
    }
    println!();
}

/// How much passes through a bandwidth, in tenths of a second.
fn rates() {
    println!("| bandwidth | error | sd over 100 ms |\n|---|---|---|");
    for megabytes in [1_u32, 10, 100] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let buffer = vec![7; 1 << 16];
            while stream.write_all(&buffer).is_ok() {}
        });
        let mut peer = Peer::start("ours", address, false);
        peer.set(&format!("bandwidth rate {}", megabytes * 1000));
        std::thread::sleep(Duration::from_millis(100));
        let mut stream = connect(peer.address);
        let mut buffer = vec![0; 1 << 16];
        // What passes at first fills the buffers on the way.
        let (mut tenths, mut bytes) = (Vec::new(), 0_usize);
        let began = Instant::now();
        while tenths.len() < 40 {
            bytes += stream.read(&mut buffer).unwrap();
            if began.elapsed().as_secs_f64() >= (tenths.len() + 1) as f64 / 10.0 {
                tenths.push((began.elapsed().as_secs_f64(), bytes as f64));
            }
        }
        let (first, last) = (tenths[9], tenths[39]);
        let rate = (last.1 - first.1) / (last.0 - first.0) / 1e6;
        let parts = tenths[9..]
            .windows(2)
            .map(|two| (two[1].1 - two[0].1) / (two[1].0 - two[0].0) / 1e6);
        let parts: Vec<f64> = parts.collect();
        let mean = parts.iter().sum::<f64>() / parts.len() as f64;
        let square = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>();
        let sd = (square / (parts.len() - 1) as f64).sqrt();
        let asked = f64::from(megabytes);
        println!(
            "| {megabytes} MB/s | {:+.2} % | {:.2} % |",
            (rate / asked - 1.0) * 100.0,
            sd / asked * 100.0
        );
    }
    println!();
}

/// From the call to the effect, with a hundred connections open.
fn commands() {
    let echo = server(true, false);
    let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo, 1).unwrap();
    let mut streams: Vec<TcpStream> = (0..100).map(|_| connect(proxy.listen())).collect();
    for stream in &mut streams {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    println!(
        "| toxic, on 100 connections | added after | held bytes arrived after its removal |\n|---|---|---|"
    );
    for (name, settings) in [
        (
            "latency",
            Settings::Latency {
                latency: 3_600_000,
                jitter: 0,
            },
        ),
        ("bandwidth", Settings::Bandwidth { rate: 0 }),
        ("timeout", Settings::Timeout { timeout: 0 }),
    ] {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            let toxic = Toxic {
                name: "t".to_owned(),
                stream: Stream::Downstream,
                toxicity: 1.0,
                settings: settings.clone(),
            };
            let began = Instant::now();
            proxy.tell(Command::Add(toxic)).unwrap();
            added.push(began.elapsed().as_secs_f64() * 1e6);
            let stream = &mut streams[0];
            stream.write_all(b"x").unwrap();
            std::thread::sleep(Duration::from_millis(5));
            let began = Instant::now();
            proxy
                .tell(Command::Remove {
                    name: "t".to_owned(),
                })
                .unwrap();
            stream.read_exact(&mut [0]).unwrap();
            removed.push(began.elapsed().as_secs_f64() * 1e6);
        }
        let (added, most) = (median(added), removed.iter().copied().fold(0.0, f64::max));
        println!(
            "| {name} | {added:.0} µs | {:.0} µs, {most:.0} at most |",
            median(removed)
        );
    }
    println!();
}
