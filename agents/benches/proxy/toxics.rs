//! How exact toxics are, and how soon they come and go.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::peers::{Kind, Peer};
use super::{connect, echo, median, round_trip, source};

/// Connections that are there while toxics come and go.
const OPEN: usize = 100;
/// Toxics of each kind that come and go.
const CHANGES: usize = 30;
/// So often something may be wrong before a peer is given up.
const WRONG_MAX: usize = 3;
/// What has not come by then never comes.
const PATIENCE: Duration = Duration::from_secs(2);

fn with_toxics() -> Vec<Kind> {
    let mut kinds = Kind::all();
    kinds.retain(Kind::has_toxics);
    kinds
}

/// How much later than asked bytes arrive through a latency: the round trip with it, less the proxy's own after an equal pause,
/// since whoever has slept wakes up slowly.
pub fn delays() {
    println!(
        "| `latency`, ms | | error, mean ms | p50 | p99 | p99 of the same without a toxic |\n|--:|---|--:|--:|--:|--:|"
    );
    let echo = echo(false);
    for millis in [1_u64, 10, 50, 200] {
        let count = (4_000 / millis).clamp(40, 1_000);
        for kind in with_toxics() {
            let mut peer = Peer::start(&kind, echo, false);
            let mut stream = connect(peer.address);
            let mut took = |pause: Duration| {
                std::thread::sleep(pause);
                let began = Instant::now();
                round_trip(&mut stream);
                began.elapsed().as_secs_f64() * 1e3
            };
            let pause = Duration::from_millis(millis);
            let healthy: Vec<f64> = (0..count).map(|_| took(pause)).collect();
            let usual = median(healthy.clone());
            peer.add("latency", "latency", millis);
            let errors = (0..count).map(|_| took(Duration::ZERO) - usual - millis as f64);
            let errors: Vec<f64> = errors.collect();
            println!(
                "| {millis} | {} | {:.3} | {:.3} | {:.3} | {:.3} |",
                kind.name(),
                errors.iter().sum::<f64>() / errors.len() as f64,
                median(errors.clone()),
                p99(errors),
                p99(healthy) - usual,
            );
        }
    }
}

fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * 0.99) as usize]
}

/// How much passes through a bandwidth, in tenths of a second.
pub fn rates() {
    println!("| `bandwidth`, MB/s | | error | sd over 100 ms |\n|--:|---|--:|--:|");
    let source = source();
    for megabytes in [1_u64, 10, 100] {
        for kind in with_toxics() {
            let mut peer = Peer::start(&kind, source, false);
            peer.add("bandwidth", "rate", megabytes * 1000);
            let (error, sd) = rate(peer.address, megabytes as f64);
            println!(
                "| {megabytes} | {} | {error:+.2} % | {sd:.2} % |",
                kind.name()
            );
        }
    }
}

/// Error and standard deviation of a rate, in per cent.
fn rate(from: std::net::SocketAddr, asked: f64) -> (f64, f64) {
    let mut stream = connect(from);
    let mut buffer = vec![0; 1 << 16];
    let (mut tenths, mut bytes) = (Vec::new(), 0_usize);
    let began = Instant::now();
    while tenths.len() < 40 {
        bytes += stream.read(&mut buffer).unwrap();
        let seconds = began.elapsed().as_secs_f64();
        if seconds >= (tenths.len() + 1) as f64 / 10.0 {
            tenths.push((seconds, bytes as f64));
        }
    }
    // The first second fills the buffers on the way.
    let steady = &tenths[9..];
    let speed = |(from, to): (&(f64, f64), &(f64, f64))| (to.1 - from.1) / (to.0 - from.0) / 1e6;
    let whole = speed((&steady[0], &steady[steady.len() - 1]));
    let parts: Vec<f64> = steady
        .windows(2)
        .map(|two| speed((&two[0], &two[1])))
        .collect();
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    let squares = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>();
    let sd = (squares / (parts.len() - 1) as f64).sqrt();
    ((whole / asked - 1.0) * 100.0, sd / asked * 100.0)
}

/// From the command to the effect, with connections open.
pub fn commands() {
    println!(
        "| toxic, on {OPEN} connections | | command to effect, p50 µs | removal to held bytes' arrival, p50 µs | most |"
    );
    println!("|---|---|--:|--:|--:|");
    let echo = echo(false);
    for (toxic, attribute, value) in [
        ("latency", "latency", 3_600_000),
        ("bandwidth", "rate", 0),
        ("timeout", "timeout", 0),
    ] {
        for kind in with_toxics() {
            let (mut added, mut removed, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
            let mut peer = Peer::start(&kind, echo, false);
            for _ in 0..CHANGES {
                let mut streams: Vec<TcpStream> =
                    (0..OPEN).map(|_| connect(peer.address)).collect();
                streams.iter_mut().for_each(round_trip);
                let began = Instant::now();
                peer.add(toxic, attribute, value);
                added.push(began.elapsed().as_secs_f64() * 1e6);
                match held(&mut streams[0], &mut peer) {
                    Ok(micros) => removed.push(micros),
                    Err(what) => wrong.push(what),
                }
                // It will be the same again, and takes its time.
                if wrong.len() == WRONG_MAX {
                    break;
                }
            }
            let most = removed.iter().copied().fold(0.0, f64::max);
            let removal = match wrong.first() {
                None => format!("{:.0} | {most:.0}", median(removed)),
                Some(what) => format!("{what}, {} of {} | –", wrong.len(), added.len()),
            };
            println!(
                "| `{toxic}` | {} | {:.0} | {removal} |",
                kind.name(),
                median(added)
            );
        }
    }
}

/// Microseconds from a removal until what was held has come, or what was wrong.
fn held(stream: &mut TcpStream, peer: &mut Peer) -> Result<f64, &'static str> {
    stream.write_all(b"x").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let early = stream.read(&mut [0]);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let began = Instant::now();
    peer.remove();
    match early {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Ok(1) => return Err("was not in effect"),
        _ => return Err("ended the connection when added"),
    }
    match stream.read(&mut [0]) {
        Ok(1) => Ok(began.elapsed().as_secs_f64() * 1e6),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err("bytes never arrived"),
        _ => Err("ended the connection when removed"),
    }
}
