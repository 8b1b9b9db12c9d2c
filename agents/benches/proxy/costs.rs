//! What a healthy proxy costs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::peers::{Kind, Peer};
use super::{connect, echo, median, pin, round_trip, sink};

const ROUNDS: usize = 7;
const PINGS: usize = 10_000;
const STREAMED: Duration = Duration::from_millis(1_000);
/// Connections of which the memory is measured.
const OPEN: usize = 500;
const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Default)]
struct Costs {
    round_trip_micros: Vec<f64>,
    added_micros: Vec<f64>,
    one_gbit: Vec<f64>,
    four_gbit: Vec<f64>,
    cpu_seconds_a_gib: Vec<f64>,
    connections_a_second: Vec<f64>,
    kib_a_connection: Vec<f64>,
}

pub fn measure() {
    let kinds = Kind::all();
    let mut all: Vec<Costs> = kinds.iter().map(|_| Costs::default()).collect();
    let (echo_pinned, short, sink) = (echo(true), short_echo(), sink());
    for _ in 0..ROUNDS {
        let mut direct = f64::NAN;
        for (kind, costs) in kinds.iter().zip(&mut all) {
            let took = pinned(kind, echo_pinned, pings);
            if *kind == Kind::Direct {
                direct = took;
            }
            costs.round_trip_micros.push(took);
            costs.added_micros.push(took - direct);
            let peer = Peer::start(kind, sink, false);
            let before = peer.cpu_seconds();
            let (rate, bytes) = throughput(peer.address, 1);
            costs.one_gbit.push(rate);
            let used = peer.cpu_seconds() - before;
            costs.cpu_seconds_a_gib.push(used * GIB / bytes);
            costs.four_gbit.push(throughput(peer.address, 4).0);
            let rate = pinned(kind, short, connections);
            costs.connections_a_second.push(rate);
            let peer = Peer::start(kind, echo_pinned, false);
            costs.kib_a_connection.push(memory(&peer));
        }
    }
    println!(
        "| medians of {ROUNDS} | round trip, µs | added, µs | 1 stream, Gbit/s | 4 streams, Gbit/s | CPU s a GiB | \
         connections a second | KiB a connection |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for (kind, costs) in kinds.iter().zip(all) {
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.2} | {:.0} | {:.1} |",
            kind.name(),
            median(costs.round_trip_micros),
            median(costs.added_micros),
            median(costs.one_gbit),
            median(costs.four_gbit),
            median(costs.cpu_seconds_a_gib),
            median(costs.connections_a_second),
            median(costs.kib_a_connection),
        );
    }
}

/// Measured with client, proxy and server on one processor.
fn pinned(kind: &Kind, upstream: SocketAddr, measure: fn(SocketAddr) -> f64) -> f64 {
    let peer = Peer::start(kind, upstream, true);
    let address = peer.address;
    let work = move || {
        pin();
        measure(address)
    };
    std::thread::spawn(work).join().unwrap()
}

/// Microseconds of a round trip of 64 bytes.
fn pings(to: SocketAddr) -> f64 {
    let mut stream = connect(to);
    let mut buffer = [0; 64];
    let mut times = Vec::with_capacity(PINGS);
    for number in 0..PINGS + 100 {
        let began = Instant::now();
        stream.write_all(&buffer).unwrap();
        stream.read_exact(&mut buffer).unwrap();
        // The first make everything warm.
        if number >= 100 {
            times.push(began.elapsed().as_nanos() as f64 / 1e3);
        }
    }
    median(times)
}

/// Gigabits a second through so many streams, and bytes.
fn throughput(to: SocketAddr, streams: usize) -> (f64, f64) {
    let began = Instant::now();
    let send = move || {
        let mut stream = connect(to);
        let buffer = vec![7; 1 << 18];
        let mut sent = 0;
        while began.elapsed() < STREAMED {
            sent += stream.write(&buffer).unwrap();
        }
        sent
    };
    let senders: Vec<_> = (0..streams).map(|_| std::thread::spawn(send)).collect();
    let sent = senders.into_iter().map(|sender| sender.join().unwrap());
    let sent: usize = sent.sum();
    let seconds = began.elapsed().as_secs_f64();
    (sent as f64 * 8.0 / seconds / 1e9, sent as f64)
}

/// Answers one byte a connection, one after the other: no thread is started for them.
fn short_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        pin();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut byte = [0];
            // One that has gone has gone.
            if let Ok(1) = stream.read(&mut byte) {
                let _ = stream.write_all(&byte);
            }
        }
    });
    address
}

/// Connections a second, one after the other, each with a round trip.
fn connections(to: SocketAddr) -> f64 {
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < STREAMED {
        round_trip(&mut connect(to));
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

/// Kibibytes that a connection takes in the proxy's process.
fn memory(peer: &Peer) -> f64 {
    let before = peer.memory_kib();
    let mut open: Vec<TcpStream> = (0..OPEN).map(|_| connect(peer.address)).collect();
    open.iter_mut().for_each(round_trip);
    (peer.memory_kib() - before) / OPEN as f64
}
