//! What our proxy costs, and how exact its toxics are.
//!
//! `cargo bench -p shakedown-agents --bench proxy`; one part with `-- costs`, `-- delays`, `-- rates` or `-- commands`. The direct way
//! over loopback, our proxy, a plain copy on tokio, and `toxiproxy-server` and `noxious-server` where they are on the path, are
//! measured in turn, each proxy a process of its own. For round trips and connections all are pinned to one processor, since
//! those across two are bimodal.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has nothing to clean up"
)]

mod costs;
mod peers;
mod toxics;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|one| one == "as") {
        let pinned = arguments.get(4).is_some();
        peers::be(&arguments[2], arguments[3].parse().unwrap(), pinned);
    }
    // `cargo test --benches` asks for a quick run of everything; this needs its time.
    if arguments
        .iter()
        .any(|argument| argument == "--test" || argument == "--list")
    {
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.iter().skip(1).find(|one| !one.starts_with('-'));
    let parts: [(&str, fn()); 4] = [
        ("costs", costs::measure),
        ("delays", toxics::delays),
        ("rates", toxics::rates),
        ("commands", toxics::commands),
    ];
    for (name, measure) in parts {
        if wanted.is_none_or(|wanted| wanted == name) {
            measure();
            println!();
        }
    }
    ExitCode::SUCCESS
}

/// The calling thread, and those it starts, to the first processor.
fn pin() {
    let mut set = nix::sched::CpuSet::new();
    set.set(0).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).unwrap();
}

/// Gives everything back; a thread a connection.
fn echo(pinned: bool) -> SocketAddr {
    serve(pinned, |mut stream| {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    })
}

/// Takes everything.
fn sink() -> SocketAddr {
    serve(false, |mut stream| {
        let mut buffer = vec![0; 1 << 18];
        while let Ok(1..) = stream.read(&mut buffer) {}
    })
}

/// Gives as much as is taken.
fn source() -> SocketAddr {
    serve(false, |mut stream| {
        let buffer = vec![7; 1 << 16];
        while stream.write_all(&buffer).is_ok() {}
    })
}

fn serve(pinned: bool, each: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        if pinned {
            pin();
        }
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || each(stream));
        }
    });
    address
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn round_trip(stream: &mut TcpStream) {
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
